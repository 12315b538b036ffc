"""The engine's jobs run at once in the test's own process: the same code, without the start-up."""

from __future__ import annotations

import contextlib
import importlib
import io
from pathlib import Path

from dycon_engine.jobs.client import EventTail, RunState, run_state
from dycon_engine.jobs.events import Failed


class InlineJob:
    """A job that is over when it was started; otherwise as DyCONLib.runner.Job."""

    earlier = ()
    pid = None

    def __init__(self, job: str, arguments, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        line = [str(word) for word in (*arguments, "--run-dir", run_dir)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            importlib.import_module(f"dycon_engine.{job}").main(line)
        self.state = RunState.RUNNING
        self.error = ""
        self._run_dir, self._tail = run_dir, EventTail(run_dir / "events.jsonl")

    def poll(self):
        """Return what it said."""
        events = self._tail.read()
        for event in events:
            if isinstance(event, Failed):
                self.error = event.message
        self.state = run_state(self._run_dir)
        return events

    def cancel(self, *, grace_s: float = 4.0) -> None:
        """Do nothing: it is over."""

    def kill(self) -> None:
        """Be over."""
        self.state = RunState.CANCELLED

    def log(self) -> str:
        """Return nothing."""
        return ""
