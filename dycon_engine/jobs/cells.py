"""Cells of CSV files that a spreadsheet takes for what they are: a case may be called `=1+2`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: Any) -> Any:
    """Return `value`, as text with ' in front where a spreadsheet would run it as a formula."""
    if not isinstance(value, str) or not value.startswith(FORMULA) or _is_number(value):
        return value
    return f"'{value}"


def cells(values: Iterable[Any]) -> list[Any]:
    """Return every value as `cell`."""
    return [cell(value) for value in values]


def row(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line by column with every value as `cell`."""
    return {name: cell(value) for name, value in values.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
