"""Cases named one by one in a file: TOML tables `[[case]]` or CSV rows.

TOML: `name`, `image` or `images`, `label`, `role`, `patient`; optional `channels = [...]`,
`[labels]` with `name = value`, and `[[look]]` with the `color` and `terminology` of a `value`.
CSV, with commas or semicolons: columns case, image (more channels: image_2, ...), label, role,
patient, in capitals or not. Paths are relative to the file.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from dycon_engine.data.cases import ROLES, Case, Dataset, Label
from dycon_engine.data.formats.readers import image_stem
from dycon_engine.data.listing import is_there
from dycon_engine.errors import InputError
from dycon_engine.settings import known, read_toml

NAMES = ("manifest.toml", "manifest.csv")
COLUMNS = ("case", "name", "image", "images", "label", "role", "patient")


def is_manifest(root: Path) -> bool:
    """Return whether `root` is a manifest or a folder that holds one."""
    return _file(root) is not None


def find_manifest(root: Path) -> Dataset:
    """Return the cases that the manifest names, in its order.

    Raises:
        InputError: It cannot be read, or names an unknown column or role.
    """
    path = _file(root)
    if path is None:
        raise InputError(f"data '{root}': no manifest; expected a .toml or .csv file or {NAMES[0]}")
    content = read_toml(path) if path.suffix.lower() == ".toml" else {"case": _read_csv(path)}
    rows = content.get("case", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"manifest '{path}': 'case' is not a list; expected tables [[case]]")
    channels = content.get("channels", [])
    if not isinstance(channels, list):
        raise InputError(f"manifest '{path}': channels is {channels!r}; expected a list of names")
    cases = [_case(path, row, number) for number, row in enumerate(rows, start=1)]
    names = [case.name for case in cases]
    problems = [
        f"case '{name}': {names.count(name)} entries in '{path.name}'; keep one"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    notes = [
        f"case '{case.name}': label '{case.label}' is missing; used without"
        for case in cases
        if case.label is not None and not is_there(case.label)
    ]
    cases = [
        replace(case, label=None) if case.label and not is_there(case.label) else case
        for case in cases
    ]
    return Dataset(
        path,
        "manifest",
        tuple(sorted(cases, key=lambda case: case.name)),
        channels=tuple(str(name) for name in channels),
        labels=_labels(path, content.get("labels", {}), content.get("look", ())),
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _file(root: Path) -> Path | None:
    if root.is_file():
        return root if root.suffix.lower() in (".toml", ".csv") else None
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = _rows(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"manifest '{path}': cannot be read ({error}); correct it") from error
    filled = [{name: value for name, value in row.items() if _said(value)} for row in rows]
    return [row for row in filled if row]  # spreadsheets end with rows of commas alone


def _rows(file: TextIO) -> list[dict[str, Any]]:
    """Return the rows by column; spreadsheets of many countries part them by semicolons."""
    header = file.readline()
    file.seek(0)
    parted = ";" if ";" in header and "," not in header else ","
    table = csv.DictReader(file, restkey="too many columns", delimiter=parted)
    table.fieldnames = [name.strip().lower() for name in table.fieldnames or ()]
    return list(table)


def _said(value: str | list[str] | None) -> bool:
    """Return whether a cell, or any of those beyond the last column, holds more than blanks."""
    return any(text.strip() for text in ([value] if isinstance(value, str) else value or ()))


def _case(path: Path, row: Mapping[str, Any], number: int) -> Case:
    where = f"manifest '{path}', entry {number}"
    for column in row:
        if not (isinstance(column, str) and column.startswith("image_")):
            known(str(column), COLUMNS, f"column of {where}")
    images = row.get("images", row.get("image"))
    if not images:
        raise InputError(f"{where}: names no image; add one")
    listed = [images] if isinstance(images, str) else images
    if not isinstance(listed, list):
        raise InputError(f"{where}: image is {images!r}; expected a file name or a list of them")
    listed = listed + [
        row[c] for c in sorted(row, key=lambda c: (len(c), c)) if c.startswith("image_")
    ]
    files = tuple(path.parent / str(image).strip() for image in listed)
    role = str(row["role"]).strip() if row.get("role") else None
    label = row.get("label")
    patient = str(row.get("patient", "")).strip()
    return Case(
        name=str(row.get("case", row.get("name", image_stem(files[0])))).strip(),
        images=files,
        label=path.parent / str(label).strip() if label else None,
        patient=patient or None,
        role=None if role is None else known(role, ROLES, f"role in {where}"),
    )


def _labels(path: Path, table: Any, looks: Any) -> tuple[Label, ...]:
    if not table:
        return ()
    if not isinstance(table, Mapping) or not all(type(v) is int for v in table.values()):
        raise InputError(f"manifest '{path}': labels must be name = value, e.g. liver = 1")
    look_of = _looks(path, looks)
    labels = sorted(
        (Label(value, name, *look_of.get(value, ())) for name, value in table.items()),
        key=lambda label: label.value,
    )
    if labels[0].value != 0:
        labels.insert(0, Label(0, "background"))
    return tuple(labels)


def _looks(path: Path, looks: Any) -> dict[int, tuple[tuple[int, int, int] | None, str]]:
    """Return color (0-255) and coded term per label value."""
    try:
        return {
            int(look["value"]): (_color(look.get("color")), str(look.get("terminology", "")))
            for look in looks
        }
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(
            f"manifest '{path}': a [[look]] needs a value, may have color = [red, green, blue] of "
            "0 to 255 and a terminology; correct it"
        ) from error


def _color(color: Any) -> tuple[int, int, int] | None:
    if color is None:
        return None
    red, green, blue = color
    if not all(isinstance(part, int) and 0 <= part <= 255 for part in color):  # noqa: PLR2004
        raise ValueError(color)
    return (red, green, blue)
