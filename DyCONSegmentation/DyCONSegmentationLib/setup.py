"""Whether this computer can segment: what is missing, its installation, what devices work."""

from __future__ import annotations

from collections.abc import Callable
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


class Setup:
    """The state of the setup page.

    Attributes:
        changed: Emitted without arguments when something below changed.
        missing: Packages that the engine needs and this Python lacks.
        installing: Whether they are being installed.
        machine: What the last check found; None before one.
        trouble: Why the last check failed; '' where it did not.
    """

    def __init__(
        self,
        missing_packages: Callable[[], list[str]],
        installer: InstallerLike,
        preflight: Callable[[], PreflightLike],
    ) -> None:
        """Look what is missing; nothing is started."""
        self.changed = Signal()
        self._missing_packages, self._installer, self._preflight = (
            missing_packages,
            installer,
            preflight,
        )
        self._asked: PreflightLike | None = None
        self.missing = missing_packages()
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
            self.missing = self._missing_packages()
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
