"""Slicer's segmentations, `.seg.nrrd`: segments with names and colors, on one or several layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dycon_engine.data.formats import nrrd
from dycon_engine.data.formats.stored import Header, Stored
from dycon_engine.errors import DamagedFileError, InputError

_KEY = re.compile(r"^Segment(\d{1,5})_(Name|LabelValue|Layer|Color)$")


class Segment(NamedTuple):
    """One segment: its value in the flattened label map, name, RGB color (0-255) and place."""

    value: int
    name: str
    color: tuple[int, int, int] | None
    layer: int
    stored_value: int


def read_segments(path: Path) -> tuple[tuple[int, str, tuple[int, int, int] | None], ...]:
    """Return (value, name, color) of each segment; `value` as in the label map read from `path`.

    Raises:
        DamagedFileError: The keys of a segment are unreadable.
        InputError: The file cannot be read, or has no segments.
    """
    found = _segments(path, nrrd.read_header(path).metadata)
    return tuple((segment.value, segment.name, segment.color) for segment in found)


def read(path: Path) -> Stored:
    """Return the label map (1, D, H, W) of a segmentation.

    Raises:
        InputError: Segments overlap (named), or a voxel belongs to no segment.
    """
    stored = nrrd.read(path)
    segments = _segments(path, stored.header.metadata)
    layers = stored.array
    if len(layers) == 1 and all(part.value == part.stored_value for part in segments):
        _refuse_strangers(path, layers[0], segments)
        return stored
    flat = np.zeros(layers.shape[1:], dtype=np.int32)
    for segment in segments:
        if segment.layer >= len(layers):
            raise DamagedFileError(f"'{path}': segment '{segment.name}' lies on a missing layer")
        mask = layers[segment.layer] == segment.stored_value
        both = np.unique(flat[mask])
        if both.any():
            other = next(part.name for part in segments if part.value == both[-1])
            raise InputError(
                f"'{path}': segments '{other}' and '{segment.name}' overlap; a label map holds one "
                "class per voxel; remove the overlap in the segment editor"
            )
        flat[mask] = segment.value
    for index, layer in enumerate(layers):
        _refuse_strangers(path, layer, [part for part in segments if part.layer == index])
    header = stored.header
    return Stored(flat[None], Header(header.geometry, 1, flat.dtype, header.metadata))


def shown_name(name: str) -> str:
    """Return `name` as it may be shown and stored: printable, in one line, single blanks."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())


def _segments(path: Path, metadata: Mapping[str, str]) -> tuple[Segment, ...]:
    table: dict[int, dict[str, str]] = {}
    for key, value in metadata.items():
        if match := _KEY.match(key):
            table.setdefault(int(match[1]), {})[match[2]] = value.strip()
    if not table:
        raise InputError(f"'{path}': names no segments; expected a segmentation; save it as .nrrd")
    try:
        found = [
            Segment(
                int(keys.get("LabelValue", "1")),
                keys.get("Name", f"Segment {number + 1}"),
                _color(keys.get("Color")),
                int(keys.get("Layer", "0" if "LabelValue" in keys else str(number))),
                int(keys.get("LabelValue", "1")),
            )
            for number, keys in sorted(table.items())
        ]
    except ValueError as error:
        raise DamagedFileError(f"'{path}': the keys of a segment are unreadable") from error
    if min(min(part.stored_value - 1, part.layer) for part in found) < 0:
        raise DamagedFileError(f"'{path}': a segment has label value 0 or less, or no layer")
    if len({(part.layer, part.stored_value) for part in found}) < len(found):
        raise InputError(f"'{path}': two segments share a label value on one layer; save it again")
    if len({part.stored_value for part in found}) < len(found):
        return tuple(part._replace(value=index) for index, part in enumerate(found, start=1))
    return tuple(found)


def _refuse_strangers(path: Path, layer: NDArray[np.generic], segments: Iterable[Segment]) -> None:
    known = {0, *(part.stored_value for part in segments)}
    strangers = sorted({float(value) for value in np.unique(layer)} - known)
    if strangers:
        raise InputError(
            f"'{path}': label value {strangers[0]:g} belongs to no segment; save it again or as "
            ".nrrd"
        )


def _color(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    red, green, blue = (min(max(round(float(part) * 255), 0), 255) for part in text.split())
    return red, green, blue
