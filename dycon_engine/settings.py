"""The machinery of settings: fields that document themselves, checked tables, TOML.

A section is a frozen dataclass whose fields are made by `setting`. An unknown name is refused with
the nearest known one. Needs the standard library only.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar

from dycon_engine.errors import InputError

T = TypeVar("T")
Table = dict[str, Any]
LONGEST_SHOWN = 60  # characters of a value in a message


def setting(  # noqa: PLR0913 - what a form needs to know
    default: Any,
    help: str,  # noqa: A002 - the word a form uses
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    main: bool = False,
) -> Any:
    """Return a dataclass field that carries its own documentation and limits.

    `main` settings are the few that a form shows first.
    """
    metadata = {"help": help, "unit": unit, "low": low, "high": high, "choices": tuple(choices)}
    return field(default=default, metadata=metadata | {"main": main})


def toml_text(value: str | Sequence[str]) -> str:
    """Return a text or a list of texts as TOML; JSON's escapes are TOML's, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read_toml(path: Path) -> Table:
    """Return the tables of a TOML file.

    Raises:
        InputError: The file cannot be read or is not TOML.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except OSError as error:
        raise InputError(
            f"config '{path}': cannot be read ({error.strerror}); check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):  # as nothing in TOML does
            raise InputError(
                f"config '{path}': is JSON, as the record of a run is, expected TOML; write the "
                "settings to change into a .toml file (docs/reference/settings.md), continue that "
                "run with --resume, or do it again with its settings and its split "
                "(docs/reference/run-directory.md)"
            ) from error
        raise InputError(
            f"config '{path}': not valid TOML ({error}); mend the line named"
        ) from error


def parse_assignment(text: str) -> Table:
    """Return the nested table of a `section.key=value` text.

    Raises:
        InputError: The text has no `=` or no dot before it.
    """
    name, equals, raw = text.partition("=")
    parts = [part.strip() for part in name.split(".")]
    if not equals or len(parts) < 2 or not all(parts):  # noqa: PLR2004 - section and key
        raise InputError(f"setting '{text}': expected section.key=value, e.g. training.steps=400")
    try:
        value: Any = tomllib.loads(f"value = {raw.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


def known(name: str, names: Mapping[str, object] | Sequence[str], what: str) -> str:
    """Return `name` if it is among `names`.

    Raises:
        InputError: Naming the nearest known one, and all of them.
    """
    if name in names:
        return name
    options = sorted(names)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise InputError(f"unknown {what} '{name}': {hint}known: {', '.join(options)}")


def build(kind: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """Return the settings dataclass `kind` from a table, checked.

    Raises:
        InputError: An unknown name, a wrong type, or a value outside its limits.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind))}
    values: Table = {}
    for name, value in table.items():
        path = f"{where}.{name}" if where else name
        if "settings" in fields and name not in fields:  # checked later, by who owns them
            values.setdefault("settings", {})[name] = value
            continue
        try:
            known(name, fields, "setting" if where else "section")
        except InputError as error:
            raise InputError(f"{where + ': ' if where else ''}{error}") from None
        is_section = dataclasses.is_dataclass(hints[name])
        if (is_section or name == "settings") and not isinstance(value, Mapping):
            raise InputError(f"{path}: expected a section with settings, found {_shown(value)}")
        if is_section:
            values[name] = build(typing.cast(type, hints[name]), value, path)
        elif name == "settings":
            values.setdefault("settings", {}).update(value)
        else:
            values[name] = _checked(path, _coerced(path, value, hints[name]), fields[name].metadata)
    return kind(**values)


def as_table(config: Any) -> Table:
    """Return a settings dataclass as plain JSON values."""
    table: Table = json.loads(json.dumps(dataclasses.asdict(config)))
    return table


def schema(kind: type) -> list[Table]:
    """Return one entry per field of a flat settings dataclass: name, type, default, limits..."""
    hints = typing.get_type_hints(kind)
    entries = []
    for item in dataclasses.fields(kind):
        default = None if item.default is dataclasses.MISSING else item.default
        entry = {"name": item.name, "type": _type_name(hints[item.name]), "default": default}
        entries.append(json.loads(json.dumps(entry | dict(item.metadata))))
    return entries


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """Return the nested table `under` with the values of `over` laid over it."""
    merged = dict(under)
    for name, value in over.items():
        old = merged.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[name] = merge(typing.cast(Table, old), value) if both else value
    return merged


def _coerced(path: str, value: Any, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _coerced(path, value, next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return _coerced_tuple(path, value, arguments)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise InputError(f"{path}: {_shown(value)} is too large; expected a number") from error
    if hint is str and isinstance(value, Path):
        return str(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise InputError(f"{path}: expected {_type_name(hint)}, found {value!r}")
    return value


def _coerced_tuple(path: str, value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        example = '["one", "two"]' if str in arguments else "[1, 2, 3]"
        raise InputError(f"{path}: expected a list like {example}, found {value!r}")
    if Ellipsis in arguments:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise InputError(f"{path}: expected {len(arguments)} values, found {len(value)}")
    return tuple(_coerced(path, v, a) for v, a in zip(value, arguments, strict=True))


def _checked(path: str, value: Any, metadata: Mapping[str, Any]) -> Any:
    choices = metadata.get("choices")
    if choices and value not in choices:
        raise InputError(f"{path}: {InputError(_refusal(value, choices))}")
    low, high = metadata.get("low"), metadata.get("high")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not isinstance(number, bool):
            if isinstance(number, float) and not math.isfinite(number):
                raise InputError(f"{path}: expected a finite number, found {number}")
            if low is not None and number < low:
                raise InputError(f"{path}: {number} is too small; expected at least {low}")
            if high is not None and number > high:
                raise InputError(f"{path}: {number} is too large; expected at most {high}")
    return value


def _shown(value: Any) -> str:
    """Return a value as it may stand in a message."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of so many digits
        text = "a number"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _refusal(value: str, choices: Sequence[str]) -> str:
    try:
        known(value, choices, "value")
    except InputError as error:
        return str(error)
    return value


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("none" if a is type(None) else _type_name(a) for a in arguments)
    if origin is tuple:
        inner = "..." if Ellipsis in arguments else str(len(arguments))
        return f"list of {inner} {_type_name(arguments[0])}"
    return {"int": "integer", "float": "number", "str": "text", "bool": "true or false"}.get(
        hint.__name__, "table"
    )
