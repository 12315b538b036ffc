"""How a run stands, from its directory alone: for the list of runs, whatever happened to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from dycon_engine.errors import OutOfMemoryError
from dycon_engine.jobs.client import RunState, run_state
from dycon_engine.jobs.events import (
    Event,
    Failed,
    Saved,
    Stage,
    Started,
    StepDone,
    Validated,
    from_line,
)
from dycon_engine.jobs.files import is_alive
from dycon_engine.jobs.lock import holder, is_here, start_time
from DyCONTrainingLib.budget import lack_of_memory
from DyCONTrainingLib.request import REQUEST, TrainRequest, read_request

TAIL_BYTES = 1 << 18
_DAMAGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
STARTED, STDERR = "started.txt", "stderr.txt"
LAST, BEST = "package/last.dycon", "package/best.dycon"


class Standing(StrEnum):
    """How a run stands, in one word for the list."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "stopped"
    FAILED = "failed"
    DEAD = "interrupted"
    UNREADABLE = "unreadable"


_STANDINGS = {
    RunState.RUNNING: Standing.RUNNING,
    RunState.FINISHED: Standing.FINISHED,
    RunState.CANCELLED: Standing.CANCELLED,
    RunState.FAILED: Standing.FAILED,
    RunState.DEAD: Standing.DEAD,
}


@dataclass(frozen=True)
class RunCard:
    """One line of the list of runs.

    Attributes:
        path: The run directory.
        standing: How it stands.
        request: What was asked for; None where that is damaged.
        step: Optimizer steps done.
        total: Steps asked for; 0 where unknown.
        dice: Last validation Dice, None where there is none.
        saved_s: When the newest checkpoint was written, seconds since the epoch; 0 = never.
        packages: Models it made: last and best.
        lacks_memory: Whether it failed for that.
        sentence: What is wrong, or what it does now, in plain words.
    """

    path: Path
    standing: Standing
    request: TrainRequest | None = None
    step: int = 0
    total: int = 0
    dice: float | None = None
    saved_s: float = 0.0
    packages: tuple[Path, ...] = ()
    lacks_memory: bool = False
    sentence: str = ""

    @property
    def name(self) -> str:
        """Return the name of the run: that of its folder."""
        return self.path.name

    @property
    def is_comparison(self) -> bool:
        """Return whether it only shows what another run gained; its model is not for use."""
        return self.request is not None and bool(self.request.compare_with)

    @property
    def is_alive(self) -> bool:
        """Return whether a process works on it."""
        return self.standing in (Standing.STARTING, Standing.RUNNING)

    @property
    def can_resume(self) -> bool:
        """Return whether it can go on where it was, or at its beginning if it did not get far.

        One whose first step found too little memory would find it again.
        """
        if self.lacks_memory and not self.step:
            return False
        if self.standing in (Standing.CANCELLED, Standing.DEAD) and self.request is not None:
            return True
        ended = (Standing.CANCELLED, Standing.DEAD, Standing.FAILED)
        return self.standing in ended and self.has_begun

    @property
    def has_begun(self) -> bool:
        """Return whether it got further than reading the scans."""
        return (self.path / "config.json").is_file()


def look(run_dir: Path) -> RunCard:
    """Return how the run in `run_dir` stands; never raises, whoever wrote what lies in it."""
    try:
        if not run_dir.is_dir():
            return RunCard(run_dir, Standing.UNREADABLE, sentence=f"{_gone(run_dir)}")
        os.listdir(run_dir)  # noqa: PTH208 - only whether it may be read
        return _card(run_dir, _tail(run_dir / "events.jsonl"))
    except OSError as error:
        words = f"run '{run_dir.name}': cannot be read ({error.strerror}); check its folder"
    except _DAMAGE as error:
        words = (
            f"run '{run_dir.name}': its record is damaged ({type(error).__name__} in events.jsonl "
            "or lock); restore the folder or delete it"
        )
    return RunCard(run_dir, Standing.UNREADABLE, sentence=words)


def _card(run_dir: Path, events: Sequence[Event]) -> RunCard:
    request = read_request(run_dir)
    standing = _standing(run_dir)
    steps = [event for event in events if isinstance(event, StepDone)]
    scores = [event for event in events if isinstance(event, Validated)]
    saved = [e for e in events if isinstance(e, Saved) and e.what == "checkpoint"]
    done = [int(e.step) for e in steps[-1:]] + [int(e.step or 0) for e in saved[-1:]]
    dice = scores[-1].dice if scores else None
    last = events[-1] if events else None
    lacks_memory = isinstance(last, Failed) and last.topic == OutOfMemoryError.topic
    card = RunCard(
        path=run_dir,
        standing=standing,
        request=request,
        step=max(done, default=0),
        total=int(steps[-1].total) if steps else request.steps if request else 0,
        dice=None if dice is None else float(dice),
        saved_s=float(saved[-1].time_s) if saved else 0.0,
        packages=tuple(p for p in (run_dir / LAST, run_dir / BEST) if p.is_file()),
        lacks_memory=standing is Standing.FAILED and lacks_memory,
    )
    return replace(card, sentence=str(_sentence(card, events)))


def last_change(run_dir: Path) -> object:
    """Return what differs whenever the run's card may differ, but for a process that died."""
    stamps = []
    for name in ("", REQUEST, STARTED, STDERR, "events.jsonl", "lock", "config.json", "package"):
        try:
            found = (run_dir / name).stat()
            stamps.append((found.st_mtime_ns, found.st_size))
        except OSError:
            stamps.append((0, 0))
    return stamps


def mark_started(run_dir: Path, pid: int) -> None:
    """Note the process of a run that has not said anything yet: it reads the data first."""
    (run_dir / STARTED).write_text(f"{pid} {start_time(pid) or ''}", encoding="ascii")


def _standing(run_dir: Path) -> Standing:
    state = run_state(run_dir)
    if state is RunState.DEAD and _lives(run_dir):
        return Standing.RUNNING  # the lock is free, the last word not yet said
    if state is not RunState.RUNNING and _lives(run_dir) and not _has_spoken(run_dir):
        return Standing.STARTING
    if state is RunState.ABSENT:
        if _holds_results(run_dir):
            return Standing.DEAD
        if not (run_dir / REQUEST).is_file():
            return Standing.UNREADABLE
        return Standing.FAILED if (run_dir / STDERR).exists() else Standing.QUEUED
    return _STANDINGS[state]


def _holds_results(run_dir: Path) -> bool:
    """Return whether a run began here, though its events are gone: it must not begin once more."""
    names = ("config.json", LAST, BEST)
    return any((run_dir / n).exists() for n in names) or any((run_dir / "checkpoints").glob("*"))


def _lives(run_dir: Path) -> bool:
    """Return whether the process that the panel started last on this run still lives."""
    try:
        number, _, began = (run_dir / STARTED).read_text(encoding="ascii").partition(" ")
        pid = int(number)
    except (OSError, ValueError):
        return False
    return is_alive(pid) and (start_time(pid) or began) == began


def _has_spoken(run_dir: Path) -> bool:
    """Return whether anything was said since that process was started."""
    try:
        said = (run_dir / "events.jsonl").stat().st_mtime_ns
        return said >= (run_dir / STARTED).stat().st_mtime_ns
    except OSError:
        return False


def _sentence(card: RunCard, events: Sequence[Event]) -> str:
    run_dir, name, standing = card.path, card.name, card.standing
    last = events[-1] if events else None
    other = holder(run_dir / "lock")
    if other is not None and not is_here(other):
        return (
            f"run '{name}': is being trained on '{other.host}'; watch it here, cancel it there, or "
            "delete its file 'lock' if that process is gone"
        )
    if card.lacks_memory:
        return _memory(card, events)
    if standing is Standing.FAILED:
        words = last.message if isinstance(last, Failed) else _words(run_dir)
        return words or f"run '{name}': did not start; start it again"
    if standing is Standing.RUNNING:
        return next((e.name for e in reversed(events) if isinstance(e, Stage)), "")
    if standing is Standing.CANCELLED and not (run_dir / "config.json").is_file():
        return "stopped before the first step; 'Resume' starts it anew"
    is_lost = standing is Standing.DEAD and not (run_dir / "events.jsonl").exists()
    return (_LOST if is_lost else _SENTENCES.get(standing, "")).format(name=name)


def _memory(card: RunCard, events: Sequence[Event]) -> str:
    """Return what to do about too little memory; the engine's own words stay in the log."""
    request = card.request or TrainRequest()
    said = (event.device for event in reversed(events) if isinstance(event, Started))
    return lack_of_memory(request.profile, next(said, "") or request.device, card.step)


_LOST = (
    "run '{name}': its events.jsonl is missing, so how it ended is not known; its models and "
    "checkpoints are kept, 'Resume' goes on from the last checkpoint"
)
_SENTENCES = {
    Standing.UNREADABLE: "run '{name}': holds no training run; delete the folder",
    Standing.DEAD: "run '{name}': was interrupted (computer restarted, or memory ran out); "
    "'Resume' goes on from the last checkpoint",
    Standing.QUEUED: "waits until no other run goes on",
    Standing.CANCELLED: "stopped as asked; 'Resume' goes on",
}


def _words(run_dir: Path) -> str:
    """Return what the engine told people before it could write events."""
    try:
        lines = (run_dir / STDERR).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    own = [line.removeprefix("DyCON: ") for line in lines if line.startswith("DyCON: ")]
    return "\n".join(own)


def _tail(path: Path) -> list[Event]:
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    events = (from_line(line) for line in lines)
    return [event for event in events if event is not None]


def _gone(run_dir: Path) -> str:
    return f"run '{run_dir.name}': its folder is gone; choose another run"
