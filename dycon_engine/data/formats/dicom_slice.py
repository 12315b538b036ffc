"""One DICOM file as a slice: where it lies, that its pixels are whole and mean what they say.

The image libraries fill a truncated slice with zeros; here the length of the pixel data is compared
with the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from dycon_engine.data.formats.dicom_stream import require_size
from dycon_engine.data.formats.dicom_tags import (
    HEADER_MAX,
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    text_of,
    walk,
)
from dycon_engine.errors import DamagedFileError, InputError

RATIO_MAX = 1000  # pixel bytes per compressed byte
PIECE_BYTES = 1 << 20
GRAY, INVERTED = "MONOCHROME2", "MONOCHROME1"
ITEM_BYTES = struct.pack("<HH", *ITEM)
NUMBERS = {"samples", "rows", "columns", "bits", "stored", "highest", "signed"}


@dataclass(frozen=True)
class Slice:
    """One image file of a series.

    Attributes:
        path: The file.
        series: Series identifier; never shown.
        position: LPS millimetres of the first voxel.
        quantum_mm: The last decimal that `position` is written with, at most 1.
        orientation: Unit vectors along a row and along a column.
        spacing: Millimetres between rows and between columns.
        rows, columns: Size.
        thickness: Millimetres; 0 = not said.
        distance: Millimetres from slice to slice, as stated; 0 = not said.
        count: Slices the series should have; 0 = not said.
        instance: Number in the series; None = not said.
        mirror: MONOCHROME1, which the image library inverts: what a value and the one it gives
            add up to; None = it gives the values themselves.
    """

    path: Path
    series: str
    position: tuple[float, ...]
    quantum_mm: float
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    rows: int
    columns: int
    thickness: float
    distance: float
    count: int
    instance: int | None
    mirror: float | None


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
        InputError: No image, or one this reader does not take (color, several frames, values in a
            lookup table or in other bits than the lowest).
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(HEADER_MAX)
    except OSError as error:
        raise InputError(
            f"'{path}': cannot be read ({error.strerror or 'input error'}); check it"
        ) from error
    if data[128:132] != b"DICM":
        raise DamagedFileError(
            f"'{path}': not a DICOM file, or damaged; keep only the slices of one series in the "
            "folder"
        )
    try:
        found, offset, length = walk(data)
        return _interpret(path, found, (offset, length))
    except (struct.error, IndexError) as error:
        raise DamagedFileError(f"'{path}': slice is cut short or damaged; copy it again") from error
    except ValueError as error:
        raise DamagedFileError(
            f"'{path}': its header or its encoding is not readable; convert it"
        ) from error


def _interpret(path: Path, found: dict[str, bytes], pixels: tuple[int, int]) -> Slice:
    missing = [name for name in ("rows", "columns", "bits") if name not in found]
    if not pixels[1] or missing:
        raise InputError(f"'{path}': holds no image; keep only the slices of one series here")
    number = {name: struct.unpack("<H", found[name][:2])[0] for name in NUMBERS & found.keys()}
    if number.get("samples", 1) != 1 or int(text_of(found, "frames") or 1) != 1:
        raise InputError(
            f"'{path}': color or several frames in one file; expected one gray slice per file; "
            "convert it"
        )
    _refuse_other_values(path, found, number)
    absent = [name for name in ("position", "orientation", "spacing") if name not in found]
    if absent:
        raise InputError(f"'{path}': says nothing of its {absent[0]}; it is no slice of a volume")
    _require_whole(path, number["rows"] * number["columns"] * ((number["bits"] + 7) // 8), pixels)
    if pixels[1] == UNDEFINED:
        require_size(path, pixels[0], number["rows"], number["columns"])
    return Slice(
        path,
        text_of(found, "series"),
        _floats(found, "position", 3),
        _quantum_mm(text_of(found, "position")),
        _floats(found, "orientation", 6),
        _floats(found, "spacing", 2),
        number["rows"],
        number["columns"],
        float(text_of(found, "thickness") or 0),
        abs(float(text_of(found, "distance") or 0)),
        int(text_of(found, "count") or 0),
        int(text) if (text := text_of(found, "instance")).isdecimal() else None,
        _mirror(found, number) if text_of(found, "photometric") == INVERTED else None,
    )


def _refuse_other_values(path: Path, found: dict[str, bytes], number: dict[str, int]) -> None:
    """Refuse stored values that slope and intercept do not turn into those of the scanner."""
    if text_of(found, "photometric") not in ("", GRAY, INVERTED):
        raise InputError(
            f"'{path}': its photometric interpretation is neither {GRAY} nor {INVERTED}; expected "
            "a gray slice; convert it"
        )
    if found.get("table", b"").startswith(ITEM_BYTES):
        raise InputError(
            f"'{path}': a lookup table (Modality LUT Sequence) gives its values; expected rescale "
            "slope and intercept; convert it"
        )
    if {"stored", "highest"} <= number.keys() and number["highest"] != number["stored"] - 1:
        raise InputError(
            f"'{path}': {number['stored']} bits are stored and the highest is "
            f"{number['highest']}, expected {number['stored'] - 1}; convert it"
        )


def _mirror(found: dict[str, bytes], number: dict[str, int]) -> float:
    """Return what a rescaled value and its inverse, as GDCM inverts MONOCHROME1, add up to."""
    inverse = -1 if number.get("signed") else 2 ** number.get("stored", number["bits"]) - 1
    slope, intercept = (float(text_of(found, key) or 0) for key in ("slope", "intercept"))
    return (slope or 1.0) * inverse + 2.0 * intercept


def _require_whole(path: Path, expected: int, pixels: tuple[int, int]) -> None:
    """Refuse pixel data, at (offset, length), that are not the `expected` bytes, zeros aside."""
    offset, length = pixels
    size = path.stat().st_size
    if length == UNDEFINED:
        whole = _fragments_are_whole(path, offset) and expected <= RATIO_MAX * (size - offset)
    else:
        whole = expected <= length <= size - offset
    if not whole or expected == 0:
        raise DamagedFileError(
            f"'{path}': slice is cut short or damaged (pixel data incomplete); copy it again"
        )
    rest = (offset + expected, length - expected)
    if length != UNDEFINED and rest[1] > 1 and not _is_zero(path, *rest):
        raise InputError(
            f"'{path}': pixel data of {length} bytes are longer than its size ({expected}); "
            "convert it"
        )


def _is_zero(path: Path, offset: int, count: int) -> bool:
    with path.open("rb") as stream:
        stream.seek(offset)
        starts = range(0, count, PIECE_BYTES)
        return not any(any(stream.read(min(PIECE_BYTES, count - start))) for start in starts)


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


def _floats(found: dict[str, bytes], name: str, count: int) -> tuple[float, ...]:
    values = tuple(float(part) for part in text_of(found, name).split("\\"))
    if len(values) != count:
        raise ValueError(name)
    return values


def _quantum_mm(text: str) -> float:
    """Return the last decimal of the numbers in `text`, at most 1: 0.01 of "-7.5", "3.25"."""
    exponents = [Decimal(part).as_tuple().exponent for part in text.split("\\")]
    return float(10.0 ** min([0, *(value for value in exponents if isinstance(value, int))]))
