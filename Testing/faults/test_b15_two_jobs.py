"""B15: one job per folder: twenty second jobs refused, twenty locks of killed jobs taken over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from dycon_engine.errors import DamagedFileError, InputError
from dycon_engine.jobs import lock
from dycon_engine.jobs.lock import RunLock, holder
from dycon_engine.training.checkpoint import CheckpointStore, decode
from Testing.engine.training import small_run

if sys.platform == "win32":
    pytest.skip("fork and SIGKILL", allow_module_level=True)

ROUNDS = 20
FORK = multiprocessing.get_context("fork")


def hold(path: Path, held, release) -> None:
    with RunLock(path):
        held.set()
        release.wait(60)


def held_by_child(path):
    held, release = FORK.Event(), FORK.Event()
    child = FORK.Process(target=hold, args=(path, held, release))
    child.start()
    assert held.wait(60)
    return child, release


def test_a_second_job_is_refused_with_the_holders_pid(tmp_path, capsys):
    path = tmp_path / "lock"
    child, release = held_by_child(path)
    for _ in range(ROUNDS):
        with pytest.raises(InputError, match=rf"process {child.pid} works in this folder"):
            RunLock(path).__enter__()
    assert holder(path).pid == child.pid
    data = small_run.write_scans(tmp_path / "data")
    assert small_run.run(data, tmp_path) == 2
    text = capsys.readouterr().err
    assert f"process {child.pid} works in this folder" in text
    assert text.count("\n") == 1
    assert not (tmp_path / "config.json").exists()
    release.set()
    child.join()
    assert holder(path) is None


def test_the_lock_of_a_killed_job_is_taken_over(tmp_path):
    path = tmp_path / "lock"
    for _ in range(ROUNDS):
        child, _release = held_by_child(path)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert path.exists()
        assert holder(path) is None
        with RunLock(path):
            assert holder(path).pid == os.getpid()


def compete(path: Path, start, wins, count: int) -> None:
    parse = lock._parse

    def hesitant(content):  # widens the moment between looking and taking
        time.sleep(0.001)
        return parse(content)

    lock._parse = hesitant  # of this process only
    start.wait(60)
    for _ in range(count):
        try:
            with RunLock(path):
                with wins.get_lock():
                    wins.value += 1
                    inside = wins.value
                time.sleep(0.002)  # hold it a moment, so that another could come in
                assert inside == 1, "two holders at once"
                with wins.get_lock():
                    wins.value -= 1
        except InputError:
            continue


def test_two_jobs_never_hold_the_lock_together(tmp_path):
    start, inside = FORK.Event(), FORK.Value("i", 0)
    jobs = [
        FORK.Process(target=compete, args=(tmp_path / "lock", start, inside, 30)) for _ in range(4)
    ]
    for job in jobs:
        job.start()
    start.set()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0, 0]


def write_often(folder: Path, count: int, mark: int) -> None:
    store = CheckpointStore(folder, keep=3)
    for _ in range(count):
        store.save(7, {"step": mark, "payload": bytes([mark]) * 20_000})


def test_two_writers_of_one_checkpoint_never_make_it_unreadable(tmp_path):
    writers = [FORK.Process(target=write_often, args=(tmp_path, 60, mark)) for mark in (1, 2)]
    for writer in writers:
        writer.start()
    reads, path = 0, tmp_path / "step-00000007.ckpt"
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            try:
                content = decode(path)
            except DamagedFileError as error:
                pytest.fail(f"unreadable after {reads} reads: {error}")
            assert content["payload"] == bytes([content["step"]]) * 20_000
            reads += 1
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert reads > 10
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
