"""Which scan to label next: the engine's order, kept with the run that it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DyCONTrainingLib.cases import Role, Row, Table

FOLDER, FILE = "label_next", "label_next.json"


@dataclass(frozen=True)
class Candidate:
    """A scan that is worth labeling.

    Attributes:
        rank: 1 = first.
        alias: The case.
        title: What the person knows it by.
        reason: Why, in the engine's words.
        thumbnail: A picture, None where there is none.
    """

    rank: int
    alias: str
    title: str
    reason: str
    thumbnail: Path | None = None


def read_ranking(run_dir: Path, table: Table) -> list[Candidate]:
    """Return the order that a run's model gave to what is still unlabeled; [] where none is."""
    file = run_dir / FOLDER / FILE
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["label_next"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    waiting = {row.alias: row for row in table if row.role is Role.UNLABELED and row.alias}
    known = [row for row in rows if row.get("name") in waiting]
    return [
        _candidate(number, row, waiting[row["name"]], file.parent)
        for number, row in enumerate(known, start=1)
    ]


def case_of(table: Table, alias: str) -> tuple[int, Row] | None:
    """Return index and row of a case, None where it is not in the table any more."""
    return next(((i, row) for i, row in enumerate(table) if row.alias == alias), None)


def _candidate(rank: int, row: Mapping[str, Any], case: Row, folder: Path) -> Candidate:
    return Candidate(
        rank=rank,
        alias=case.alias,
        title=case.title,
        reason=str(row.get("reason", "")),
        thumbnail=_thumbnail(row, case.alias, folder),
    )


def _thumbnail(row: Mapping[str, Any], alias: str, folder: Path) -> Path | None:
    names: Sequence[str] = [str(row.get("thumbnail") or ""), f"{alias}.png"]
    return next((folder / n for n in names if n and (folder / n).is_file()), None)
