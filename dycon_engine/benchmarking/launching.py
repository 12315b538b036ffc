"""Many runs: one after the other here, or through submitit on this machine or a Slurm cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dycon_engine.benchmarking.running import RunSpec, run_one
from dycon_engine.errors import DyconError, InputError

LAUNCHERS = ("here", "local", "slurm")
POLL_S = 0.5


@dataclass(frozen=True)
class Launch:
    """How runs are started.

    Attributes:
        launcher: here, local or slurm.
        parallel: Runs at a time; `here` does one.
        folder: Where submitit keeps its files.
        options: Further parameters of submitit, e.g. slurm_partition.
    """

    launcher: str
    parallel: int
    folder: Path
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """Who hears of the runs.

    Attributes:
        on_done: Called with every run that is finished.
        check_cancelled: Raises CancelledError where no more should be done.
    """

    on_done: Callable[[RunSpec], None]
    check_cancelled: Callable[[], None]


def launch(specs: Sequence[RunSpec], how: Launch, watch: Watch) -> None:
    """Do every run that has no result yet.

    Raises:
        CancelledError: As `watch` raises it; jobs that were started are stopped.
        DyconError: Runs failed, once all others are done; call again to go on with them.
        InputError: submitit is not installed, or does not know an option.
    """
    waiting = [spec for spec in specs if not spec.result.exists()]
    failed = _here(waiting, watch) if how.launcher == "here" else _jobs(waiting, how, watch)
    if failed:
        raise DyconError(
            f"{len(failed)} of {len(specs)} runs failed: {'; '.join(failed)}; the others are "
            "finished, call the command again to go on"
        )


def _here(specs: Sequence[RunSpec], watch: Watch) -> list[str]:
    failed = []
    for spec in specs:
        watch.check_cancelled()
        try:
            run_one(spec)
        except DyconError as error:
            watch.check_cancelled()  # an interrupt reaches the training process too
            failed.append(str(error))
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
                running[spec] = executor.submit(run_one, spec)
            for spec in [spec for spec, job in running.items() if job.done()]:
                error = running.pop(spec).exception()
                if error is None:
                    watch.on_done(spec)
                else:
                    failed.append(f"run '{spec.name}': {str(error).strip().splitlines()[-1]}")
            time.sleep(POLL_S)
    finally:
        for job in running.values():
            job.cancel()
    return failed


def _executor(how: Launch) -> Any:
    try:
        import submitit  # noqa: PLC0415 - an optional part
    except ImportError:
        raise InputError(
            f"--launcher {how.launcher}: submitit is not installed; pip install submitit, or use "
            "--launcher here"
        ) from None
    executor = submitit.AutoExecutor(folder=how.folder, cluster=how.launcher)
    try:
        executor.update_parameters(**{"timeout_min": 60 * 72, **how.options})
    except (NameError, TypeError, ValueError) as error:
        words = str(error).strip().splitlines()[0]
        raise InputError(f"--launcher-option: {words}") from None
    return executor
