"""Writing a file that takes its time: a little at every poll, one file at a time, without Qt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from pathlib import Path

from dycon_engine.errors import DyconError, InputError
from DyCONLib.signal import Signal

# yields words of what goes on, returns what else there is to say; closing it leaves nothing
Steps = Generator[str, None, str]


class Writing:
    """Follows what writes a file.

    Attributes:
        changed: Emitted without arguments when `words` or `busy` changed.
        failed: Emitted with one sentence; a file that was there before is as it was.
        words: What goes on, or what became of the last file.
    """

    def __init__(self) -> None:
        """Be idle."""
        self.changed, self.failed = Signal(), Signal()
        self.words = ""
        self._stepping = False  # a step may ask the person, and the timer goes on meanwhile
        self._steps: Steps | None = None
        self._path = Path()

    @property
    def busy(self) -> bool:
        """Whether a file is being written."""
        return self._steps is not None

    def start(self, write: Callable[[Path], Steps | None], path: Path) -> None:
        """Let `write` write the file at `path`; it may be done at once.

        Raises:
            InputError: Another file is being written.
            DyconError: As `write`.
        """
        if self.busy:
            raise InputError("a file is being written; wait for it or cancel it")
        self.words = ""
        self._steps, self._path = write(path), path
        if self._steps is None:
            self._end(f"'{path.name}' is written")
        else:
            self._step(self._steps)

    def poll(self) -> None:
        """Do a little more; called by a timer."""
        if self._steps is None or self._stepping:
            return
        try:
            self._step(self._steps)
        except DyconError as error:
            self.failed.emit(str(error))
        except Exception as error:  # it is over all the same, and the person is told
            logging.getLogger("DyCON").exception("the file could not be written")
            name, reason = self._path.name, f"{type(error).__name__}: {error}"
            self.failed.emit(f"'{name}' could not be written ({reason})")

    def cancel(self) -> None:
        """Stop; nothing of the file is left. A step that goes on cannot be stopped."""
        if self._steps is not None and not self._stepping:
            self._steps.close()
            self._end("Cancelled; nothing was written")

    def _step(self, steps: Steps) -> None:
        self._stepping = True
        try:
            self.words = f"{next(steps)}..."
        except StopIteration as end:
            self._end(f"'{self._path.name}' is written{f'; {end.value}' if end.value else ''}")
            return
        except BaseException:
            self._end("")
            raise
        finally:
            self._stepping = False
        self.changed.emit()

    def _end(self, words: str) -> None:
        self.words, self._steps = words, None
        self.changed.emit()
