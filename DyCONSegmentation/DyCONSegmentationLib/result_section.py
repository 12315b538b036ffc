"""The section Result of the panel: volumes of the structures, the overlay, the banner."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from DyCONLib.literal import as_tip
from DyCONSegmentationLib import structure_words, tables, texts
from DyCONSegmentationLib.binding import Binding, Tie
from DyCONSegmentationLib.exporting import EXPORTS, Export, dicom_trouble
from DyCONSegmentationLib.measuring import Gauge
from DyCONSegmentationLib.results import Result
from DyCONSegmentationLib.session import Session
from DyCONSegmentationLib.tables import Cell
from DyCONSegmentationLib.writing import Writing

_STYLE = "background: {}; color: {}; border: 1px solid {}; border-radius: 3px;"
STYLES = {  # dark on light, in light and dark style alike
    "error": _STYLE.format("#f8d7da", "#58151c", "#c0392b"),
    "warning": _STYLE.format("#fff3cd", "#4d3800", "#d39e00"),
    "note": _STYLE.format("#d9ecf7", "#0f3a56", "#5b9ec9"),
}
NAME, MILLILITERS, INTERVAL, EDGE, REVIEW = range(5)
SPARE = ((EDGE, 10), (INTERVAL, 6))  # given up, tooltips have them, below so many letters of NAME


class ResultSection:
    """Shows the result at hand."""

    def __init__(self, ui: Any, session: Session, writing: Writing, attempt: Any) -> None:
        """Connect the widgets; arguments as those of `SegmentSection`, and what writes files."""
        self._ui, self._session, self._attempt = ui, session, attempt
        self._writing, self._gauge = writing, Gauge()
        slider = "valueChanged(double)"
        self._binding = Binding(
            session,
            (
                Tie("show_overlay", ui.overlayBox, "checked", "toggled(bool)"),
                Tie("show_legend", ui.legendBox, "checked", "toggled(bool)"),
                Tie("opacity", ui.opacitySlider, "value", slider),
                Tie("hide_below", ui.hideSlider, "value", slider),
            ),
        )
        for box in (ui.overlayBox, ui.legendBox):
            box.connect("toggled(bool)", lambda _on: session.show())
        for slider_widget in (ui.opacitySlider, ui.hideSlider):
            slider_widget.connect(slider, lambda _value: session.show())
        ui.resultSelector.connect("currentIndexChanged(int)", self._on_result)
        tables.prepare(ui.structureTable, NAME)
        self._room = tables.Room(ui.structureTable, NAME, SPARE)
        ui.structureTable.connect(
            "currentCellChanged(int,int,int,int)", lambda *_cells: self._show_reason()
        )
        ui.exportCancelButton.connect("clicked()", writing.cancel)
        ui.regionButton.connect("clicked()", self._on_region)
        self._add_export_menu()

    def refresh(self) -> None:
        """Show the session."""
        result = self._session.result
        self._ui.resultSection.visible = result is not None
        self._show_banner(result)
        if result is None:
            return
        self._show_results(result)
        self._binding.show()
        self._ui.madeLabel.text = texts.made_text(result.report, result.model)
        shown = self._session.parameters.show_overlay and result.uncertainty is not None
        for widget in (self._ui.opacitySlider, self._ui.hideSlider, self._ui.legendBox):
            widget.enabled = shown
        self._ui.overlayBox.enabled = result.uncertainty is not None
        self._show_structures(result)
        self._show_reason()

    def refresh_export(self) -> None:
        """Show what is being written, or what became of it."""
        ui, writing = self._ui, self._writing
        ui.exportButton.enabled = not writing.busy
        ui.exportCancelButton.visible = writing.busy
        ui.exportLabel.text = writing.words
        ui.exportLabel.visible = bool(writing.words)

    def _show_reason(self) -> None:
        result, label = self._session.result, self._ui.reasonLabel
        row = self._ui.structureTable.currentRow()
        structures = self._gauge.measure(result) if result is not None else ()
        label.text = structure_words.reason_text(structures, row)
        label.visible = bool(label.text)

    def _show_banner(self, result: Result | None) -> None:
        label = self._ui.bannerLabel
        banner = texts.banner(result.report) if result is not None else texts.NO_BANNER
        helps = bool(banner.kind) and self._session.needs_region
        if helps:
            banner = texts.with_advice(banner)
        self._ui.regionButton.visible = helps
        label.visible = bool(banner.kind)
        if label.text != banner.text:
            label.text = banner.text
            label.styleSheet = STYLES.get(banner.kind, "")

    def _on_region(self) -> None:
        self._attempt(self._session.propose_region)
        self._ui.segmentSection.collapsed = False
        self._ui.advancedBox.collapsed = False

    def _show_results(self, result: Result) -> None:
        selector, results = self._ui.resultSelector, self._session.results
        names = [node.GetName() for node in results]
        blocked = selector.blockSignals(True)
        if [selector.itemText(index) for index in range(selector.count)] != names:
            selector.clear()
            selector.addItems(names)
        ids = [node.GetID() for node in results]
        selector.currentIndex = ids.index(result.segmentation.GetID())
        selector.blockSignals(blocked)

    def _show_structures(self, result: Result) -> None:
        structures = self._gauge.measure(result)
        corrected, label = structure_words.corrected_text(structures), self._ui.correctedLabel
        label.text, label.visible = corrected, bool(corrected)
        colors, rows = result.colors, []
        for structure in structures:
            name, *figures, word = structure_words.measured_row(structure)
            tip = structure_words.measured_tip(structure)
            cells = [Cell(figure, tip) for figure in figures]
            rows.append([Cell(name, tip, colors.get(name)), *cells, Cell(word, tip, bold=True)])
        tables.fill(self._ui.structureTable, rows, most=6, right=(MILLILITERS, INTERVAL, EDGE))
        self._room.make()

    def _on_result(self, index: int) -> None:
        if 0 <= index < len(self._session.results):
            self._session.show_result(self._session.results[index].GetID())

    def _add_export_menu(self) -> None:
        self._menu = qt.QMenu(self._ui.exportButton)
        self._menu.toolTipsVisible = True
        self._actions = [(self._menu.addAction(export.title), export) for export in EXPORTS]
        for action, export in self._actions:
            action.toolTip = export.tip
            action.connect("triggered()", self._exporter(export))
        self._menu.connect("aboutToShow()", self._on_export_menu)
        self._ui.exportButton.setMenu(self._menu)

    def _on_export_menu(self) -> None:
        result = self._session.result
        trouble = dicom_trouble(result) if result is not None else ""
        for action, export in self._actions:
            action.enabled = not (export.is_dicom and trouble)
            action.toolTip = as_tip(trouble) if export.is_dicom and trouble else export.tip

    def _exporter(self, export: Export) -> Callable[[], None]:
        def run() -> None:
            result = self._session.result
            if result is None:
                return
            name = export.file_name(result)
            chosen = qt.QFileDialog.getSaveFileName(
                slicer.util.mainWindow(), export.title, name, export.pattern
            )
            if not chosen:
                return
            path = export.with_ending(chosen)
            if path == Path(chosen) or not path.exists() or _may_replace(path):
                write = functools.partial(export.write, result)
                self._attempt(lambda: self._writing.start(write, path))

        return run


def _may_replace(path: Path) -> bool:
    """Ask as the file dialog does, which saw the name without its ending."""
    words = f"'{path.name}' is there already. Replace it?"
    plain = qt.Qt.PlainText
    return bool(slicer.util.confirmOkCancelDisplay(words, windowTitle="Export", textFormat=plain))
