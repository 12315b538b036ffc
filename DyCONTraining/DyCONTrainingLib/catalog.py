"""The methods that the engine offers: asked once per version, then remembered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dycon_engine import __version__
from dycon_engine.errors import DyconError
from dycon_engine.jobs.files import write_json
from DyCONTrainingLib.form import MethodForm, methods


class Asked(Protocol):
    """A question to the engine."""

    def poll(self) -> Mapping[str, Any] | None:
        """Return the answer once there is one."""

    def kill(self) -> None:
        """Stop asking."""


Ask = Callable[[Sequence[str]], Asked]


class Catalog:
    """The forms of all methods; () until the engine has told them.

    Attributes:
        forms: One per method, the preferred one first.
        error: Why the engine could not be asked, one sentence; "" where it could.
    """

    def __init__(self, ask: Ask, memory: Path | None = None) -> None:
        """Remember what was told before.

        Args:
            ask: Puts `describe` with arguments to the engine.
            memory: File of the person's settings folder; None forgets.
        """
        self._ask, self._memory = ask, memory
        self._question: Asked | None = None
        self.forms: tuple[MethodForm, ...] = _read(memory)
        self.error = ""

    def request(self) -> None:
        """Ask the engine where it was not asked yet."""
        if self.forms or self._question is not None:
            return
        self.error = ""
        try:
            self._question = self._ask(("--methods",))
        except DyconError as error:
            self.error = str(error)

    def poll(self) -> bool:
        """Return whether something changed."""
        if self._question is None:
            return False
        try:
            answer = self._question.poll()
            if answer is None:
                return False
            self.forms = methods(answer["methods"])
            _write(self._memory, answer["methods"])
        except (DyconError, KeyError) as error:
            self.error = str(error)
        self._question = None
        return True

    def close(self) -> None:
        """Stop asking."""
        if self._question is not None:
            self._question.kill()
        self._question = None

    def form(self, name: str, profile: str) -> MethodForm | None:
        """Return the form of a method as a profile sets it, None where it is not known."""
        form = next((form for form in self.forms if form.name == name), None)
        return form and form.under(profile)


def _read(memory: Path | None) -> tuple[MethodForm, ...]:
    try:
        table = json.loads(memory.read_text(encoding="utf-8")) if memory is not None else {}
        return methods(table["methods"]) if table.get("engine") == __version__ else ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def _write(memory: Path | None, described: Mapping[str, Any]) -> None:
    if memory is None:
        return
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, {"engine": __version__, "methods": described})
    except (OSError, DyconError):
        return  # it will be asked again
