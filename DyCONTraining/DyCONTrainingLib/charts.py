"""The curves of a run in Slicer's plot view: table, series and chart nodes, updated in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import slicer
import vtk

from DyCONTrainingLib.history import (
    BETA,
    LABELED_DICE,
    RATE,
    STUDENT_DICE,
    TEACHER_DICE,
    Curve,
    History,
)

MOST_POINTS = 400
COLORS = (  # far apart for color-blind eyes too, and readable on light and on dark
    (0.00, 0.52, 0.72),
    (0.97, 0.36, 0.00),
    (0.58, 0.22, 1.00),
    (0.67, 0.44, 0.38),
)
LINES = (  # when the colors are used up
    slicer.vtkMRMLPlotSeriesNode.LineStyleSolid,
    slicer.vtkMRMLPlotSeriesNode.LineStyleDash,
    slicer.vtkMRMLPlotSeriesNode.LineStyleDot,
)
LOSS_CHART, DICE_CHART, SCHEDULE_CHART = "Loss terms", "Dice", "Schedules"
SMALLEST = 1e-6  # of a loss term that is drawn; a weight that has not risen yet gives 0
TITLES = {LOSS_CHART: "weighted loss", DICE_CHART: "Dice", SCHEDULE_CHART: "share of the maximum"}
TERMS = {  # loss terms as people read them
    "boundary": "boundary",
    "consistency": "consistency",
    "contrast": "contrast",
    "cross_entropy": "cross-entropy",
    "cross_pseudo": "pseudo-labels of each other",
    "cross_task": "agreement of tasks",
    "dice": "Dice loss",
    "disagreement": "disagreement",
    "distance": "distance to the surface",
    "entropy": "entropy",
    "fecl": "contrast (FeCL)",
    "filtered": "pseudo-labels of both",
    "generative": "image drawing",
    "perturbation": "agreement of views",
    "pseudo_label": "pseudo-labels",
    "scale": "agreement of scales",
    "shape_dice": "Dice loss of the distance",
    "uncl": "consistency where sure (UnCL)",
}
OWNER = "DyCON.Training"


CIRCLE = slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle
NO_MARKER = slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone


class Drawn(NamedTuple):
    """A curve as it is drawn.

    Attributes:
        label: What the legend says.
        steps: The points.
        values: The same.
        look: Number of its color and line; one per curve of a chart, whenever it appears.
    """

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    look: int


@dataclass
class Charts:
    """The charts of one run; nodes are made when there is something to show.

    Attributes:
        name: Of the run; part of the nodes' names.
    """

    name: str
    _charts: dict[str, Any] = field(default_factory=dict)
    _series: dict[tuple[str, str], tuple[Any, Any]] = field(default_factory=dict)
    _total: int = 1

    def update(self, history: History) -> None:
        """Bring every curve up to date; a part that the person zoomed into stays."""
        if history.total > 0 and history.total != self._total:
            self._total = history.total
            for chart in self._charts.values():
                chart.SetXAxisRange(0, self._total)
        for chart, curves in charted(history).items():
            for name, drawn in curves.items():
                self._draw((chart, name), drawn)

    def node(self, chart: str) -> Any | None:
        """Return the chart node of this name, None where there is nothing to show yet."""
        return self._charts.get(chart)

    def remove(self) -> None:
        """Take all nodes out of the scene."""
        nodes = [*self._charts.values(), *(each for pair in self._series.values() for each in pair)]
        for node in nodes:
            if slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        self._charts, self._series = {}, {}

    def _draw(self, key: tuple[str, str], drawn: Drawn) -> None:
        if key not in self._series:
            self._series[key] = self._new_series(key[0], drawn)
        table, series = self._series[key]
        fill(table, drawn)
        series.SetName(drawn.label)
        few = len(drawn.steps) < MOST_POINTS / 10
        series.SetMarkerStyle(CIRCLE if few else NO_MARKER)

    def _new_series(self, chart: str, drawn: Drawn) -> tuple[Any, Any]:
        table = _added("vtkMRMLTableNode", f"{self.name} {drawn.label}")
        series = _added("vtkMRMLPlotSeriesNode", drawn.label)
        fill(table, drawn)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("step")
        series.SetYColumnName("value")
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetLineWidth(2)
        series.SetMarkerSize(7)
        series.SetColor(*COLORS[drawn.look % len(COLORS)])
        series.SetLineStyle(LINES[drawn.look // len(COLORS) % len(LINES)])
        self._chart(chart).AddAndObservePlotSeriesNodeID(series.GetID())
        return table, series

    def _chart(self, name: str) -> Any:
        if name not in self._charts:
            chart = _added("vtkMRMLPlotChartNode", f"{self.name}: {name}")
            chart.SetTitle(f"{self.name}: {name}")
            chart.SetXAxisTitle("step")
            chart.SetYAxisTitle(TITLES[name])
            chart.SetYAxisLogScale(name == LOSS_CHART)  # terms differ by powers of ten
            chart.SetYAxisRangeAuto(name == LOSS_CHART)
            chart.SetYAxisRange(0.0, 1.0)
            chart.SetXAxisRangeAuto(False)
            chart.SetXAxisRange(0, self._total)
            chart.SetLegendFontSize(11)
            chart.SetTitleFontSize(14)
            chart.SetAxisTitleFontSize(12)
            self._charts[name] = chart
        return self._charts[name]


def charted(history: History) -> dict[str, dict[str, Drawn]]:
    """Return the curves of every chart by name; empty ones are left out."""
    dice = {n: history.curve(n) for n in (LABELED_DICE, STUDENT_DICE, TEACHER_DICE)}
    charts = {
        LOSS_CHART: _positive(_drawn(history.terms)),
        DICE_CHART: _drawn(dice),
        SCHEDULE_CHART: _scaled(_drawn({n: history.curve(n) for n in (BETA, RATE)})),
    }
    return {name: curves for name, curves in charts.items() if curves}


def fill(table: Any, drawn: Drawn) -> None:
    """Put points into the columns `step` and `value` of a table node."""
    content = vtk.vtkTable()
    for name, values in (("step", drawn.steps), ("value", drawn.values)):
        column = vtk.vtkFloatArray()
        column.SetName(name)
        column.SetNumberOfValues(len(values))
        for index, value in enumerate(values):
            column.SetValue(index, value)
        content.AddColumn(column)
    table.SetAndObserveTable(content)


def _drawn(curves: Mapping[str, Curve]) -> dict[str, Drawn]:
    return {
        name: Drawn(TERMS.get(name, name), *each.thinned(MOST_POINTS), look)
        for look, (name, each) in enumerate(curves.items())
        if each.values
    }


def _positive(curves: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """Return curves without the points that a logarithmic axis cannot show."""
    found = {}
    for name, curve in curves.items():
        there = [(x, y) for x, y in zip(curve.steps, curve.values, strict=True) if y > SMALLEST]
        if there:
            steps, values = zip(*there, strict=True)
            found[name] = curve._replace(steps=steps, values=values)
    return found


def _scaled(curves: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """Return curves of different size as shares of their maximum, which their label tells."""
    scaled = {}
    for name, curve in curves.items():
        most = max(curve.values)
        if most > 0:
            values = [value / most for value in curve.values]
            scaled[name] = curve._replace(label=f"{name} (1 = {most:.3g})", values=values)
    return scaled


def _added(kind: str, name: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    node.SetAttribute(OWNER, "1")
    node.SetSaveWithScene(False)  # the run directory keeps the curves
    return node
