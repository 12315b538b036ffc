"""The size that a compressed DICOM slice has by its own stream, known before it is decoded.

The decoders allocate what the stream says, whatever rows and columns the file states. Told are JPEG
(also lossless), JPEG-LS and JPEG 2000; RLE has no size of its own.
"""

from __future__ import annotations

import struct
from pathlib import Path

from dycon_engine.errors import DamagedFileError

START_BYTES = 1 << 16  # in which a stream has said its size
J2K = b"\xff\x4f\xff\x51"  # SOC, SIZ; also inside a JP2 file
JPEG = b"\xff\xd8"
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
FILL = 0xFF


def require_size(path: Path, offset: int, rows: int, columns: int) -> None:
    """Check that the fragments from `offset` on are one gray picture of `rows` by `columns`.

    Raises:
        DamagedFileError: Their stream says another size; one that says none passes.
    """
    found = _said(_first_fragment(path, offset))
    if found is not None and found != (rows, columns, 1):
        height, width, parts = found
        raise DamagedFileError(
            f"'{path}': its pixels are {width}x{height} with {parts} components, its header says "
            f"{columns}x{rows} with 1; copy it again or convert it"
        )


def _first_fragment(path: Path, offset: int) -> bytes:
    """Return the start of the first fragment; the item before it is the table of offsets."""
    with path.open("rb") as stream:
        stream.seek(offset)
        for _ in range(2):
            head = stream.read(8)
            if len(head) < 8:  # noqa: PLR2004 - tag and length
                return b""
            place, length = stream.tell(), struct.unpack("<I", head[4:])[0]
            stream.seek(length, 1)
        stream.seek(place)
        return stream.read(min(length, START_BYTES))


def _said(start: bytes) -> tuple[int, int, int] | None:
    """Return rows, columns and components that a stream says, None where it says none."""
    try:
        at = start.find(J2K)
        if at >= 0 and not start.startswith(JPEG):
            right, bottom, left, top = struct.unpack_from(">4I", start, at + 8)
            return bottom - top, right - left, struct.unpack_from(">H", start, at + 40)[0]
        return _jpeg(start) if start.startswith(JPEG) else None
    except (struct.error, IndexError):
        return None


def _jpeg(start: bytes) -> tuple[int, int, int] | None:
    at = len(JPEG)
    while start[at] == FILL:
        marker = start[at + 1]
        if marker == FILL:
            at += 1
            continue
        if marker in FRAMES:
            rows, columns, parts = struct.unpack_from(">HHB", start, at + 5)
            return (rows, columns, parts) if rows else None  # 0: said after the first scan
        at += 2 + struct.unpack_from(">H", start, at + 2)[0]
    return None
