"""Ties widgets to the session's parameters: what a person changes is chosen and shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from DyCONSegmentationLib.session import Session


class Tie(NamedTuple):
    """A widget's property that stands for a parameter.

    Attributes:
        parameter: A name in `Parameters`.
        widget: The widget.
        name: Of its Qt property.
        signal: C++ signature of the signal that says it changed.
        values: What the property's numbers stand for, where it is an index.
    """

    parameter: str
    widget: Any
    name: str
    signal: str
    values: tuple[str, ...] = ()


class Binding:
    """Several ties; `show` never makes the widgets report a change."""

    def __init__(self, session: Session, ties: tuple[Tie, ...]) -> None:
        """Connect the widgets."""
        self._session, self._ties = session, ties
        for tie in ties:
            tie.widget.connect(tie.signal, self._listener(tie))

    def show(self) -> None:
        """Give every widget the value of its parameter."""
        chosen = self._session.parameters
        for tie in self._ties:
            value = getattr(chosen, tie.parameter)
            if tie.values:
                value = tie.values.index(value) if value in tie.values else 0
            if getattr(tie.widget, tie.name) != value:
                blocked = tie.widget.blockSignals(True)
                setattr(tie.widget, tie.name, value)
                tie.widget.blockSignals(blocked)

    def _listener(self, tie: Tie) -> Callable[..., None]:
        def changed(*_arguments: object) -> None:
            value = getattr(tie.widget, tie.name)
            self._session.choose(**{tie.parameter: tie.values[value] if tie.values else value})

        return changed
