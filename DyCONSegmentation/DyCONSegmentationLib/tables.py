"""Rows of text in a QTableWidget; shows, never computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import qt

from DyCONLib.literal import as_tip


class Cell(NamedTuple):
    """One cell: its text, tooltip, and a color (RGB, 0-255) shown beside the text."""

    text: str
    tip: str = ""
    color: tuple[int, int, int] | None = None
    bold: bool = False


ROW_PIXELS, AROUND = 24, 8  # of a row, which large letters make higher
MARGIN, SWATCH = 8, 28  # of a cell beside its text, and for the color of one


def prepare(table: Any, stretched: int) -> None:
    """Let column `stretched` take the room that the others leave."""
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        mode = qt.QHeaderView.Stretch if column == stretched else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)
    header.setMinimumSectionSize(24)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(_row_pixels(table))


def fill(
    table: Any, rows: Sequence[Sequence[Cell]], *, most: int, right: Sequence[int] = ()
) -> None:
    """Show `rows`; the selected row stays selected.

    Args:
        table: The QTableWidget.
        rows: Of cells.
        most: So many rows are visible at most; fewer make the table lower.
        right: Columns that are aligned to the right.
    """
    blocked = table.blockSignals(True)
    table.setRowCount(len(rows))
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            item = table.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                table.setItem(row, column, item)
            _show(item, cell, to_right=column in right)
    lines = max(1, min(len(rows), most))
    table.setFixedHeight(
        table.horizontalHeader().sizeHint.height() + lines * _row_pixels(table) + 4
    )
    table.blockSignals(blocked)


class Room:
    """Keeps names readable in a narrow table: other columns are hidden for them, and come back."""

    def __init__(self, table: Any, names: int, spare: Sequence[tuple[int, int]]) -> None:
        """Follow the width of the table.

        Args:
            table: The QTableWidget, prepared with `names` as the stretched column.
            names: A column of names with colors.
            spare: Columns that are hidden, in this order, where beside them less than so many
                letters of the names could be read.
        """
        self._table, self._names, self._spare = table, names, spare
        self._later = qt.QTimer(table)  # a header that is being laid out must not lose columns
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.connect("timeout()", self.make)
        resized = "sectionResized(int,int,int)"
        table.horizontalHeader().connect(resized, lambda *_sizes: self._later.start())

    def make(self) -> None:
        """Show and hide columns as the width of the table and its words ask for."""
        table, letter = self._table, self._table.fontMetrics().averageCharWidth()
        others = [column for column in range(table.columnCount) if column != self._names]
        widths = {column: self._width(column) for column in others}
        left = table.viewport().width - sum(widths.values())
        for column, letters in self._spare:
            is_narrow = left < min(letters * letter + SWATCH, self._width(self._names) + SWATCH)
            left += widths[column] if is_narrow else 0
            table.setColumnHidden(column, is_narrow)

    def _width(self, column: int) -> int:
        table = self._table
        items = [table.item(row, column) for row in range(table.rowCount)]
        texts = [item.text() for item in (table.horizontalHeaderItem(column), *items) if item]
        metrics = table.fontMetrics()
        widest = max(int(metrics.boundingRect(text).width()) for text in texts)
        return widest + 2 * MARGIN


def _row_pixels(table: Any) -> int:
    return max(ROW_PIXELS, int(table.fontMetrics().height()) + AROUND)


def _show(item: Any, cell: Cell, *, to_right: bool) -> None:
    item.setText(cell.text)
    item.setToolTip(as_tip(cell.tip or cell.text))
    color = qt.QColor(*cell.color) if cell.color is not None else None
    item.setData(qt.Qt.DecorationRole, color)
    font = item.font()
    font.setBold(cell.bold)
    item.setFont(font)
    side = qt.Qt.AlignRight if to_right else qt.Qt.AlignLeft
    item.setTextAlignment(side | qt.Qt.AlignVCenter)
