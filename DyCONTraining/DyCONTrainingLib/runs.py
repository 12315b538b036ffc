"""The runs on a data set: start, find again, resume, cancel, delete. No Qt.

A run lives in its directory and goes on when Slicer closes. What cannot be undone asks first,
through the function that the panel gives.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Event
from dycon_engine.jobs.files import rename, write_error
from DyCONTrainingLib.folder import Folder
from DyCONTrainingLib.request import (
    DATA,
    REQUEST,
    START,
    TrainRequest,
    frozen_data,
    write_request,
)
from DyCONTrainingLib.run_card import STDERR, RunCard, Standing, last_change, look, mark_started

DELETED = ".deleted-"
PREPARED = {DATA, REQUEST, START, STDERR}  # all that a run holds before its process says anything
SUPERVISED = "supervised"
Ask = Callable[[str], bool]


class TrainingJob(Protocol):
    """What is used of `DyCONLib.runner.Job` for a run."""

    earlier: tuple[Event, ...]

    @property
    def state(self) -> RunState:
        """Return how it stands as of the last poll."""

    @property
    def error(self) -> str:
        """Return why it failed."""

    @property
    def pid(self) -> int | None:
        """Return the process, None where it is gone or elsewhere."""

    def poll(self) -> list[Event]:
        """Return what is new."""

    def cancel(self, *, grace_s: float = 4.0) -> None:
        """Ask it to stop."""

    def log(self) -> str:
        """Return its log without names."""


class Launcher(Protocol):
    """Starts training that outlives Slicer, and follows what was started before."""

    def start(self, arguments: Sequence[str | Path], run_dir: Path) -> TrainingJob:
        """Start `train` in `run_dir`, detached."""

    def attach(self, run_dir: Path) -> TrainingJob:
        """Follow the run in `run_dir`."""


class Runs:
    """The runs of one data set.

    Attributes:
        folder: The data set.
    """

    def __init__(self, folder: Folder, launcher: Launcher, ask: Ask) -> None:
        """Look at the runs of `folder`; `ask` returns whether the person agreed."""
        self.folder = folder
        self._launcher, self._ask = launcher, ask
        self._jobs: dict[str, TrainingJob] = {}
        self._known: dict[Path, tuple[object, RunCard]] = {}

    @property
    def path(self) -> Path:
        """Return the folder of the runs."""
        return self.folder.runs

    def cards(self) -> list[RunCard]:
        """Return how every run stands, the newest first; broken ones included."""
        try:
            folders = [each for each in self.path.iterdir() if not each.name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DyconError(
                f"runs of the data set: cannot be read ({error.strerror}); check the folder"
            ) from error
        return sorted(map(self._look, folders), key=_number, reverse=True)

    def card(self, name: str) -> RunCard:
        """Return how one run stands."""
        return look(self.path / name)

    def start(self, request: TrainRequest, package: Path | None = None) -> RunCard:
        """Start a new run on the data set as it is saved now.

        Args:
            request: What to train.
            package: Whose weights to start from; copied into the run.

        Raises:
            DyconError: It cannot be started; no half run stays behind.
        """
        slower = self._slower()
        at_once = not slower or self._ask(
            f"{slower}Start now anyway? Otherwise the new run waits for its turn."
        )
        run_dir = self.path / self.new_name(request.method)
        self._prepare(run_dir, request, frozen_data(self.folder, run_dir), package)
        if at_once:
            self._start(run_dir, request)
        return look(run_dir)

    def compare(self, name: str) -> RunCard:
        """Queue supervised-only training on the split, steps and profile of a run.

        It starts when no other run goes on.

        Raises:
            InputError: The run cannot be compared.
            DyconError: It cannot be written.
        """
        card = self.card(name)
        if card.request is None or card.request.method == SUPERVISED:
            raise InputError(f"run '{name}': was trained without unlabeled scans; nothing to show")
        kept = {k: v for k, v in card.request.settings.items() if not k.startswith("method.")}
        request = replace(card.request, method=SUPERVISED, settings=kept, compare_with=name)
        run_dir = self.path / self.new_name(SUPERVISED)
        start = card.path / START
        data = (card.path / DATA).read_text(encoding="utf-8")
        self._prepare(run_dir, request, data, start if start.is_file() else None)
        self.start_queued()
        return look(run_dir)

    def start_queued(self) -> RunCard | None:
        """Start the oldest queued run where no other goes on; return it."""
        cards = self.cards()
        waiting = [card for card in cards if card.standing is Standing.QUEUED]
        if not waiting or any(card.is_alive for card in cards):
            return None
        card = waiting[-1]
        if card.request is not None:
            self._start(card.path, card.request)
        return look(card.path)

    def resume(self, name: str) -> bool:
        """Go on with a run that was stopped or interrupted; return whether that was agreed.

        One that was stopped before it began starts anew.

        Raises:
            InputError: It runs, is done or cannot be resumed.
            DyconError: It cannot be started.
        """
        card = self.card(name)
        if not card.can_resume:
            raise InputError(
                f"run '{name}': is {card.standing} and cannot be resumed; start a new one"
            )
        if not self._ask(f"{self._slower()}Go on with '{name}' at step {card.step}{_of(card)}?"):
            return False
        device = card.request.device if card.request else "auto"
        line: list[str | Path] = ["--data", card.path / DATA, "--device", device, "--resume"]
        if card.request is not None and not card.has_begun:
            line = self._line(card.path, card.request)
        self._began(card.path, self._launcher.start(line, card.path))
        return True

    def follow(self, name: str) -> TrainingJob:
        """Return the job of a run, started by us or by an earlier Slicer; `poll` it.

        Raises:
            InputError: The run is not there any more.
        """
        if name not in self._jobs:
            card = self.card(name)
            if card.standing is Standing.UNREADABLE:
                raise InputError(card.sentence)
            self._jobs[name] = self._launcher.attach(card.path)
        return self._jobs[name]

    def cancel(self, name: str) -> bool:
        """Stop a run after its current step, with a checkpoint; return whether that was agreed.

        Raises:
            InputError: It does not run, or it runs on another machine.
        """
        card = self.card(name)
        if not card.is_alive:
            raise InputError(f"run '{name}': is {card.standing}, there is nothing to stop")
        if not self._ask(f"Stop '{name}' at step {card.step}{_of(card)}? It can be resumed."):
            return False
        self.follow(name).cancel(grace_s=60.0)  # a step and a checkpoint may take their time
        return True

    def delete(self, name: str) -> bool:
        """Delete a run with its checkpoints, models and reports; return whether that was agreed.

        Raises:
            InputError: It runs.
            DyconError: It cannot be deleted.
        """
        card = self.card(name)
        if card.is_alive:
            raise InputError(f"run '{name}': is {card.standing}; stop it first")
        models = " Its model will be gone from here." if card.packages else ""
        if not self._ask(f"Delete the run '{name}' with all its files?{models}"):
            return False
        self._jobs.pop(name, None)
        hidden = card.path.with_name(DELETED + name)
        try:
            shutil.rmtree(hidden, ignore_errors=True)
            rename(card.path, hidden)  # gone at once, or not at all
        except FileNotFoundError:
            return True
        except OSError as error:
            raise DyconError(
                f"run '{name}': cannot be deleted ({error.strerror}); close what uses its files"
            ) from error
        shutil.rmtree(hidden, ignore_errors=True)
        return True

    def poll(self) -> Mapping[str, list[Event]]:
        """Look at every run that is followed; needed for stopping runs too."""
        return {name: job.poll() for name, job in list(self._jobs.items())}

    def new_name(self, method: str) -> str:
        """Return a free name that says the method."""
        numbers = [number for number, _ in map(_number, self.cards())]
        return f"{1 + max(numbers, default=0):02d}-{method}"

    def _look(self, run_dir: Path) -> RunCard:
        """Return how a run stands; one that ended is read again only where its files changed."""
        stamp = last_change(run_dir)
        known = self._known.get(run_dir)
        if known is None or known[0] != stamp or known[1].is_alive:
            self._known[run_dir] = known = (stamp, look(run_dir))
        return known[1]

    def _prepare(
        self, run_dir: Path, request: TrainRequest, data: str, package: Path | None
    ) -> None:
        write_request(run_dir, request, data)
        if package is None:
            return
        try:
            shutil.copyfile(package, run_dir / START)
        except OSError as error:
            shutil.rmtree(run_dir, ignore_errors=True)
            raise write_error(run_dir / START, error) from error

    def _slower(self) -> str:
        """Return why a run should not start now, with a space behind it; "" where it may."""
        alive = next((card.name for card in self.cards() if card.is_alive), "")
        return f"'{alive}' still trains, and two runs at once slow each other down. " * bool(alive)

    def _line(self, run_dir: Path, request: TrainRequest) -> list[str | Path]:
        start = run_dir / START
        return request.arguments(run_dir / DATA, start if start.is_file() else None)

    def _start(self, run_dir: Path, request: TrainRequest) -> None:
        try:
            self._began(run_dir, self._launcher.start(self._line(run_dir, request), run_dir))
        except DyconError:
            if {path.name for path in run_dir.iterdir()} <= PREPARED:
                shutil.rmtree(run_dir, ignore_errors=True)
            raise

    def _began(self, run_dir: Path, job: TrainingJob) -> None:
        self._jobs[run_dir.name] = job
        if job.pid is not None:
            mark_started(run_dir, job.pid)


def _of(card: RunCard) -> str:
    return f" of {card.total}" if card.total else ""


def _number(run: RunCard) -> tuple[int, str]:
    match = re.match(r"\d+", run.name)
    return (int(match[0]) if match else 0, run.name)
