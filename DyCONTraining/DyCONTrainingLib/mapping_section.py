"""The box Segments and labels: one row per segment, its label to choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from DyCONLib.literal import as_tip
from DyCONTrainingLib import tables
from DyCONTrainingLib.labels import LabelClass
from DyCONTrainingLib.logic import TrainingLogic
from DyCONTrainingLib.tables import Cell

LEFT_OUT = "left out"
MOST_SEGMENTS = 8  # shown at once
SEGMENT, CASES, LABEL = range(3)


class MappingSection:
    """Shows which segment becomes which label."""

    def __init__(self, ui: Any, logic: TrainingLogic) -> None:
        """Connect nothing yet: the choices are made with the rows."""
        self._ui, self._logic = ui, logic
        self._shown: object = None
        tables.prepare(ui.mappingTable, LABEL)

    def refresh(self) -> None:
        """Show the mapping; the choices are made anew only where it changed."""
        dataset = self._logic.dataset
        rows, classes = dataset.label_preview(), dataset.draft.mapping.classes
        self._ui.mappingBox.visible = bool(rows)
        used = len(dataset.draft.mapping.used)
        self._ui.mappingBox.title = f"Segments and labels ({used})"
        if (rows, classes) == self._shown:
            return
        self._shown = (rows, classes)
        colors = {each.value: each.color for each in classes}
        cells = [
            (Cell(segment, color=colors.get(value)), Cell(str(count) if count else "-"), Cell(""))
            for segment, _, value, count in rows
        ]
        tables.fill(self._ui.mappingTable, cells, right=(CASES,))
        for number, (segment, _, value, _) in enumerate(rows):
            choice = self._choice(segment, value, classes)
            self._ui.mappingTable.setCellWidget(number, LABEL, choice)
        tables.fit(self._ui.mappingTable, MOST_SEGMENTS)

    def _choice(self, segment: str, value: int, classes: tuple[LabelClass, ...]) -> Any:
        box = qt.QComboBox()
        values = [each.value for each in classes]
        for each in classes:
            box.addItem(f"{each.value}  {each.name}")
        box.addItem(LEFT_OUT)
        box.setCurrentIndex(values.index(value) if value in values else len(values))
        box.setToolTip(as_tip(f"The label of '{segment}' in every case"))
        box.connect("currentIndexChanged(int)", self._chooser(segment, values))
        return box

    def _chooser(self, segment: str, values: list[int]) -> Callable[[int], None]:
        def chosen(index: int) -> None:
            value = values[index] if index < len(values) else 0
            dataset = self._logic.dataset
            dataset.set_mapping(dataset.draft.mapping.assigned(segment, value))

        return chosen
