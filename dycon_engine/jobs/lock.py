"""One job per run directory: the lock names its holder, and a dead holder's lock is taken over."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import is_alive, write_error
from dycon_engine.jobs.machine import machine_id

LARGEST_PID = 2**32
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: Its id, in the machine it runs on.
        started: When it began; tells it from a later process with the same id.
        host: Name of the machine, which on a laptop may change with the network.
        since: When it took the lock.
        machine: The machine by `machine_id`; "" where that is unknown.
    """

    pid: int
    started: str
    host: str
    since: str
    machine: str = ""


class RunLock:
    """Context manager that holds `path`; a second job is refused with the holder's process id."""

    def __init__(self, path: Path) -> None:
        """Name the lock file; its folder exists."""
        self.path = path

    def __enter__(self) -> RunLock:
        """Take the lock.

        Raises:
            InputError: A living process, or one of another machine, holds it, or it cannot be
                made or locked.
            DyconError: The disk is full or failed.
        """
        with _exclusive(self.path) as stream:
            other = _parse(stream.read())
            if other is not None and may_live(other):
                raise InputError(_refusal(self.path, other))
            stream.seek(0)
            stream.truncate()
            stream.write(json.dumps(asdict(_self())).encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the lock if it is still ours."""
        with contextlib.suppress(OSError, DyconError), _exclusive(self.path) as stream:
            other = _parse(stream.read())
            if other is not None and (other.pid, other.started) == (os.getpid(), _self().started):
                stream.truncate(0)  # empty is free, where an open file cannot be removed
                with contextlib.suppress(OSError):
                    self.path.unlink()


def holder(path: Path) -> Holder | None:
    """Return the process that holds the lock and may live; None where it is free or stale."""
    try:
        found = _parse(path.read_bytes())
    except OSError:
        return None
    return found if found is not None and may_live(found) else None


def may_live(found: Holder) -> bool:
    """Return False where the holder is certainly gone; another machine's cannot be asked."""
    if not is_here(found):
        return True
    if not is_alive(found.pid):
        return False
    started = start_time(found.pid)
    return started is None or not found.started or started == found.started


def is_here(found: Holder) -> bool:
    """Return whether the holder runs, or ran, on this machine."""
    same = bool(found.machine) and found.machine == machine_id()
    return same or found.host == platform.node()


def is_certain(found: Holder) -> bool:
    """Return whether the holder surely runs here: nothing less may be sent a signal."""
    return is_here(found) and bool(found.started) and start_time(found.pid) == found.started


def start_time(pid: int) -> str | None:
    """Return when a process began, in the system's own words; None where that is unknown.

    A process that ended but was not collected by its parent counts as gone: "ended".
    """
    if os.name == "nt":
        return _start_time_windows(pid)
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        with contextlib.suppress(OSError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            return "ended" if fields[0] in "ZX" else fields[19]
    return _start_time_ps(pid)


def _start_time_ps(pid: int) -> str | None:
    """Return it as `ps` says it, in the same words whatever the language and the time zone."""
    environment = os.environ | {"LC_ALL": "C", "LANG": "C", "TZ": "UTC"}
    words = ["ps", "-o", "lstart=", "-p", str(pid)]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(
            words, capture_output=True, text=True, timeout=5, check=True, env=environment
        )
        return found.stdout.strip() or None
    return None


def _start_time_windows(pid: int) -> str | None:
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - absent elsewhere
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return None
    created, *others = ((ctypes.c_ulong * 2)() for _ in range(4))  # each low and high 32 bits
    known = kernel.GetProcessTimes(handle, created, *others)
    kernel.CloseHandle(handle)
    return str(created[1] << 32 | created[0]) if known else None


def _self() -> Holder:
    pid = os.getpid()
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return Holder(pid, start_time(pid) or "", platform.node(), since, machine_id())


def _parse(content: bytes) -> Holder | None:
    try:
        table = json.loads(content)
        started, host, since = (str(table[name]) for name in ("started", "host", "since"))
        pid = int(table["pid"])
        found = Holder(pid, started, host, since, str(table.get("machine", "")))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return found if 0 < pid < LARGEST_PID else None  # 0 and below mean groups of processes


def _refusal(path: Path, other: Holder) -> str:
    where = "" if is_here(other) else f" on '{other.host}'"
    gone = "is gone" if where else "is none of DyCON"  # another person's: it cannot be asked
    doubt = f"delete '{path}' if that process {gone}"
    hint = "choose another folder" if is_certain(other) else doubt
    return (
        f"'{path.parent}': process {other.pid}{where} works in this folder since {other.since}; "
        f"wait for it, cancel it, or {hint}"
    )


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[BinaryIO]:
    """Open the lock file, created if absent, while no other process looks at it."""
    while True:
        with os.fdopen(_opened(path), "r+b") as stream:
            descriptor = stream.fileno()
            _wait_for_turn(path, descriptor)
            if _is_same_file(descriptor, path):
                yield stream
                return


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    except OSError as error:
        raise write_error(path, error) from error


def _wait_for_turn(path: Path, descriptor: int) -> None:
    """Wait for the system's lock; on shares that have none the holder in the file must do."""
    try:
        _system_lock(descriptor)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise InputError(
                f"'{path}': cannot be locked ({error.strerror}); wait for the job in this folder, "
                "or choose a folder on another disk"
            ) from error


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_ino, here.st_dev) == (there.st_ino, there.st_dev)


def _system_lock(descriptor: int) -> None:
    """Wait for the system's own lock on the open file; freed when it closes."""
    if os.name == "nt":
        import msvcrt  # noqa: PLC0415 - there only

        getattr(msvcrt, "locking")(descriptor, 1, 1)  # noqa: B009 - LK_LOCK, absent elsewhere
    else:
        import fcntl  # noqa: PLC0415 - there only

        fcntl.flock(descriptor, fcntl.LOCK_EX)
