"""How far a stage and the whole job are, from what is done and the time it took."""

from __future__ import annotations

import time
from typing import NamedTuple

from dycon_engine.jobs.events import Advanced, Stage

SECONDS_BETWEEN_ADVANCES = 0.5


class Part(NamedTuple):
    """Where a stage lies in a job of several cases.

    Attributes:
        begin: Share of the whole job that is done when the stage begins, in [0, 1].
        end: The same when it ends.
        item: Number of the case, from 1.
        items: How many there are.
    """

    begin: float
    end: float
    item: int
    items: int


class Progress:
    """The clock of the stage in hand, and of the whole job where its parts are known."""

    def __init__(self, job: str) -> None:
        """Start with a stage called like the job, of no known size."""
        self._stage = Stage(name=job)
        self._part: Part | None = None
        self._began, self._before = 0.0, 0
        self._whole_began: float | None = None
        self._last = 0.0

    def begin(self, name: str, total: int, *, done: int, part: Part | None) -> Stage:
        """Return the event of a new stage of `total` units, `done` of them from an earlier run."""
        item, items = (part.item, part.items) if part is not None else (0, 0)
        self._stage, self._part = Stage(name=name, total=total, item=item, items=items), part
        self._began, self._before, self._last = time.monotonic(), done, 0.0
        if part is not None and self._whole_began is None:
            self._whole_began = self._began
        return self._stage

    def advanced(self, done: int) -> Advanced | None:
        """Return the event of `done` units, None where the last one is less than .5 s ago."""
        now, total = time.monotonic(), self._stage.total
        if now - self._last < SECONDS_BETWEEN_ADVANCES and done < total:
            return None
        self._last = now
        elapsed, fresh = now - self._began, done - self._before
        known = total > 0 and fresh > 0
        overall, overall_remaining = self._overall(done, now)
        return Advanced(
            stage=self._stage.name,
            done=done,
            total=total,
            elapsed_s=elapsed,
            remaining_s=elapsed / fresh * (total - done) if known else -1.0,
            overall=overall,
            overall_remaining_s=overall_remaining,
        )

    def _overall(self, done: int, now: float) -> tuple[float, float]:
        """Return the share of the whole job that is done and the seconds left; -1 if unknown."""
        if self._part is None or self._whole_began is None:
            return -1.0, -1.0
        within = min(done / self._stage.total, 1.0) if self._stage.total else 0.0
        overall = self._part.begin + within * (self._part.end - self._part.begin)
        if overall <= 0.0:
            return 0.0, -1.0
        return overall, (now - self._whole_began) * (1.0 - overall) / overall
