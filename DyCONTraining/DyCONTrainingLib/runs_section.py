"""The sections Runs and Watch of the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from DyCONTrainingLib import tables, texts
from DyCONTrainingLib.advice import remaining_text, saved_text
from DyCONTrainingLib.charts import DICE_CHART, LOSS_CHART, OWNER, SCHEDULE_CHART
from DyCONTrainingLib.logic import TrainingLogic
from DyCONTrainingLib.run_card import RunCard
from DyCONTrainingLib.tables import Cell

CHARTS = (DICE_CHART, LOSS_CHART, SCHEDULE_CHART)
MOST_RUNS = 6  # shown at once
RESULT_FOLDER = "Result folder of the other computer"
Attempt = Callable[[Callable[[], Any]], Any]


class RunsSection:
    """Shows the list of runs."""

    def __init__(self, ui: Any, logic: TrainingLogic, attempt: Attempt) -> None:
        """Connect the widgets; arguments as of `DataSection`."""
        self._ui, self._logic, self._attempt = ui, logic, attempt
        self._names: list[str] = []
        running = logic.running
        tables.prepare(ui.runsTable, 0)
        ui.runsTable.connect("itemSelectionChanged()", self._on_selected)
        for button, act in (
            (ui.stopButton, running.cancel),
            (ui.resumeButton, running.resume),
            (ui.deleteButton, running.delete),
        ):
            button.connect("clicked()", self._on_run(act))
        ui.importButton.connect("clicked()", lambda: attempt(self._import))

    def refresh(self) -> None:
        """Show the runs."""
        ui, running = self._ui, self._logic.running
        cards = running.cards
        self._names = [card.name for card in cards]
        tables.fill(ui.runsTable, [_cells(card) for card in cards], right=(2, 3))
        tables.fit(ui.runsTable, MOST_RUNS)
        ui.runsTable.visible = bool(cards)
        card = running.watched
        if card is not None and tables.selected(ui.runsTable) != [self._names.index(card.name)]:
            tables.select(ui.runsTable, self._names.index(card.name))
        ui.runsSection.text = f"3. Runs ({len(cards)})" if cards else "3. Runs"
        is_told_below = not ui.watchSection.collapsed
        words = "" if card is None or card.is_alive or is_told_below else card.sentence
        ui.runLabel.text = words if cards else "No run on this data set yet."
        ui.runLabel.visible = bool(ui.runLabel.text)
        ui.stopButton.enabled = card is not None and card.is_alive
        ui.resumeButton.enabled = card is not None and card.can_resume
        ui.deleteButton.enabled = card is not None and not card.is_alive
        ui.importButton.enabled = self._logic.dataset.is_saved

    def _on_selected(self) -> None:
        chosen = tables.selected(self._ui.runsTable)
        if chosen:
            self._attempt(lambda: self._logic.running.follow(self._names[chosen[0]]))

    def _on_run(self, act: Callable[[str], object]) -> Callable[[], None]:
        def clicked() -> None:
            card = self._logic.running.watched
            if card is not None:
                self._attempt(lambda: act(card.name))

        return clicked

    def _import(self) -> None:
        there = str(self._logic.running.exported or "")
        chosen = qt.QFileDialog.getExistingDirectory(None, RESULT_FOLDER, there)
        if chosen:
            self._logic.running.import_result(Path(chosen))


class WatchSection:
    """Shows the run that is looked at: words, progress, charts, previews."""

    def __init__(self, ui: Any, logic: TrainingLogic, now: Callable[[], float]) -> None:
        """Connect the widgets; `now` gives seconds since the epoch."""
        self._ui, self._logic, self._now = ui, logic, now
        for name in CHARTS:
            ui.chartSelector.addItem(name)
        ui.chartSelector.connect("currentIndexChanged(int)", self._on_chart)
        ui.chartButton.connect("clicked()", self._show_chart)
        ui.previewSlider.connect("valueChanged(int)", self._on_preview)
        ui.logButton.connect("clicked()", self._copy_log)

    def refresh(self) -> None:
        """Show how the run is doing."""
        ui, watch = self._ui, self._logic.running.watch
        card = self._logic.running.watched
        ui.watchSection.text = f"4. Watch: {card.name}" if card is not None else "4. Watch"
        watched = card is not None and watch is not None
        previews = watch.previews if watch is not None else None
        for widget in (ui.runProgressBar, ui.watchLabel, ui.chartSelector, ui.chartButton):
            widget.visible = watched
        ui.logButton.visible = watched
        ui.previewFrame.visible = watched and previews is not None and bool(previews.steps)
        if card is None or watch is None:
            ui.adviceLabel.text = "Start a run, or select one in the list."
            ui.adviceLabel.setStyleSheet("")
            return
        advice = watch.advice()
        ui.adviceLabel.text = advice.text
        ui.adviceLabel.setStyleSheet(texts.bar_style(texts.MOODS[advice.mood]))
        history = watch.history
        done, total = history.step, history.total
        if not history.is_training and card.is_alive and history.progress[1]:
            done, total = history.progress[0], history.progress[1]
        ui.runProgressBar.maximum = max(total, 1)
        ui.runProgressBar.value = done
        parts = [saved_text(history, self._now()) if history.step else ""]
        parts += [remaining_text(history), history.device] if card.is_alive else []
        ui.watchLabel.text = ", ".join(part for part in parts if part)
        has_chart = watch.charts is not None and watch.charts.node(self._chart()) is not None
        ui.chartButton.enabled = has_chart
        self._show_preview(previews)

    def _show_preview(self, previews: Any) -> None:
        ui = self._ui
        if previews is None or not previews.steps:
            return
        slider = ui.previewSlider
        blocked = slider.blockSignals(True)
        slider.maximum = len(previews.steps) - 1
        slider.value = max(previews.shown, 0)
        slider.blockSignals(blocked)
        step = previews.steps[slider.value]
        words = f"One unlabeled scan after {step} steps"
        words = words if previews.is_shown else "One unlabeled scan over training:"
        ui.previewLabel.text = f"{words}\n{previews.problem}" if previews.problem else words

    def _on_chart(self, index: int) -> None:
        self._logic.choose(chart=CHARTS[index])
        if _is_chart_shown():
            self._show_chart()

    def _chart(self) -> str:
        return CHARTS[max(0, self._ui.chartSelector.currentIndex)]

    def _show_chart(self) -> None:
        watch = self._logic.running.watch
        chart = watch.charts.node(self._chart()) if watch and watch.charts else None
        if chart is not None:
            show_chart(chart)

    def _on_preview(self, number: int) -> None:
        watch = self._logic.running.watch
        if watch is not None and watch.previews is not None:
            watch.previews.show(number)
            self._show_preview(watch.previews)

    def _copy_log(self) -> None:
        log = self._logic.running.log()
        slicer.app.clipboard().setText(log)


def show_chart(chart: Any) -> None:
    """Show a chart in the plot view; the layout changes only where it has none."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def _is_chart_shown() -> bool:
    """Return whether the layout has a plot view with a chart of ours."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    now = layout.GetViewArrangement() if layout is not None else -1
    has_plot = slicer.modules.plots.logic().GetLayoutWithPlot(now) == now
    views = slicer.util.getNodesByClass("vtkMRMLPlotViewNode") if has_plot else []
    charts = [view.GetPlotChartNode() for view in views]
    return any(chart is not None and chart.GetAttribute(OWNER) for chart in charts)


def _cells(card: RunCard) -> tuple[Cell, ...]:
    tip = texts.run_tip(card)
    return (
        Cell(card.name, tip),
        Cell(card.standing.value, card.sentence or tip, texts.STANDINGS[card.standing]),
        Cell(texts.step_text(card)),
        Cell(texts.dice_text(card.dice), "Mean Dice on the held-out cases"),
    )
