"""Inside a job: says what happens, hears when to stop, and ends with exactly one terminal event."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from dycon_engine import __version__
from dycon_engine.errors import CancelledError, DyconError, OutOfMemoryError, printable
from dycon_engine.jobs.discretion import Discretion
from dycon_engine.jobs.event_file import EventFile
from dycon_engine.jobs.events import (
    TERMINAL,
    Advanced,
    Cancelled,
    CaseDone,
    Event,
    Failed,
    Finished,
    Started,
    StepDone,
    Warned,
    to_line,
)
from dycon_engine.jobs.failures import understood
from dycon_engine.jobs.files import make_folder
from dycon_engine.jobs.progress import Part, Progress
from dycon_engine.jobs.signals import let_children_end, stopping
from dycon_engine.jobs.terminal import Closing, TerminalView, figures

SIGNAL_GRACE_S = 1.0
PASSING = (Advanced, StepDone)  # worth nothing once later ones are said


class Reporter:
    """Writes events to RUN/events.jsonl, to stdout for programs, to stderr for people.

    Stdout carries JSON lines unless it is a terminal; then stderr carries a progress bar. A reader
    that went away never stops the job.
    """

    def __init__(
        self,
        job: str,
        run_dir: Path | None = None,
        *,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        closing: Closing = figures,
    ) -> None:
        """Report for `job`; without `run_dir` events are kept for a later `attach`.

        `closing` says the summary at a terminal.
        """
        self.job = job
        self.run_dir: Path | None = None
        self._began = time.time()
        self._stop = threading.Event()
        self._ended = False
        self._stdout: TextIO | None = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._discretion = Discretion()
        at_terminal = self._stdout is not None and self._stdout.isatty()
        self._view = TerminalView(self._stderr, closing) if at_terminal else None
        self._events: EventFile | None = None
        self._complained = False
        self._early: list[str] = []
        self._progress = Progress(job)
        if run_dir is not None:
            self.attach(run_dir)

    def __enter__(self) -> Reporter:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the view and the event file."""
        if self._view is not None:
            self._view.close()
        if self._events is not None:
            self._events.close()
            self._events = None

    def attach(self, run_dir: Path) -> None:
        """Continue `run_dir`/events.jsonl, with what was said before; forget an old cancel file.

        Raises:
            DyconError: It cannot be written.
        """
        self._events = EventFile(run_dir / "events.jsonl")
        self.run_dir = run_dir
        for line in self._early:
            self._write(line)
        self._early.clear()
        with contextlib.suppress(OSError):
            if (run_dir / "cancel").stat().st_mtime < self._began:
                (run_dir / "cancel").unlink()

    def cut_folders(self, *paths: Path) -> None:
        """Name no folder above `paths` in what is said from now on, not even in RUN/log.txt."""
        self._discretion.cut_folders(paths)

    def hide(self, names: Iterable[str]) -> None:
        """Keep `names` of cases out of RUN/log.txt, which is meant to be passed on."""
        self._discretion.hide(names)

    def emit(self, event: Event) -> None:
        """Say `event`; what comes after a terminal event is dropped."""
        if self._ended:
            return
        self._ended = isinstance(event, TERMINAL)
        if not event.time_s:
            event = dataclasses.replace(event, time_s=time.time())
        event = self._discretion.reworded(event)
        line = to_line(event)
        if self._events is None:
            self._early.append(line)
        else:
            self._write(line, passing=isinstance(event, PASSING))
        if self._view is not None:
            self._view.show(event)
        else:
            self._to_stdout(line)

    def computes_on(self, device: str, name: str) -> None:
        """Say again that the job runs, now with its device, e.g. cuda:0, and the device's name."""
        self.emit(
            Started(
                job=self.job, engine=__version__, device=device, device_name=name, pid=os.getpid()
            )
        )

    def stage(self, name: str, total: int = 0, *, done: int = 0, part: Part | None = None) -> None:
        """Begin a named part of `total` units, `done` of them from an earlier run.

        Args:
            name: Of the stage.
            total: 0 where unknown.
            done: What `advance` counts on from.
            part: Where it lies in a job of several cases, for the progress of the whole.
        """
        self.emit(self._progress.begin(name, total, done=done, part=part))

    def advance(self, done: int) -> None:
        """Say that `done` units of the stage are done; said twice a second at most."""
        event = self._progress.advanced(done)
        if event is not None:
            self.emit(event)

    def warn(self, topic: str, message: str) -> None:
        """Say something the person should know; `topic` is a stable word for programs."""
        self.emit(Warned(topic=topic, message=message))
        self.tell(f"Warning: {message}")

    def case_failed(self, case: str, error: Exception) -> None:
        """Say which case failed and why; of a fault of ours RUN/log.txt gets where it was."""
        text = str(error) if isinstance(error, DyconError) else self.understood(error)[0]
        self.emit(CaseDone(case=case, error=text))
        self.tell(f"DyCON: case '{case}': {text}")

    def understood(self, error: Exception) -> tuple[str, int]:
        """Return one line on a failure that is none of DyCON's own, and its exit code."""
        return understood(error, self.log, is_logged=self.run_dir is not None)

    def tell(self, text: str) -> None:
        """Write a line for people to stderr, and to RUN/log.txt without names."""
        text = printable(self._discretion.without_folders(text))
        if self._view is not None:
            self._view.line(text)
        else:
            with contextlib.suppress(OSError, ValueError):
                self._stderr.write(text + "\n")
                self._stderr.flush()
        self.log(text)

    def log(self, text: str) -> None:
        """Write a line to RUN/log.txt only; 'name 1' stands there for a name or a path."""
        if self.run_dir is not None:
            text = self._discretion.without_names(self._discretion.without_folders(text))
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            with (
                contextlib.suppress(OSError),
                (self.run_dir / "log.txt").open("a", encoding="utf-8", errors="replace") as stream,
            ):
                stream.write(f"{stamp} {text}\n")

    def cancelled(self) -> bool:
        """Return whether the job should stop: by signal or by RUN/cancel."""
        if self.run_dir is not None and (self.run_dir / "cancel").exists():
            self._stop.set()
        return self._stop.is_set()

    def stops_soon(self) -> bool:
        """Return whether the job should stop, also where the signal to it only just comes.

        A scheduler signals the processes of a job one by one, maybe those that it started first.
        """
        return self.cancelled() or (self._stop.wait(SIGNAL_GRACE_S) and self.cancelled())

    def cancel(self) -> None:
        """Ask the job to stop at the next good place."""
        self._stop.set()

    def check_cancelled(self) -> None:
        """Raise where the job should stop.

        Raises:
            CancelledError: It should.
        """
        if self.cancelled():
            raise CancelledError("stopped as asked")

    def _write(self, line: str, *, passing: bool = False) -> None:
        assert self._events is not None  # noqa: S101 - the callers asked
        error = self._events.add(line, passing=passing)
        if error is not None and not self._complained:
            self._complained = True
            reason = f"{error.strerror}; what is missing follows once that is possible"
            with contextlib.suppress(OSError, ValueError):
                self._stderr.write(f"Warning: events.jsonl cannot be written now ({reason})\n")

    def _to_stdout(self, line: str) -> None:
        if self._stdout is None:
            return
        try:
            self._stdout.write(line + "\n")
            self._stdout.flush()
        except (OSError, ValueError):  # the reader went away
            _silence(self._stdout)
            self._stdout = None


def run_job(
    job: str,
    main: Callable[[Reporter], dict[str, Any]],
    *,
    run_dir: Path | None = None,
    closing: Closing = figures,
) -> int:
    """Run `main` as a job and return its exit code: 0 done, 1 failed, 2 bad input, 3 cancelled.

    `run_dir` is made where it is not there. `main` returns the summary of the `finished` event;
    a terminal shows what `closing` says of it. Every failure is one line on stderr; what was not
    foreseen leaves its trace in RUN/log.txt. The first SIGINT or SIGTERM sets
    `Reporter.cancelled`, a second SIGINT stops at once.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]

    def work(reporter: Reporter) -> dict[str, Any]:
        if run_dir is not None:
            make_folder(run_dir)
            reporter.attach(run_dir)
        return main(reporter)

    with Reporter(job, closing=closing) as reporter, stopping(reporter.cancel):
        reporter.emit(Started(job=job, engine=__version__, pid=os.getpid()))
        code, last = _outcome(work, reporter)
        _forget_cancel(reporter)
        if isinstance(last, Failed):
            for line in last.message.split("\n"):
                reporter.tell(f"DyCON: {line}")
        elif isinstance(last, Cancelled):
            reporter.tell(f"Cancelled: {last.message}")
        reporter.emit(last)
    return code


def _outcome(
    main: Callable[[Reporter], dict[str, Any]], reporter: Reporter
) -> tuple[int, Finished | Failed | Cancelled]:
    try:
        return 0, Finished(summary=main(reporter))
    except CancelledError as error:
        return error.exit_code, Cancelled(message=str(error))
    except KeyboardInterrupt:
        return CancelledError.exit_code, Cancelled(message="stopped at once")
    except DyconError as error:
        code = error.exit_code
        return code, Failed(message=str(error), exit_code=code, topic=error.topic)
    except Exception as error:  # noqa: BLE001 - the one place where every failure ends
        let_children_end()
        failure, code = reporter.understood(error)
        if reporter.stops_soon():  # who stops the job may end what it needs before
            return CancelledError.exit_code, Cancelled(message=f"stopped as asked; {failure}")
        topic = OutOfMemoryError.topic if isinstance(error, MemoryError) else ""
        return code, Failed(message=failure, exit_code=code, topic=topic)


def _forget_cancel(reporter: Reporter) -> None:
    if reporter.run_dir is not None:
        with contextlib.suppress(OSError):
            (reporter.run_dir / "cancel").unlink()


def _silence(stream: TextIO) -> None:
    """Point a broken stream at nothing, so that its flush at exit cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
