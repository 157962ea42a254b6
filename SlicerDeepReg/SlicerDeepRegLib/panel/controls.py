"""What the sections do with menus and tables. Qt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import qt

from .text import as_text


@contextmanager
def signals_blocked(*widgets: Any) -> Iterator[None]:
    """Change widgets without their signals being sent."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, blocked in zip(widgets, before):
            widget.blockSignals(blocked)


def fill(combo: Any, entries: Iterable[tuple[str, str]]) -> None:
    """Offer other entries, (value, title)."""
    with signals_blocked(combo):
        combo.clear()
        for value, title in entries:
            combo.addItem(title, value)


def choose(combo: Any, value: str) -> None:
    """Choose the entry of a value, or the first one."""
    with signals_blocked(combo):
        combo.setCurrentIndex(max(0, combo.findData(value)))


def chosen(combo: Any) -> str | None:
    """Return the value of the entry that is chosen; None of an empty menu."""
    return combo.itemData(combo.currentIndex)


def set_columns(table: Any, titles: Sequence[str], stretched: Collection[int], height: int) -> None:
    """Give a table its columns; those that are not stretched are as wide as their content. ``height`` is in pixels."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    for column in range(len(titles)):
        mode = qt.QHeaderView.Stretch if column in stretched else qt.QHeaderView.ResizeToContents
        table.horizontalHeader().setSectionResizeMode(column, mode)
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + 6)
    table.setMaximumHeight(height)


def show_rows(table: Any, rows: Sequence[Sequence[str]], tool_tips: Sequence[str] = ()) -> None:
    """Show other rows of text in a table, each with its tool tip where there are some."""
    with signals_blocked(table):
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                if tool_tips:
                    item.setToolTip(as_text(tool_tips[number]))
                table.setItem(number, column, item)
