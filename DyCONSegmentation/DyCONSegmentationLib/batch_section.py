"""The section Several volumes of the panel: where they are, and what became of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dycon_engine.errors import InputError
from DyCONSegmentationLib import sources, tables, texts
from DyCONSegmentationLib.batch import BatchLogic, Plan, Row
from DyCONSegmentationLib.logic import Phase
from DyCONSegmentationLib.opening import Opener
from DyCONSegmentationLib.segment_section import RESOLUTION
from DyCONSegmentationLib.session import Session
from DyCONSegmentationLib.tables import Cell

DISK, HIERARCHY, SEQUENCE = range(3)
NAME, RESULT, OUTCOME = range(3)


class BatchSection:
    """Shows a batch."""

    def __init__(self, ui: Any, session: Session, batch: BatchLogic, attempt: Any) -> None:
        """Connect the widgets.

        Args:
            ui: The widgets by name.
            session: Gives model and settings.
            batch: What is shown.
            attempt: Calls an action and tells a failure in one sentence.
        """
        self._ui, self._session, self._batch, self._attempt = ui, session, batch, attempt
        self._folders: list[sources.Folder] = []
        self._summary = ""
        self._rows: list[tuple[Cell, ...]] | None = None
        self._opener = Opener()
        tables.prepare(ui.batchTable, RESULT)
        ui.batchTable.connect(
            "currentCellChanged(int,int,int,int)", lambda *_cells: self._show_row()
        )
        ui.batchTable.connect("cellDoubleClicked(int,int)", lambda *_cell: attempt(self._open))
        ui.batchOpenButton.connect("clicked()", lambda: attempt(self._open))
        ui.batchKindSelector.connect("currentIndexChanged(int)", lambda _index: self.refresh())
        ui.batchSection.connect("contentsCollapsed(bool)", lambda _collapsed: self.refresh())
        ui.batchButton.connect("clicked()", lambda: attempt(self._start))
        ui.batchCancelButton.connect("clicked()", batch.cancel)
        batch.ended.connect(self._on_ended)

    def refresh(self) -> None:
        """Show the batch; what is folded away is not looked up."""
        if self._ui.batchSection.collapsed:
            return
        self._show_sources()
        ui, busy = self._ui, self._batch.phase is not Phase.IDLE
        free = self._session.run.phase is Phase.IDLE
        ui.batchButton.enabled = not busy and free and not self._session.blocked
        ui.batchCancelButton.visible = busy
        ui.batchCancelButton.enabled = self._batch.phase is Phase.RUNNING
        ui.batchProgressBar.visible = busy
        progress = self._batch.progress
        ui.batchProgressBar.maximum = RESOLUTION if progress.share >= 0 else 0
        ui.batchProgressBar.value = max(0, round(RESOLUTION * progress.share))
        if busy:
            times = texts.times_text(progress.elapsed_s, progress.remaining_s)
            ui.batchLabel.text = f"{progress.item} of {progress.items}: {progress.step}\n{times}"
        else:
            ui.batchLabel.text = self._summary
        ui.batchLabel.visible = bool(ui.batchLabel.text)
        self._show_rows()

    def _show_sources(self) -> None:
        kind, ui = self._ui.batchKindSelector.currentIndex, self._ui
        for label, widget, own in (
            (ui.batchInputLabel, ui.batchInputPath, DISK),
            (ui.batchOutputLabel, ui.batchOutputPath, DISK),
            (ui.batchFolderLabel, ui.batchFolderSelector, HIERARCHY),
            (ui.batchSequenceLabel, ui.batchSequenceSelector, SEQUENCE),
        ):
            label.visible = kind == own
            widget.visible = kind == own
        if kind != HIERARCHY:
            return
        found = sources.folders()
        if found != self._folders:
            self._folders = found
            ui.batchFolderSelector.clear()
            ui.batchFolderSelector.addItems([folder.name for folder in found])

    def _show_rows(self) -> None:
        rows: list[tuple[Cell, ...]] = []
        for row in self._batch.rows:
            outcome = "failed" if row.done is False else "review" if row.review else ""
            words = _words(row)
            tip = f"{row.name}: {words}"
            rows.append((Cell(row.name, tip), Cell(words, tip), Cell(outcome, tip, bold=True)))
        if rows != self._rows:  # hundreds of cells, several times a second
            self._rows = rows
            self._ui.batchTable.visible = bool(rows)
            tables.fill(self._ui.batchTable, rows, most=10)
        self._show_row()

    def _show_row(self) -> None:
        """Show the chosen row in full; without a choice the first one that failed."""
        rows, chosen = self._batch.rows, self._ui.batchTable.currentRow()
        shown = rows[chosen : chosen + 1] if chosen >= 0 else [r for r in rows if r.done is False]
        self._ui.batchRowLabel.text = f"{shown[0].name}: {_words(shown[0])}" if shown else ""
        self._ui.batchRowLabel.visible = bool(shown)
        button, row = self._ui.batchOpenButton, self._chosen()
        button.visible = bool(rows)
        button.enabled = row is not None and self._can_open(row)

    def _chosen(self) -> Row | None:
        rows, chosen = self._batch.rows, self._ui.batchTable.currentRow()
        return rows[chosen] if 0 <= chosen < len(rows) else None

    def _can_open(self, row: Row) -> bool:
        found = self._opener.find(row, self._session.results)
        return bool(row.done) and (row.files is not None or found is not None)

    def _open(self) -> None:
        """Show the result of the chosen row; where it lies on disk it is loaded with its scan."""
        row, session = self._chosen(), self._session
        if row is None or not self._can_open(row):
            return
        found = self._opener.find(row, session.results)
        if found is not None:
            session.show_result(found.GetID())
        elif self._batch.model is not None:
            session.take(self._opener.load(row, self._batch.model))
        self._ui.resultSection.collapsed = False
        self._ui.reviewSection.collapsed = False

    def _start(self) -> None:
        self._summary = ""
        self._batch.segment(self._plan(), self._session.model, self._session.parameters)

    def _plan(self) -> Plan:
        model, ui = self._session.model, self._ui
        if model is None:
            raise InputError("choose a model")
        kind = ui.batchKindSelector.currentIndex
        if kind == DISK:
            scans, results = ui.batchInputPath.currentPath, ui.batchOutputPath.currentPath
            if not scans or not results:
                raise InputError("choose the folder of the scans and one for the results")
            return sources.disk_plan(Path(scans), Path(results), len(model.channels))
        if kind == SEQUENCE:
            sequence = ui.batchSequenceSelector.currentNode()
            if sequence is None:
                raise InputError("choose a sequence")
            return sources.sequence_plan(sequence, model)
        chosen = ui.batchFolderSelector.currentIndex
        if not 0 <= chosen < len(self._folders):
            raise InputError("choose a folder of the subject hierarchy")
        volumes = sources.volumes_below(self._folders[chosen].item)
        return sources.scene_plan(volumes, model)

    def _on_ended(self, summary: str) -> None:
        self._summary = summary
        self.refresh()


def _words(row: Row) -> str:
    return row.text if row.done is not None else "waiting"
