"""The few DICOM attributes that decide geometry, completeness and values, read by a walker.

Encodings: DICOM PS3.5; files need the PS3.10 preamble.
"""

from __future__ import annotations

import struct

HEADER_MAX = 1 << 22
LONG_LENGTH = (
    b"OB",
    b"OW",
    b"OF",
    b"OD",
    b"OL",
    b"OV",
    b"SQ",
    b"UC",
    b"UR",
    b"UT",
    b"UN",
    b"SV",
    b"UV",
)
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
PIXELS = (0x7FE0, 0x0010)
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
META_GROUP = 0x0002
Tag = tuple[int, int]
WANTED: dict[Tag, str] = {
    (0x0002, 0x0010): "syntax",
    (0x0020, 0x000E): "series",
    (0x0020, 0x0032): "position",
    (0x0020, 0x0037): "orientation",
    (0x0020, 0x1209): "count",
    (0x0020, 0x0013): "instance",
    (0x0018, 0x0050): "thickness",
    (0x0018, 0x0088): "distance",
    (0x0028, 0x0002): "samples",
    (0x0028, 0x0004): "photometric",
    (0x0028, 0x0008): "frames",
    (0x0028, 0x0010): "rows",
    (0x0028, 0x0011): "columns",
    (0x0028, 0x0030): "spacing",
    (0x0028, 0x0100): "bits",
    (0x0028, 0x0101): "stored",
    (0x0028, 0x0102): "highest",
    (0x0028, 0x0103): "signed",
    (0x0028, 0x1052): "intercept",
    (0x0028, 0x1053): "slope",
    (0x0028, 0x3000): "table",
}


def walk(data: bytes) -> tuple[dict[str, bytes], int, int]:
    """Return the wanted values of the top level and (offset, length) of the pixel data.

    Args:
        data: The beginning of a file with the PS3.10 preamble, at most `HEADER_MAX` bytes.

    Raises:
        struct.error, IndexError: It ends too early.
        ValueError: An encoding that is not read.
    """
    found: dict[str, bytes] = {}
    position, explicit = 132, True
    while position < len(data):
        group = struct.unpack_from("<H", data, position)[0]
        if group != META_GROUP and "syntax" in found:
            explicit = _is_explicit(text_of(found, "syntax"))
        tag, start, length = _element(data, position, explicit=explicit or group == META_GROUP)
        if tag == PIXELS:
            return found, start, length
        if length == UNDEFINED:
            inside = explicit and data[position + 4 : position + 6] != b"UN"  # PS3.5, 6.2.2
            position = _after_sequence(data, start, explicit=inside)
        else:
            position = start + length
        if tag in WANTED:
            if position > len(data):
                raise IndexError(tag)
            found[WANTED[tag]] = data[start:position]
    if position > len(data):
        raise IndexError(position)
    return found, 0, 0


def text_of(found: dict[str, bytes], name: str) -> str:
    """Return the value of `name` as text without its padding, "" where it is not there."""
    return found.get(name, b"").decode("ascii", "replace").strip(" \0")


def _is_explicit(syntax: str) -> bool:
    if syntax in (DEFLATED, BIG_ENDIAN):
        raise ValueError(syntax)
    return syntax != IMPLICIT


def _element(data: bytes, position: int, *, explicit: bool) -> tuple[Tag, int, int]:
    """Return the tag at `position`, where its value starts and how long it is."""
    tag: Tag = struct.unpack_from("<HH", data, position)
    if not explicit or tag[0] == ITEM_END[0]:
        return tag, position + 8, struct.unpack_from("<I", data, position + 4)[0]
    if data[position + 4 : position + 6] in LONG_LENGTH:
        return tag, position + 12, struct.unpack_from("<I", data, position + 8)[0]
    return tag, position + 8, struct.unpack_from("<H", data, position + 6)[0]


def _after_sequence(data: bytes, position: int, *, explicit: bool) -> int:
    """Return where a sequence of undefined length, whose first item is at `position`, ends."""
    depth = 1
    while depth:
        tag, start, length = _element(data, position, explicit=explicit)
        if tag in (ITEM_END, SEQUENCE_END):
            depth -= 1
            position = start
        elif length == UNDEFINED:  # an item or an inner sequence opens
            depth += 1
            position = start
        else:
            position = start + length
    return position
