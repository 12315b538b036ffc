"""Label next: rank what is unlabeled, open a scan with its prediction, add it to the labeled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import slicer

from dycon_engine.errors import DyconError, InputError
from DyCONLib import mrml
from DyCONLib.models import ModelLabel
from DyCONLib.signal import Signal
from DyCONTrainingLib.cases import FromScene, InDataset, Role, Row
from DyCONTrainingLib.dataset import DatasetLogic
from DyCONTrainingLib.label_next import FOLDER, Candidate, case_of, read_ranking
from DyCONTrainingLib.labeling_view import show_for_labeling
from DyCONTrainingLib.run_card import BEST, LAST
from DyCONTrainingLib.tasks import Outcome, StartJob, Task

LABELS, UNCERTAINTY, REPORT = "labels.nrrd", "uncertainty.nrrd", "report.json"


@dataclass(frozen=True)
class Opened:
    """A scan that is being labeled: its nodes in the scene."""

    alias: str
    volume: Any
    segmentation: Any
    uncertainty: Any


class LabelLogic:
    """The list of what to label next, and the case that is open.

    Attributes:
        changed: Emitted without arguments when list or progress changed.
        opened: Emitted with `Opened` once scan, prediction and uncertainty are in the scene.
        failed: Emitted with one sentence.
    """

    def __init__(self, dataset: DatasetLogic, start: StartJob, temporary: Path) -> None:
        """Begin without a list."""
        self.changed, self.opened, self.failed = Signal(), Signal(), Signal()
        self._dataset, self._start, self._temporary = dataset, start, temporary
        self._task: Task | None = None
        self._then: Callable[[Outcome], None] = lambda _outcome: None
        self._run: Path | None = None
        self._open: dict[str, Opened] = {}

    @property
    def progress(self) -> tuple[str, float]:
        """Return what is being done and how far it is, "" where nothing is."""
        return (self._task.words, self._task.share) if self._task is not None else ("", -1.0)

    def candidates(self, run_dir: Path | None) -> list[Candidate]:
        """Return what is still worth labeling in the order of a run's model."""
        return read_ranking(run_dir, self._dataset.draft.rows) if run_dir is not None else []

    def is_open(self, alias: str) -> bool:
        """Return whether a case was opened and its segmentation is still there."""
        opened = self._open.get(alias)
        return opened is not None and slicer.mrmlScene.IsNodePresent(opened.segmentation)

    def rank(self, run_dir: Path, device: str) -> None:
        """Have the run's model order the unlabeled scans.

        Raises:
            InputError: There is no model, or something else is being done.
            DyconError: The engine cannot be started.
        """
        folder = self._folder()
        task = self._begin("rank", "Looking at the unlabeled scans", self._ranked)
        task.begin(
            (
                "--package",
                model_of(run_dir),
                "--data",
                folder / "manifest.toml",
                "--output",
                run_dir / FOLDER,
                "--thumbnails",
                run_dir / FOLDER,
                "--device",
                device,
                "--overwrite",
            )
        )
        self._task, self._run = task, run_dir
        self.changed.emit()

    def open(self, alias: str, run_dir: Path, device: str) -> None:
        """Load a scan of the data set and have the run's model segment it.

        Raises:
            InputError: The case is not there, or something else is being done.
            DyconError: The scan cannot be loaded or the engine cannot be started.
        """
        _, row = self._case(alias)
        root = self._folder()
        paths = [root / image.path for image in row.images if isinstance(image, InDataset)]
        task = self._begin("predict", f"Segmenting '{row.title}'", self._segmented(alias))
        inputs = [word for path in paths for word in ("--input", path)]
        out = task.folder
        task.begin(
            (
                "--package",
                model_of(run_dir),
                *inputs,
                "--output",
                out / LABELS,
                "--uncertainty",
                out / UNCERTAINTY,
                "--report",
                out / REPORT,
                "--device",
                device,
            )
        )
        self._task = task
        self.changed.emit()

    def add(self, alias: str) -> None:
        """Take the corrected segmentation of an opened case into the data set, as labeled.

        Raises:
            InputError: The case is not open, or the data set is busy.
        """
        if not self.is_open(alias):
            raise InputError(f"case '{alias}': open it with 'Label this' and correct it first")
        index, row = self._case(alias)
        source = FromScene(self._open[alias].segmentation.GetID())
        rows = list(self._dataset.draft.rows)
        rows[index] = replace(row, label=source, role=Role.LABELED)
        self._dataset.edit(self._dataset.draft.with_rows(tuple(rows)))
        self._dataset.save()
        self.changed.emit()

    def poll(self) -> None:
        """Go on with what is being done; called by a timer."""
        task = self._task
        outcome = task.poll() if task is not None else None
        if task is None or outcome is None:
            return
        self._task = None
        try:
            if outcome.errors:
                self.failed.emit("\n".join(outcome.errors))
            else:
                self._then(outcome)
        except DyconError as error:
            self.failed.emit(str(error))
        finally:
            task.close()
        self.changed.emit()

    def cancel(self) -> None:
        """Stop ranking or segmenting; nothing of it is left."""
        if self._task is not None:
            self._task.close()
        self._task = None
        self.changed.emit()

    def close(self) -> None:
        """End every process and forget what was open; nodes stay with the person."""
        self.cancel()
        self._open = {}

    def _begin(self, job: str, words: str, then: Callable[[Outcome], None]) -> Task:
        if self._task is not None:
            raise InputError(f"{self._task.words}: wait until it is done, or cancel it")
        self._then = then
        return Task(self._start, job, self._temporary, words)

    def _folder(self) -> Path:
        folder = self._dataset.folder
        if folder is None or not folder.content.rows:
            raise InputError("data set: save it first")
        return folder.path

    def _case(self, alias: str) -> tuple[int, Row]:
        found = case_of(self._dataset.draft.rows, alias)
        if found is None:
            raise InputError(f"case '{alias}': is not in the data set any more")
        return found

    def _ranked(self, outcome: Outcome) -> None:
        """Nothing to do: the list lies in the run, where `candidates` reads it."""

    def _segmented(self, alias: str) -> Callable[[Outcome], None]:
        def then(outcome: Outcome) -> None:
            _, row = self._case(alias)
            opened = self._loaded(row, outcome.folder)
            self._open[alias] = opened
            self._know(alias, opened.volume)
            self.opened.emit(opened)

        return then

    def _loaded(self, row: Row, folder: Path) -> Opened:
        image = row.images[0]
        path = self._folder() / (image.path if isinstance(image, InDataset) else "")
        with mrml.removed_on_failure() as added:
            try:
                volume = slicer.util.loadVolume(str(path), {"name": row.title})
            except RuntimeError as error:
                raise DyconError(f"case '{row.name}': its scan cannot be loaded") from error
            added.append(volume)
            segmentation = mrml.load_segmentation(
                folder / LABELS,
                name=f"{row.title} to correct",
                segments=[
                    ModelLabel(each.value, each.name, each.color, each.terminology)
                    for each in self._dataset.draft.mapping.classes
                ],
                reference_volume=volume,
            )
            added.append(segmentation)
            uncertainty = mrml.load_scalar_overlay(
                folder / UNCERTAINTY, name=f"{row.title} uncertainty", reference_volume=volume
            )
        segmentation.SetNodeReferenceID("DyCON.Uncertainty", uncertainty.GetID())
        show_for_labeling(volume, segmentation, uncertainty)
        return Opened(row.alias, volume, segmentation, uncertainty)

    def _know(self, alias: str, volume: Any) -> None:
        """Note that the loaded volume is this case, so that it is not added a second time."""
        index, row = self._case(alias)
        rows = list(self._dataset.draft.rows)
        rows[index] = replace(row, origin=(*row.origin, FromScene(volume.GetID())))
        self._dataset.draft = self._dataset.draft.with_rows(tuple(rows))


def model_of(run_dir: Path) -> Path:
    """Return the model of a run: the one after the last step, else the best so far.

    Raises:
        InputError: There is none yet.
    """
    for name in (LAST, BEST):
        if (run_dir / name).is_file():
            return run_dir / name
    raise InputError(f"run '{run_dir.name}': has no model yet; let it finish")
