"""A data set in the making, and what was found wrong with it: a sentence and, often, a fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from DyCONTrainingLib.cases import Role, Row, Source, Table, changed, removed
from DyCONTrainingLib.labels import LabelMapping

Key = tuple[Source, ...]


@dataclass(frozen=True)
class Draft:
    """What will be written when the person saves.

    Attributes:
        rows: The cases.
        mapping: Which segment is which label.
        channels: Name per channel; () = one channel without a name.
    """

    rows: Table = ()
    mapping: LabelMapping = field(default_factory=LabelMapping)
    channels: tuple[str, ...] = ()

    def with_rows(self, rows: Table) -> Draft:
        """Return the draft with other rows."""
        return replace(self, rows=rows)

    def indices(self, keys: Iterable[Key]) -> list[int]:
        """Return where the rows with these images stand."""
        wanted = set(keys)
        return [index for index, row in enumerate(self.rows) if row.images in wanted]


class Level(StrEnum):
    """Whether training cannot start (`PROBLEM`) or the person should know (`WARNING`)."""

    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True)
class Fix:
    """A button: what it says and what it makes of the draft."""

    words: str
    apply: Callable[[Draft], Draft]


@dataclass(frozen=True)
class Finding:
    """One plain sentence on the data set.

    Attributes:
        level: How bad it is.
        text: The sentence.
        rows: The images of the rows it is about; () = the data set as a whole.
        fixes: What one click can do about it.
    """

    level: Level
    text: str
    rows: tuple[Key, ...] = ()
    fixes: tuple[Fix, ...] = ()


def problem(text: str, rows: Iterable[Row] = (), fixes: Iterable[Fix] = ()) -> Finding:
    """Return a finding that keeps training from starting."""
    return Finding(Level.PROBLEM, text, tuple(row.images for row in rows), tuple(fixes))


def warning(text: str, rows: Iterable[Row] = (), fixes: Iterable[Fix] = ()) -> Finding:
    """Return a finding that the person should know."""
    return Finding(Level.WARNING, text, tuple(row.images for row in rows), tuple(fixes))


def leave_out(*rows: Row) -> Fix:
    """Return the fix that takes rows out of the data set; no file is touched."""
    keys = [row.images for row in rows]
    words = "Leave it out" if len(rows) == 1 else f"Leave {len(rows)} out"
    return Fix(words, lambda draft: draft.with_rows(removed(draft.rows, draft.indices(keys))))


def set_role(role: Role, *rows: Row) -> Fix:
    """Return the fix that gives rows another role."""
    keys = [row.images for row in rows]

    def apply(draft: Draft) -> Draft:
        indices = draft.indices(keys)
        return draft.with_rows(changed(draft.rows, indices, lambda row: replace(row, role=role)))

    return Fix(f"Make it {role.words}" if len(rows) == 1 else f"Make all {role.words}", apply)


def put_on_top(value: int, name: str) -> Fix:
    """Return the fix that lets one label hide the others where segments overlap."""
    return Fix(
        f"'{name}' on top", lambda draft: replace(draft, mapping=draft.mapping.raised(value))
    )
