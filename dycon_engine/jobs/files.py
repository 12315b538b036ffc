"""Files that are complete or absent: staged beside the target, synced, checked, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.machine import machine_id

_NAME_BYTES = 200  # of at most 255 that file systems allow, prefix included
_STALE = re.compile(r"^\.dycon-([0-9a-f]{8})-(\d+)-\d+-")
HELD = (5, 32)  # Windows: access denied, sharing violation
WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6)
TRIES = 10
LONGEST_WRITE_S = 24 * 3600.0  # a file that nothing was added to for so long is not being written
LONGEST_WINDOWS = 230  # characters of a path, of 260; what stands in front of staged names
_counter = itertools.count()


def atomic_write(
    path: Path,
    write: Callable[[Path], None],
    *,
    verify: Callable[[Path], None] | None = None,
) -> None:
    """Write `path` so that it holds the old content or the complete new one, never a part.

    Args:
        path: The target; its folder exists.
        write: Writes the whole content to the path it is given (same folder, same suffix).
        verify: Reads the staged file back and raises where it is not as wanted.

    Raises:
        DyconError: The disk is full or failed; one line naming the file and the free space.
        InputError: The folder is missing or may not be written.
    """
    staged = staged_path(path)
    try:
        remove_stale(path.parent)
        write(staged)
        sync_file(staged)
        if verify is not None:
            verify(staged)
        rename(staged, path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            staged.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make the folder `path`, and those above it, where they are not there yet.

    Raises:
        InputError: That is not possible there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"folder '{path}': cannot be made ({error.strerror}); choose another place"
        ) from error


def require_place(path: Path) -> None:
    """Check, before long work, that `path` can be written or its folder be made; leaves nothing.

    Raises:
        InputError: Its nearest folder that is there is a file or may not be written to.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    folder = there.parent if there == path and there.is_file() else there
    if not folder.is_dir() or not _may_write(folder):
        raise InputError(
            f"'{path}': cannot be written, '{folder}' is no folder that may be written to; choose "
            "another place"
        )


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 through `atomic_write`; what it cannot say (a name) is escaped."""
    content = text.encode("utf-8", "backslashreplace")
    atomic_write(path, lambda staged: _write_bytes(staged, content))


def write_json(path: Path, content: Any) -> None:
    """Write strict, readable JSON through `atomic_write`."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` through `atomic_write` and check by its sha256 that the disk kept it."""
    digest = hashlib.sha256(content).hexdigest()

    def verify(staged: Path) -> None:
        if sha256_of(staged) != digest:
            raise DyconError(f"'{path}': the disk returned other bytes than written; check it")

    atomic_write(path, lambda staged: _write_bytes(staged, content), verify=verify)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def staged_path(path: Path) -> Path:
    """Return a hidden name in the same folder with the same suffix, unique on this machine."""
    name = path.name.encode("utf-8", "surrogateescape")[-_NAME_BYTES:].decode("utf-8", "ignore")
    return path.with_name(f".dycon-{_host()}-{os.getpid()}-{next(_counter)}-{name}")


@contextlib.contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder in `folder`; what is made in it can be renamed out of it at once.

    It is made as any other. `tempfile` makes one for its owner alone, which on Windows the files
    renamed out of it keep, and there tries almost for ever where `folder` may not be written to.

    Raises:
        OSError: It cannot be made.
    """
    remove_stale(folder)
    made = _made_folder(folder / "parts")
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def rename(source: Path, target: Path) -> None:
    """Give a file or folder the name `target`, in place of a file that has it, at once.

    On Windows it is tried again where another program holds the file: a virus scanner or a backup
    opens new files for a moment, and the system refuses meanwhile.

    Raises:
        OSError: As the system says it.
    """
    waits = iter(WAITS_S)
    while True:
        try:
            os.replace(source, target)  # noqa: PTH105 - the call whose atomicity we rely on
        except PermissionError as error:
            wait = next(waits, None)
            if wait is None or getattr(error, "winerror", None) not in HELD:
                raise
            time.sleep(wait)
        else:
            return


def remove_stale(folder: Path) -> None:
    """Remove what is staged in `folder` and whose writer is gone.

    That is a process of this machine which no longer runs, or one of another machine, another
    container or from before the last start of this one, which wrote nothing for a day.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - the cheapest listing
            match = _STALE.match(name)
            if match and _is_left(folder / name, match[1], int(match[2])):
                _remove(folder / name)


def is_alive(pid: int) -> bool:
    """Return whether a process with this id runs on this machine."""
    if os.name == "nt":
        return _is_alive_windows(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has an id that large
        return False
    except PermissionError:
        return True
    return True


def sync_file(path: Path) -> None:
    """Return once the content of `path` is on the disk."""
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Return once the names in `folder` are on the disk (POSIX; Windows does it by itself)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


def write_error(path: Path, error: OSError) -> DyconError:
    """Return the one line that says why `path` could not be written and what to do."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DyconError(f"'{path}': disk full ({_free_space(path)} free); make room and repeat")
    if getattr(error, "winerror", None) == HELD[1]:
        return DyconError(
            f"'{path}': cannot be written, another program has it open; close that program and "
            "repeat"
        )
    if _is_too_long(path) and error.errno in (errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL):
        return InputError(
            f"'{path}': cannot be written, its {len(str(path.absolute()))} characters are too many "
            f"for Windows, where {LONGEST_WINDOWS} always fit; choose a folder with a shorter path"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        return InputError(
            f"'{path}': cannot be written ({reason}); choose a folder that exists and that you "
            "may write to"
        )
    return DyconError(
        f"'{path}': writing failed ({reason}; {_free_space(path)} free); check the disk and repeat"
    )


def _made_folder(path: Path) -> Path:
    """Make a folder with a free name as `staged_path` gives them, and return it."""
    for made in (staged_path(path) for _ in range(TRIES)):
        with contextlib.suppress(FileExistsError):  # of an earlier process with our id
            made.mkdir()
            return made
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_left(staged: Path, host: str, pid: int) -> bool:
    if host == _host():
        return not is_alive(pid)
    try:
        return time.time() - staged.lstat().st_mtime > LONGEST_WRITE_S
    except OSError:
        return False


def _may_write(folder: Path) -> bool:
    """Return whether files can be made there; on Windows only one that is made tells."""
    if os.name != "nt":
        return os.access(folder, os.W_OK)
    staged = staged_path(folder / "parts")
    try:
        staged.touch(exist_ok=False)
    except OSError:
        return False
    _remove(staged)
    return True


def _is_too_long(path: Path) -> bool:
    return os.name == "nt" and len(str(path.absolute())) > LONGEST_WINDOWS


def _free_space(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 2**20:.0f} MiB"
    except OSError:
        return "unknown space"


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)


def _host() -> str:
    return f"{zlib.crc32((machine_id() or platform.node()).encode('utf-8', 'replace')):08x}"


def _is_alive_windows(pid: int) -> bool:
    import ctypes  # noqa: PLC0415 - there only

    kernel = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009 - absent elsewhere
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:  # another person's process may not be asked: it lives
        return bool(getattr(ctypes, "get_last_error")() == HELD[0])  # noqa: B009
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # noqa: PLR2004 - STILL_ACTIVE
