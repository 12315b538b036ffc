"""Writes a draft into its folder: new files beside the old ones, the manifest last, all or nothing.

One call of `step` writes one case, so that a panel stays alive. Files of the scene are exported
under hidden names and get theirs together at the end; files from elsewhere are copied by the
engine. No source is touched and no file of the data set is written twice.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dycon_engine.errors import DyconError, InputError
from dycon_engine.jobs.files import remove_stale, rename, staged_path, write_text
from DyCONTrainingLib import manifest
from DyCONTrainingLib.cases import FromFile, FromScene, InDataset, Row, Source
from DyCONTrainingLib.draft import Draft
from DyCONTrainingLib.folder import (
    FAST,
    PACKED,
    Folder,
    digest_of,
    image_file,
    label_file,
    new_aliases,
)
from DyCONTrainingLib.labels import LabelMapping
from DyCONTrainingLib.manifest import Content
from DyCONTrainingLib.tasks import StartJob, Task
from DyCONTrainingLib.who_is_who import WhoIsWho


@dataclass(frozen=True)
class Tools:
    """How things get out of the scene and into the engine.

    Attributes:
        export_image: Writes the volume of a node to a file.
        export_label: Writes the segmentation of a row, mapped, to a file.
        start: Starts an engine job.
        temporary: Folder for what is needed meanwhile.
    """

    export_image: Callable[[FromScene, Path], None]
    export_label: Callable[[Row, LabelMapping, Path], None]
    start: StartJob
    temporary: Path


@dataclass(frozen=True)
class _Piece:
    """One file to write: from where, to where."""

    row: Row
    source: Source
    target: InDataset
    is_label: bool = False


class Saving:
    """A data set being written; call `step` until it returns True."""

    def __init__(self, folder: Folder, draft: Draft, tools: Tools, who: WhoIsWho) -> None:
        """Plan the files; nothing is written yet.

        Raises:
            InputError: Somebody else saved the data set since it was opened.
        """
        folder.require_unchanged()
        self.folder = folder
        self._draft = draft
        self._tools = tools
        self._who = who
        self._rows, self._pieces = _planned(folder, draft)
        scene = {p.row.name for p in self._pieces if isinstance(p.source, FromScene)}
        self._waiting = [row for row in self._rows if row.name in scene]
        self._staged: dict[Path, Path] = {}
        self._copied: list[Path] = []
        self._task: Task | None = None
        self.total = len(self._waiting)
        self.saved: Draft | None = None

    @property
    def progress(self) -> tuple[int, int]:
        """Return how many cases of the scene are written, of how many."""
        return self.total - len(self._waiting), self.total

    def step(self) -> bool:
        """Do a little; return whether the data set is complete.

        Raises:
            DyconError: It cannot be written; nothing of it was left behind.
        """
        try:
            if self._waiting:
                self._export(self._waiting.pop(0))
                return False
            if not self._collected():
                return False
            self._commit()
        except BaseException as error:
            self.cancel()
            if isinstance(error, OSError):
                words = f"data set: cannot be written ({error.strerror}); check the disk"
                raise DyconError(words) from error
            raise
        return True

    def cancel(self) -> None:
        """Stop and remove what was written so far."""
        cut = self._files() if self._task is not None else []  # a killed job cannot tidy up
        self._clean()
        for path in (*self._staged, *self._copied, *cut):
            with contextlib.suppress(OSError):
                path.unlink()

    def _export(self, row: Row) -> None:
        for piece in self._pieces:
            if piece.row is not row or not isinstance(piece.source, FromScene):
                continue
            target = self.folder.path / piece.target.path
            target.parent.mkdir(parents=True, exist_ok=True)
            remove_stale(target.parent)
            staged = staged_path(target)
            self._staged[staged] = target
            if piece.is_label:
                self._tools.export_label(row, self._draft.mapping, staged)
            else:
                self._tools.export_image(piece.source, staged)

    def _collected(self) -> bool:
        """Return whether every file from elsewhere is copied."""
        plan = _plan(self._pieces, self._draft)
        if not plan or self._copied:
            return True
        if self._task is None:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self._task = Task(self._tools.start, "collect", self._tools.temporary, "Copying scans")
            file = self._task.folder / "plan.json"
            file.write_text(json.dumps({"cases": plan}), encoding="utf-8")
            self._task.begin(("--plan", file, "--output", self.folder.path))
        outcome = self._task.poll()
        if outcome is None:
            return False
        self._clean()
        if outcome.errors:
            raise InputError("\n".join(outcome.errors))
        self._copied = self._files()
        return True

    def _files(self) -> list[Path]:
        """Return where the copies of files from elsewhere go; all were free names when planned."""
        root = self.folder.path
        return [root / p.target.path for p in self._pieces if isinstance(p.source, FromFile)]

    def _commit(self) -> None:
        root = self.folder.path
        self.folder.require_unchanged()
        for staged, target in self._staged.items():
            if target.exists():
                raise InputError(f"'{target.name}': is there already; open the data set again")
            rename(staged, target)
            self._copied.append(target)
        self._staged.clear()
        targets = {(p.row.name, p.source, p.is_label): p.target for p in self._pieces}
        taken = [row.patient for row in self._rows if row.is_saved]
        rows = tuple(_in_dataset(row, targets, self._who, taken) for row in self._rows)
        content = _content(self.folder, self._draft, rows)
        titles = {row.alias: row.title for row in rows if row.title != row.alias}
        self._who.keep(content.identifier, titles)
        root.mkdir(parents=True, exist_ok=True)
        text = manifest.as_text(content)
        write_text(root / manifest.NAME, text)
        self._copied = []  # from here on they belong to the data set
        self.folder = Folder(root, content, written=digest_of(text))
        self.saved = replace(self._draft, rows=rows)
        self._clean()

    def _clean(self) -> None:
        if self._task is not None:
            self._task.close()
        self._task = None


def _planned(folder: Folder, draft: Draft) -> tuple[list[Row], list[_Piece]]:
    new = [row for row in draft.rows if not row.alias]
    aliases = iter(new_aliases(folder.path, draft.rows, len(new)))
    rows = [row if row.alias else replace(row, alias=next(aliases)) for row in draft.rows]
    pieces: list[_Piece] = []
    for row in rows:
        for channel, source in enumerate(row.images):
            if not isinstance(source, InDataset):
                suffix = PACKED if isinstance(source, FromFile) else FAST
                pieces.append(_Piece(row, source, image_file(row.alias, channel, suffix)))
        if row.label is not None and not isinstance(row.label, InDataset):
            target = label_file(folder.path, row.alias)
            pieces.append(_Piece(row, row.label, target, is_label=True))
    return rows, pieces


def _plan(pieces: Sequence[_Piece], draft: Draft) -> list[dict[str, object]]:
    """Return the engine's plan for the files from elsewhere."""
    cases: dict[str, dict[str, object]] = {}
    for piece in pieces:
        if not isinstance(piece.source, FromFile):
            continue
        empty: dict[str, object] = {"name": piece.row.alias, "images": [], "to": []}
        case = cases.setdefault(piece.row.alias, empty)
        if piece.is_label:
            values = {str(old): draft.mapping.value_of(name) for old, name in piece.source.labels}
            case |= {"label": str(piece.source.path), "label_to": piece.target.path}
            case["values"] = values
        else:
            case["images"] = [*_list(case["images"]), str(piece.source.path)]
            case["to"] = [*_list(case["to"]), piece.target.path]
    return list(cases.values())


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _content(folder: Folder, draft: Draft, rows: Sequence[Row]) -> Content:
    aliases = {row.alias for row in rows}
    gone = [row.alias for row in folder.content.rows if row.alias not in aliases]
    return Content(
        rows=tuple(rows),
        classes=draft.mapping.used,
        channels=draft.channels,
        identifier=folder.content.identifier or secrets.token_hex(6),
        left_out=tuple(sorted({*folder.content.left_out, *gone} - aliases)),
    )


def _in_dataset(
    row: Row,
    targets: Mapping[tuple[str, Source, bool], InDataset],
    who: WhoIsWho,
    taken: Sequence[str],
) -> Row:
    images = tuple(targets.get((row.name, image, False), image) for image in row.images)
    label = row.label and targets.get((row.name, row.label, True), row.label)
    return replace(
        row,
        images=images,
        label=label,
        patient=who.numbered(row.patient, taken),
        origin=row.origin if images == row.images else row.images,
    )
