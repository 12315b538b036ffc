"""One engine process with the folder it works in: started, followed, ended, and nothing left.

Qt-free: whoever shows it calls `poll` from a timer.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dycon_engine.errors import DyconError
from dycon_engine.jobs.client import RunState
from dycon_engine.jobs.events import Advanced, Event, Stage, Started
from dycon_engine.jobs.files import is_alive, write_error
from DyCONSegmentationLib.texts import STARTING, step_text

CRASHED = (
    "the engine crashed or was ended from outside before it was done, as a system does when memory "
    "runs out; close other programs or choose a smaller region, and segment again"
)
_WORKSPACE = re.compile(r"dycon-(\d+)-")


class JobLike(Protocol):
    """What is used of `DyCONLib.runner.Job`."""

    @property
    def state(self) -> RunState:
        """How it stands."""

    @property
    def error(self) -> str:
        """Why it failed."""

    def poll(self) -> list[Event]:
        """Return new events."""

    def cancel(self) -> None:
        """Ask it to stop."""

    def kill(self) -> None:
        """End it now."""

    def log(self) -> str:
        """Return its log without names."""


StartJob = Callable[[Sequence[str | Path], Path], JobLike]  # arguments, run directory


@dataclass(frozen=True)
class Progress:
    """How far a run is; share in [0, 1] and remaining seconds are -1 where unknown."""

    step: str = ""
    share: float = -1.0
    elapsed_s: float = 0.0
    remaining_s: float = -1.0
    device: str = ""
    item: int = 0
    items: int = 0


class Workspace:
    """A folder of its own for one run, below `parent`; it holds scans, so it must go away."""

    def __init__(self, parent: Path, pid: int) -> None:
        """Make it, and remove those whose process is gone.

        Raises:
            DyconError: The folder cannot be made.
        """
        _remove_stale(parent)
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"dycon-{pid}-", dir=parent))
        except OSError as error:
            raise write_error(parent / "dycon", error) from error

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)


class EngineRun:
    """A job in its workspace, with its progress."""

    def __init__(
        self,
        workspace: Workspace,
        start: StartJob,
        arguments: Sequence[str | Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the job; where that fails the workspace is removed.

        Raises:
            DyconError: The engine cannot be started.
        """
        self.workspace = workspace
        self._clock, self._began, self._heard = clock, clock(), clock()
        self._progress = Progress(step=STARTING)
        try:
            self.job = start(arguments, workspace.path / "run")
        except DyconError:
            workspace.remove()
            raise

    def poll(self) -> list[Event]:
        """Return what the job said since the last time."""
        events = self.job.poll()
        for event in events:
            self._progress = _after(self._progress, event)
            self._heard = self._clock()
        return events

    @property
    def state(self) -> RunState:
        """How the job stands as of the last `poll`."""
        return self.job.state

    @property
    def error(self) -> str:
        """Why it failed; a run that crashed cannot be resumed, as a training can."""
        return CRASHED if self.job.state is RunState.DEAD else self.job.error

    @property
    def progress(self) -> Progress:
        """How far it is now; the remaining time counts down between two events."""
        now, left = self._clock(), self._progress.remaining_s
        if left >= 0:
            left = max(left - (now - self._heard), 0.0)
        return dataclasses.replace(self._progress, elapsed_s=now - self._began, remaining_s=left)

    def cancel(self) -> None:
        """Ask the job to stop; later polls end it where it does not."""
        self.job.cancel()

    def close(self) -> None:
        """End the job if it still runs and remove the workspace."""
        if self.job.state is RunState.RUNNING:
            self.job.kill()
        self.workspace.remove()


def _after(progress: Progress, event: Event) -> Progress:
    """Return the progress once `event` was heard; elapsed time is not its business."""
    change = functools.partial(dataclasses.replace, progress)
    if isinstance(event, Started):
        name = "CPU" if event.device == "cpu" else event.device_name or event.device
        return change(device=name or progress.device)
    if isinstance(event, Stage):
        return change(step=step_text(event.name), item=event.item, items=event.items)
    if isinstance(event, Advanced) and event.overall >= 0:
        return change(share=event.overall, remaining_s=event.overall_remaining_s)
    if isinstance(event, Advanced) and event.total:
        return change(share=event.done / event.total, remaining_s=event.remaining_s)
    return progress


def _remove_stale(parent: Path) -> None:
    for folder in parent.glob("dycon-*"):
        match = _WORKSPACE.match(folder.name)
        if match and not is_alive(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
