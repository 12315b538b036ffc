"""The data set as text: `manifest.toml` written and read back, and the labels it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycon_engine.errors import InputError
from dycon_engine.settings import read_toml, toml_text
from DyCONTrainingLib.cases import InDataset, Role, Row, Table
from DyCONTrainingLib.labels import GREEN, Color, LabelClass, plain

NAME = "manifest.toml"
HEAD = "# DyCON data set. Case names are neutral: who is who is not in this folder.\n"


@dataclass(frozen=True)
class Content:
    """What a manifest says.

    Attributes:
        rows: The cases, every source in the data set.
        classes: The classes by value, background left out.
        channels: Name per channel; () = one channel without a name.
        identifier: A random word that tells this data set from others; "" until it is saved.
        left_out: Names of cases whose files are there but which are not used any more.
    """

    rows: Table = ()
    classes: tuple[LabelClass, ...] = ()
    channels: tuple[str, ...] = ()
    identifier: str = ""
    left_out: tuple[str, ...] = ()


def as_text(content: Content, *, prefix: str = "") -> str:
    """Return the manifest of saved rows; `prefix` leads from its folder to the data set's.

    Raises:
        InputError: A row has no alias or is not in the data set yet.
    """
    lines = [HEAD]
    if content.identifier:
        lines.append(f"id = {toml_text(content.identifier)}\n")
    if content.left_out:
        lines.append(f"left_out = [{', '.join(map(toml_text, content.left_out))}]\n")
    if content.channels:
        lines.append(f"channels = [{', '.join(map(toml_text, content.channels))}]\n")
    if content.classes:
        lines += ["[labels]", *(f"{toml_text(c.name)} = {c.value}" for c in content.classes), ""]
    for each in content.classes:
        lines += [
            "[[look]]",
            f"value = {each.value}",
            f"color = [{each.color.red}, {each.color.green}, {each.color.blue}]",
            *([f"terminology = {toml_text(each.terminology)}"] if each.terminology else []),
            "",
        ]
    for row in content.rows:
        lines += [*_case(row, prefix), ""]
    return "\n".join(lines)


def read(path: Path) -> Content:
    """Return the content of a manifest.

    Raises:
        InputError: It cannot be read or names no image, an unknown role or a label without value.
    """
    table = read_toml(path)
    looks = {look.get("value"): look for look in _tables(table.get("look"), path, "look")}
    labels = table.get("labels", {})
    if not isinstance(labels, Mapping) or not all(isinstance(v, int) for v in labels.values()):
        raise InputError(f"manifest '{path.name}': labels must be name = value, e.g. liver = 1")
    classes = [
        _class(name, value, looks.get(value, {})) for name, value in labels.items() if value > 0
    ]
    cases = _tables(table.get("case"), path, "case")
    return Content(
        rows=tuple(_row(case, number, path) for number, case in enumerate(cases, start=1)),
        classes=tuple(sorted(classes, key=lambda each: each.value)),
        channels=_names(table.get("channels"), path, "channels"),
        left_out=_names(table.get("left_out"), path, "left_out"),
        identifier=str(table.get("id", "")),
    )


def _case(row: Row, prefix: str) -> list[str]:
    images = [_relative(source, row, prefix) for source in row.images]
    lines = ["[[case]]", f"name = {toml_text(row.alias)}"]
    if len(images) == 1:
        lines.append(f"image = {images[0]}")
    else:
        lines.append(f"images = [{', '.join(images)}]")
    if row.label is not None:
        lines.append(f"label = {_relative(row.label, row, prefix)}")
    lines.append(f"role = {toml_text(row.role.value)}")
    if row.patient:
        lines.append(f"patient = {toml_text(row.patient)}")
    return lines


def _relative(source: object, row: Row, prefix: str) -> str:
    if not isinstance(source, InDataset) or not row.alias:
        raise InputError(f"case '{row.name}': is not written yet; save the data set first")
    return toml_text(prefix + source.path)


def _names(value: Any, path: Path, what: str) -> tuple[str, ...]:
    listed = [] if value is None else value
    if not isinstance(listed, list):
        raise InputError(f"manifest '{path.name}': '{what}' must be a list of names; correct it")
    return tuple(str(name) for name in listed)


def _tables(value: Any, path: Path, what: str) -> Sequence[Mapping[str, Any]]:
    rows = [] if value is None else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"manifest '{path.name}': '{what}' must be tables [[{what}]]; correct it")
    return rows


def _class(name: str, value: int, look: Mapping[str, Any]) -> LabelClass:
    color = look.get("color")
    whole = isinstance(color, list) and len(color) == len(Color._fields)
    chosen = Color(*(int(part) for part in color)) if whole and color else GREEN
    return LabelClass(value, plain(name), chosen, str(look.get("terminology", "")))


def _row(case: Mapping[str, Any], number: int, path: Path) -> Row:
    images = case.get("images", case.get("image"))
    listed = [images] if isinstance(images, str) else list(images or ())
    if not listed:
        raise InputError(f"manifest '{path.name}', entry {number}: names no image; add one")
    label = case.get("label")
    alias = str(case.get("name", case.get("case", f"case-{number:03d}")))
    return Row(
        title=alias,
        images=tuple(InDataset(str(image)) for image in listed),
        label=InDataset(str(label)) if label else None,
        role=_role(case.get("role"), has_label=bool(label), where=f"manifest '{path.name}'"),
        patient=str(case.get("patient", "")),
        alias=alias,
    )


def _role(value: Any, *, has_label: bool, where: str) -> Role:
    if value is None:
        return Role.LABELED if has_label else Role.UNLABELED
    try:
        return Role(value)
    except ValueError:
        known = ", ".join(role.value for role in Role)
        raise InputError(f"{where}: unknown role '{value}'; known: {known}") from None
