"""What a shipped model was measured to do, and where it comes from; all of it may be missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dycon_engine.errors import InputError
from dycon_engine.package import plain

MOST_ROWS = 500


class CaseFigures(NamedTuple):
    """One validation case; distances are None where a surface is missing. No name."""

    dice: float
    hd95_mm: float | None
    asd_mm: float | None


class Stress(NamedTuple):
    """What one change of the validation scans does.

    Attributes:
        group: Kind of change, e.g. `slices`.
        change: How much of it, e.g. `3 mm`.
        cases: Scans it was tried on.
        dice: Mean; None where nothing is to be found in the changed scans.
        hd95_mm: Mean over the scans where it is defined.
        ece: Over the voxels near the reference's surface.
        flagged: Share of the scans of which the report says that they need a review.
    """

    group: str
    change: str
    cases: int
    dice: float | None
    hd95_mm: float | None
    ece: float | None
    flagged: float


@dataclass(frozen=True)
class Trust:
    """What the uncertainty is worth on the validation cases.

    Attributes:
        band_mm: Near the surface means within so many millimeters of the reference's.
        ece_all: Expected calibration error over all voxels.
        ece_near: The same near the surface.
        errors_captured: Share of a scan's wrong voxels among its most uncertain ones, mean.
        captured_in: Which share of the voxels those are.
    """

    band_mm: float
    ece_all: float
    ece_near: float
    errors_captured: float
    captured_in: float


@dataclass(frozen=True)
class Evidence:
    """All of it, for the card, `describe` and the panel.

    Attributes:
        source: Data and citations, one sentence each.
        reproduce: Command that trains the model again.
        page: Where there is more, with pictures.
        limits: Known failures, one sentence each.
        cases: Validation, case by case.
        trust: None where it was not measured.
        robustness: Changed validation scans.
    """

    source: tuple[str, ...] = ()
    reproduce: str = ""
    page: str = ""
    limits: tuple[str, ...] = ()
    cases: tuple[CaseFigures, ...] = ()
    trust: Trust | None = None
    robustness: tuple[Stress, ...] = ()

    def as_table(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "source": list(self.source),
            "reproduce": self.reproduce,
            "page": self.page,
            "limits": list(self.limits),
            "cases": [case._asdict() for case in self.cases],
            "trust": None if self.trust is None else dataclasses.asdict(self.trust),
            "robustness": [row._asdict() for row in self.robustness],
        }

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> Evidence:
        """Return the evidence of `as_table`.

        Raises:
            InputError: Something is unknown, of a wrong type or out of range.
            KeyError: Something is missing.
        """
        _require_known(table, tuple(field.name for field in dataclasses.fields(Evidence)))
        trust = table["trust"]
        found = Evidence(
            source=plain.texts(table["source"]),
            reproduce=plain.text(table["reproduce"]),
            page=plain.text(table["page"]),
            limits=plain.texts(table["limits"]),
            cases=tuple(_case(plain.table(item)) for item in plain.items(table["cases"])),
            trust=None if trust is None else _trust(plain.table(trust)),
            robustness=tuple(
                _stress(plain.table(item)) for item in plain.items(table["robustness"])
            ),
        )
        found.check()
        return found

    def texts(self) -> tuple[str, ...]:
        """Return every text in it."""
        words = (text for row in self.robustness for text in (row.group, row.change))
        return (*self.source, self.reproduce, self.page, *self.limits, *words)

    def check(self) -> None:
        """Check ranges.

        Raises:
            InputError: A share is not within 0 and 1, a distance below 0, or there is too much.
        """
        rows = (*self.source, *self.limits, *self.cases, *self.robustness)
        if len(rows) > MOST_ROWS:
            raise InputError(f"{len(rows)} rows of evidence, expected at most {MOST_ROWS}")
        shares: list[float | None] = [case.dice for case in self.cases]
        distances = [mm for case in self.cases for mm in (case.hd95_mm, case.asd_mm)]
        for row in self.robustness:
            shares += [row.dice, row.ece, row.flagged]
            distances.append(row.hd95_mm)
        if self.trust is not None:
            trust = self.trust
            shares += [trust.ece_all, trust.ece_near, trust.errors_captured, trust.captured_in]
            distances.append(trust.band_mm)
        if not all(share is None or 0.0 <= share <= 1.0 for share in shares):
            raise InputError("evidence: a share that is not within 0 and 1")
        if not all(mm is None or mm >= 0.0 for mm in distances):
            raise InputError("evidence: a distance below 0 mm")


def _case(entry: Mapping[str, Any]) -> CaseFigures:
    _require_known(entry, CaseFigures._fields)
    return CaseFigures(
        plain.number(entry["dice"]), *map(plain.optional, (entry["hd95_mm"], entry["asd_mm"]))
    )


def _trust(entry: Mapping[str, Any]) -> Trust:
    names = tuple(field.name for field in dataclasses.fields(Trust))
    _require_known(entry, names)
    return Trust(**{name: plain.number(entry[name]) for name in names})


def _stress(entry: Mapping[str, Any]) -> Stress:
    _require_known(entry, Stress._fields)
    return Stress(
        group=plain.text(entry["group"]),
        change=plain.text(entry["change"]),
        cases=plain.integer(entry["cases"]),
        dice=plain.optional(entry["dice"]),
        hd95_mm=plain.optional(entry["hd95_mm"]),
        ece=plain.optional(entry["ece"]),
        flagged=plain.number(entry["flagged"]),
    )


def _require_known(entry: Mapping[str, Any], names: tuple[str, ...]) -> None:
    odd = sorted(set(entry) - set(names))
    if odd:
        raise InputError(f"evidence: '{odd[0][:100]}' is unknown")
