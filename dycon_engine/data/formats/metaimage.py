"""MetaImage files: `.mha`, and `.mhd` with a data file beside it.

Format: the MetaIO documentation of ITK. Its world is LPS; a missing position or direction is, by
that documentation, zero and the identity; a missing spacing is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dycon_engine.data.formats.decoding import decode, read_start
from dycon_engine.data.formats.nrrd import sibling
from dycon_engine.data.formats.stored import (
    Header,
    Stored,
    affine_from_axes,
    checked_geometry,
    finite,
    require_room,
)
from dycon_engine.data.geometry import Geometry
from dycon_engine.errors import DamagedFileError, InputError

HEADER_MAX = 1 << 18
AXES = 3
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
POSITION = ("Offset", "Position", "Origin")
DIRECTION = ("TransformMatrix", "Rotation", "Orientation")
SPACING = ("ElementSpacing", "ElementSize")
BIG_ENDIAN = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")


@dataclass(frozen=True, eq=False)
class _Layout:
    """How the voxels lie in their file."""

    header: Header
    file: Path
    offset: int
    encoding: str


def read_header(path: Path) -> Header:
    """Return what the header of a MetaImage file says, checked; no voxels are read."""
    return _layout(path).header


def read(path: Path) -> Stored:
    """Return the content of a MetaImage file, (C, D, H, W).

    Raises:
        DamagedFileError: Truncated, a wrong checksum, or not of the promised size.
        InputError: Something this reader does not take; the line says what.
    """
    layout = _layout(path)
    header = layout.header
    shape = (*header.geometry.size_zyx, header.channels)
    require_room(path, math.prod(shape), header.dtype.itemsize)
    count = math.prod(shape) * header.dtype.itemsize
    content = decode(layout.file, count, encoding=layout.encoding, offset=layout.offset)
    array = np.frombuffer(content, dtype=header.dtype).reshape(shape)
    return Stored(np.moveaxis(array, -1, 0), header)


def _layout(path: Path) -> _Layout:
    fields, end = _fields(path)
    try:
        return _interpret(path, fields, end)
    except (ValueError, OverflowError) as error:
        raise DamagedFileError(f"'{path}': a number in its header is unreadable") from error
    except KeyError as error:
        raise DamagedFileError(f"'{path}': its header has no line '{error.args[0]}'") from error


def _fields(path: Path) -> tuple[dict[str, str], int]:
    start = read_start(path, HEADER_MAX)
    fields: dict[str, str] = {}
    end = 0
    while (stop := start.find(b"\n", end)) >= 0 or end < len(start):
        stop = stop if stop >= 0 else len(start)
        key, equals, value = start[end:stop].decode("utf-8", "replace").partition("=")
        key = key.strip()
        end = stop + 1
        if not equals or key in fields or not key.isprintable():
            raise DamagedFileError(f"'{path}': not a MetaImage file, or its header is damaged")
        fields[key] = value.strip()
        if key == "ElementDataFile":
            return fields, end
    raise DamagedFileError(f"'{path}': is cut short inside its header, or not a MetaImage file")


def _interpret(path: Path, fields: dict[str, str], end: int) -> _Layout:
    if fields.get("ObjectType", "Image") != "Image" or not _is_true(path, fields, "BinaryData"):
        raise InputError(f"'{path}': holds no binary image; save it as one")
    size_xyz = [int(text) for text in fields["DimSize"].split()]
    if int(fields["NDims"]) != AXES or len(size_xyz) != AXES:
        raise InputError(f"'{path}': size is {size_xyz}; expected 3 axes; save one volume per file")
    kind = TYPES.get(fields["ElementType"].removesuffix("_ARRAY"))
    if kind is None:
        raise InputError(
            f"'{path}': voxel type '{fields['ElementType'][:20]}' is not read; convert it"
        )
    big = any(_is_true(path, fields, name) for name in BIG_ENDIAN if name in fields)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels < 1 or int(fields.get("HeaderSize", "0")) != 0:
        raise InputError(f"'{path}': has no channels or a foreign header; save it as .mha")
    compressed = "CompressedData" in fields and _is_true(path, fields, "CompressedData")
    name = fields["ElementDataFile"]
    local = name.upper() == "LOCAL"
    header = Header(
        _geometry(path, fields, size_xyz),
        channels,
        np.dtype((">" if big else "<") + kind),
        {key: value for key, value in fields.items() if key.startswith("dycon_")},
    )
    return _Layout(
        header,
        path if local else sibling(path, name),
        end if local else 0,
        "zlib" if compressed else "raw",
    )


def _is_true(path: Path, fields: dict[str, str], name: str) -> bool:
    value = fields[name].lower()
    if value not in ("true", "false", "1", "0"):
        raise DamagedFileError(f"'{path}': {name} is '{value[:20]}'; expected True or False")
    return value in ("true", "1")


def _geometry(path: Path, fields: dict[str, str], size_xyz: list[int]) -> Geometry:
    spacing = _numbers(fields, SPACING, None)
    origin = _numbers(fields, POSITION, np.zeros(AXES))
    matrix = _numbers(fields, DIRECTION, np.eye(AXES).ravel())
    if len(spacing) != AXES or len(origin) != AXES or len(matrix) != AXES * AXES:
        raise DamagedFileError(f"'{path}': spacing, position or direction do not fit its 3 axes")
    if spacing.min() <= 0:
        found = " x ".join(f"{value:g}" for value in spacing)
        raise InputError(f"'{path}': voxel spacing is {found} mm; expected more than 0; mend it")
    directions = matrix.reshape(AXES, AXES).T  # the file lists one axis after the other
    if np.abs(np.linalg.norm(directions, axis=0) - 1).max() > 1e-3:  # noqa: PLR2004 - rounding
        raise InputError(f"'{path}': its directions are not unit vectors; mend the header")
    affine = affine_from_axes(directions * spacing, origin)
    return checked_geometry(path, size_xyz[::-1], affine)


def _numbers(
    fields: dict[str, str], names: tuple[str, ...], default: np.ndarray | None
) -> np.ndarray:
    text = next((fields[name] for name in names if name in fields), None)
    if text is None:
        if default is None:
            raise KeyError(names[0])
        return default
    return np.array([finite(part) for part in text.split()])
