"""The words of the table of structures: what the model drew, and what a person made of it."""

from __future__ import annotations

from collections.abc import Sequence

from DyCONSegmentationLib.measuring import Measured
from DyCONSegmentationLib.report import StructureVolume
from DyCONSegmentationLib.texts import structure_row, volume_text

MOST_NAMED = 4  # of corrected structures above the table; the tooltips have all of them
UNKNOWN = "-"


def measured_row(now: Measured) -> tuple[str, str, str, str, str]:
    """Return name, volume, interval, boundary uncertainty and what else there is to say.

    Interval and boundary belong to what the model drew: of anything else they are not known.
    """
    if now.drawn is not None and not now.is_corrected:
        return (now.name, *structure_row(now.drawn)[1:])
    asks = now.drawn is not None and now.drawn.review
    word = "removed" if not now.is_there else "review" if asks else ""
    ml = UNKNOWN if now.ml is None else volume_text(now.ml)
    return (now.name, ml, UNKNOWN, UNKNOWN, word)


def measured_tip(now: Measured) -> str:
    """Return all that is known of a structure in a line."""
    drawn = now.drawn
    if drawn is None:
        return f"{now.name}: added by a person"
    _, ml, interval, boundary, _ = structure_row(drawn)
    figures = f"{ml} ml ({interval}), edge {boundary}"
    if now.is_corrected:
        what = "removed" if not now.is_there else "corrected"
        figures = f"{what}; the model drew {figures}"
    called = f" (of the model: {drawn.name})" if drawn.name != now.name else ""
    return f"{now.name}{called}: {figures}{f'; {drawn.review}' if drawn.review else ''}"


def corrected_text(structures: Sequence[Measured]) -> str:
    """Return what a person changed, with the model's figures; '' where nothing."""
    changed = [each for each in structures if each.is_corrected]
    drawn = [each.drawn for each in changed if each.drawn is not None]
    added = [each.name for each in changed if each.drawn is None]
    parts = []
    if drawn:
        parts.append(f"Corrected; the model drew {_listed(list(map(_with_ml, drawn)))}.")
    if added:
        parts.append(f"Added: {_listed(added)}.")
    return " ".join(parts)


def reason_text(structures: Sequence[Measured], row: int) -> str:
    """Return why the structure in this row asks for review; below 0 of the first one that does."""
    chosen = structures[row : row + 1] if row >= 0 else structures
    for now in chosen:
        if now.is_there and now.drawn is not None and now.drawn.review:
            whose = ", as the model drew it" if now.is_corrected else ""
            return f"{now.name}{whose}: {now.drawn.review}"
    return ""


def _with_ml(drawn: StructureVolume) -> str:
    return f"{drawn.name} {volume_text(drawn.ml)} ml"


def _listed(words: Sequence[str]) -> str:
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
