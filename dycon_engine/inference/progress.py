"""Which stage of which case a job is at, said as events with the progress of the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dycon_engine.inference.blending import Watch
from dycon_engine.inference.sliding_window import SEGMENTING
from dycon_engine.jobs.progress import Part
from dycon_engine.jobs.reporter import Reporter

READING, MEASURING, WRITING = "reading", "measuring", "writing"
SHARES: Mapping[str, float] = {  # of the time of one case, about; in the order of the stages
    READING: 0.06,
    SEGMENTING: 0.78,
    MEASURING: 0.06,
    WRITING: 0.1,
}


@dataclass(frozen=True)
class CaseProgress:
    """The stages of case number `item` (from 1) of `items`; `shares` as `SHARES`."""

    reporter: Reporter
    item: int = 1
    items: int = 1
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)

    def begin(self, stage: str, total: int = 1) -> None:
        """Say that a stage of `total` units begins."""
        names = list(self.shares)
        before = sum(self.shares[name] for name in names[: names.index(stage)])
        begin, end = (
            (self.item - 1 + share) / self.items for share in (before, before + self.shares[stage])
        )
        self.reporter.stage(stage, total, part=Part(begin, min(end, 1.0), self.item, self.items))

    def done(self, count: int = 1) -> None:
        """Say that `count` units of the stage are done."""
        self.reporter.advance(count)

    def watch(self, on_notice: Callable[[str], None] = lambda _text: None) -> Watch:
        """Return what reports the windows of this case, and hears when to stop."""
        return Watch(
            cancelled=self.reporter.cancelled,
            on_stage=self.begin,
            on_window=lambda done, _total: self.done(done),
            on_notice=on_notice,
        )
