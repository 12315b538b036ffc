"""Rows of text in a QTableWidget; shows, never computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import qt

from DyCONLib.literal import as_tip

LINE = 24  # pixels; large letters make it higher
MARGIN = 8


class Cell(NamedTuple):
    """One cell: its text, tooltip, a color (RGB, 0-255) or picture beside the text."""

    text: str
    tip: str = ""
    color: tuple[int, int, int] | None = None
    picture: str = ""


def prepare(table: Any, stretched: int, *, wrapped: bool = False) -> None:
    """Let column `stretched` take the room that the others leave; wrapped rows grow with it."""
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        mode = qt.QHeaderView.Stretch if column == stretched else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)
    rows = table.verticalHeader()
    rows.setDefaultSectionSize(_line(table))
    if wrapped:
        rows.setSectionResizeMode(qt.QHeaderView.ResizeToContents)


def fill(table: Any, rows: Sequence[Sequence[Cell]], right: Sequence[int] = ()) -> None:
    """Show `rows`; columns in `right` are aligned to the right. The selected row stays selected."""
    blocked = table.blockSignals(True)
    table.setRowCount(len(rows))
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            item = table.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                table.setItem(row, column, item)
            _show(item, cell, to_right=column in right)
    table.blockSignals(blocked)


def fit(table: Any, most: int) -> None:
    """Make the table as high as its rows, up to `most` lines; then it scrolls."""
    header = 0 if table.horizontalHeader().isHidden() else table.horizontalHeader().height
    rows = sum(table.rowHeight(row) for row in range(table.rowCount))
    height = header + min(rows, most * _line(table)) + MARGIN // 2
    if table.minimumHeight != height:
        table.setFixedHeight(height)


def _line(table: Any) -> int:
    return max(LINE, int(table.fontMetrics().height()) + MARGIN)


def selected(table: Any) -> list[int]:
    """Return the rows that are selected, in order."""
    return sorted({index.row() for index in table.selectionModel().selectedRows()})


def select(table: Any, row: int) -> None:
    """Select one row without telling anybody."""
    blocked = table.blockSignals(True)
    table.selectRow(row)
    table.blockSignals(blocked)


def _show(item: Any, cell: Cell, *, to_right: bool) -> None:
    item.setText(cell.text)
    item.setToolTip(as_tip(cell.tip or cell.text))
    if cell.picture:
        item.setIcon(qt.QIcon(cell.picture))
    elif cell.color is not None:
        item.setData(qt.Qt.DecorationRole, qt.QColor(*cell.color))
    else:
        item.setIcon(qt.QIcon())
    side = qt.Qt.AlignRight if to_right else qt.Qt.AlignLeft
    item.setTextAlignment(side | qt.Qt.AlignVCenter)
