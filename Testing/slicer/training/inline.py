"""The engine's jobs run at once in the test's own process: the same code, without the start-up."""

from __future__ import annotations

import contextlib
import importlib
import io
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dycon_engine.data import loader, survey
from dycon_engine.jobs.client import EventTail, RunState, run_state
from dycon_engine.jobs.events import Failed


class OneByOne:
    """In the place of a thread pool: the engine's own process may have threads, a panel not."""

    def __init__(self, _count=1, **_named) -> None:
        """Need nothing."""

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    map = staticmethod(map)

    @staticmethod
    def submit(work, *arguments):
        """Do it now."""
        future = Future()
        future.set_result(work(*arguments))
        return future


class InlineJob:
    """A job that is over when it was started; otherwise as DyCONLib.runner.Job."""

    earlier = ()
    pid = None

    def __init__(self, job: str, arguments, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        line = [str(word) for word in (*arguments, "--run-dir", run_dir)]
        survey.ThreadPoolExecutor = loader.ThreadPoolExecutor = OneByOne
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                importlib.import_module(f"dycon_engine.{job}").main(line)
            finally:
                survey.ThreadPoolExecutor = loader.ThreadPoolExecutor = ThreadPoolExecutor
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


class InlineEngine:
    """In the place of `launching.Engine`: every job, training too, in this process."""

    def job(self, name, arguments, run_dir):
        """Run a short job."""
        return InlineJob(name, arguments, run_dir)

    def start(self, arguments, run_dir):
        """Train."""
        return InlineJob("train", arguments, run_dir)

    def attach(self, run_dir):
        """Follow what lies there."""
        from DyCONLib.runner import Job

        return Job.attach(run_dir)

    def ask(self, arguments):
        """Nothing is asked: the methods are remembered."""
        raise AssertionError(arguments)
