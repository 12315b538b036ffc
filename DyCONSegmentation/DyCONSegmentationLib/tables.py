"""Rows of text in a QTableWidget; shows, never computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import qt


class Cell(NamedTuple):
    """One cell: its text, tooltip, and a color (RGB, 0-255) shown beside the text."""

    text: str
    tip: str = ""
    color: tuple[int, int, int] | None = None
    bold: bool = False


ROW_PIXELS, AROUND = 24, 8  # of a row, which large letters make higher


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


def _row_pixels(table: Any) -> int:
    return max(ROW_PIXELS, int(table.fontMetrics().height()) + AROUND)


def _show(item: Any, cell: Cell, *, to_right: bool) -> None:
    item.setText(cell.text)
    item.setToolTip(cell.tip or cell.text)
    if cell.color is not None:
        item.setData(qt.Qt.DecorationRole, qt.QColor(*cell.color))
    font = item.font()
    font.setBold(cell.bold)
    item.setFont(font)
    side = qt.Qt.AlignRight if to_right else qt.Qt.AlignLeft
    item.setTextAlignment(side | qt.Qt.AlignVCenter)
