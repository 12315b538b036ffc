"""What a file holds before it is a volume, and the checks every format shares."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import InputError

SHEAR_MAX = 1e-3  # cosine between two axes that are meant to be at right angles
FORMS_AGREE_VOXELS = 0.1  # quaternions near 180 degrees are no better than this in float32
MEMORY_SHARE = 0.4
READ_BYTES = 5  # a voxel, beside the stored one: float32, and whether that is finite
SURVEY_BYTES = 12  # a voxel of a scan with a label, float32 included: measured with tracemalloc
WHOLE_TOLERANCE = 0.01  # what a scale factor may make of a label value
SPACING_MM = (1e-6, 1e6)
ORIGIN_MM = 1e9
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says of its content.

    Attributes:
        geometry: The grid; 1 mm for files that carry none (HDF5).
        channels: C.
        dtype: Of the voxels as stored.
        metadata: Free keys and values, where the format has them.
        scaling: What stored values were multiplied with.
    """

    geometry: Geometry
    channels: int
    dtype: np.dtype[Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    scaling: float = 1.0


@dataclass(frozen=True, eq=False)
class Stored:
    """The content of a file: `array` (C, D, H, W), as stored or rescaled to floating point."""

    array: NDArray[Any]
    header: Header


def checked_geometry(path: Path, size_zyx: Sequence[int], affine: NDArray[np.float64]) -> Geometry:
    """Return the grid, LPS, of a file.

    Args:
        path: For the message.
        size_zyx: Voxels along (z, y, x), each at least 1.
        affine: 4x4; (z, y, x, 1) indices to LPS millimetres.

    Raises:
        InputError: Not finite, no spacing along an axis, or axes not at right angles.
    """
    depth, height, width = (int(n) for n in size_zyx)
    if min(depth, height, width) < 1:
        raise InputError(f"'{path}': size is {width}x{height}x{depth}; expected at least one voxel")
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > ORIGIN_MM:
        raise InputError(f"'{path}': position or spacing is not a usable number; mend the header")
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if lengths.min() < SPACING_MM[0] or lengths.max() > SPACING_MM[1]:
        found = " x ".join(f"{value:g}" for value in lengths[::-1])
        raise InputError(f"'{path}': voxel spacing is {found} mm; expected more than 0; mend it")
    units = columns / lengths
    cosines = np.abs(units.T @ units - np.eye(3))
    if cosines.max() > SHEAR_MAX:
        raise InputError(
            f"'{path}': axes are sheared (cosine {cosines.max():.4g} between two axes, at most "
            f"{SHEAR_MAX:g} is read); resample it to a right-angled grid"
        )
    return Geometry((depth, height, width), np.asarray(affine, dtype=np.float64))


def affine_from_axes(
    columns_xyz: NDArray[np.float64], origin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the 4x4 for (z, y, x) indices from the columns (x, y, z) a file gives."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(columns_xyz, dtype=np.float64)[:, ::-1]
    affine[:3, 3] = origin
    return affine


def require_room(path: Path, voxels: int, itemsize: int) -> None:
    """Pass if so many voxels fit into a share of this machine's memory.

    Raises:
        InputError: They do not; nothing was allocated.
    """
    needed, limit = scan_bytes(voxels, itemsize), room()
    if needed > limit:
        raise InputError(
            f"'{path}': needs {needed / 2**30:.1f} GiB in memory, at most {limit / 2**30:.1f} GiB "
            "is used for one scan here; crop or resample it, or use a larger machine"
        )


def scan_bytes(voxels: int, itemsize: int) -> int:
    """Return what a scan takes at its worst moment: while it is read or, mostly, surveyed."""
    return voxels * max(itemsize + READ_BYTES, SURVEY_BYTES)


def room() -> int:
    """Return the bytes of this machine that scans may take."""
    return int(MEMORY_SHARE * physical_memory())


def physical_memory() -> int:
    """Return the bytes of memory of this machine, 8 GiB where that cannot be found out."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _windows_memory() or 8 * 2**30


def as_float32(path: Path, stored: Stored) -> NDArray[np.float32]:
    """Return the voxels as float32.

    Raises:
        InputError: Some are NaN, infinite or too large; their number is named.
    """
    source = stored.array
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(source, dtype=np.float32)
    if source.dtype.kind == "f":
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise InputError(
                f"'{path}': {bad} of {array.size} voxels are NaN or infinite; expected numbers "
                "only; mend or exclude it"
            )
    return array


def as_labels(path: Path, stored: Stored) -> NDArray[Any]:
    """Return the voxels (D, H, W) as uint8, int16 or int32, the first that holds them.

    Values that a scale factor made, within 0.01 of whole numbers, are rounded.

    Raises:
        InputError: Several channels, fractions, NaN, or values beyond int32.
    """
    if stored.array.shape[0] != 1:
        raise InputError(
            f"'{path}': has {stored.array.shape[0]} channels; a label map has one; merge them"
        )
    array = stored.array[0]
    if array.dtype.kind == "f":
        array = _rounded(path, array, stored.header.scaling)
    low, high = array.min(), array.max()
    for kind in (np.uint8, np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return np.ascontiguousarray(array, dtype=kind)
    raise InputError(f"'{path}': label values run from {low} to {high}; expected small integers")


def _rounded(path: Path, array: NDArray[Any], scaling: float) -> NDArray[Any]:
    whole: NDArray[Any] = np.rint(array)
    with np.errstate(invalid="ignore"):
        bad = int(np.count_nonzero(~(np.abs(array - whole) <= WHOLE_TOLERANCE)))
    if not bad and not whole.any():
        bad = int(np.count_nonzero(array))  # tiny intensities are no empty label map
    if bad:
        cause = f" (its header scales them by {scaling:.6g})" if scaling != 1.0 else ""
        raise InputError(
            f"'{path}': {bad} of {array.size} voxels are not whole numbers{cause}; expected a "
            "label map; is this the image?"
        )
    return whole


def finite(text: str) -> float:
    """Return the number `text` says.

    Raises:
        ValueError: It is none, or not finite.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _windows_memory() -> int:
    import ctypes  # noqa: PLC0415 - there only

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 6),
        )

    status = Status(length=ctypes.sizeof(Status))
    try:
        getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx(  # noqa: B009 - absent elsewhere
            ctypes.byref(status)
        )
    except (AttributeError, OSError):
        return 0
    return int(status.total)
