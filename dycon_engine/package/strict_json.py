"""JSON that was written by somebody else, read without surprises."""

from __future__ import annotations

import json
import math
from typing import Any

from dycon_engine.errors import DamagedFileError
from dycon_engine.settings import Table

DEEPEST = 24
LONGEST_NUMBER = 40
LARGEST_INTEGER = 2**63 - 1


def read_table(content: bytes, what: str) -> Table:
    """Return the JSON object in `content` (UTF-8).

    Raises:
        DamagedFileError: Not an object, nested deeper than `DEEPEST`, a name twice, NaN, infinity
            or a number beyond 64 bits; the message starts with `what`.
    """
    try:
        text = content.decode("utf-8")
        _check_depth(text)
        table = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_float,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{what}: not usable JSON ({error}); get the file again") from None
    if not isinstance(table, dict):
        raise DamagedFileError(f"{what}: expected a JSON object; get the file again")
    return table


def write_table(table: Table) -> bytes:
    """Return `table` as UTF-8 JSON, names sorted, the same bytes for the same content.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(table, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode("utf-8")


def _check_depth(text: str) -> None:
    depth, quoted, escaped = 0, False, False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError(f"nested deeper than {DEEPEST}")
        elif character in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> Table:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is there twice")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _float(text: str) -> float:
    if len(text) > LONGEST_NUMBER or not math.isfinite(float(text)):
        raise ValueError(f"number {text[:LONGEST_NUMBER]} out of range")
    return float(text)


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER or abs(int(text)) > LARGEST_INTEGER:
        raise ValueError(f"number {text[:LONGEST_NUMBER]} out of range")
    return int(text)
