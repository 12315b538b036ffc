"""Trilinear upsampling by two, which a compiler on CPU must leave as it is.

Inductor writes it as eight gathers and loses PyTorch's kernel: forward and backward pass of the 3D
U-Net took a third longer. As an operation of its own it is called, not rewritten. On CUDA the
compiler may have it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten
LAST = torch.channels_last_3d  # the layout of all networks on CPU


def doubled(x: Tensor) -> Tensor:
    """Return `x` (B, F, D, H, W) at twice its size in every axis, (B, F, 2D, 2H, 2W)."""
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        found: Tensor = _opaque(x)
        return found
    with torch.autocast("cpu", enabled=False):  # else half precision becomes float32 and back
        return F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)


@torch.library.custom_op("dycon::doubled", mutates_args=())
def _opaque(x: Tensor) -> Tensor:
    found: Tensor = aten.upsample_trilinear3d(x.contiguous(memory_format=LAST), _twice(x), False)
    return found


@torch.library.custom_op("dycon::doubled_backward", mutates_args=())
def _opaque_backward(grad: Tensor) -> Tensor:
    shape = (*grad.shape[:2], *_half(grad))
    grad = grad.contiguous(memory_format=LAST)
    found: Tensor = aten.upsample_trilinear3d_backward(grad, grad.shape[2:], shape, False)
    return found


@_opaque.register_fake
def _(x: Tensor) -> Tensor:
    return _empty(x, _twice(x))


@_opaque_backward.register_fake
def _(grad: Tensor) -> Tensor:
    return _empty(grad, _half(grad))


def _empty(x: Tensor, size: tuple[int, ...]) -> Tensor:
    shape = (*x.shape[:2], *size)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=LAST)


def _twice(x: Tensor) -> tuple[int, ...]:
    return tuple(2 * size for size in x.shape[2:])


def _half(x: Tensor) -> tuple[int, ...]:
    return tuple(size // 2 for size in x.shape[2:])


def _backward(_ctx: Any, grad: Tensor) -> Tensor:
    found: Tensor = _opaque_backward(grad)
    return found


_opaque.register_autograd(_backward)
