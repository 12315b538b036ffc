"""Which device really computes (tried with a tiny network), and its memory layout."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from dycon_engine.errors import InputError

EDGE = 4  # of the image that a device is tried with
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # the last two of ARM


def works(device: torch.device) -> bool:
    """Return whether `device` runs what networks are made of, there and back, with right results.

    MPS of an older PyTorch has the convolution but not all of the rest.
    """
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")  # not all of it has a reproducible form on CUDA
    try:
        return _tried(device)
    except (RuntimeError, AssertionError, NotImplementedError):
        return False
    finally:
        torch.set_deterministic_debug_mode(mode)


@torch.enable_grad()
def _tried(device: torch.device) -> bool:
    image = torch.ones(1, 1, EDGE, EDGE, EDGE, device=device, requires_grad=True)
    kernel = torch.ones(1, 1, 2, 2, 2, device=device, requires_grad=True)
    deep = F.max_pool3d(F.conv3d(image, kernel, stride=2), 2)
    found = F.interpolate(F.conv_transpose3d(deep, kernel, stride=2), (EDGE,) * 3, mode="trilinear")
    by_image, by_kernel = torch.autograd.grad(found.sum(), (image, kernel))
    sums = [float(tensor.sum()) for tensor in (found.detach(), by_image, by_kernel)]
    return sums == [8.0 * EDGE**3, 8.0 * EDGE**3, 16.0 * EDGE**3]


def present() -> tuple[str, ...]:
    """Return the kinds of GPU that PyTorch sees, best first."""
    cuda = ("cuda",) if torch.cuda.is_available() else ()
    mps = ("mps",) if torch.backends.mps.is_available() else ()
    return (*cuda, *mps)


def gpu_identity(device: torch.device) -> str:
    """Return what tells the CUDA `device` from all others of all machines."""
    return f"{platform.node()} {torch.cuda.get_device_properties(device).uuid}"


def device_name(device: torch.device) -> str:
    """Return what a person calls `device`: the product's name, or CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).name)
    return "Apple GPU" if device.type == "mps" else "CPU"


def computes_bf16(device: torch.device) -> bool | None:
    """Return whether a CUDA `device` or the CPU computes bf16 itself; None where nobody tells."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return None  # an older PyTorch
    told = torch.cpu.get_capabilities()
    known = [bool(told[name]) for name in BF16_INSTRUCTIONS if name in told]
    return any(known) if known else None


def choose_device(
    name: str, on_notice: Callable[[str], None] = lambda _text: None, *, local_rank: int = 0
) -> torch.device:
    """Return the device called `name`: auto, cpu, cuda, cuda:N or mps.

    `auto` takes CUDA where a network runs on it, then MPS, else the CPU, and says so where a GPU is
    there but does not run. With several processes each takes its own CUDA device.

    Raises:
        InputError: No such device, or it cannot run a network.
    """
    if name == "auto":
        for kind in present():
            device = _own(kind, local_rank)
            if works(device):
                return device
            on_notice(
                f"{kind} is there but cannot run a 3D network (driver or PyTorch build?); not used"
            )
        return torch.device("cpu")
    if name == "cuda" and "cuda" in present():
        name = str(_own(name, local_rank))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device '{name}': unknown; use auto, cpu, cuda, cuda:N or mps") from None
    if not works(device):
        raise InputError(
            f"device '{name}': cannot run a 3D network on this machine; use auto or one of "
            f"{', '.join((*present(), 'cpu'))} (`dycon describe --machine` tells more)"
        )
    return device


def take_device(
    name: str, on_notice: Callable[[str], None] = lambda _text: None, *, local_rank: int = 0
) -> torch.device:
    """Return the device as `choose_device` and make it the one that this process asks and fills.

    Raises:
        InputError: As there.
    """
    device = choose_device(name, on_notice, local_rank=local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _own(kind: str, local_rank: int) -> torch.device:
    """Return the device with its number; of many GPUs a process may see one alone, as number 0."""
    if kind != "cuda":
        return torch.device(kind)
    return torch.device("cuda", local_rank % max(1, torch.cuda.device_count()))


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
