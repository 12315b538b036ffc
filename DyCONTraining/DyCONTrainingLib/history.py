"""What a run said so far, as curves and facts; grows with every poll, also over a resume."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dycon_engine.jobs.events import (
    TERMINAL,
    Advanced,
    Event,
    Saved,
    Stage,
    Started,
    StepDone,
    Validated,
    Warned,
)

LOSS, RATE, BETA = "loss", "learning rate", "beta"
LABELED_DICE, TEACHER_DICE = "labeled patches", "held-out cases"
STUDENT_DICE = "held-out cases, student"
WATCHED = {  # diagnostics of a step -> name of the curve
    "beta": BETA,
    "labeled_dice": LABELED_DICE,
    "foreground_labeled": "foreground of the labels",
    "foreground_unlabeled": "foreground on unlabeled",
}
PREVIEW = "preview"


class Curve:
    """Values over steps; `times_s` says when each was heard of."""

    def __init__(self) -> None:
        """Start empty."""
        self.steps: list[int] = []
        self.values: list[float] = []
        self.times_s: list[float] = []

    def add(self, step: int, value: float | None, time_s: float) -> None:
        """Add a point; what is no number leaves a gap."""
        if value is not None and math.isfinite(value):
            self.steps.append(step)
            self.values.append(float(value))
            self.times_s.append(time_s)

    def cut(self, step: int) -> None:
        """Forget what came at or after `step`: a resumed run does it again."""
        keep = next((i for i, own in enumerate(self.steps) if own >= step), len(self.steps))
        del self.steps[keep:], self.values[keep:], self.times_s[keep:]

    def thinned(self, most: int) -> tuple[list[float], list[float]]:
        """Return at most `most` points (steps, values), each the mean of a stretch."""
        size = max(1, math.ceil(len(self.steps) / most))
        starts = range(0, len(self.steps), size)
        means = [
            [sum(part[i : i + size]) / len(part[i : i + size]) for i in starts]
            for part in (self.steps, self.values)
        ]
        return means[0], means[1]


class Mark(NamedTuple):
    """Something complete on disk: a checkpoint, a package or a preview."""

    what: str
    path: str
    step: int
    time_s: float


@dataclass
class History:
    """Everything heard of a run.

    Attributes:
        terms: Curve of every loss term by its name; their sum is what is minimized.
        curves: The other curves by name.
        marks: What is complete on disk, in order.
        warnings: What the person should know, in order.
        stage: The part of the job that goes on, and how far it is: done, total, seconds left.
        last: The last event; a terminal one where the run is over.
    """

    terms: dict[str, Curve] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    stage: str = ""
    progress: tuple[int, int, float] = (0, 0, -1.0)
    device: str = ""
    step: int = 0
    total: int = 0
    began_s: float = 0.0
    step_s: float = 0.0
    last: Event | None = None
    dice_per_class: Mapping[str, float] = field(default_factory=dict)

    def add(self, events: Iterable[Event]) -> None:
        """Take what was said since the last time."""
        for event in events:
            self.last = event
            if isinstance(event, StepDone):
                self._step(event)
            elif isinstance(event, Validated):
                self._curve(TEACHER_DICE).add(event.step, event.dice, event.time_s)
                self._curve(STUDENT_DICE).add(event.step, event.student_dice, event.time_s)
                self.dice_per_class = event.dice_per_class
            elif isinstance(event, Saved):
                self.marks.append(Mark(event.what, event.path, event.step or 0, event.time_s))
            elif isinstance(event, Warned):
                self.warnings.append(event)
            elif isinstance(event, Stage):
                self.stage, self.progress = event.name, (0, event.total, -1.0)
            elif isinstance(event, Advanced):
                self.progress = (event.done, event.total, event.remaining_s)
            elif isinstance(event, Started):
                self._started(event)

    @property
    def is_over(self) -> bool:
        """Return whether the run said its last word."""
        return isinstance(self.last, TERMINAL)

    @property
    def is_training(self) -> bool:
        """Return whether there were steps and will be more."""
        return 0 < self.step < self.total

    @property
    def saved_s(self) -> float:
        """Return when the newest checkpoint was written, 0 = never."""
        return next((m.time_s for m in reversed(self.marks) if m.what == "checkpoint"), 0.0)

    def previews(self) -> list[Mark]:
        """Return the pictures of the fixed unlabeled case, in order."""
        return [mark for mark in self.marks if mark.what.startswith(PREVIEW)]

    def curve(self, name: str) -> Curve:
        """Return a curve; empty where nothing was heard of it."""
        return self.curves.get(name) or self.terms.get(name) or Curve()

    def _step(self, event: StepDone) -> None:
        if event.step <= self.step:
            for curve in (*self.terms.values(), *self.curves.values()):
                curve.cut(event.step)
        self.step, self.total = event.step, event.total
        for name, value in event.terms.items():
            self.terms.setdefault(name, Curve()).add(event.step, value, event.time_s)
        self._curve(LOSS).add(event.step, event.loss, event.time_s)
        self._curve(RATE).add(event.step, event.learning_rate, event.time_s)
        for key, name in WATCHED.items():
            if key in event.diagnostics:
                self._curve(name).add(event.step, event.diagnostics[key], event.time_s)
        self.step_s = event.step_s if not self.step_s else 0.95 * self.step_s + 0.05 * event.step_s

    def _started(self, event: Started) -> None:
        self.device = event.device_name or event.device or self.device
        if not event.device:  # said again once the device is known
            self.began_s = event.time_s
            self.warnings = []

    def _curve(self, name: str) -> Curve:
        return self.curves.setdefault(name, Curve())
