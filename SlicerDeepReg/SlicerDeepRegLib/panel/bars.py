"""Dice of each structure before and after registration, as bars. Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt

from ..metrics.status import DICE, color_of
from .quality import STATUS_WORDS

#: Height of a row in pixels, and how many structures are drawn at most.
ROW, MOST = 15, 14


def drawn_rows(structures: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """Return (name, Dice before, Dice after) of the structures that have both, the worst first, at most ``MOST``."""
    known = [(row["name"], row["dice"].get("before"), row["dice"].get("after")) for row in structures]
    known = [row for row in known if row[1] is not None and row[2] is not None]
    return sorted(known, key=lambda row: row[2])[:MOST]


def draw(structures: Sequence[Mapping[str, Any]], width: int, palette: Any) -> Any:
    """Draw the bars as a pixmap of a width in pixels; None if no structure was measured in both images."""
    rows = drawn_rows(structures)
    if not rows:
        return None
    picture = qt.QPixmap(width, ROW * (len(rows) + 1) + 4)
    picture.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter()
    painter.begin(picture)
    painter.setPen(qt.QPen(palette.color(qt.QPalette.Text)))
    names, end = min(130, width // 3), width - 34
    for number, (name, before, after) in enumerate(rows):
        top = ROW * number + 2
        painter.drawText(4, top + ROW - 4, name if len(name) < 20 else name[:18] + "\u2026")
        painter.drawText(end + 4, top + ROW - 4, f"{after:.2f}")
        _word, color = STATUS_WORDS[color_of(after, *DICE, higher=True)]
        painter.fillRect(names, top + 3, round(after * (end - names)), ROW - 6, qt.QColor(color))
        painter.drawRect(names, top + 1, round(before * (end - names)), ROW - 3)
    bottom = ROW * len(rows) + 2
    for value in (0.0, 0.5, *DICE, 1.0):
        across = names + round(value * (end - names))
        painter.drawLine(across, bottom, across, bottom + 3)
        if value not in DICE:
            painter.drawText(across - 6, bottom + ROW - 2, f"{value:g}")
    painter.end()
    return picture
