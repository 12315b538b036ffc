"""What is said of a failure nobody put into words: one line, and its place for a bug report."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from dycon_engine.errors import DyconError, InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)


def understood(error: Exception, log: Callable[[str], None], *, is_logged: bool) -> tuple[str, int]:
    """Return one line on `error` and the exit code; `log` gets where it was.

    Args:
        error: Any but a `DyconError`.
        log: Takes a line.
        is_logged: Whether that leads anywhere.
    """
    try:
        line = _told(error, log, is_logged=is_logged)
        known = system_failure(error) if isinstance(error, OSError) else None
    except Exception:  # noqa: BLE001 - a signal's handler may raise here too
        return f"unexpected {type(error).__name__}", 1
    return (line, 1) if known is None else (str(known), known.exit_code)


def system_failure(error: OSError) -> DyconError | None:
    """Return what the system refused at a file; None where it is something else."""
    where = f"'{error.filename}': " if error.filename else ""
    if error.errno in NO_ROOM:
        return DyconError(f"{where}disk full; make room and repeat")
    if error.errno is None or not where:
        return None
    reason = os.strerror(error.errno)
    if error.errno in NOT_OURS:
        return InputError(
            f"{where}cannot be opened ({reason}); check that it is there and that you may use its "
            "folder"
        )
    return DyconError(f"{where}failed ({reason}); check the disk and repeat")


def _told(error: Exception, log: Callable[[str], None], *, is_logged: bool) -> str:
    for frame in traceback.extract_tb(error.__traceback__):  # names only: a path may name a person
        log(f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}")
    log(f"{type(error).__name__}: {error}")
    if os.environ.get("DYCON_DEBUG"):
        traceback.print_exception(error)
    words = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, MemoryError):
        return f"memory ran out ({words}); close other programs or use a machine with more memory"
    where = "log.txt of the run says where" if is_logged else "DYCON_DEBUG=1 shows where"
    return f"unexpected {type(error).__name__}: {words} ({where})"
