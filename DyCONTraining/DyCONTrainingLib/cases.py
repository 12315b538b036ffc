"""The table of cases: what each row is made of and how the person changes it.

A row says where its scan and its segmentation come from: nodes of the scene, files elsewhere, or
files that lie in the data set already. `title` and `patient` are for the person's eyes and are
never written; what is written is `alias`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

Table = tuple["Row", ...]


class Role(StrEnum):
    """What a case is used for, in the words of the manifest."""

    LABELED = "labeled"
    UNLABELED = "unlabeled"
    HELD_OUT = "validation"
    TEST = "test"

    @property
    def words(self) -> str:
        """Return the role as the panel shows it."""
        return "held-out" if self is Role.HELD_OUT else self.value

    @property
    def needs_label(self) -> bool:
        """Return whether a case of this role is useless without a segmentation."""
        return self in (Role.LABELED, Role.HELD_OUT)

    @property
    def side(self) -> str:
        """Return the side of the line that no patient may cross."""
        return "training" if self in (Role.LABELED, Role.UNLABELED) else self.value


class FromScene(NamedTuple):
    """A volume or segmentation node, by its id."""

    node_id: str


class FromFile(NamedTuple):
    """A scan or label map somewhere else; the engine copies it into the data set.

    Attributes:
        path: A file or a folder with a DICOM series.
        labels: Of a label map: value and name of each structure in it.
    """

    path: Path
    labels: tuple[tuple[int, str], ...] = ()


class InDataset(NamedTuple):
    """A file of the data set, relative to its folder."""

    path: str


Source = FromScene | FromFile | InDataset


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        title: What the person knows the scan by; never written.
        images: One source per channel, in the order of the data set's channels.
        label: The segmentation, None where there is none.
        role: What the case is used for.
        patient: Whose scan it is, as far as known; written as a number only.
        alias: The case's name in the data set; "" until it is saved.
        origin: Where a saved case came from in this session, so that it is not added twice.
    """

    title: str
    images: tuple[Source, ...]
    label: Source | None = None
    role: Role = Role.UNLABELED
    patient: str = ""
    alias: str = ""
    origin: tuple[Source, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """Return how messages call the case: its alias, else its title."""
        return self.alias or self.title

    @property
    def is_saved(self) -> bool:
        """Return whether all of it lies in the data set."""
        parts = (*self.images, self.label)
        return bool(self.alias) and not any(isinstance(p, FromScene | FromFile) for p in parts)


def row(
    title: str, images: Sequence[Source], label: Source | None = None, patient: str = ""
) -> Row:
    """Return a new case: labeled where it has a segmentation."""
    role = Role.UNLABELED if label is None else Role.LABELED
    return Row(title, tuple(images), label, role, patient)


def added(table: Table, rows: Iterable[Row]) -> Table:
    """Return `table` with `rows` behind it; a scan that is there already is not added again.

    A row whose scan is there without a segmentation lends it its segmentation.
    """
    result = list(table)
    for new in rows:
        there = ({*old.images, *old.origin} for old in result)
        same = next((i for i, sources in enumerate(there) if sources & set(new.images)), None)
        if same is None:
            result.append(new)
        elif result[same].label is None and new.label is not None:
            role = new.role if result[same].role is Role.UNLABELED else result[same].role
            result[same] = replace(result[same], label=new.label, role=role)
    return tuple(result)


def removed(table: Table, indices: Iterable[int]) -> Table:
    """Return `table` without the rows at `indices`; no file is touched."""
    gone = set(indices)
    return tuple(row for index, row in enumerate(table) if index not in gone)


def changed(table: Table, indices: Iterable[int], change: Callable[[Row], Row]) -> Table:
    """Return `table` with `change` applied to the rows at `indices`."""
    chosen = set(indices)
    return tuple(change(row) if i in chosen else row for i, row in enumerate(table))


def with_role(table: Table, indices: Iterable[int], role: Role) -> Table:
    """Return `table` with the rows at `indices` in `role`."""
    return changed(table, indices, lambda row: replace(row, role=role))


def joined(table: Table, indices: Sequence[int]) -> Table:
    """Return `table` with the scans at `indices` as channels of one case, in that order."""
    first, *others = indices
    parts = [table[index] for index in indices]
    label = next((part.label for part in parts if part.label is not None), None)
    images = tuple(image for part in parts for image in part.images)
    role = next((part.role for part in parts if part.label is not None), parts[0].role)
    one = replace(table[first], images=images, label=label, role=role)
    return removed(changed(table, [first], lambda _row: one), others)


def counts(table: Table) -> str:
    """Return how many cases have which role, in few words."""
    found = [(role.words, sum(row.role is role for row in table)) for role in Role]
    return ", ".join(f"{number} {words}" for words, number in found if number) or "no cases"
