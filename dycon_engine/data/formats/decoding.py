"""Bytes of a file, decoded to exactly the length that its header promises.

Compressed streams are read to their end, so that their checksum is compared (the common libraries
stop before it), and never decoded beyond the promised length.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dycon_engine.errors import DamagedFileError, InputError

CHUNK = 1 << 20
DEFLATE_LIMIT = 1040  # deflate cannot reach it (1032:1): a header that claims more is wrong
BOMB_RATIO, BOMB_BYTES = 1000, 1 << 29
WINDOW_BITS = {"gzip": 31, "zlib": 15}  # 31: gzip wrapper with CRC; 15: zlib with Adler-32


def decode(path: Path, count: int, *, encoding: str, offset: int = 0) -> NDArray[np.uint8]:
    """Return the `count` bytes that the file holds from `offset` to its end.

    Args:
        path: The file.
        count: What the header promises.
        encoding: raw, gzip or zlib.
        offset: Bytes before the stream.

    Raises:
        DamagedFileError: It holds fewer or more, or fails its checksum.
        InputError: It would decode to absurdly much.
    """
    held = path.stat().st_size - offset
    if encoding == "raw":
        if held != count:
            raise DamagedFileError(_wrong_length(path, max(held, 0), count))
        return np.fromfile(path, dtype=np.uint8, count=count, offset=offset)
    _check_ratio(path, held, count)
    out = np.empty(count, dtype=np.uint8)
    with path.open("rb") as stream:
        stream.seek(offset)
        try:
            _inflate(path, stream, out.data, WINDOW_BITS[encoding])
        except zlib.error as error:
            raise DamagedFileError(
                f"'{path}': the compressed data is damaged (checksum or code wrong); copy the "
                "file again from its source"
            ) from error
    return out


def read_start(path: Path, count: int, *, encoding: str = "raw") -> bytes:
    """Return the first `count` decoded bytes, fewer where the file is shorter.

    Raises:
        DamagedFileError: The compressed stream is broken there.
    """
    with path.open("rb") as stream:
        if encoding == "raw":
            return stream.read(count)
        inflater = zlib.decompressobj(WINDOW_BITS[encoding])
        start = b""
        try:
            while len(start) < count and not inflater.eof:
                data = inflater.unconsumed_tail or stream.read(CHUNK >> 6)
                piece = inflater.decompress(data, count - len(start))
                if not data and not piece:
                    break
                start += piece
        except zlib.error as error:
            raise DamagedFileError(
                f"'{path}': not a whole {encoding} file; copy it again from its source"
            ) from error
    return start


def _check_ratio(path: Path, held: int, count: int) -> None:
    if count > DEFLATE_LIMIT * max(held, 0) + CHUNK // 256:
        raise DamagedFileError(
            f"'{path}': {held} compressed bytes cannot hold the {count} that its header promises; "
            "it is cut short or its header is wrong"
        )
    if count > BOMB_BYTES and count > BOMB_RATIO * held:
        raise InputError(
            f"'{path}': {held} bytes would decode to {count / 2**30:.1f} GiB of almost nothing; "
            "expected a scan; it is not read"
        )


def _inflate(path: Path, stream: BinaryIO, out: memoryview, window_bits: int) -> None:
    done = 0
    inflater = zlib.decompressobj(window_bits)
    data = stream.read(CHUNK)
    while True:
        piece = inflater.decompress(data, min(len(out) - done, CHUNK) + 1)
        if done + len(piece) > len(out):
            raise DamagedFileError(
                f"'{path}': decodes to more than the {len(out)} bytes its header promises; "
                "its header is wrong"
            )
        out[done : done + len(piece)] = piece
        done += len(piece)
        if inflater.eof:
            data = _after_zeros(inflater.unused_data, stream)
            if not data:
                break
            inflater = zlib.decompressobj(window_bits)  # gzip allows one member after another
            continue
        data = inflater.unconsumed_tail or stream.read(CHUNK)
        if not data and not piece:
            raise DamagedFileError(
                f"'{path}': is cut short (its compressed data ends after {done} of {len(out)} "
                "bytes, without its checksum); copy it again from its source"
            )
    if done != len(out):
        raise DamagedFileError(_wrong_length(path, done, len(out)))


def _after_zeros(data: bytes, stream: BinaryIO) -> bytes:
    """Return what follows a finished member; zero padding is not content."""
    data = data.lstrip(b"\0")
    while not data:
        data = stream.read(CHUNK)
        if not data:
            return b""
        data = data.lstrip(b"\0")
    return data


def _wrong_length(path: Path, found: int, promised: int) -> str:
    what = "is cut short" if found < promised else "is longer than its header says"
    return (
        f"'{path}': {what} ({found} bytes of voxels found, {promised} expected); copy it again "
        "from its source"
    )
