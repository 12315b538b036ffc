"""events.jsonl as a job writes it: whole lines, also those that a full disk kept back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dycon_engine.jobs.files import write_error


class EventFile:
    """Lines added to a file; those that could not be written are tried again with the next one."""

    def __init__(self, path: Path) -> None:
        """Open `path` to add to it, or make it.

        Raises:
            DyconError: That is not possible.
        """
        self.path = path
        self._missed: list[bytes] = []
        try:
            self._descriptor: int | None = _opened(path)
        except OSError as error:
            raise write_error(path, error) from error

    def add(self, line: str, *, passing: bool = False) -> OSError | None:
        """Write `line` after those that were missed; return why that was not possible.

        `passing` is said of a line that is worth nothing later.
        """
        self._missed.append(line.encode("utf-8") + b"\n")
        try:
            self._catch_up()
        except OSError as error:
            self._let_go()
            if passing:
                self._missed.pop()
            return error
        return None

    def close(self) -> None:
        """Close the file; what was missed is tried once more."""
        with contextlib.suppress(OSError):
            self._catch_up()
        self._let_go()

    def _catch_up(self) -> None:
        if self._missed and self._descriptor is None:
            self._descriptor = _opened(self.path)
        while self._missed and self._descriptor is not None:
            _write_whole(self._descriptor, self._missed[0])
            del self._missed[0]

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _opened(path: Path) -> int:
    """Return a descriptor at the end of `path`; a job that was killed may have left half a line."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        if end:
            os.lseek(descriptor, end - 1, os.SEEK_SET)
            if os.read(descriptor, 1) != b"\n":
                _write_whole(descriptor, b"\n")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write_whole(descriptor: int, content: bytes) -> None:
    """Write all of `content` or nothing of it, where the file can be shortened again."""
    before = os.fstat(descriptor).st_size
    done = 0
    try:
        while done < len(content):
            done += os.write(descriptor, content[done:])
    except OSError:
        if done:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, before)
        raise
