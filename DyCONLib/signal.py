"""A signal of plain Python objects: controllers say what happened, widgets listen; no Qt."""

from __future__ import annotations

import logging
from collections.abc import Callable

Listener = Callable[..., object]


class Signal:
    """Calls its listeners in the order they came; one that fails is logged, the others still run.

    Listeners are kept alive until they are disconnected, so a widget disconnects in `cleanup`.
    """

    def __init__(self) -> None:
        """Start without listeners."""
        self._listeners: list[Listener] = []

    def connect(self, listener: Listener) -> None:
        """Call `listener` at every emit; one that listens already is not called twice."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def disconnect(self, listener: Listener | None = None) -> None:
        """Forget `listener`, or all of them; one that does not listen is no error."""
        self._listeners = [other for other in self._listeners if listener not in (None, other)]

    def emit(self, *arguments: object) -> None:
        """Call those who listen now with `arguments`."""
        for listener in tuple(self._listeners):
            try:
                listener(*arguments)
            except Exception:  # what a listener does wrong must not stop the job it listens to
                logging.getLogger("DyCON").exception("a listener failed")
