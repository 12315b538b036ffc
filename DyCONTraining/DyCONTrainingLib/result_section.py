"""The sections Result and Label next of the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from DyCONTrainingLib import tables, texts
from DyCONTrainingLib.label_next import Candidate
from DyCONTrainingLib.labeling import Opened
from DyCONTrainingLib.logic import TrainingLogic
from DyCONTrainingLib.results import Report, summary_text
from DyCONTrainingLib.run_card import RunCard, Standing
from DyCONTrainingLib.tables import Cell

PICTURE = 72  # pixels
MOST_SCORES, MOST_RANKED = 8, 13  # lines shown at once
Attempt = Callable[[Callable[[], Any]], Any]


class ResultSection:
    """Shows what the selected run achieved."""

    def __init__(
        self, ui: Any, logic: TrainingLogic, attempt: Attempt, open_module: Callable[[], None]
    ) -> None:
        """Connect the widgets; `open_module` shows DyCONSegmentation."""
        self._ui, self._logic = ui, logic
        self._known: tuple[object, Report | None] = (None, None)
        tables.prepare(ui.resultTable, 0)
        ui.compareButton.connect("clicked()", lambda: attempt(self._compare))
        ui.segmentButton.connect("clicked()", open_module)

    def refresh(self) -> None:
        """Show the figures."""
        if self._ui.resultSection.collapsed:
            return
        ui, running = self._ui, self._logic.running
        card = running.watched
        report = self._report(card)
        ui.resultLabel.text = (
            summary_text(report) if report else "The figures of a run come when it is done."
        )
        scores = report.scores if report is not None else ()
        titles = {row.alias: row.title for row in self._logic.dataset.draft.rows}
        ui.resultTable.visible = bool(scores)
        rows = [
            (
                Cell(titles.get(score.case, score.case), score.case),
                Cell(score.structure),
                Cell(texts.dice_text(score.dice)),
                Cell("-" if score.hd95_mm is None else f"{score.hd95_mm:.1f}"),
            )
            for score in scores
        ]
        tables.fill(ui.resultTable, rows, right=(2, 3))
        tables.fit(ui.resultTable, MOST_SCORES)
        comparison = running.comparison(card.name) if report and card else ""
        ui.comparisonLabel.text = comparison
        ui.comparisonLabel.visible = bool(comparison)
        ui.compareButton.enabled = bool(report) and _can_compare(card) and not comparison
        ui.segmentButton.enabled = report is not None
        ui.modelLabel.text = running.offered(card.name) if report and card else ""
        ui.modelLabel.visible = bool(ui.modelLabel.text)

    def _report(self, card: RunCard | None) -> Report | None:
        """Return the figures of a run; files are read again only when the run went on."""
        key = (card.path, card.standing, card.step) if card is not None else None
        if key != self._known[0]:
            report = self._logic.running.report(card.name) if card is not None else None
            self._known = (key, report)
        return self._known[1]

    def _compare(self) -> None:
        card = self._logic.running.watched
        if card is not None:
            self._logic.running.compare(card.name)


class LabelSection:
    """Shows what to label next."""

    def __init__(
        self, ui: Any, logic: TrainingLogic, attempt: Attempt, edit: Callable[[Opened], None]
    ) -> None:
        """Connect the widgets; `edit` shows an opened case in Segment Editor."""
        self._ui, self._logic, self._attempt = ui, logic, attempt
        self._shown: list[Candidate] = []
        ui.rankTable.setIconSize(qt.QSize(PICTURE, PICTURE))
        tables.prepare(ui.rankTable, 1, wrapped=True)
        ui.rankButton.connect("clicked()", lambda: attempt(self._rank))
        ui.labelButton.connect("clicked()", lambda: attempt(self._open))
        ui.addLabeledButton.connect("clicked()", lambda: attempt(self._add))
        ui.rankTable.connect("itemSelectionChanged()", self._show_buttons)
        logic.labels.opened.connect(edit)

    def refresh(self) -> None:
        """Show the list."""
        if self._ui.labelSection.collapsed:
            return
        card = self._logic.running.watched
        found = self._logic.labels.candidates(card.path if card is not None else None)
        ui = self._ui
        if found != self._shown:
            self._shown = found
            rows = [
                (
                    Cell(
                        f"{each.rank}. {each.title}", each.alias, picture=str(each.thumbnail or "")
                    ),
                    Cell(each.reason),
                )
                for each in found
            ]
            tables.fill(ui.rankTable, rows)
        ui.rankTable.resizeRowsToContents()  # the panel may have another width now
        tables.fit(ui.rankTable, MOST_RANKED)
        ui.rankTable.visible = bool(found)
        ui.labelLabel.text = self._words(card)
        ui.labelLabel.visible = bool(ui.labelLabel.text)
        self._show_buttons()

    def _words(self, card: RunCard | None) -> str:
        if card is None or not card.packages:
            return "A finished run is needed: its model orders the unlabeled scans."
        if not self._shown:
            return "Not ranked yet, or nothing unlabeled is left."
        return "Label the first, add it, and train again from the last run."

    def _show_buttons(self) -> None:
        ui, card, chosen = self._ui, self._logic.running.watched, self._chosen()
        idle = not self._logic.labels.progress[0] and not self._logic.dataset.is_busy
        ui.rankButton.enabled = idle and card is not None and bool(card.packages)
        ui.labelButton.enabled = idle and chosen is not None
        is_open = chosen is not None and self._logic.labels.is_open(chosen.alias)
        ui.addLabeledButton.enabled = idle and is_open

    def _chosen(self) -> Candidate | None:
        rows = tables.selected(self._ui.rankTable)
        return self._shown[rows[0]] if rows and rows[0] < len(self._shown) else None

    def _rank(self) -> None:
        card = self._logic.running.watched
        if card is not None:
            self._logic.labels.rank(card.path, self._logic.chosen.device)

    def _open(self) -> None:
        card, chosen = self._logic.running.watched, self._chosen()
        if card is not None and chosen is not None:
            self._logic.labels.open(chosen.alias, card.path, self._logic.chosen.device)

    def _add(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self._logic.labels.add(chosen.alias)


def _can_compare(card: RunCard | None) -> bool:
    if card is None or card.request is None or card.standing is not Standing.FINISHED:
        return False
    return card.request.method != "supervised"
