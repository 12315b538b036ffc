"""Jobs forked from a server that imported torch once, and a random moment to strike them at."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import torch

from Testing.engine.training import small_run

SERVER = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None
if SERVER is not None:
    SERVER.set_forkserver_preload(["Testing.faults.warm_training"])


class Whole(NamedTuple):
    """A job that nothing disturbed."""

    events: int
    seconds_per_event: float

    @staticmethod
    def of(run_dir: Path) -> Whole:
        """Measure it by what it said."""
        found = small_run.events(run_dir)
        return Whole(len(found), (found[-1]["time_s"] - found[0]["time_s"]) / len(found))


def start(job: Callable[..., int], *arguments: object) -> BaseProcess:
    """Run `job`, a function of a module, in a forked process; it ends with the code returned."""
    process = SERVER.Process(target=_quiet, args=(job, *arguments))
    process.start()
    return process


def lines(run_dir: Path) -> int:
    """Return how many lines events.jsonl has by now."""
    log = run_dir / "events.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_for_a_moment(
    process: BaseProcess, run_dir: Path, chance: random.Random, whole: Whole, *, first: int = 0
) -> None:
    """Return after a random number of new events, from `first` on, somewhere before the next one.

    Counted in events, not in seconds, so that a busy machine is struck in the same places.
    """
    wanted = lines(run_dir) + chance.randrange(first, whole.events)
    while process.is_alive() and lines(run_dir) < wanted:
        time.sleep(0.001)
    time.sleep(chance.uniform(0.0, whole.seconds_per_event))


def _quiet(job: Callable[..., int], *arguments: object) -> None:
    """Work alone in a process group, with one thread; the output is nobody's."""
    os.setpgid(0, 0)
    torch.set_num_threads(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sys.stdout = os.fdopen(os.dup(1), "w")
    sys.stderr = os.fdopen(os.dup(2), "w")
    raise SystemExit(job(*arguments))
