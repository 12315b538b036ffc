"""The few DICOM attributes that decide geometry and completeness of one file, read by a walker.

The image libraries fill a truncated slice with zeros; here the length of the pixel data is compared
with the file. Encodings: DICOM PS3.5; files need the PS3.10 preamble.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from dycon_engine.errors import DamagedFileError, InputError

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
RATIO_MAX = 1000  # pixel bytes per compressed byte
Tag = tuple[int, int]
WANTED: dict[Tag, str] = {
    (0x0002, 0x0010): "syntax",
    (0x0020, 0x000E): "series",
    (0x0020, 0x0032): "position",
    (0x0020, 0x0037): "orientation",
    (0x0020, 0x1209): "count",
    (0x0018, 0x0050): "thickness",
    (0x0028, 0x0002): "samples",
    (0x0028, 0x0008): "frames",
    (0x0028, 0x0010): "rows",
    (0x0028, 0x0011): "columns",
    (0x0028, 0x0030): "spacing",
    (0x0028, 0x0100): "bits",
}
NUMBERS = {"samples", "rows", "columns", "bits"}


@dataclass(frozen=True)
class Slice:
    """One image file of a series.

    Attributes:
        path: The file.
        series: Series identifier; never shown.
        position: LPS millimetres of the first voxel.
        orientation: Unit vectors along a row and along a column.
        spacing: Millimetres between rows and between columns.
        rows, columns: Size.
        thickness: Millimetres; 0 = not said.
        count: Slices the series should have; 0 = not said.
    """

    path: Path
    series: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    rows: int
    columns: int
    thickness: float
    count: int


def is_dicom(path: Path) -> bool:
    """Return whether `path` begins like a DICOM file."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_slice(path: Path) -> Slice:
    """Return geometry and series of one DICOM image, its pixel data found complete.

    Raises:
        DamagedFileError: Not DICOM, or truncated.
        InputError: No image, or one this reader does not take (color, several frames).
    """
    if not is_dicom(path):
        raise DamagedFileError(
            f"'{path}': not a DICOM file, or damaged; keep only the slices of one series in the "
            "folder"
        )
    with path.open("rb") as stream:
        data = stream.read(HEADER_MAX)
    try:
        found, offset, length = _walk(data)
        return _interpret(path, found, (offset, length))
    except (struct.error, IndexError) as error:
        raise DamagedFileError(f"'{path}': slice is cut short or damaged; copy it again") from error
    except ValueError as error:
        raise DamagedFileError(
            f"'{path}': its header or its encoding is not readable; convert it"
        ) from error


def _interpret(path: Path, found: dict[str, bytes], pixels: tuple[int, int]) -> Slice:
    offset, length = pixels
    missing = [name for name in ("rows", "columns", "bits") if name not in found]
    if not length or missing:
        raise InputError(f"'{path}': holds no image; keep only the slices of one series here")
    number = {name: struct.unpack("<H", found[name][:2])[0] for name in NUMBERS & found.keys()}
    if number.get("samples", 1) != 1 or int(_text(found, "frames") or 1) != 1:
        raise InputError(
            f"'{path}': color or several frames in one file; expected one gray slice per file; "
            "convert it"
        )
    absent = [name for name in ("position", "orientation", "spacing") if name not in found]
    if absent:
        raise InputError(f"'{path}': says nothing of its {absent[0]}; it is no slice of a volume")
    size = path.stat().st_size
    expected = number["rows"] * number["columns"] * ((number["bits"] + 7) // 8)
    if length == UNDEFINED:
        whole = _fragments_are_whole(path, offset) and expected <= RATIO_MAX * (size - offset)
    else:
        whole = offset + length <= size and expected <= length <= expected + 1
    if not whole or expected == 0:
        raise DamagedFileError(
            f"'{path}': slice is cut short or damaged (pixel data incomplete); copy it again"
        )
    return Slice(
        path,
        _text(found, "series"),
        _floats(found, "position", 3),
        _floats(found, "orientation", 6),
        _floats(found, "spacing", 2),
        number["rows"],
        number["columns"],
        float(_text(found, "thickness") or 0),
        int(_text(found, "count") or 0),
    )


def _fragments_are_whole(path: Path, offset: int) -> bool:
    """Return whether the compressed fragments from `offset` on end as they should (PS3.5, A.4)."""
    with path.open("rb") as stream:
        stream.seek(offset)
        while len(head := stream.read(8)) == 8:  # noqa: PLR2004 - tag and length
            group, element, length = struct.unpack("<HHI", head)
            if (group, element) == SEQUENCE_END:
                return True
            if (group, element) != ITEM:
                return False
            stream.seek(length, 1)
    return False


def _text(found: dict[str, bytes], name: str) -> str:
    return found.get(name, b"").decode("ascii", "replace").strip(" \0")


def _floats(found: dict[str, bytes], name: str, count: int) -> tuple[float, ...]:
    values = tuple(float(part) for part in _text(found, name).split("\\"))
    if len(values) != count:
        raise ValueError(name)
    return values


def _walk(data: bytes) -> tuple[dict[str, bytes], int, int]:
    """Return the wanted values of the top level and (offset, length) of the pixel data."""
    found: dict[str, bytes] = {}
    position, explicit = 132, True
    while position < len(data):
        group = struct.unpack_from("<H", data, position)[0]
        if group != META_GROUP and "syntax" in found:
            explicit = _is_explicit(_text(found, "syntax"))
        tag, start, length = _element(data, position, explicit=explicit or group == META_GROUP)
        if tag == PIXELS:
            return found, start, length
        if length == UNDEFINED:
            inside = explicit and data[position + 4 : position + 6] != b"UN"  # PS3.5, 6.2.2
            position = _after_sequence(data, start, explicit=inside)
            continue
        position = start + length
        if tag in WANTED:
            if position > len(data):
                raise IndexError(tag)
            found[WANTED[tag]] = data[start:position]
    if position > len(data):
        raise IndexError(position)
    return found, 0, 0


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
