"""Normalisation and activation in one differentiable operation, for training on CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dycon_engine.networks.rebuilding import remember

EPSILON = 1e-5
aten = torch.ops.aten


class Affine(NamedTuple):
    """Scale and shift (F,) after the normalisation, and the slope of the (leaky) ReLU behind it.

    `slope` None is no activation.
    """

    weight: Tensor
    bias: Tensor
    slope: float | None


def fits(x: Tensor, weight: Tensor) -> bool:
    """Return whether `normalized` can be used: an eager step on CPU, half precision included."""
    return (
        x.device.type == "cpu"
        and (x.dtype == weight.dtype or _is_mixed(x, weight))
        and x.shape[2:].numel() > 1
        and not torch.compiler.is_compiling()
    )


def _is_mixed(x: Tensor, weight: Tensor) -> bool:
    return x.dtype is torch.bfloat16 and weight.dtype is torch.float32


def normalized(
    x: Tensor, affine: Affine, *, whole_batch: bool, running: nn.BatchNorm3d | None = None
) -> Tensor:
    """Return `x` (B, F, D, H, W) with mean `bias` and deviation `weight` per feature, activated.

    The batch-norm kernel keeps channels_last_3d, where the instance-norm kernel copies to
    contiguous and back, so it also serves instance norm, on one sample at a time. For backward `x`
    is kept; the result is kept as a recipe.

    Args:
        x: What the convolution gave.
        affine: Scale, shift and activation.
        whole_batch: Mean and deviation are those of the batch; else of each sample.
        running: Its running mean and deviation follow those of the batch.
    """
    arguments = (x, affine.weight, affine.bias, affine.slope, whole_batch, running)
    result: Tensor = _Normalized.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


class _Normalized(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd passes positional tensors
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        slope: float | None,
        whole_batch: bool,
        running: nn.BatchNorm3d | None,
    ) -> Tensor:
        affine = Affine(weight, bias, slope)
        groups = 1 if whole_batch else len(x)
        mean, deviation = (weight.new_empty(groups, x.shape[1]) for _ in range(2))
        y = torch.empty_like(x)
        averages = [None, None] if running is None else [running.running_mean, running.running_var]
        momentum = 0.0 if running is None else float(running.momentum or 0.0)
        for index, part in enumerate(_parts(x, groups)):
            aten.native_batch_norm.out(
                part, weight, bias, *averages, True, momentum, EPSILON,
                out=_parts(y, groups)[index], save_mean=mean[index], save_invstd=deviation[index],
            )  # fmt: skip
        _activate(y, slope)
        remember(y, partial(_again, affine=affine, mean=mean, deviation=deviation), x)
        ctx.slope, ctx.groups = slope, groups
        ctx.save_for_backward(x, y if slope is not None else None, weight, mean, deviation)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, deviation = ctx.saved_tensors
        if ctx.slope is not None:
            grad = aten.leaky_relu_backward(grad, y, ctx.slope, True)
            del y
        if ctx.groups == 1:  # what has `out` computes into new memory all the same, and copies
            result = aten.native_batch_norm_backward(
                grad, x, weight, None, None, mean[0], deviation[0], True, EPSILON, [True] * 3
            )
            return *result, None, None, None
        dx, dw, db = torch.empty_like(x), torch.empty_like(mean), torch.empty_like(mean)
        parts = zip(*(_parts(t, ctx.groups) for t in (grad, x, dx)), strict=True)
        for index, (grad_part, x_part, dx_part) in enumerate(parts):
            aten.native_batch_norm_backward.out(
                grad_part, x_part, weight, None, None, mean[index], deviation[index],
                True, EPSILON, [True, True, True], out0=dx_part, out1=dw[index], out2=db[index],
            )  # fmt: skip
        return dx, dw.sum(0), db.sum(0), None, None, None


def _again(x: Tensor, *, affine: Affine, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return the result from its mean and inverse deviation (groups, F)."""
    y = torch.empty_like(x)
    for part, out, m, d in zip(
        _parts(x, len(mean)), _parts(y, len(mean)), mean, deviation, strict=True
    ):
        aten.native_batch_norm.out(
            part, affine.weight, affine.bias, m, d.pow(-2), False, 0.0, 0.0,
            out=out, save_mean=m.new_empty(0), save_invstd=m.new_empty(0),
        )  # fmt: skip
    return _activate(y, affine.slope)


def _parts(x: Tensor, groups: int) -> Sequence[Tensor]:
    return (x,) if groups == 1 else torch.split(x, 1)


def _activate(y: Tensor, slope: float | None) -> Tensor:
    if slope is None:
        return y
    return nn.functional.leaky_relu_(y, slope) if slope else nn.functional.relu_(y)
