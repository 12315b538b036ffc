"""Many runs: one after the other here, or through submitit on this machine or a Slurm cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dycon_engine.benchmarking.running import RunSpec, run_one
from dycon_engine.errors import DyconError, InputError
from dycon_engine.settings import parse_assignment

LAUNCHERS = ("here", "local", "slurm")
POLL_S = 0.5
REFUSALS = (AssertionError, NameError, OSError, RuntimeError, TypeError, ValueError)  # submitit's
_LOST = re.compile(r"has not produced any output \(state: (.*)\)")


@dataclass(frozen=True)
class Launch:
    """How runs are started.

    Attributes:
        launcher: here, local or slurm.
        parallel: Runs at a time; `here` does one.
        folder: Where submitit keeps its files.
        options: Further parameters of submitit, e.g. slurm_partition, as of `parse_option`.
    """

    launcher: str
    parallel: int
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """Who hears of the runs.

    Attributes:
        on_done: Called with every run that is finished.
        check_cancelled: Raises CancelledError where no more should be done.
    """

    on_done: Callable[[RunSpec], None]
    check_cancelled: Callable[[], None]


def parse_option(text: str) -> tuple[str, Any]:
    """Return name and value of `NAME=VALUE`: a number, true, false or a list, else text.

    Raises:
        InputError: It is not of that form.
    """
    name, equals, raw = text.partition("=")
    if not equals or not name.isidentifier():
        raise InputError(f"--launcher-option {text}: expected NAME=VALUE")
    value = parse_assignment(f"launcher.{text}")["launcher"][name]
    return name, value if isinstance(value, bool | int | float | str | list | dict) else raw


def launch(specs: Sequence[RunSpec], how: Launch, watch: Watch) -> None:
    """Do every run that has no result yet.

    Raises:
        CancelledError: As `watch` raises it; jobs that were started are stopped.
        DyconError: Runs failed, once all others are done; call again to go on with them.
        InputError: submitit is not installed, cannot be used here or refuses an option.
    """
    waiting = [spec for spec in specs if not spec.result.exists()]
    failed = _here(waiting, watch) if how.launcher == "here" else _jobs(waiting, how, watch)
    if failed:
        raise DyconError(
            f"{len(failed)} of {len(specs)} runs failed: {'; '.join(failed)}; the others are "
            "finished, mend what is named and call the command again to go on"
        )


def _here(specs: Sequence[RunSpec], watch: Watch) -> list[str]:
    failed = []
    for spec in specs:
        watch.check_cancelled()
        failure = _attempt(spec)
        if failure:
            watch.check_cancelled()  # an interrupt reaches the training process too
            failed.append(failure)
        else:
            watch.on_done(spec)
    return failed


def _jobs(specs: Sequence[RunSpec], how: Launch, watch: Watch) -> list[str]:
    executor = _executor(how)
    waiting, failed = list(specs), list[str]()
    running: dict[RunSpec, Any] = {}
    try:
        while waiting or running:
            watch.check_cancelled()
            while waiting and len(running) < how.parallel:
                spec = waiting.pop(0)
                try:
                    running[spec] = executor.submit(_attempt, spec)
                except REFUSALS as error:
                    failed.append(f"run '{spec.name}': {how.launcher} refused it ({_line(error)})")
            for spec in [spec for spec, job in running.items() if job.done()]:
                failure = _outcome(spec, running.pop(spec), how)
                if failure:
                    failed.append(failure)
                else:
                    watch.on_done(spec)
            time.sleep(POLL_S)
    finally:
        for job in running.values():
            job.cancel(check=False)
    return failed


def _attempt(spec: RunSpec) -> str:
    """Do a run; return why it failed, '' where it did not.

    A value, for a launcher buries an exception in words of its own.
    """
    try:
        run_one(spec)
    except DyconError as error:
        words = _line(error)
        return words if spec.name in words else f"run '{spec.name}': {words}"
    return ""


def _outcome(spec: RunSpec, job: Any, how: Launch) -> str:
    """Return why a job that is done failed, '' where it did not."""
    try:
        return next(filter(None, job.results()), "")
    except Exception as error:  # noqa: BLE001 - whatever ended one run, the others go on
        return f"run '{spec.name}': {_reason(str(error))}; all words are in '{how.folder}'"


def _reason(text: str) -> str:
    """Return the one line of submitit's report on a lost job that says why."""
    lost = _LOST.search(text)
    if lost:
        return f"the job ended without a result (state: {lost[1]})"
    lines = [line for line in text.splitlines() if line.strip()]
    rules = [number for number, line in enumerate(lines) if not line.strip("-")]
    return lines[rules[-1] - 1] if rules else " ".join(lines)  # a trace lies between two rules


def _executor(how: Launch) -> Any:
    try:
        import submitit  # noqa: PLC0415 - an optional part
    except ImportError:
        raise InputError(
            f"--launcher {how.launcher}: submitit is not installed; pip install submitit, or use "
            "--launcher here"
        ) from None
    try:
        executor = submitit.AutoExecutor(folder=how.folder, cluster=how.launcher)
    except REFUSALS as error:
        raise InputError(
            f"--launcher {how.launcher}: {_line(error)}; call it where jobs can be submitted, or "
            "use --launcher here or local"
        ) from None
    try:
        executor.update_parameters(**{"timeout_min": 60 * 72, **how.options})
    except REFUSALS as error:
        words = str(error).strip().splitlines()[0]
        raise InputError(f"--launcher-option: {words}; correct it") from None
    return executor


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
