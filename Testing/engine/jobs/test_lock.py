"""One job per folder: see also Testing/faults/test_b15_two_jobs.py for whole processes."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import platform
import subprocess
import sys

import pytest

from dycon_engine.errors import InputError
from dycon_engine.jobs import lock
from dycon_engine.jobs.lock import RunLock, _start_time_ps, holder, is_certain, is_here, may_live

ON_WINDOWS = sys.platform == "win32"  # where an open file cannot be removed, so it is emptied


def dead_pid():
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    return int(child.stdout)


def test_a_second_job_is_refused_with_the_process_id_of_the_first(tmp_path):
    path = tmp_path / "lock"
    with RunLock(path):
        assert holder(path).pid == os.getpid()
        with pytest.raises(InputError, match=rf"process {os.getpid()} works in this folder"):
            RunLock(path).__enter__()
        assert holder(path).pid == os.getpid()
    assert not path.exists() or (ON_WINDOWS and path.read_bytes() == b"")
    assert holder(path) is None


def test_the_lock_is_freed_after_a_failure(tmp_path):
    with pytest.raises(ValueError, match="boom"), RunLock(tmp_path / "lock"):
        raise ValueError("boom")
    with RunLock(tmp_path / "lock"):
        pass


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    path = tmp_path / "lock"
    with RunLock(path):
        content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"pid": dead_pid()}))
    assert holder(path) is None
    with RunLock(path):
        assert holder(path).pid == os.getpid()


def test_a_later_process_with_the_same_id_is_not_the_holder(tmp_path):
    path = tmp_path / "lock"
    with RunLock(path):
        content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"started": "long ago"}))
    assert holder(path) is None


def test_another_machine_is_named_and_not_overruled(tmp_path):
    path = tmp_path / "lock"
    with RunLock(path):
        content = json.loads(path.read_text())
    other = {"pid": dead_pid(), "host": "gpu-box", "machine": "its own"}
    path.write_text(json.dumps(content | other))
    with pytest.raises(InputError, match=r"on 'gpu-box'.*delete"):
        RunLock(path).__enter__()


def test_this_machine_under_another_name_is_still_this_one(tmp_path):
    """A laptop's host name may follow the network."""
    path = tmp_path / "lock"
    with RunLock(path):
        content = json.loads(path.read_text()) | {"host": "name-at-home"}
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"works in this folder.*choose another folder"):
            RunLock(path).__enter__()
    path.write_text(json.dumps(content | {"pid": dead_pid()}))
    assert holder(path) is None


def test_a_lock_of_an_earlier_version_says_no_machine(tmp_path):
    path = tmp_path / "lock"
    with RunLock(path):
        content = json.loads(path.read_text())
        del content["machine"]
        path.write_text(json.dumps(content))
        assert holder(path).pid == os.getpid()
        path.write_text(json.dumps(content | {"host": "gpu-box"}))
        assert not is_here(holder(path))


def test_only_a_holder_with_a_known_start_is_certain(tmp_path):
    path = tmp_path / "lock"
    with RunLock(path):
        found = holder(path)
    assert is_certain(found)
    assert not is_certain(dataclasses.replace(found, started=""))
    assert not is_certain(dataclasses.replace(found, started="long ago"))


def said(pid):
    return f'{{"pid": {pid}, "started": "1", "host": {json.dumps(platform.node())}, "since": "x"}}'


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"pid": "x"}', "\x00\x00", "[" * 200_000),
        *map(said, ("Infinity", "NaN", "0", "-1", 10**20)),
    ],
    ids=lambda content: content[:20],
)
def test_a_damaged_lock_holds_nobody_out(tmp_path, content):
    path = tmp_path / "lock"
    path.write_text(content)
    with RunLock(path):
        assert holder(path).pid == os.getpid()


@pytest.mark.skipif(sys.platform == "win32", reason="ps")
def test_ps_says_the_same_in_every_language_and_time_zone(monkeypatch):
    found = set()
    for zone, language in (("UTC", "C"), ("Asia/Tokyo", "C"), ("America/New_York", "de_DE.UTF-8")):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", language)
        found.add(_start_time_ps(os.getpid()))
    assert len(found) == 1
    assert found != {None}


def refusing(monkeypatch, number):
    """Have the system give no locks on open files."""

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock, "_system_lock", refuse)


@pytest.mark.parametrize("number", lock.NO_LOCKS)
def test_on_a_share_without_locks_the_holder_in_the_file_guards(tmp_path, monkeypatch, number):
    refusing(monkeypatch, number)
    with RunLock(tmp_path / "lock"):
        assert holder(tmp_path / "lock").pid == os.getpid()
        with pytest.raises(InputError, match="works in this folder"):
            RunLock(tmp_path / "lock").__enter__()
    assert holder(tmp_path / "lock") is None


def test_a_lock_that_the_system_cannot_give_is_one_line(tmp_path, monkeypatch):
    refusing(monkeypatch, errno.EIO)
    with pytest.raises(InputError, match=r"lock': cannot be locked \(.*\); wait for the job in"):
        RunLock(tmp_path / "lock").__enter__()
    monkeypatch.undo()
    with RunLock(tmp_path / "lock"):
        refusing(monkeypatch, errno.EIO)  # leaving is no error


def test_a_folder_that_may_not_be_written_to_is_one_line(tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(lock.os, "open", refuse)
    with pytest.raises(InputError, match=r"lock': cannot be written .*choose a folder") as no:
        RunLock(tmp_path / "lock").__enter__()
    assert "\n" not in str(no.value)


def test_a_holder_that_may_not_be_asked_lives_and_may_be_another_program(tmp_path, monkeypatch):
    """On Windows a process of another person, or of the system that got the number since."""
    with RunLock(tmp_path / "lock"):
        found = dataclasses.replace(holder(tmp_path / "lock"), pid=4242)
    monkeypatch.setattr(lock, "is_alive", lambda pid: True)
    monkeypatch.setattr(lock, "start_time", lambda pid: None)
    assert may_live(found)
    (tmp_path / "lock").write_text(json.dumps(dataclasses.asdict(found)))
    with pytest.raises(InputError, match=r"or delete '.*lock' if that process is none of DyCON"):
        RunLock(tmp_path / "lock").__enter__()
