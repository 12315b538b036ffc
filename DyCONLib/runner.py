"""One engine process followed through its run directory: no threads, no Qt, nothing blocks.

A widget's timer calls `poll`; everything else follows from what the job wrote to disk. Because the
run directory is the interface, a training that was started before Slicer closed is followed the
same way, by `Job.attach`.
"""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from dycon_engine.errors import CancelledError, DyconError, InputError
from dycon_engine.jobs import client
from dycon_engine.jobs.client import EventTail, RunState, run_state
from dycon_engine.jobs.events import TERMINAL, Cancelled, Event, Failed, Finished, StepDone
from dycon_engine.jobs.events import Advanced as Progress
from dycon_engine.jobs.lock import holder, is_certain
from DyCONLib import lifeline, processes
from DyCONLib.interpreters import default_python
from DyCONLib.support_log import last_words, read_tail, support_log

GRACE_S = 4.0
KILL_S = 1.0
LINGER_S = 10.0
MOST_EVENTS = 500
STDERR = "stderr.txt"
ABNORMAL = "exit abnormally"  # CTK's launcher, which PythonSlicer is, of a process that was killed


class Job:
    """One engine process, followed through its run directory.

    `state` and `error` are as of the last `poll`. Between polls nothing happens: no thread, no
    open file, no signal.

    Attributes:
        run_dir: Where the job says how it is doing.
        earlier: What other jobs had said in that directory before this one began, for the curves
            of a training that goes on.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        process: subprocess.Popen[bytes] | None = None,
        tail: EventTail | None = None,
        earlier: Sequence[Event] = (),
        arguments: Sequence[str | Path] = (),
    ) -> None:
        """Follow `run_dir`; use `start` or `attach`."""
        self.run_dir = run_dir
        self.earlier = tuple(earlier)
        self._process = process
        self._tail = tail or EventTail(run_dir / "events.jsonl")
        self._arguments = tuple(arguments)
        self._noted: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._last: Event | None = None
        self._ended_at: float | None = None
        self._cancelled_at: float | None = None
        self._grace_s = GRACE_S
        self._terminated = False
        self._state = RunState.RUNNING if process is not None else run_state(run_dir)

    @classmethod
    def start(
        cls,
        job: str,
        arguments: Sequence[str | Path],
        *,
        run_dir: Path,
        python: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> Job:
        """Start `python -m dycon_engine.<job> <arguments> --run-dir <run_dir>`.

        Args:
            job: train, predict, ...
            arguments: Its command line without --run-dir; a `Path` may be relative.
            run_dir: Folder of the job; made if it is not there.
            python: Interpreter; without it `default_python()`.
            environment: What the child inherits; without it this process's own environment. In
                Slicer give `slicer.util.startupEnvironment()`: PythonSlicer adds what it needs.
            detached: True for a job that goes on when this process ends (training); otherwise it
                stops by itself within seconds after this process is gone.

        Raises:
            DyconError: It could not be started.
        """
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DyconError(
                f"run folder '{run_dir}': cannot be made ({error.strerror}); choose another"
            ) from error
        tail = EventTail(run_dir / "events.jsonl")
        earlier = tail.read()
        words = [*map(_absolute, arguments), "--run-dir", run_dir.resolve()]
        line = client.command(python or default_python(), job, words)
        process = processes.start(
            line.argv if detached else lifeline.with_lifeline(line.argv, job),
            cwd=run_dir if detached else line.cwd,  # an update may replace the extension meanwhile
            environment=processes.child_environment(line, environment),
            stderr=run_dir / STDERR,
        )
        return cls(run_dir, process=process, tail=tail, earlier=earlier, arguments=words)

    @classmethod
    def attach(cls, run_dir: Path) -> Job:
        """Follow a job that somebody else started, living or not; `poll` gives all it ever said."""
        return cls(run_dir)

    def poll(self) -> list[Event]:
        """Return what the job said since the last poll, and see to cancelling and ending."""
        code = self._exit_code()
        events = self._tail.read()
        for event in events:
            self._ended_at = time.monotonic() if isinstance(event, TERMINAL) else None
            if not isinstance(event, Progress | StepDone):
                self._noted.append(event)
            self._last = event
        self._state = self._state_of(code)
        self._press()
        return events

    @property
    def state(self) -> RunState:
        """How the job stands, as of the last poll; DEAD was killed from outside."""
        return self._state

    def cancel(self, *, grace_s: float = GRACE_S) -> None:
        """Ask the job to stop; where it has not after `grace_s` the next polls end its process.

        A second request changes nothing but the time that is left.
        """
        self._grace_s = grace_s
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
        try:
            client.request_cancel(self.run_dir)
        except OSError:  # the folder is gone or full: then by signal alone
            self._grace_s = 0.0

    def kill(self) -> None:
        """End the whole process tree now; for closing Slicer and for what did not stop."""
        pid = self.pid
        if pid is None:
            return
        if self._cancelled_at is None:
            self._cancelled_at = time.monotonic()
        processes.kill_tree(pid)
        if self._process is not None:
            processes.reap(self._process)
        self.poll()

    @property
    def error(self) -> str:
        """Why the job failed or died, for the person; empty while there is nothing wrong."""
        if self._state is RunState.FAILED:
            if isinstance(self._last, Failed):
                return str(self._last.message)
            return (
                last_words(self.run_dir / STDERR)
                or "the engine stopped without a reason; copy the log"
            )
        if self._state is RunState.DEAD:
            return (
                "the engine crashed or was ended from outside before it was done, as a system does "
                "when memory runs out; close other programs and start or resume it"
            )
        return ""

    @property
    def pid(self) -> int | None:
        """The head of the living process tree on this machine; None where none is certain."""
        if self._process is not None:
            return self._process.pid if self._process.returncode is None else None
        other = holder(self.run_dir / "lock")
        return other.pid if other is not None and is_certain(other) else None

    def log(self) -> str:
        """Return what happened as text for a bug report, without names, paths or scans."""
        return support_log(self._noted, read_tail(self.run_dir / STDERR), self._arguments)

    def _exit_code(self) -> int | None:
        """Return how the process ended, None while it runs; what it left running ends with it."""
        if self._process is None or self._process.returncode is not None:
            return self._process.returncode if self._process is not None else None
        code = self._process.poll()
        if code is not None:
            processes.kill_tree(self._process.pid)
        return code

    def _state_of(self, code: int | None) -> RunState:
        if self._process is None:
            state = run_state(self.run_dir)
        elif code is None:
            return RunState.RUNNING
        else:
            state = self._end_state(code)
        asked = self._cancelled_at is not None
        return RunState.CANCELLED if state is RunState.DEAD and asked else state

    def _end_state(self, code: int) -> RunState:
        ends = {Finished: RunState.FINISHED, Failed: RunState.FAILED, Cancelled: RunState.CANCELLED}
        for kind, state in ends.items():
            if isinstance(self._last, kind):
                return state
        if code == CancelledError.exit_code:
            return RunState.CANCELLED
        words = read_tail(self.run_dir / STDERR)
        orderly = code in (DyconError.exit_code, InputError.exit_code) and not _crashed(words)
        said = orderly and (self._last is None or "DyCON: " in words)
        return RunState.FAILED if said else RunState.DEAD

    def _press(self) -> None:
        """End the tree of a job that was asked to stop, or that ended, and still runs."""
        if self._state is not RunState.RUNNING:
            return
        now, pid = time.monotonic(), self.pid
        ended = self._ended_at if self._process is not None else None
        lingers = ended is not None and now - ended > LINGER_S
        waited = now - self._cancelled_at if self._cancelled_at is not None else -1.0
        if pid is None:
            return
        if lingers or waited >= self._grace_s + KILL_S:
            processes.kill_tree(pid)
        elif waited >= self._grace_s and not self._terminated:
            self._terminated = True
            processes.terminate_tree(pid)


def _crashed(stderr: str) -> bool:
    """Return whether Slicer's launcher, which ends in order itself, says that Python did not."""
    return ABNORMAL in stderr.rstrip().rpartition("\n")[2]


def _absolute(argument: str | Path) -> str | Path:
    """Return a path as the child finds it, which works in another folder; other words as is."""
    return argument.absolute() if isinstance(argument, Path) else argument
