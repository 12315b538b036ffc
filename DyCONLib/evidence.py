"""What a model says it was measured to do and which scans it has seen, read without PyTorch.

It is said by whoever made the model: checked for its form, shown as it is, believed no further.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

MOST_ROWS = 500  # as dycon_engine.package, which needs PyTorch
_CITATION = re.compile(r"\b(19|20)\d\d\.?$")  # ends in the year of a publication


class Trust(NamedTuple):
    """What the uncertainty is worth; shares in 0 to 1.

    Attributes:
        band_mm: Near the edge means within so many millimeters of it.
        ece_near: Expected calibration error there.
        errors_captured: Share of a scan's wrong voxels among its most uncertain ones.
        captured_in: Which share of the voxels those are.
    """

    band_mm: float
    ece_near: float
    errors_captured: float
    captured_in: float


@dataclass(frozen=True)
class Evidence:
    """What was measured; empty where the model does not say.

    Attributes:
        dice: Per held-out scan.
        hd95_mm: Per held-out scan where it is defined.
        trust: None where it was not measured.
        limits: Known failures, one sentence each, the worst first.
        page: Where there is more.
        source: Data, citations and what to keep in mind about them, one sentence each.
    """

    dice: tuple[float, ...] = ()
    hd95_mm: tuple[float, ...] = ()
    trust: Trust | None = None
    limits: tuple[str, ...] = ()
    page: str = ""
    source: tuple[str, ...] = ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """What to keep in mind about the figures: all of `source` that is no citation."""
        return tuple(text for text in self.source if not _CITATION.search(text))

    @property
    def citations(self) -> tuple[str, ...]:
        """The sentences of `source` that name a publication."""
        return tuple(text for text in self.source if _CITATION.search(text))


def read_evidence(raw: Mapping[str, Any]) -> Evidence:
    """Return the evidence in the description of a model.

    Raises:
        ValueError, TypeError, KeyError: It has not the form of one.
    """
    table = raw.get("evidence")
    if table is None:
        return Evidence()
    cases, limits, trust = table["cases"], table["limits"], table["trust"]
    source = table["source"]
    if len(cases) + len(limits) + len(source) > MOST_ROWS:
        raise ValueError("too much evidence")
    return Evidence(
        dice=tuple(_number(case["dice"]) for case in cases),
        hd95_mm=tuple(_number(case["hd95_mm"]) for case in cases if case["hd95_mm"] is not None),
        trust=None if trust is None else Trust(*(_number(trust[name]) for name in Trust._fields)),
        limits=tuple(str(limit) for limit in limits),
        page=str(table["page"]),
        source=tuple(str(text) for text in source),
    )


def largest_seen_mm(raw: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return the largest field of view of the training scans (x, y, z), None if it is unknown.

    Raises:
        ValueError, TypeError, KeyError: It has not the form of one.
    """
    seen = raw.get("seen")
    if seen is None:
        return None
    z, y, x = (_number(high) for _, high in seen["size_mm"])
    return (x, y, z)


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number
