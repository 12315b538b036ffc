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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dycon_engine.errors import DyconError, InputError

_NAME_BYTES = 200  # of at most 255 that file systems allow, prefix included
_STALE = re.compile(r"^\.dycon-([0-9a-f]{8})-(\d+)-\d+-")
HELD = (5, 32)  # Windows: access denied, sharing violation
WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.6)
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
        _replace(staged, path)
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
    """Check, before long work, that `path` can be written or its folder be made; makes nothing.

    Raises:
        InputError: Its nearest folder that is there is a file or may not be written to.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    folder = there.parent if there == path and there.is_file() else there
    if not folder.is_dir() or not os.access(folder, os.W_OK):
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


def remove_stale(folder: Path) -> None:
    """Remove staged files in `folder` whose writer, a process of this machine, is gone."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - the cheapest listing
            match = _STALE.match(name)
            if match and match[1] == _host() and not is_alive(int(match[2])):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()


def is_alive(pid: int) -> bool:
    """Return whether a process with this id runs on this machine."""
    if os.name == "nt":
        return _is_alive_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
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
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        return InputError(
            f"'{path}': cannot be written ({reason}); choose a folder that exists and that you "
            "may write to"
        )
    return DyconError(
        f"'{path}': writing failed ({reason}; {_free_space(path)} free); check the disk and repeat"
    )


def _replace(staged: Path, path: Path) -> None:
    """Give `staged` the name `path`; on Windows try again where another program holds the file.

    A virus scanner or a backup opens new files for a moment, and the system refuses meanwhile.
    """
    waits = iter(WAITS_S)
    while True:
        try:
            os.replace(staged, path)  # noqa: PTH105 - the call whose atomicity we rely on
        except PermissionError as error:
            wait = next(waits, None)
            if wait is None or getattr(error, "winerror", None) not in HELD:
                raise
            time.sleep(wait)
        else:
            return


def _free_space(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free / 2**20:.0f} MiB"
    except OSError:
        return "unknown space"


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode('utf-8', 'replace')):08x}"


def _is_alive_windows(pid: int) -> bool:
    import ctypes  # noqa: PLC0415 - there only

    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - absent elsewhere
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # noqa: PLR2004 - STILL_ACTIVE
