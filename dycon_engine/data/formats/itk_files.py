r"""NRRD and MetaImage files in the words that ITK, and with it Slicer, writes and reads.

Written here, not by SimpleITK: on Windows its Python package opens no file whose path holds a
letter beyond ASCII, as below C:\Users of many people.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.geometry import Geometry

LEVEL = 2  # of compression, as ITK's default: maps are mostly one value, more is hardly smaller
PIECE_BYTES = 1 << 22
SIZE_DIGITS = 20
NRRD_TYPES = {
    "u1": "unsigned char",
    "u2": "unsigned short",
    "u4": "unsigned int",
    "f4": "float",
}
METAIMAGE_TYPES = {"u1": "MET_UCHAR", "u2": "MET_USHORT", "u4": "MET_UINT", "f4": "MET_FLOAT"}


def write_nrrd(
    path: Path, array: NDArray[Any], geometry: Geometry, metadata: Mapping[str, str]
) -> None:
    """Write channels (C, D, H, W) of unsigned or float32 numbers as one gzipped NRRD file.

    Args:
        path: The file; replaced if it is there.
        array: One channel is written without an axis of its own.
        geometry: Their grid; its affine is stored as it is, shear included.
        metadata: Keys (ASCII words) and values (one line) to keep.
    """
    several = len(array) > 1
    sizes = [*([len(array)] if several else []), *geometry.size_zyx[::-1]]
    vectors = [_vector(axis) for axis in geometry.affine[:3, 2::-1].T]
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {NRRD_TYPES[_code(array)]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(['none'] * several + vectors)}",
        f"kinds: {' '.join(['vector'] * several + ['domain'] * 3)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(geometry.origin_lps)}",
        *(f"{key}:={_escaped(value)}" for key, value in metadata.items()),
    ]
    with path.open("wb") as stream:
        stream.write(("\n".join(lines) + "\n\n").encode())
        with gzip.GzipFile("", "wb", LEVEL, stream, mtime=0) as packed:
            for piece in _pieces(array):
                packed.write(piece)


def write_metaimage(
    path: Path, array: NDArray[Any], geometry: Geometry, metadata: Mapping[str, str]
) -> None:
    """Write channels (C, D, H, W) as one compressed `.mha` file; otherwise as `write_nrrd`."""
    head = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
    ]
    tail = [
        f"TransformMatrix = {_words(geometry.direction[:, ::-1].T.ravel())}",
        f"Offset = {_words(geometry.origin_lps)}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_words(geometry.spacing_mm[::-1])}",
        *(f"{key} = {value}" for key, value in metadata.items()),
        f"DimSize = {' '.join(map(str, geometry.size_zyx[::-1]))}",
        *([f"ElementNumberOfChannels = {len(array)}"] if len(array) > 1 else []),
        f"ElementType = {METAIMAGE_TYPES[_code(array)]}",
        "ElementDataFile = LOCAL",
    ]
    with path.open("wb") as stream:
        stream.write(("\n".join(head) + "\nCompressedDataSize = ").encode())
        place = stream.tell()
        stream.write(("0" * SIZE_DIGITS + "\n" + "\n".join(tail) + "\n").encode())
        began = stream.tell()
        packer = zlib.compressobj(LEVEL)
        for piece in _pieces(array):
            stream.write(packer.compress(piece))
        stream.write(packer.flush())
        size = stream.tell() - began
        stream.seek(place)
        stream.write(f"{size:0{SIZE_DIGITS}d}".encode())


def _code(array: NDArray[Any]) -> str:
    return array.dtype.str[1:]


def _pieces(array: NDArray[Any]) -> Iterator[memoryview]:
    """Yield the voxels in the order of the file: channels, x, y, z, little-endian."""
    content = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    flat = np.ascontiguousarray(content, dtype=array.dtype.newbyteorder("<")).reshape(-1)
    count = PIECE_BYTES // flat.itemsize
    for start in range(0, flat.size, count):
        yield flat[start : start + count].data.cast("B")


def _words(numbers: Iterable[float]) -> str:
    return " ".join(repr(float(number)) for number in numbers)  # shortest that comes back equal


def _vector(numbers: Iterable[float]) -> str:
    return f"({_words(numbers).replace(' ', ',')})"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\")
