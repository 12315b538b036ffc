"""What a panel shows, as plain values."""

from __future__ import annotations


def cells(table):
    """Return the texts of a table widget, row by row."""
    return [
        [table.item(row, column).text() for column in range(table.columnCount)]
        for row in range(table.rowCount)
    ]


def told(desk):
    """Return the texts of all dialogs that were shown."""
    return [shown.text for shown in desk.qt.dialogs.shown]
