"""Short engine jobs: each in a temporary folder of its own, which goes away with the job."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dycon_engine.errors import DyconError
from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Advanced, CaseDone, Event, Failed, Finished, Stage, Started
from dycon_engine.jobs.files import is_alive, write_error

_OWNED = re.compile(r"dycon-training-(\d+)-")


class Job(Protocol):
    """What is used of `DyCONLib.runner.Job`."""

    @property
    def state(self) -> RunState:
        """Return how it stands as of the last poll."""

    @property
    def error(self) -> str:
        """Return why it failed."""

    def poll(self) -> list[Event]:
        """Return what is new; never blocks."""

    def cancel(self) -> None:
        """Ask it to stop."""

    def kill(self) -> None:
        """End it now."""

    def log(self) -> str:
        """Return its log without names."""


StartJob = Callable[[str, Sequence[str | Path], Path], Job]  # job, arguments, run directory


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        state: FINISHED, FAILED, CANCELLED or DEAD.
        summary: What the job gave, {} where it did not finish.
        errors: One sentence each, () where it finished.
        folder: Its folder; it goes away after the outcome was told.
        topic: Of the failure, as the engine's event has it.
        device: Where the job computed, "" where it did not say so.
    """

    state: RunState
    folder: Path
    summary: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    topic: str = ""
    device: str = ""


class Task:
    """An engine job in a temporary folder; `poll` until it returns an outcome."""

    def __init__(self, start: StartJob, job: str, temporary: Path, words: str) -> None:
        """Make the folder; `words` say what is done, for the person.

        Raises:
            DyconError: The folder cannot be made.
        """
        _remove_stale(temporary)
        self.words = words
        self._start, self._name = start, job
        self._job: Job | None = None
        self._share = -1.0
        self._failed: list[str] = []
        self._summary: Mapping[str, Any] = {}
        self._topic = self._device = ""
        try:
            made = tempfile.mkdtemp(prefix=f"dycon-training-{os.getpid()}-", dir=temporary)
        except OSError as error:
            raise write_error(temporary / "dycon-training", error) from error
        self.folder = Path(made)

    def begin(self, arguments: Sequence[str | Path]) -> Task:
        """Start the job and return the task.

        Raises:
            DyconError: It could not be started.
        """
        try:
            self._job = self._start(self._name, arguments, self.folder / "run")
        except DyconError:
            self.close()
            raise
        return self

    @property
    def share(self) -> float:
        """Return how much is done in [0, 1], -1 where unknown."""
        return self._share

    @property
    def log(self) -> str:
        """Return the job's log without names."""
        return self._job.log() if self._job is not None else ""

    def poll(self) -> Outcome | None:
        """Return the outcome once there is one; then call `close`."""
        job = self._job
        if job is None:
            return None
        for event in job.poll():
            self._hear(event)
        if job.state is RunState.RUNNING:
            return None
        if job.state is RunState.FINISHED:
            return Outcome(job.state, self.folder, self._summary)
        errors = self._failed or job.error.splitlines() or ["stopped"]
        return Outcome(job.state, self.folder, {}, tuple(errors), self._topic, self._device)

    def _hear(self, event: Event) -> None:
        match event:
            case Started():
                self._device = event.device
            case Stage():
                self._share = -1.0
            case Advanced(total=total) if total:
                self._share = event.done / total
            case CaseDone(error=error) if error:
                self._failed.append(f"case '{event.case}': {error}")
            case Finished():
                self._summary = event.summary
            case Failed():
                self._topic = event.topic

    def cancel(self) -> None:
        """Ask the job to stop; `poll` goes on until it has."""
        if self._job is not None:
            self._job.cancel()

    def close(self) -> None:
        """End the job if it still runs and remove the folder."""
        if self._job is not None and self._job.state is RunState.RUNNING:
            self._job.kill()
        self._job = None
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_stale(temporary: Path) -> None:
    """Remove the folders of panels that are gone."""
    for folder in temporary.glob("dycon-training-*"):
        owner = _OWNED.match(folder.name)
        if owner and not is_alive(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)
