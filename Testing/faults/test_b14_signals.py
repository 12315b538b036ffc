"""B14: a job that is interrupted, terminated or killed anywhere leaves nothing behind.

Training with two loading processes, and segmenting a folder, are struck after a random number of
events. What else can end a job has its tests elsewhere: a closed pipe in `test_reporter.py`, a
killed application in `Testing/slicer/test_lib_runner.py`. CI: 30 strikes; `-m slow`: 300.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from dycon_engine import predict
from dycon_engine.data.formats.readers import read_label
from dycon_engine.jobs.lock import holder
from dycon_engine.training.checkpoint import CheckpointStore
from Testing import tiny_package
from Testing.engine.training import small_run
from Testing.faults import forked

if sys.platform == "win32":
    pytest.skip("fork and signals", allow_module_level=True)

WAYS = ("SIGINT", "SIGTERM", "SIGKILL")
LIMIT_S = 60.0  # of a machine that does other things besides; a free one needs a second


def train(folder: Path, run_dir: Path) -> int:
    settings = ("training.steps=8", "training.save_every=2", "training.workers=2")
    return small_run.run(folder / "data", run_dir, *settings)


def segment(folder: Path, run_dir: Path) -> int:
    line = ["--package", str(folder / "tiny.dycon"), "--input", str(folder / "data" / "images")]
    results = ["--output", str(run_dir / "out"), "--uncertainty", str(run_dir / "uncertainty")]
    return predict.main([*line, *results, "--run-dir", str(run_dir), "--device", "cpu"])


def within(temporary: str, name: str, folder: Path, run_dir: Path) -> int:
    """Do the job as if started by itself, with its own folder for temporary files."""
    multiprocessing.set_start_method("fork", force=True)
    tempfile.tempdir = temporary
    return JOBS[name](folder, run_dir)


JOBS = {"train": train, "segment": segment}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scans and a package."""
    folder = tmp_path_factory.mktemp("signals")
    small_run.write_scans(folder / "data")
    tiny_package.save(folder / "tiny.dycon")
    return folder


def group(pid: int) -> list[psutil.Process]:
    """Return the processes that live in the group of `pid`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def strike(process, way: str) -> None:
    """Interrupt or terminate the process, or kill it with all it started."""
    with contextlib.suppress(ProcessLookupError):  # it came to its end just now
        if way == "SIGKILL":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, getattr(signal, way))


def nothing_is_left(process, run_dir: Path, temporary: str, way: str) -> str:
    """Look at what the job left; return its last event."""
    pid, end = process.pid, time.monotonic() + LIMIT_S
    process.join(LIMIT_S)
    while group(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert group(pid) == []
    assert holder(run_dir / "lock") is None
    events = small_run.events(run_dir)
    for path in (run_dir / "out").glob("[!.]*.nii.gz"):
        read_label(path)
    CheckpointStore(run_dir / "checkpoints", keep=3).load_newest(pytest.fail)
    if way != "SIGKILL":
        assert events[-1]["event"] in ("finished", "cancelled"), events[-1]
        assert list(run_dir.rglob(".dycon-*")) == []
        assert not (run_dir / "cache").exists()
        assert not (run_dir / "lock").exists()
    assert [path for path in Path(temporary).rglob("*") if path.is_file()] == []
    return str(events[-1]["event"])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("points", [5, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", JOBS)
def test_struck_anywhere(folder, tmp_path, name, way, points):
    chance, ends = random.Random(f"{name} {way}"), []
    with tempfile.TemporaryDirectory() as temporary:  # a short name, for sockets
        process = forked.start(within, temporary, name, folder, tmp_path / "whole")
        process.join()
        assert process.exitcode == 0
        whole = forked.Whole.of(tmp_path / "whole")
        for number in range(points):
            run_dir = tmp_path / f"run{number}"
            process = forked.start(within, temporary, name, folder, run_dir)
            forked.wait_for_a_moment(process, run_dir, chance, whole, first=1)
            strike(process, way)
            ends.append(nothing_is_left(process, run_dir, temporary, way))
    assert len(ends) - ends.count("finished") >= points // 3, ends
