"""The section Review of the panel: uncertain regions, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer

from DyCONSegmentationLib import tables, texts, training_set
from DyCONSegmentationLib.results import Result
from DyCONSegmentationLib.review import Mark
from DyCONSegmentationLib.reviewing import Reviewing
from DyCONSegmentationLib.session import Session
from DyCONSegmentationLib.tables import Cell

RANK, NEAR, MILLILITERS, UNSURE, MARK = range(5)
FOLDER = "DyCONSegmentation/TrainingSetFolder"


class ReviewSection:
    """Shows the review list of the result at hand."""

    def __init__(self, ui: Any, session: Session, reviewing: Reviewing, attempt: Any) -> None:
        """Connect the widgets.

        Args:
            ui: The widgets by name.
            session: What they show.
            reviewing: What they do.
            attempt: Calls an action and tells a failure in one sentence.
        """
        self._ui, self._session, self._attempt = ui, session, attempt
        self._reviewing = reviewing
        tables.prepare(ui.regionTable, NEAR)
        ui.regionTable.connect("currentCellChanged(int,int,int,int)", self._on_region)
        for button, mark in (
            (ui.acceptButton, Mark.ACCEPTED),
            (ui.fixedButton, Mark.FIXED),
            (ui.reopenButton, Mark.OPEN),
        ):
            button.connect("clicked()", lambda mark=mark: reviewing.mark(mark))
        ui.nextButton.connect("clicked()", reviewing.jump_to_next)
        ui.editUncertainButton.connect("clicked()", lambda: attempt(reviewing.edit_uncertain))
        ui.editAllButton.connect("clicked()", lambda: attempt(reviewing.edit_everything))
        ui.trainingButton.connect("clicked()", self._on_training)

    def refresh(self) -> None:
        """Show the session."""
        result = self._session.result
        self._ui.reviewSection.visible = result is not None
        if result is None:
            return
        review = result.review
        self._ui.leftLabel.text = texts.left_text(review, result.report)
        advice = texts.advice_text(review, result.report)
        self._ui.adviceLabel.text, self._ui.adviceLabel.visible = advice, bool(advice)
        rows = []
        for region in review.regions:
            words = [*texts.region_row(region), review.mark_of(region).value]
            rows.append([Cell(word, "Click to see it in all slice views") for word in words])
        tables.fill(self._ui.regionTable, rows, most=8, right=(RANK, MILLILITERS, UNSURE))
        self._select(result)
        chosen = bool(self._reviewing.rank)
        for button in (self._ui.acceptButton, self._ui.fixedButton, self._ui.reopenButton):
            button.enabled = chosen
        self._ui.nextButton.enabled = review.left > 0
        self._ui.editUncertainButton.enabled = result.uncertainty is not None
        self._ui.trainingButton.enabled = result.volume is not None

    def _select(self, result: Result) -> None:
        table = self._ui.regionTable
        ranks = [region.rank for region in result.review.regions]
        row = ranks.index(self._reviewing.rank) if self._reviewing.rank in ranks else -1
        if table.currentRow() != row:
            blocked = table.blockSignals(True)
            table.setCurrentCell(row, RANK)
            table.blockSignals(blocked)

    def _on_region(self, row: int, *_others: int) -> None:
        result = self._session.result
        if result is not None and 0 <= row < len(result.review.regions):
            self._reviewing.jump(result.review.regions[row].rank)

    def _on_training(self) -> None:
        settings, window = slicer.app.userSettings(), slicer.util.mainWindow()
        before = settings.value(FOLDER, "")
        folder = qt.QFileDialog.getExistingDirectory(window, "Data set for training", before)
        if not folder:
            return
        settings.setValue(FOLDER, folder)
        name = qt.QInputDialog.getText(
            window,
            "Add to training set",
            "Name of the case (no name of a patient):",
            qt.QLineEdit.Normal,
            training_set.next_name(Path(folder)),
        )
        if name:
            self._attempt(lambda: self._reviewing.add_to_training_set(Path(folder), name))
