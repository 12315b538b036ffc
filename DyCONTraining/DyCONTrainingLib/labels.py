"""Which segment becomes which label: proposed by name or term, changed by the person once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

UNSPECIFIC = ("85756007",)  # SCT "Tissue": what a new segment is called by default
MOST_CLASSES = 255


class Color(NamedTuple):
    """Red, green, blue, 0 to 255."""

    red: int
    green: int
    blue: int


GREEN = Color(128, 174, 128)  # Slicer's own for what has no color


class Segment(NamedTuple):
    """A segment as its segmentation describes it; `terminology` is Slicer's serialized entry."""

    name: str
    terminology: str = ""
    color: Color = GREEN


@dataclass(frozen=True)
class LabelClass:
    """A class of the data set: its value in label files and what it is called and looks like."""

    value: int
    name: str
    color: Color = GREEN
    terminology: str = ""


@dataclass(frozen=True)
class LabelMapping:
    """Every segment's class, for the whole data set.

    Attributes:
        classes: To choose from, by rising value, background left out. Where segments overlap, a
            class of `on_top` hides the others.
        values: Class value by segment name; 0 = left out.
        on_top: Values, the topmost first, as the person answered; () = not asked yet.
    """

    classes: tuple[LabelClass, ...] = ()
    values: Mapping[str, int] = field(default_factory=dict)
    on_top: tuple[int, ...] = ()

    @property
    def used(self) -> tuple[LabelClass, ...]:
        """Return the classes that a segment belongs to: the others are not in the data set."""
        taken = set(self.values.values())
        return tuple(each for each in self.classes if each.value in taken)

    def value_of(self, segment: str) -> int:
        """Return the label value of a segment; 0 where it is left out."""
        return self.values.get(segment, 0)

    def assigned(self, segment: str, value: int) -> LabelMapping:
        """Return the mapping with `segment` as class `value`, 0 = left out."""
        return replace(self, values={**self.values, segment: value})

    def renamed(self, value: int, name: str) -> LabelMapping:
        """Return the mapping with the class `value` called `name`."""
        new = tuple(replace(c, name=name) if c.value == value else c for c in self.classes)
        return replace(self, classes=new)

    def raised(self, value: int) -> LabelMapping:
        """Return the mapping with the class `value` above all others where they overlap."""
        others = self.on_top or tuple(each.value for each in self.classes)
        return replace(self, on_top=(value, *(v for v in others if v != value)))


def proposed(segments: Iterable[Segment], mapping: LabelMapping | None = None) -> LabelMapping:
    """Return `mapping` with every new segment given a class.

    A segment belongs to the class of the same name, else of the same term; else it founds one.
    """
    result = mapping or LabelMapping()
    for segment in segments:
        if segment.name in result.values:
            continue
        same = _same_class(segment, result.classes)
        if same is None:
            same = _founded(segment, result.classes)
            result = replace(result, classes=(*result.classes, same))
        result = result.assigned(segment.name, same.value)
    return result


def preview(mapping: LabelMapping, cases_of: Mapping[str, int]) -> list[tuple[str, str, int, int]]:
    """Return segment, class, value and number of cases per segment, for the person to check."""
    name_of = {0: "left out"} | {each.value: each.name for each in mapping.classes}
    rows = [
        (segment, name_of.get(value, "left out"), value, cases_of.get(segment, 0))
        for segment, value in mapping.values.items()
    ]
    return sorted(rows, key=lambda item: (item[2] == 0, item[2], item[0]))


def term_code(terminology: str) -> str:
    """Return the codes of category, type and region of Slicer's serialized entry; "" if unspecific.

    The entry is context~category~type~modifier~region context~region~modifier, each of the middle
    ones `scheme^code^meaning`; the contexts are names of lists and say nothing of the structure.
    """
    parts = terminology.split("~")
    if len(parts) < 3:  # noqa: PLR2004 - context, category, type
        return ""
    codes = [_code(part) for index, part in enumerate(parts) if index not in (0, 4)]
    return "" if codes[1] in ("", *UNSPECIFIC) else "~".join(codes).rstrip("~")


def _code(part: str) -> str:
    pieces = part.split("^")
    return pieces[1] if len(pieces) > 1 else ""


def _same_class(segment: Segment, classes: Sequence[LabelClass]) -> LabelClass | None:
    key, code = _key(segment.name), term_code(segment.terminology)
    by_name = next((each for each in classes if _key(each.name) == key), None)
    by_term = next((each for each in classes if code and term_code(each.terminology) == code), None)
    return by_name or by_term


def _founded(segment: Segment, classes: Sequence[LabelClass]) -> LabelClass:
    value = 1 + max((each.value for each in classes), default=0)
    return LabelClass(value, plain(segment.name), segment.color, segment.terminology)


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()


def plain(name: str) -> str:
    """Return a name on one line without control characters; "structure" where nothing is left."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", name).strip() or "structure"
