"""The review list: uncertain regions by rank, each open, accepted or fixed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from DyCONSegmentationLib.report import Region


class Mark(StrEnum):
    """What a person decided about a region."""

    OPEN = "open"
    ACCEPTED = "accepted"
    FIXED = "fixed"


@dataclass(frozen=True)
class ReviewList:
    """Regions in the order of their rank with the marks a person gave them.

    Attributes:
        regions: By volume times mean uncertainty, most important first.
        marks: By rank; a region that is not named is open.
    """

    regions: tuple[Region, ...] = ()
    marks: Mapping[int, Mark] = field(default_factory=dict)

    def mark_of(self, region: Region) -> Mark:
        """Return what was decided about `region`."""
        return self.marks.get(region.rank, Mark.OPEN)

    def marked(self, rank: int, mark: Mark) -> ReviewList:
        """Return the list with the region of this rank marked; an unknown rank changes nothing."""
        if all(region.rank != rank for region in self.regions):
            return self
        return dataclasses.replace(self, marks={**self.marks, rank: mark})

    @property
    def left(self) -> int:
        """How many regions are still open."""
        return sum(self.mark_of(region) is Mark.OPEN for region in self.regions)

    def next_open(self, after: int = 0) -> Region | None:
        """Return the first open region ranked below `after`, else the first open one at all."""
        opened = [region for region in self.regions if self.mark_of(region) is Mark.OPEN]
        later = [region for region in opened if region.rank > after]
        return next(iter(later or opened), None)

    def text(self) -> str:
        """Return the marks as JSON, to be kept with the scene."""
        return json.dumps({str(rank): mark.value for rank, mark in sorted(self.marks.items())})


def review_list(regions: Sequence[Region], text: str | None) -> ReviewList:
    """Return the list of `regions` with the marks that `text` holds; unreadable ones are open."""
    try:
        stored = json.loads(text or "{}")
        marks = {int(rank): Mark(mark) for rank, mark in stored.items()}
    except (ValueError, TypeError, AttributeError):
        marks = {}
    known = {region.rank for region in regions}
    ordered = tuple(sorted(regions, key=lambda region: region.rank))
    return ReviewList(ordered, {rank: mark for rank, mark in marks.items() if rank in known})
