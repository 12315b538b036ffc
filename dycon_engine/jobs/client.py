"""Outside a job, e.g. in a panel: how to start it, follow it, stop it and tell how it stands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from dycon_engine.jobs.events import Cancelled, Event, Failed, Finished, Unknown, from_line
from dycon_engine.jobs.lock import holder

TAIL_BYTES = 1 << 16


class Command(NamedTuple):
    """A child process to start: arguments, working folder, and environment to add."""

    argv: tuple[str, ...]
    cwd: Path
    environment: dict[str, str]


class RunState(StrEnum):
    """How a run directory stands; `DEAD` is a job that was killed and can be resumed."""

    ABSENT = "absent"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


_STATES: dict[type[Event], RunState] = {
    Finished: RunState.FINISHED,
    Failed: RunState.FAILED,
    Cancelled: RunState.CANCELLED,
}


def command(python: str | Path, job: str, arguments: Sequence[str | Path] = ()) -> Command:
    """Return how to start `job` (train, predict...) with the interpreter `python`."""
    argv = (str(python), "-m", f"dycon_engine.{job}", *(str(a) for a in arguments))
    folder = Path(__file__).resolve().parents[2]
    return Command(argv, folder, child_paths(folder, os.environ.get("PYTHONPATH", "")))


def child_paths(engine: Path, inherited: str) -> dict[str, str]:
    """Return the variables of a child that imports from `engine`, but never from where it works.

    Its working folder may be a run of another person, in which a `torch.py` would be run. An empty
    entry of PYTHONPATH means that folder, too.
    """
    paths = (str(engine), *(path for path in inherited.split(os.pathsep) if path))
    found = os.pathsep.join(map(os.path.abspath, paths))
    return {"PYTHONUTF8": "1", "PYTHONSAFEPATH": "1", "PYTHONPATH": found}


class EventTail:
    """Reads a growing events.jsonl; a line that is not complete yet waits for the next read."""

    def __init__(self, path: Path) -> None:
        """Start at the beginning of `path`, which may not exist yet."""
        self.path = path
        self._offset = 0

    def read(self) -> list[Event]:
        """Return the events that were added since the last read; broken lines are skipped."""
        try:
            with self.path.open("rb") as stream:
                if stream.seek(0, os.SEEK_END) < self._offset:  # a new file in its place
                    self._offset = 0
                stream.seek(self._offset)
                content = stream.read()
        except OSError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return _parse(complete)


def run_state(run_dir: Path) -> RunState:
    """Return how a run stands, from its lock and the last line of its events."""
    events = run_dir / "events.jsonl"
    if holder(run_dir / "lock") is not None:
        return RunState.RUNNING
    try:
        last = _last_event(events)
    except OSError:
        return RunState.ABSENT
    return RunState.DEAD if last is None else _STATES.get(type(last), RunState.DEAD)


def request_cancel(run_dir: Path) -> None:
    """Ask the job in `run_dir` to stop at the next good place."""
    (run_dir / "cancel").touch()


def _last_event(path: Path) -> Event | None:
    """Return the last event in a file, however long its line is; None where there is none."""
    with path.open("rb") as stream:
        size, tail = stream.seek(0, os.SEEK_END), TAIL_BYTES
        while True:
            stream.seek(max(0, size - tail))
            events = _parse(stream.read(tail))
            if events or tail >= size:
                return events[-1] if events else None
            tail *= 4


def _parse(content: bytes) -> list[Event]:
    lines = content.decode("utf-8", "replace").split("\n")
    events = (from_line(line) for line in lines)
    return [event for event in events if event is not None and not isinstance(event, Unknown)]
