"""Whether this computer can segment: what is missing, its installation, what devices work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dycon_engine.errors import CancelledError, DyconError
from DyCONLib.preflight import Machine
from DyCONLib.signal import Signal


class InstallerLike(Protocol):
    """What is used of `DyCONLib.install.Installer`."""

    def ensure(self, begun: Callable[[], None]) -> bool:
        """Install what is missing once the person has agreed, which `begun` is told."""


class PreflightLike(Protocol):
    """What is used of `DyCONLib.preflight.Preflight`."""

    def poll(self) -> Machine | None:
        """Return the answer, None while there is none yet."""

    def kill(self) -> None:
        """Stop asking."""


class PythonLike(Protocol):
    """What is used of `DyCONLib.interpreters.EnginePython`."""

    @property
    def chosen(self) -> Path | None:
        """The interpreter of another environment; None for Slicer's own."""

    def missing(self) -> list[str]:
        """Return what the engine needs and the interpreter lacks."""

    def choose(self, folder: Path) -> None:
        """Run the engine in the environment in `folder`."""

    def forget(self) -> None:
        """Run the engine in Slicer's own Python again."""


class Setup:
    """The state of the setup page.

    Attributes:
        changed: Emitted without arguments when something below changed.
        python: Which Python runs the engine.
        missing: Packages that the engine needs and that Python lacks.
        installing: Whether they are being installed.
        machine: What the last check found; None before one.
        trouble: Why the last check failed; '' where it did not.
    """

    def __init__(
        self,
        python: PythonLike,
        installer: InstallerLike,
        preflight: Callable[[], PreflightLike],
    ) -> None:
        """Look what is missing; nothing is started."""
        self.changed = Signal()
        self.python = python
        self._installer, self._preflight = installer, preflight
        self._asked: PreflightLike | None = None
        self.missing = python.missing()
        self.installing = False
        self.machine: Machine | None = None
        self.trouble = ""

    @property
    def checking(self) -> bool:
        """Whether a check goes on."""
        return self._asked is not None

    def install(self) -> None:
        """Install what is missing after the installer's own question; a no changes nothing.

        Raises:
            DyconError: It could not be installed.
        """
        try:
            self._installer.ensure(self._begun)
        except CancelledError:
            return
        finally:
            self.installing = False
            self.look()

    def choose(self, folder: Path) -> None:
        """Run the engine in another environment from now on.

        Raises:
            DyconError: It cannot run the engine there.
        """
        self.python.choose(folder)
        self.machine, self.trouble = None, ""
        self.look()

    def use_own(self) -> None:
        """Run the engine in Slicer's own Python again.

        Raises:
            DyconError: The choice cannot be removed.
        """
        self.python.forget()
        self.machine, self.trouble = None, ""
        self.look()

    def look(self) -> None:
        """Look again what is missing; the other panel may have changed it."""
        self.missing = self.python.missing()
        self.changed.emit()

    def _begun(self) -> None:
        self.installing = True
        self.changed.emit()

    def check(self) -> None:
        """Start asking the engine what this computer can do."""
        if self._asked is None:
            self.machine, self.trouble = None, ""
            try:
                self._asked = self._preflight()
            except DyconError as error:
                self.trouble = str(error)
            self.changed.emit()

    def poll(self) -> None:
        """Take the answer if there is one; called by a timer."""
        if self._asked is None:
            return
        try:
            self.machine = self._asked.poll()
        except DyconError as error:
            self.trouble = str(error)
        if self.machine is not None or self.trouble:
            self._asked = None
            self.changed.emit()

    def close(self) -> None:
        """Stop asking."""
        if self._asked is not None:
            self._asked.kill()
            self._asked = None
