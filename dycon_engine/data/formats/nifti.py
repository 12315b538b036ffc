"""NIfTI-1 and NIfTI-2 in one file (`.nii`, `.nii.gz`), read without a library that trusts headers.

Where both forms are set they must agree; a file with neither is refused, for left and right
cannot be known. Format: nifti.nimh.nih.gov (nifti1.h, nifti2.h).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.formats.decoding import decode, read_start
from dycon_engine.data.formats.stored import (
    FORMS_AGREE_VOXELS,
    RAS_TO_LPS,
    Header,
    Stored,
    affine_from_axes,
    checked_geometry,
    require_room,
)
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DamagedFileError, InputError

SIZE_1, SIZE_2 = 348, 540
GZIP = b"\x1f\x8b"
MAGIC = {SIZE_1: b"n+1\0", SIZE_2: b"n+2\0\r\n\x1a\n"}
PAIR = {SIZE_1: b"ni1\0", SIZE_2: b"ni2\0\r\n\x1a\n"}
OFFSET_MAX = 1 << 26
AXES_MAX = 7
PIXDIM_TOLERANCE = 0.01
QUATERNION_ZERO = 4e-7  # below it, 1 - b2 - c2 - d2 is rounding of float32: a half turn
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
OTHER_TYPES = {1: "bits", 32: "complex", 128: "RGB color", 1536: "128-bit", 1792: "complex"} | {
    2048: "complex",
    2304: "RGBA color",
}


@dataclass(frozen=True)
class _Fields:
    """The header fields that decide what is read, of either version."""

    order: str  # struct byte order
    dim: tuple[int, ...]
    pixdim: tuple[float, ...]
    datatype: int
    bitpix: int
    vox_offset: float
    slope: float
    intercept: float
    units: int
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]  # b c d x y z
    sform: tuple[float, ...]  # 3 rows of 4
    description: bytes


@dataclass(frozen=True, eq=False)
class _Layout:
    """How the voxels lie in the decoded file."""

    header: Header
    offset: int
    slope: float
    intercept: float


def read_header(path: Path) -> Header:
    """Return what the header of a NIfTI file says, checked; no voxels are read."""
    return _layout(path).header


def read(path: Path) -> Stored:
    """Return the content of a NIfTI file, (C, D, H, W); rescaled where the header says so.

    Raises:
        DamagedFileError: Truncated, a wrong checksum, or not of the promised size.
        InputError: Color or complex voxels, no or contradictory geometry, too large.
    """
    layout = _layout(path)
    header = layout.header
    shape = (header.channels, *header.geometry.size_zyx)
    voxels = math.prod(shape)
    require_room(path, voxels, header.dtype.itemsize)
    count = voxels * header.dtype.itemsize
    if _encoding(path) == "raw":
        content = decode(path, count, encoding="raw", offset=layout.offset)
    else:
        content = decode(path, layout.offset + count, encoding="gzip")[layout.offset :]
    array: NDArray[Any] = np.frombuffer(content, dtype=header.dtype).reshape(shape)
    if (layout.slope, layout.intercept) != (1.0, 0.0):
        array = _rescaled(array, layout.slope, layout.intercept)
    return Stored(array, header)


def _rescaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32]:
    """Return slope * stored + intercept, computed in double precision, a slice in memory at a time.

    What exceeds float32 becomes infinite, as where a whole scan is turned into it.
    """
    array = np.empty(stored.shape, dtype=np.float32)
    slices = array.reshape(-1, *array.shape[2:])  # a view: both are contiguous
    with np.errstate(over="ignore"):
        for index, source in enumerate(stored.reshape(slices.shape)):
            slices[index] = source * np.float64(slope) + np.float64(intercept)
    return array


def _encoding(path: Path) -> str:
    return "gzip" if path.name.lower().endswith(".gz") else "raw"


def _layout(path: Path) -> _Layout:
    fields = _fields(path)
    size = _size(path, fields)
    if fields.datatype in OTHER_TYPES:
        raise InputError(
            f"'{path}': voxels are {OTHER_TYPES[fields.datatype]}; expected one number per voxel "
            "and channel; convert it"
        )
    if fields.datatype not in TYPES:
        raise DamagedFileError(f"'{path}': unknown voxel type {fields.datatype}; header is damaged")
    dtype = np.dtype(fields.order + TYPES[fields.datatype])
    if fields.bitpix != dtype.itemsize * 8:
        raise DamagedFileError(
            f"'{path}': header says {fields.bitpix} bits per voxel, its voxel type has "
            f"{dtype.itemsize * 8}; the header is damaged"
        )
    if not (math.isfinite(fields.vox_offset) and SIZE_1 <= fields.vox_offset <= OFFSET_MAX):
        raise DamagedFileError(f"'{path}': voxels start at {fields.vox_offset}; header is damaged")
    slope, intercept = _scaling(path, fields)
    geometry = _geometry(path, fields, size)
    text = fields.description.split(b"\0")[0].decode("utf-8", "replace")
    header = Header(geometry, size[0], dtype, {"descrip": text} if text else {}, slope)
    return _Layout(header, int(fields.vox_offset), slope, intercept)


def _require_fitting_name(path: Path) -> None:
    """Pass unless the file is gzipped and its name does not say so, or the reverse."""
    start = read_start(path, 4)
    is_gzip = start[:2] == GZIP
    is_plain = len(start) == 4 and any(  # noqa: PLR2004 - a whole number
        struct.unpack(order + "i", start)[0] in MAGIC for order in "<>"
    )
    if is_gzip and _encoding(path) == "raw":
        raise InputError(f"'{path}': is compressed; rename it to '{path.name}.gz'")
    if is_plain and _encoding(path) == "gzip":
        raise InputError(f"'{path}': is not compressed; rename it to '{path.name[:-3]}'")


def _fields(path: Path) -> _Fields:
    _require_fitting_name(path)
    start = read_start(path, SIZE_2, encoding=_encoding(path))
    for order in "<>":
        if len(start) >= SIZE_1 and struct.unpack(order + "i", start[:4])[0] in MAGIC:
            size = struct.unpack(order + "i", start[:4])[0]
            break
    else:
        raise DamagedFileError(f"'{path}': not a NIfTI file (no NIfTI header); check its source")
    if len(start) < size:
        raise DamagedFileError(f"'{path}': is cut short inside its header; copy it again")
    magic = start[344:348] if size == SIZE_1 else start[4:12]
    if magic == PAIR[size]:
        raise InputError(f"'{path}': holds its voxels in an .img file; save it as one .nii.gz file")
    if magic != MAGIC[size]:
        raise DamagedFileError(f"'{path}': not a NIfTI file (magic word missing); check its source")
    return _fields_1(start, order) if size == SIZE_1 else _fields_2(start, order)


def _fields_1(start: bytes, order: str) -> _Fields:
    def at(offset: int, kinds: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + kinds, start, offset)

    return _Fields(
        order=order,
        dim=at(40, "8h"),
        pixdim=at(76, "8f"),
        datatype=at(70, "h")[0],
        bitpix=at(72, "h")[0],
        vox_offset=at(108, "f")[0],
        slope=at(112, "f")[0],
        intercept=at(116, "f")[0],
        units=start[123],
        qform_code=at(252, "h")[0],
        sform_code=at(254, "h")[0],
        quaternion=at(256, "6f"),
        sform=at(280, "12f"),
        description=start[148:228],
    )


def _fields_2(start: bytes, order: str) -> _Fields:
    def at(offset: int, kinds: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + kinds, start, offset)

    return _Fields(
        order=order,
        dim=at(16, "8q"),
        pixdim=at(104, "8d"),
        datatype=at(12, "h")[0],
        bitpix=at(14, "h")[0],
        vox_offset=float(at(168, "q")[0]),
        slope=at(176, "d")[0],
        intercept=at(184, "d")[0],
        units=at(500, "i")[0],
        qform_code=at(344, "i")[0],
        sform_code=at(348, "i")[0],
        quaternion=at(352, "6d"),
        sform=at(400, "12d"),
        description=start[240:320],
    )


def _size(path: Path, fields: _Fields) -> tuple[int, int, int, int]:
    """Return (C, D, H, W): channels are the fourth or the fifth axis."""
    axes = fields.dim[0]
    if not 1 <= axes <= AXES_MAX:
        raise DamagedFileError(f"'{path}': has {axes} axes; expected 3 or 4; header is damaged")
    lengths = [*fields.dim[1 : axes + 1], *[1] * (AXES_MAX - axes)]
    if min(lengths) < 1:
        raise InputError(f"'{path}': size is {lengths[:axes]}; expected at least one voxel")
    x, y, z, *rest = lengths
    channels = math.prod(rest)
    if channels != max(rest):
        raise InputError(f"'{path}': size is {lengths[:axes]}; expected 3 axes and channels")
    return channels, z, y, x


def _scaling(path: Path, fields: _Fields) -> tuple[float, float]:
    slope, intercept = fields.slope, fields.intercept
    if slope == 0.0 or math.isnan(slope):
        return 1.0, 0.0  # "not set" in the standard; NaN is how some writers say it
    if math.isnan(intercept):
        intercept = 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise InputError(f"'{path}': intensity scaling is {slope} and {intercept}; mend the header")
    return float(slope), float(intercept)


def _geometry(path: Path, fields: _Fields, size: tuple[int, int, int, int]) -> Geometry:
    if fields.units & 7 not in (0, 2):
        raise InputError(f"'{path}': lengths are not in millimetres; convert it to millimetres")
    pixdim = np.abs(np.asarray(fields.pixdim[1:4]))
    if not (np.isfinite(pixdim).all() and pixdim.min() > 0):
        found = " x ".join(f"{value:g}" for value in fields.pixdim[1:4])
        raise InputError(f"'{path}': voxel spacing is {found} mm; expected more than 0; mend it")
    forms = {}
    if fields.sform_code > 0:
        matrix = np.vstack([np.reshape(fields.sform, (3, 4)), [0, 0, 0, 1]])
        forms["sform"] = checked_geometry(path, size[1:], _to_lps(matrix))
        lengths = np.asarray(forms["sform"].spacing_mm[::-1])
        if np.abs(lengths / pixdim - 1).max() > PIXDIM_TOLERANCE:
            raise InputError(
                f"'{path}': spacing is {_spaced(lengths)} mm by its sform but {_spaced(pixdim)} mm "
                "by its pixdim; mend the header"
            )
    if fields.qform_code > 0:
        forms["qform"] = checked_geometry(path, size[1:], _to_lps(_qform(path, fields, pixdim)))
    if not forms:
        raise InputError(
            f"'{path}': says nothing of its position (sform and qform codes are 0), so left and "
            "right are unknown; open it in a viewer, check the sides and save it again"
        )
    chosen = forms.get("sform") or forms["qform"]
    distance = max(chosen.corner_distance_voxels(other) for other in forms.values())
    if distance > FORMS_AGREE_VOXELS:
        raise InputError(
            f"'{path}': its sform and qform place it {distance:.3g} voxels apart; keep the right "
            "one, set the code of the other to 0 and save it again"
        )
    return chosen


def _to_lps(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    lps = RAS_TO_LPS @ matrix
    return affine_from_axes(lps[:3, :3], lps[:3, 3])


def _qform(path: Path, fields: _Fields, pixdim: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = qform_matrix(fields.quaternion, (fields.pixdim[0], *pixdim))
    if matrix is None:
        raise InputError(f"'{path}': the rotation in its qform is not a rotation; mend the header")
    return matrix


def qform_matrix(
    quaternion: Sequence[float], pixdim: Sequence[float]
) -> NDArray[np.float64] | None:
    """Return the 4x4, (x, y, z) indices to RAS millimetres, of a qform.

    Args:
        quaternion: b, c, d and the offsets x, y, z.
        pixdim: The handedness and the spacing along x, y, z.

    Returns:
        None where b, c, d are no rotation.
    """
    b, c, d, *origin = (float(value) for value in quaternion)
    rest = 1.0 - (b * b + c * c + d * d)
    if not (math.isfinite(rest) and rest > -1e-5):  # noqa: PLR2004 - rounding of float32
        return None
    a = math.sqrt(rest) if rest > QUATERNION_ZERO else 0.0
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handed = -1.0 if pixdim[0] < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * (np.asarray(pixdim[1:]) * np.array([1.0, 1.0, handed]))
    matrix[:3, 3] = origin
    return matrix


def _spaced(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
