"""How a training run is doing, in plain words: pure functions of its history and the time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Failed
from DyCONTrainingLib.history import LABELED_DICE, TEACHER_DICE, Curve, History

BINS = 24
FLAT_S = 180.0  # shorter than this is no plateau
FLAT_SHARE = 0.3  # of the time trained so far
BETTER_DICE = 0.005
BETTER_LOSS = 0.03  # of the loss: late in a run small steps count
COLLAPSED, FALLEN, SETTLING = 0.05, 0.33, 200  # as the engine's own watch
RECENT = 50  # steps
TRAIN = "train"  # a stage of the engine
STAGES = {
    "audit": "Checking the scans",
    "prepare": "Preparing the scans",
    TRAIN: "Training",
    "validate": "Scoring the held-out cases",
}


class Mood(StrEnum):
    """What color the sentence has."""

    GOOD = "good"
    CALM = "calm"
    WATCH = "watch"
    BAD = "bad"


class Advice(NamedTuple):
    """One sentence on how it goes."""

    mood: Mood
    text: str


def judge(
    history: History, state: RunState, now_s: float, *, entropy: float | None = 0.0
) -> Advice:
    """Return how the run is doing.

    Args:
        history: What it said.
        state: How its directory stands.
        now_s: Seconds since the epoch.
        entropy: The method's entropy coefficient; None = it follows beta, 0 = there is none.
    """
    if state is not RunState.RUNNING:
        return _ended(history, state)
    if is_collapsing(history):
        return Advice(Mood.BAD, f"Foreground is collapsing: stop and {_remedy(entropy)}")
    if any(warned.topic == "non_finite" for warned in history.warnings[-3:]):
        return Advice(Mood.WATCH, "Steps with infinite numbers were left out; lower the rate")
    if not history.step or history.stage != TRAIN:
        return Advice(Mood.CALM, stage_text(history))
    return _progress(history, now_s)


def stage_text(history: History) -> str:
    """Return the part of the job that goes on, e.g. `Checking the scans: 3 of 20`."""
    words = STAGES.get(history.stage, history.stage.capitalize()) or "Starting the engine"
    done, total, _ = history.progress
    return f"{words}: {done} of {total}" if total else words


def is_collapsing(history: History) -> bool:
    """Return whether the student sees ever less foreground on unlabeled patches."""
    labels = history.curve("foreground of the labels").values
    found = history.curve("foreground on unlabeled").values
    last = len(found) - RECENT
    if last < 0:
        return any(warning.topic == "collapse" for warning in history.warnings)

    def share(first: int) -> float:
        """Return the foreground found in `RECENT` steps against that of the labels."""
        of_labels = _mean(labels[first : first + RECENT])
        return _mean(found[first : first + RECENT]) / of_labels if of_labels else 1.0

    most = max(map(share, range(SETTLING, last, RECENT)), default=0.0)
    return share(last) < max(COLLAPSED, FALLEN * most)


def flat_s(curve: Curve, now_s: float, *, higher_is_better: bool) -> float:
    """Return for how long a curve has not got better, seconds; 0 while it does.

    Noise is taken out by averaging over `BINS` stretches of equal length.
    """
    if len(curve.values) < 2 * BINS:
        return 0.0
    values, ends = _binned(curve)
    best, since = values[0], ends[0]
    for value, end in zip(values[1:], ends[1:], strict=True):
        gain = value - best - BETTER_DICE if higher_is_better else best * (1 - BETTER_LOSS) - value
        if gain > 0:
            best, since = value, end
    return max(0.0, now_s - since)


def saved_text(history: History, now_s: float) -> str:
    """Return when the state was saved: `saved 2 min ago`."""
    if not history.saved_s:
        return "not saved yet"
    return f"saved {duration(max(0.0, now_s - history.saved_s))} ago"


def remaining_text(history: History) -> str:
    """Return how long it will still take, "" where unknown."""
    _, _, left = history.progress
    steps_s = (history.total - history.step) * history.step_s
    if history.stage != TRAIN and history.is_training:
        left = max(left, 0.0) + steps_s  # a pause: scoring, writing a preview
    elif left < 0:
        left = steps_s
    return f"about {duration(left)} left" if left > 0 else ""


def duration(seconds: float) -> str:
    """Return a time span as people say it: 40 s, 2 min, 3 h 20 min, 2 days."""
    minutes = round(seconds / 60)
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s"
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours / 24:.0f} days"


def _ended(history: History, state: RunState) -> Advice:
    if state is RunState.FINISHED:
        return Advice(Mood.GOOD, f"Done: {_result(history)}")
    if state is RunState.CANCELLED:
        before = "Stopped before the first step; 'Resume' starts it anew"
        there = f"Stopped at step {history.step}; 'Resume' goes on from there"
        return Advice(Mood.CALM, there if history.step else before)
    if state is RunState.FAILED:
        words = history.last.message if isinstance(history.last, Failed) else "The run failed"
        return Advice(Mood.BAD, words)
    return Advice(Mood.BAD, "Interrupted; 'Resume' goes on from the last checkpoint")


def _progress(history: History, now_s: float) -> Advice:
    curve, higher = _telling(history)
    flat = flat_s(curve, now_s, higher_is_better=higher)
    trained = now_s - (curve.times_s[0] if curve.times_s else now_s)
    if flat > max(FLAT_S, FLAT_SHARE * trained):
        words = f"Flat for {duration(flat)}: more steps may not help any more"
        return Advice(Mood.WATCH, words)
    return Advice(Mood.GOOD, "Still improving" if len(curve.values) >= 2 * BINS else "Training")


def _telling(history: History) -> tuple[Curve, bool]:
    """Return the curve that tells progress, and whether more is better."""
    for name in (TEACHER_DICE, LABELED_DICE):
        if len(history.curve(name).values) >= 2 * BINS:
            return history.curve(name), True
    supervised = [history.terms[n] for n in ("dice", "cross_entropy") if n in history.terms]
    return (supervised[0] if supervised else history.curve("loss")), False


def _remedy(entropy: float | None) -> str:
    if entropy is None or entropy > 0:
        return "lower the entropy coefficient"
    return "lower the weights of the unlabeled terms"


def _result(history: History) -> str:
    scored = history.curve(TEACHER_DICE).values
    steps = f"{history.step} steps"
    return f"{steps}, Dice {scored[-1]:.3f} on the held-out cases" if scored else steps


def _binned(curve: Curve) -> tuple[list[float], list[float]]:
    """Return the means of `BINS` equal stretches, and when each ended."""
    count = len(curve.values)
    edges = [round(i * count / BINS) for i in range(BINS + 1)]
    spans = list(itertools.pairwise(edges))
    return (
        [_mean(curve.values[low:high]) for low, high in spans],
        [curve.times_s[high - 1] for _, high in spans],
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
