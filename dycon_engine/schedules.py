"""Pure numbers that change with training progress; stateless, so a resumed run sees the same."""

from __future__ import annotations

import math
from typing import NamedTuple


class Progress(NamedTuple):
    """Where training stands: `step` optimizer steps are done of `total`."""

    step: int
    total: int

    @property
    def fraction(self) -> float:
        """Share of the budget that is done, in [0, 1]."""
        return min(max(self.step / max(self.total, 1), 0.0), 1.0)


def sigmoid_rampup(fraction: float) -> float:
    """Return exp(-5 (1 - x)^2) for x = `fraction` clipped to [0, 1] (Laine & Aila, ICLR 2017)."""
    x = min(max(fraction, 0.0), 1.0)
    return math.exp(-5.0 * (1.0 - x) ** 2)


def ramped(weight: float, share: float, progress: Progress, *, start: float = 0.0) -> float:
    """Return `weight` times the sigmoid ramp over `share` of the budget, beginning at `start`."""
    if share <= 0.0:
        return weight
    return weight * sigmoid_rampup((progress.fraction - start) / share)


def exponential_interpolation(start: float, end: float, fraction: float) -> float:
    """Return start * (end / start)^x: DyCON's beta(t); both > 0, or both equal."""
    if start == end:
        return start
    x = min(max(fraction, 0.0), 1.0)
    return start * math.pow(end / start, x)


def ema_decay(step: int, maximum: float) -> float:
    """Return the teacher's decay at step `step` >= 0: min(1 - 1 / (step + 1), maximum)."""
    return min(1.0 - 1.0 / (step + 1), maximum)


def polynomial(fraction: float, power: float = 0.9) -> float:
    """Return the learning-rate factor (1 - x)^power, 1 at the start and 0 at the end."""
    return math.pow(1.0 - min(max(fraction, 0.0), 1.0), power)


def one_cycle(fraction: float, warmup: float = 0.1, floor: float = 0.0) -> float:
    """Return a learning-rate factor: linear rise over `warmup`, then cosine fall to `floor`."""
    x = min(max(fraction, 0.0), 1.0)
    if x < warmup:
        return floor + (1.0 - floor) * (0.04 + 0.96 * x / warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * (x - warmup) / (1.0 - warmup)))
    return floor + (1.0 - floor) * cosine


def cycle(progress: Progress, cycles: int) -> float:
    """Return how much of the present one of `cycles` equal cycles is done, in [0, 1]."""
    turns = progress.fraction * cycles
    return turns - math.floor(turns) if turns < cycles else 1.0


def step_decay(step: int, milestones: tuple[int, ...], factor: float = 0.1) -> float:
    """Return factor^(number of `milestones` reached by `step`): the papers' learning rate."""
    return factor ** sum(step >= milestone for milestone in milestones)
