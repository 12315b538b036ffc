"""The engine's audit of what lies on disk, as findings with fixes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from DyCONTrainingLib import manifest
from DyCONTrainingLib.cases import FromFile, FromScene, InDataset, Role, Row, Source, Table
from DyCONTrainingLib.draft import (
    Draft,
    Finding,
    Fix,
    Key,
    leave_out,
    problem,
    set_role,
    warning,
)
from DyCONTrainingLib.facts import ImageFacts
from DyCONTrainingLib.labels import Segment
from DyCONTrainingLib.manifest import Content

# topics that `checks` speaks of itself, of scans in the scene too, with its own fixes
OWN = ("roles", "patient", "duplicates", "spacing", "left-out")
WHOLE = ("classes",)  # what only somebody who sees every case can tell
_PATH = re.compile(r"'[^']*[/\\]([^'/\\]+)'")
ABOUT_LABELS = ("grid", "label-values", "label-unreadable", "label-empty")


def on_disk(table: Table) -> Table:
    """Return the rows that lie on disk whole, so that the engine can look at them."""
    return tuple(
        row
        for row in table
        if not any(isinstance(part, FromScene) for part in (*row.images, row.label))
    )


def audit_manifest(draft: Draft, root: Path) -> tuple[str, dict[str, Row]]:
    """Return a manifest of the rows on disk with absolute paths, and the row of each name in it.

    It is for the engine's eyes only and lies in a temporary folder: it holds paths.
    """
    rows = _uniquely_named(on_disk(draft.rows))
    named = {row.alias: row for row in rows}
    originals = dict(zip(named, on_disk(draft.rows), strict=True))
    placed = tuple(_absolute(row, root) for row in rows)
    classes = draft.mapping.used if all(_speaks_our_values(row, draft) for row in rows) else ()
    return manifest.as_text(Content(placed, classes, draft.channels)), originals


def findings_of(
    summary: Mapping[str, Any], rows: Mapping[str, Row], *, whole: bool
) -> list[Finding]:
    """Return what the engine found.

    Args:
        summary: Of its job `audit`.
        rows: By their names in what it looked at.
        whole: Whether that was the whole data set; else it cannot know what is nowhere.
    """
    return [
        _finding(found, rows)
        for found in summary.get("findings", ())
        if found["topic"] not in OWN and (whole or found["topic"] not in WHOLE)
    ]


def image_facts(summary: Mapping[str, Any], rows: Mapping[str, Row]) -> dict[Key, ImageFacts]:
    """Return what the engine knows of the scans, so that they can be compared with loaded ones."""
    return {
        rows[case["name"]].images: ImageFacts(
            size_xyz=tuple(case["size_zyx"][::-1]),
            spacing_mm=tuple(sorted(case["spacing_zyx_mm"])),
            sha256=case["sha256"],
        )
        for case in summary["cases"]
        if case["name"] in rows and _is_scan(case["size_zyx"])
    }


def listing_findings(summary: Mapping[str, Any]) -> list[Finding]:
    """Return what was wrong with the names of a folder's files; the rows are right without them."""
    return [problem(_short(text)) for text in summary.get("listing", ())]


def rows_of(summary: Mapping[str, Any]) -> list[Row]:
    """Return the cases of a folder that the engine looked at, to be copied when saved."""
    names = tuple((int(label["value"]), str(label["name"])) for label in summary["labels"])
    return [_row(case, names) for case in summary["cases"]]


def segments_of(summary: Mapping[str, Any]) -> list[Segment]:
    """Return the structures of a folder's label maps."""
    return [Segment(str(label["name"])) for label in summary["labels"]]


def _row(case: Mapping[str, Any], names: tuple[tuple[int, str], ...]) -> Row:
    label = FromFile(Path(case["label"]), names) if case["label"] else None
    role = Role(case["role"]) if case["role"] else Role.UNLABELED
    return Row(
        title=str(case["name"]),
        images=tuple(FromFile(Path(path)) for path in case["images"]),
        label=label,
        role=role,
        patient=str(case["patient"] or ""),
    )


def _finding(found: Mapping[str, Any], rows: Mapping[str, Row]) -> Finding:
    about = [rows[name] for name in found["cases"] if name in rows]
    kind = problem if found["severity"] == "problem" else warning
    return kind(_short(str(found["message"])), about, _fixes(str(found["topic"]), about))


def _short(text: str) -> str:
    """Return `text` with files by their names: the case is named, and a panel is narrow."""
    return _PATH.sub(r"'\1'", text)


def _is_scan(size_zyx: Sequence[int] | None) -> bool:
    """Return whether there is more than a voxel; of others the engine tells."""
    return size_zyx is not None and min(size_zyx) > 0 and max(size_zyx) > 1


def _fixes(topic: str, about: Sequence[Row]) -> list[Fix]:
    if len(about) != 1:
        return []
    keep = [set_role(Role.UNLABELED, about[0])] if topic in ABOUT_LABELS else []
    return [*keep, leave_out(about[0])]


def _uniquely_named(rows: Table) -> Table:
    taken: dict[str, int] = {}
    result = []
    for row in rows:
        taken[row.name] = taken.get(row.name, 0) + 1
        again = f" ({taken[row.name]})" if taken[row.name] > 1 else ""
        result.append(replace(row, alias=row.name + again))
    return tuple(result)


def _absolute(row: Row, root: Path) -> Row:
    images = tuple(_path(image, root) for image in row.images)
    return replace(row, images=images, label=None if row.label is None else _path(row.label, root))


def _path(source: Source, root: Path) -> InDataset:
    if isinstance(source, InDataset):
        return InDataset(str((root / source.path).absolute()))
    if isinstance(source, FromFile):
        return InDataset(str(source.path.absolute()))
    raise TypeError(source)


def _speaks_our_values(row: Row, draft: Draft) -> bool:
    """Return whether the row's label map holds the data set's values already."""
    pairs = row.label.labels if isinstance(row.label, FromFile) else ()
    return all(draft.mapping.value_of(name) == value for value, name in pairs)
