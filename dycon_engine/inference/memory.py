"""How much memory a whole-volume prediction needs and how much there is."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.data.geometry import Size
from dycon_engine.errors import OutOfMemoryError
from dycon_engine.networks.composing import DUAL_SCALE, MEAN_OF_TWO, SINGLE, Composition

FLOAT_BYTES = 4
PIECE_VOXELS = 2**22  # of a slab, restored
FEATURES_PER_FILTER, FEATURES_BESIDE = 10, 10  # of a window
FEATURES_TIMES = {SINGLE: 1.0, MEAN_OF_TWO: 1.5, DUAL_SCALE: 2.0}
MIB = 2**20
VERSION_2 = ("memory.max", "memory.current", "")  # of control groups: files, prefix in memory.stat
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
MAPS_IN_WRITING = 3  # of the probabilities: kept, handed to the writer, read back
_ALLOCATION_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "unable to find an engine to execute this computation",  # cuDNN, mostly for lack of memory
)


def available_bytes() -> int:
    """Return the main memory that can still be taken, in bytes.

    Respects the limits of a container and of `ulimit -v`, which some clusters set. Reads
    /proc/meminfo and the cgroup where they exist; elsewhere a conservative half of the physical
    memory, and 4 GiB where even that is unknown.
    """
    limits = (_cgroup_bytes(), _address_bytes())
    return min(_meminfo_bytes(), *(limit for limit in limits if limit is not None))


def needed_bytes(  # noqa: PLR0913 - plain values, keyword-only
    source_size: Size,
    network_size: Size,
    *,
    channels: int,
    classes: int,
    patch_size: Size,
    features: float,
    probabilities: bool = False,
) -> int:
    """Return an upper estimate of the memory of one prediction, in bytes.

    The scan and its prepared image, each with a copy in between; label and uncertainty map and the
    search for regions; the probabilities where asked for, thrice while they are written; three sets
    of margins of a slab, their weights, and pieces of it on the scan's grid; the `features` of one
    window, floats per voxel.
    """
    source, network, patch = (math.prod(s) for s in (source_size, network_size, patch_size))
    slab = min(network * size // n for n, size in zip(network_size, patch_size, strict=True))
    floats = (
        2 * channels * (source + network)
        + 4 * source
        + (MAPS_IN_WRITING * classes * source if probabilities else 0)
        + (3 * (classes - 1) + 1) * min(slab, network)
        + 3 * classes * PIECE_VOXELS
        + math.ceil(features * patch)
    )
    return FLOAT_BYTES * floats


def window_features(network: NetworkConfig, composition: Composition) -> float:
    """Return an upper estimate of what one window holds on its way through, floats per voxel.

    Measured on the CPU (window of 48x64x64, instance norm): 120 for a U-Net of 16 filters, 22
    behind a stem of 2; 161 for two of them, one after the other; 257 for two scales at once.
    """
    one = FEATURES_PER_FILTER * network.filters[0] / network.stem**3 + FEATURES_BESIDE
    return FEATURES_TIMES[composition.kind] * one


def check_fits(needed: int, available: int, what: str) -> None:
    """Refuse work that cannot fit, before anything is allocated.

    Raises:
        OutOfMemoryError: Naming `what`, the needed and the available memory.
    """
    if needed > available:
        raise OutOfMemoryError(
            f"{what}: needs about {mebibytes(needed)} of memory, {mebibytes(available)} are "
            "available; close other programs, use a machine with more memory, or a package with "
            "a coarser spacing"
        )


def mebibytes(count: int) -> str:
    """Return a number of bytes as text in MiB."""
    return f"{count / MIB:,.0f} MiB".replace(",", " ")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says that an allocation failed, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _ALLOCATION_WORDS)


def first_line(error: BaseException) -> str:
    """Return the first line of what PyTorch says; its kind where that is nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def device_available_bytes(device: torch.device) -> int:
    """Return the free memory of `device`; main memory for anything but CUDA."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return available_bytes()


def _meminfo_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return _windows_bytes()


def _address_bytes() -> int | None:
    """Return what `ulimit -v` still allows; None where it sets no limit."""
    try:
        import resource  # noqa: PLC0415 - not on Windows

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, AttributeError, OSError, ValueError):
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return max(0, limit - held * os.sysconf("SC_PAGE_SIZE"))


def _windows_bytes() -> int:
    try:
        import ctypes  # noqa: PLC0415 - Windows only
        from ctypes import wintypes  # noqa: PLC0415
    except ImportError:
        return 4 * 2**30
    kernel = getattr(ctypes, "windll", None)
    if kernel is None:
        return 4 * 2**30

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", wintypes.DWORD),
            ("load", wintypes.DWORD),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "c", "d", "e", "f", "g")),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    kernel.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.free)


def _cgroup_bytes(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Return what this process's control group, and those above it, still allow; None = no limit.

    In a container the group is the root; elsewhere `own` names it, for version 1 and 2.
    """
    left = [_group_left(root, *VERSION_2)]
    try:
        lines = own.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        parts = [part for part in name.split("/") if part not in ("", "..")]
        if number == "0" and not controllers:
            left += _groups_left(root, parts, VERSION_2)
        elif "memory" in controllers.split(","):
            left += _groups_left(root / "memory", parts, VERSION_1)
    return min((count for count in left if count is not None), default=None)


def _groups_left(root: Path, parts: list[str], files: tuple[str, str, str]) -> list[int | None]:
    return [_group_left(root.joinpath(*parts[:n]), *files) for n in range(len(parts) + 1)]


def _group_left(folder: Path, limit_file: str, used_file: str, prefix: str) -> int | None:
    """Return what one group still allows, in bytes: what the kernel can drop is not counted."""
    try:
        limit = (folder / limit_file).read_text(encoding="ascii").strip()
        used = int((folder / used_file).read_text(encoding="ascii"))
        if limit == "max":
            return None
        taken = max(used - _droppable(folder / "memory.stat", prefix), 0)
        return max(int(limit) - taken, 0)
    except (OSError, ValueError):
        return None


def _droppable(stat: Path, prefix: str) -> int:
    """Return the bytes of files read but no longer in use, and of the kernel's own caches."""
    try:
        pairs = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
    except OSError:
        return 0
    names = (f"{prefix}inactive_file", "slab_reclaimable")
    return sum(int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0] in names)  # noqa: PLR2004
