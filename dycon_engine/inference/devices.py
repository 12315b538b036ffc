"""Which device really computes: asked for by name, tried with one small convolution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from dycon_engine.errors import InputError


def works(device: torch.device) -> bool:
    """Return whether `device` runs a 3D convolution with the right result."""
    try:
        ones = torch.ones(1, 1, 3, 3, 3, device=device)
        return float(F.conv3d(ones, ones)) == ones.numel()
    except (RuntimeError, AssertionError, NotImplementedError):
        return False


def choose_device(name: str, on_notice: Callable[[str], None] = lambda _text: None) -> torch.device:
    """Return the device called `name`: auto, cpu, cuda, cuda:N or mps.

    `auto` takes CUDA where a kernel runs on it, else the CPU, and says so where CUDA is there but
    does not run.

    Raises:
        InputError: No such device, or it runs no kernel.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        if works(torch.device("cuda")):
            return torch.device("cuda")
        on_notice("a CUDA device is there but runs no kernel (driver or PyTorch build?); using CPU")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device '{name}': unknown; use auto, cpu, cuda, cuda:N or mps") from None
    if not works(device):
        raise InputError(
            f"device '{name}': runs no kernel on this machine; use --device cpu or auto "
            "(`dycon describe --machine` shows what there is)"
        )
    return device
