"""NRRD files, attached or with a data file beside the header.

A data file is read only if it is a plain name in the same folder. Format:
teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dycon_engine.data.formats.decoding import decode, read_start
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

HEADER_MAX = 1 << 20
TO_LPS = {
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
}
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
NOT_MILLIMETRES = ("nm", "um", "µm", "μm", "micron", "microns", "cm", "m", "meter", "meters", "in")
NO_DIRECTION = re.compile(
    r"\(\s*nan\s*(?:,\s*nan\s*){2}\)", re.IGNORECASE
)  # "none" of some writers
COLORS = ("complex", "RGB-color", "RGBA-color", "HSV-color", "XYZ-color", "2-vector-complex")


@dataclass(frozen=True, eq=False)
class _Layout:
    """How the voxels lie in their file."""

    header: Header
    file: Path
    offset: int
    encoding: str
    channel_axis: int  # in C order of the file; -1 = none


def read_header(path: Path) -> Header:
    """Return what the header of an NRRD file says, checked; no voxels are read."""
    return _layout(path).header


def read(path: Path) -> Stored:
    """Return the content of an NRRD file, (C, D, H, W).

    Raises:
        DamagedFileError: Truncated, a wrong checksum, or not of the promised size.
        InputError: Something this reader does not take; the line says what.
    """
    layout = _layout(path)
    header = layout.header
    shape = [*header.geometry.size_zyx]
    shape.insert(max(layout.channel_axis, 0), header.channels)
    require_room(path, math.prod(shape), header.dtype.itemsize)
    count = math.prod(shape) * header.dtype.itemsize
    content = decode(layout.file, count, encoding=layout.encoding, offset=layout.offset)
    array = np.frombuffer(content, dtype=header.dtype).reshape(shape)
    return Stored(np.moveaxis(array, max(layout.channel_axis, 0), 0), header)


def sibling(path: Path, name: str) -> Path:
    """Return the data file `name` of the header `path`: a plain name, a real file beside it.

    Raises:
        InputError: Another folder, a link, a list or pattern, or not there.
    """
    plain = name and not set(name) & set('/\\:%*?"<>|') and name not in (".", "..", path.name)
    if not plain:
        raise InputError(
            f"'{path}': its voxels are said to be in another place than a file beside it; only "
            "one plain file name is followed; save it as one file (.nrrd, .mha)"
        )
    file = path.parent / name
    if file.is_symlink() or not file.is_file():
        raise InputError(
            f"'{path}': its data file '{name}' is no ordinary file beside it; copy both together"
        )
    return file


def _layout(path: Path) -> _Layout:
    fields, metadata, end = _fields(path)
    try:
        return _interpret(path, fields, metadata, end)
    except (ValueError, OverflowError) as error:
        raise DamagedFileError(f"'{path}': a number in its header is unreadable") from error
    except KeyError as error:
        raise DamagedFileError(f"'{path}': its header has no line '{error.args[0]}'") from error


def _fields(path: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Return fields, keys and values, and where the header ends."""
    start = read_start(path, HEADER_MAX)
    if not start.startswith(b"NRRD000"):
        raise DamagedFileError(f"'{path}': not an NRRD file (magic word missing)")
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    end = start.find(b"\n") + 1
    while end > 0:
        stop = start.find(b"\n", end)
        line = start[end : stop if stop >= 0 else len(start)].decode("utf-8", "replace").strip()
        end = stop + 1 if stop >= 0 else len(start)
        detached = "datafile" in fields
        if not line and (stop >= 0 or detached):
            return fields, metadata, end
        if stop < 0 and not detached and not line.lower().startswith(("data file:", "datafile:")):
            break
        _take(path, line, fields, metadata)
        if stop < 0:
            return fields, metadata, end
    raise DamagedFileError(f"'{path}': is cut short inside its header; copy it again")


def _take(path: Path, line: str, fields: dict[str, str], metadata: dict[str, str]) -> None:
    if line.startswith("#"):
        return
    key, assigned, value = line.partition(":=")
    if assigned and ":" not in key:
        metadata[key] = _plain(value)
        return
    name, colon, value = line.partition(":")
    name = name.strip().lower().replace(" ", "")
    if not colon or name in fields:
        what = "twice the line" if colon else "an unreadable line"
        raise DamagedFileError(f"'{path}': its header has {what} '{line[:40]}'; it is damaged")
    fields[name] = value.strip()


def _plain(value: str) -> str:
    """Return the value of a key as it was before it was written; a line break becomes a blank."""
    return re.sub(r"\\(.)", lambda found: " " if found[1] == "n" else found[1], value)


def _interpret(path: Path, fields: dict[str, str], metadata: dict[str, str], end: int) -> _Layout:
    sizes = [int(text) for text in fields["sizes"].split()]
    if int(fields["dimension"]) != len(sizes) or len(sizes) not in (3, 4):
        raise InputError(f"'{path}': size is {sizes}; expected 3 axes, or 4 with channels")
    dtype = _dtype(path, fields)
    encoding = ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        raise InputError(
            f"'{path}': encoding '{fields['encoding'][:20]}' is not read; save it as gzip or raw"
        )
    if any(color in fields.get("kinds", "") for color in COLORS):
        raise InputError(f"'{path}': voxels are colors or complex; expected numbers; convert it")
    geometry, axis = _geometry(path, fields, sizes)
    channels = sizes[axis] if axis >= 0 else 1
    if channels < 1:
        raise InputError(f"'{path}': size is {sizes}; expected at least one voxel")
    file, offset = path, end
    if "datafile" in fields:
        file, offset = sibling(path, fields["datafile"]), 0
    if any(int(fields.get(name, "0")) for name in ("lineskip", "byteskip")):
        raise InputError(f"'{path}': skips part of its data file; save it as one plain file")
    header = Header(geometry, channels, dtype, metadata)
    return _Layout(header, file, offset, encoding, len(sizes) - 1 - axis if axis >= 0 else -1)


def _dtype(path: Path, fields: dict[str, str]) -> np.dtype[np.generic]:
    kind = next((code for code, names in TYPES.items() if fields["type"].lower() in names), None)
    if kind is None:
        raise InputError(f"'{path}': voxel type '{fields['type'][:20]}' is not read; convert it")
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None:
        if kind[1] != "1":
            raise DamagedFileError(f"'{path}': its header does not say its byte order (endian)")
        order = "<"
    return np.dtype(order + kind)


def _geometry(path: Path, fields: dict[str, str], sizes: list[int]) -> tuple[Geometry, int]:
    """Return the grid and the axis, in file order, that is no direction (-1: none)."""
    flips = TO_LPS.get(fields.get("space", "").lower())
    if flips is None or "spacedirections" not in fields or "spaceorigin" not in fields:
        raise InputError(
            f"'{path}': does not say where it lies (space, space directions, space origin), so "
            "left and right are unknown; open it in a viewer, check the sides and save it again"
        )
    units = fields.get("spaceunits", "").replace('"', " ").lower().split()
    if any(unit in NOT_MILLIMETRES for unit in units):
        raise InputError(f"'{path}': lengths are not in millimetres; convert it to millimetres")
    directions = NO_DIRECTION.sub("none", fields["spacedirections"])
    words = directions.replace(",", " ").replace("(", " ( ").split()
    vectors: list[list[float] | None] = []
    for word in words:
        if word == "none":
            vectors.append(None)
        elif word == "(":
            vectors.append([])
        elif vectors and (last := vectors[-1]) is not None:
            last.extend(finite(part) for part in word.split(")") if part)
        else:
            raise ValueError(word)
    others = [index for index, vector in enumerate(vectors) if vector is None]
    columns = [vector for vector in vectors if vector is not None]
    origin = [finite(part) for part in fields["spaceorigin"].strip("()").split(",")]
    if (
        len(vectors) != len(sizes)
        or [len(vector) for vector in columns] != [3, 3, 3]
        or len(origin) != 3  # noqa: PLR2004 - x, y, z
    ):
        raise DamagedFileError(f"'{path}': its directions do not fit its {len(sizes)} axes")
    axis = others[0] if others else -1
    spatial = [size for index, size in enumerate(sizes) if index != axis]
    flip = np.asarray(flips, dtype=np.float64)
    affine = affine_from_axes(flip[:, None] * np.array(columns).T, flip * np.array(origin))
    return checked_geometry(path, spatial[::-1], affine), axis
