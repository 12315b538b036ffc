"""Files are complete or absent, whatever fails on the way."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs import files


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_new_content_replaces_the_old(tmp_path):
    target = tmp_path / "a.txt"
    files.write_text(target, "old")
    files.write_text(target, "n\u00e9w")
    assert target.read_text(encoding="utf-8") == "n\u00e9w"
    assert names(tmp_path) == ["a.txt"]


def test_the_staged_file_has_the_same_folder_and_suffix(tmp_path):
    seen = []

    def write(staged):
        seen.append(staged)
        staged.write_bytes(b"x")

    files.atomic_write(tmp_path / "a.nii.gz", write)
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith(".")
    assert seen[0].name.endswith("a.nii.gz")


def test_a_long_name_stays_within_what_file_systems_allow(tmp_path):
    target = tmp_path / ("\u60a3" * 80 + ".json")
    files.write_json(target, {"a": 1})
    assert names(tmp_path) == [target.name]


@pytest.mark.skipif(sys.platform == "win32", reason="folders are synced by the system")
def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path, monkeypatch
):
    """Else a power failure can leave a file that has its name and not its content."""
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("folder" if is_folder else f"content of {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *names: done.append("name") or replace(*names))
    files.write_text(tmp_path / "a.txt", "new")
    assert done == ["content of 3", "name", "folder"]


def test_a_failed_check_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def verify(staged):
        raise DyconError("not as wanted")

    with pytest.raises(DyconError, match="not as wanted"):
        files.atomic_write(target, lambda p: p.write_bytes(b"new") and None, verify=verify)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path):
    def write(staged):
        staged.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.atomic_write(tmp_path / "a.txt", write)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, DyconError, "disk full"),
        (errno.EIO, DyconError, "writing failed"),
        (errno.EACCES, InputError, "cannot be written"),
    ],
)
def test_the_error_is_one_line_naming_the_file_and_what_to_do(tmp_path, number, kind, words):
    def write(staged):
        staged.write_bytes(b"half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(kind) as caught:
        files.atomic_write(tmp_path / "a.txt", write)
    message = str(caught.value)
    assert words in message
    assert "a.txt" in message
    assert "\n" not in message
    assert number != errno.ENOSPC or "MiB free" in message
    assert names(tmp_path) == []


def test_bytes_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_write_bytes", lambda path, content: path.write_bytes(b"rot"))
    with pytest.raises(DyconError, match="other bytes than written"):
        files.write_bytes(tmp_path / "a.bin", b"wanted")
    assert names(tmp_path) == []


def test_temporary_files_of_a_dead_writer_are_removed_and_others_stay(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    dead = files.staged_path(tmp_path / "a.txt").name.replace(
        f"-{os.getpid()}-", f"-{int(child.stdout)}-"
    )
    elsewhere = ".dycon-00000000-1-0-b.txt"  # another machine on a shared disk
    mine = files.staged_path(tmp_path / "c.txt").name
    for name in (dead, elsewhere, mine, ".hidden"):
        (tmp_path / name).write_text("x")
    files.remove_stale(tmp_path)
    assert names(tmp_path) == sorted([elsewhere, mine, ".hidden"])


def test_what_another_container_is_writing_stays_and_what_it_left_goes(tmp_path, monkeypatch):
    """Containers that share a folder may have one host name and the same process ids."""
    monkeypatch.setattr(files, "machine_id", lambda: "boot pid:[1]")
    theirs = [files.staged_path(tmp_path / name) for name in ("living.nii", "left.nii")]
    for path in theirs:
        path.write_text("x")
    os.utime(theirs[1], (time.time() - 2 * files.LONGEST_WRITE_S,) * 2)
    monkeypatch.setattr(files, "machine_id", lambda: "boot pid:[2]")
    monkeypatch.setattr(files, "is_alive", lambda pid: False)
    files.remove_stale(tmp_path)
    assert names(tmp_path) == [theirs[0].name]


def test_a_name_that_is_not_utf8_is_written_escaped(tmp_path):
    files.write_text(tmp_path / "table.csv", "1,sc\udce4n\n")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "1,sc\\udce4n\n"


def held(monkeypatch, times, winerror):
    """Have the system refuse `os.replace` so often, as Windows does; return what was waited."""
    replace, waits, refused = os.replace, [], iter(range(times))

    def refusing(source, target):
        if next(refused, None) is not None:
            error = PermissionError(errno.EACCES, "in use")
            error.winerror = winerror
            raise error
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", refusing)
    monkeypatch.setattr(files.time, "sleep", waits.append)
    return waits


@pytest.mark.parametrize("winerror", files.HELD)
def test_a_file_that_another_program_holds_for_a_moment_is_tried_again(
    tmp_path, monkeypatch, winerror
):
    waits = held(monkeypatch, 3, winerror)
    files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert waits == list(files.WAITS_S[:3])


def test_a_file_that_stays_held_is_told_after_some_seconds(tmp_path, monkeypatch):
    waits = held(monkeypatch, 100, 32)
    with pytest.raises(DyconError, match="another program has it open; close that program"):
        files.write_text(tmp_path / "a.txt", "new")
    assert 2.0 < sum(waits) < 10.0
    assert names(tmp_path) == []


def test_a_refusal_that_is_none_of_windows_is_told_at_once(tmp_path, monkeypatch):
    waits = held(monkeypatch, 1, None)
    with pytest.raises(InputError, match="cannot be written"):
        files.write_text(tmp_path / "a.txt", "new")
    assert waits == []


def test_a_folder_is_renamed_with_the_same_patience(tmp_path, monkeypatch):
    waits = held(monkeypatch, 2, 5)
    (tmp_path / "a").mkdir()
    files.rename(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["b"]
    assert len(waits) == 2


def test_a_staging_folder_is_one_as_any_other_and_gone_afterwards(tmp_path):
    (tmp_path / "plain").mkdir()
    with files.staging_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".dycon-")
        assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode
        (folder / "a.txt").write_text("x")
        files.rename(folder / "a.txt", tmp_path / "a.txt")
        (folder / "series").mkdir()
        (folder / "series" / "left").write_text("x")
    assert names(tmp_path) == ["a.txt", "plain"]


@pytest.mark.parametrize("kind", [PermissionError, FileNotFoundError])
def test_a_staging_folder_that_cannot_be_made_is_told_at_once(tmp_path, monkeypatch, kind):
    tries = []

    def mkdir(path):
        tries.append(path)
        raise kind(errno.EACCES, "no")

    monkeypatch.setattr(files.Path, "mkdir", mkdir)
    with pytest.raises(kind), files.staging_folder(tmp_path):
        pass
    assert len(tries) == 1


def test_a_name_that_an_earlier_process_left_is_passed_by(tmp_path, monkeypatch):
    with files.staging_folder(tmp_path) as folder:
        number = int(folder.name.split("-")[3])
    for later in range(number + 1, number + 4):
        (tmp_path / folder.name.replace(f"-{number}-", f"-{later}-")).mkdir()
    with files.staging_folder(tmp_path) as other:
        assert int(other.name.split("-")[3]) == number + 4
    monkeypatch.setattr(files, "staged_path", lambda path: tmp_path)
    with pytest.raises(FileExistsError), files.staging_folder(tmp_path):
        pass


def test_a_staging_folder_of_a_dead_process_is_removed(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    with files.staging_folder(tmp_path) as mine:
        dead = tmp_path / mine.name.replace(f"-{os.getpid()}-", f"-{int(child.stdout)}-")
        dead.mkdir()
        (dead / "part").write_text("x")
        files.remove_stale(tmp_path)
        assert names(tmp_path) == [mine.name]


@pytest.fixture
def on_windows(monkeypatch):
    """Have the module see Windows."""
    monkeypatch.setattr(files, "os", SimpleNamespace(**{**vars(os), "name": "nt"}))


@pytest.mark.parametrize(("error", "alive"), [(5, True), (87, False)])
def test_a_process_that_may_not_be_asked_on_windows_is_alive(on_windows, monkeypatch, error, alive):
    kernel = SimpleNamespace(OpenProcess=lambda *_arguments: 0)
    windows = SimpleNamespace(
        WinDLL=lambda name, use_last_error: kernel, get_last_error=lambda: error
    )
    monkeypatch.setitem(sys.modules, "ctypes", windows)
    assert files.is_alive(4242) is alive


def test_a_path_too_long_for_windows_is_told_as_such(on_windows, tmp_path):
    long = tmp_path / ("x" * 240) / "a.txt"
    missing = FileNotFoundError(errno.ENOENT, "The system cannot find the path specified")
    error = files.write_error(long, missing)
    assert isinstance(error, InputError)
    assert "too many for Windows, where 230 always fit; choose a folder with a shorter" in str(
        error
    )
    assert str(len(str(long))) in str(error)
    assert "choose a folder that exists" in str(files.write_error(tmp_path / "a.txt", missing))
    assert "disk full" in str(files.write_error(long, OSError(errno.ENOSPC, "no space")))


def test_on_windows_only_a_file_that_is_made_tells_whether_a_folder_may_be_written_to(
    on_windows, tmp_path, monkeypatch
):
    files.require_place(tmp_path / "results" / "a.nii.gz")
    assert names(tmp_path) == []

    def touch(path, exist_ok):
        assert path.parent == tmp_path
        raise PermissionError(errno.EACCES, "Access is denied")

    monkeypatch.setattr(files.Path, "touch", touch)
    with pytest.raises(InputError, match="is no folder that may be written to"):
        files.require_place(tmp_path / "results" / "a.nii.gz")
