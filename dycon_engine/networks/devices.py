"""Which device really computes (tried with one small convolution), and its memory layout."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from dycon_engine.errors import InputError


def works(device: torch.device) -> bool:
    """Return whether `device` runs a 3D convolution with the right result."""
    try:
        ones = torch.ones(1, 1, 3, 3, 3, device=device)
        return float(F.conv3d(ones, ones)) == ones.numel()
    except (RuntimeError, AssertionError, NotImplementedError):
        return False


def present() -> tuple[str, ...]:
    """Return the kinds of GPU that PyTorch sees, best first."""
    cuda = ("cuda",) if torch.cuda.is_available() else ()
    mps = ("mps",) if torch.backends.mps.is_available() else ()
    return (*cuda, *mps)


def device_name(device: torch.device) -> str:
    """Return what a person calls `device`: the product's name, or CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).name)
    return "Apple GPU" if device.type == "mps" else "CPU"


def choose_device(
    name: str, on_notice: Callable[[str], None] = lambda _text: None, *, local_rank: int = 0
) -> torch.device:
    """Return the device called `name`: auto, cpu, cuda, cuda:N or mps.

    `auto` takes CUDA where a kernel runs on it, then MPS, else the CPU, and says so where a GPU is
    there but does not run. With several processes each takes its own CUDA device.

    Raises:
        InputError: No such device, or it runs no kernel.
    """
    if name == "auto":
        for kind in present():
            device = _own(kind, local_rank)
            if works(device):
                return device
            on_notice(f"{kind} is there but runs no kernel (driver or PyTorch build?); not used")
        return torch.device("cpu")
    if name == "cuda" and "cuda" in present():
        name = str(_own(name, local_rank))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device '{name}': unknown; use auto, cpu, cuda, cuda:N or mps") from None
    if not works(device):
        raise InputError(
            f"device '{name}': runs no kernel on this machine; use auto or one of "
            f"{', '.join((*present(), 'cpu'))} (`dycon describe --machine` tells more)"
        )
    return device


def _own(kind: str, local_rank: int) -> torch.device:
    if kind == "cuda" and torch.cuda.device_count() > 1:
        return torch.device("cuda", local_rank % torch.cuda.device_count())
    return torch.device(kind)


def memory_format(device: torch.device) -> torch.memory_format:
    """Return the layout of weights and images: channels last, the fastest on the CPU and CUDA.

    MPS convolves 3D images in the plain layout only.
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last_3d


def move(module: nn.Module, device: torch.device) -> None:
    """Bring `module` to `device`, its weights in the layout of that device."""
    module.to(device)
    module.to(memory_format=memory_format(device))  # type: ignore[call-overload]


def peak_memory_mib(device: torch.device) -> float | None:
    """Return the most memory this process has held on `device`, MiB; None where nobody counts it.

    CUDA: tensors. CPU: the whole process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
