"""Plain JSON values that were written by somebody else, each checked to be of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dycon_engine.errors import InputError
from dycon_engine.settings import Table


def table(value: Any) -> Table:
    """Return `value` as an object; InputError where it is none, as for all of these."""
    return dict(_of(value, dict))


def items(value: Any) -> Sequence[Any]:
    """Return `value` as a list."""
    return tuple(_of(value, list))


def text(value: Any) -> str:
    """Return `value` as a text."""
    return str(_of(value, str))


def texts(value: Any) -> tuple[str, ...]:
    """Return `value` as a list of texts."""
    return tuple(text(item) for item in items(value))


def integer(value: Any) -> int:
    """Return `value` as a whole number."""
    if isinstance(value, bool):
        raise InputError("true or false where a number is expected")
    return int(_of(value, int))


def number(value: Any) -> float:
    """Return `value` as a number."""
    return float(value) if isinstance(value, float) else float(integer(value))


def optional(value: Any) -> float | None:
    """Return `value` as a number or None."""
    return None if value is None else number(value)


def _of(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InputError(f"{type(value).__name__} where {kind.__name__} is expected")
    return value
