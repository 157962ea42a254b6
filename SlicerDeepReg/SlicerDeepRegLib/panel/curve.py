"""The loss curve, drawn for the panel. Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt


def segments(losses: Sequence[tuple[str, float]], width: int, height: int) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return (stage, its points in pixels) of each stage in turn; y grows downwards.

    The losses of different scales are not comparable, so each stage is drawn between its own best and worst loss.

    Args:
        losses: (stage, loss) of each iteration.
        width, height: of the drawing in pixels.
    """
    stages: list[tuple[str, list[float]]] = []
    for stage, loss in losses:
        if not stages or stages[-1][0] != stage:
            stages.append((stage, []))
        stages[-1][1].append(loss)
    total = max(1, sum(len(values) for _, values in stages) - 1)
    result, start = [], 0
    for stage, values in stages:
        low, high = min(values), max(values)
        scale = (height - 1) / (high - low) if high > low else 0.0
        points = [
            (round((start + n) * (width - 1) / total), round((high - value) * scale)) for n, value in enumerate(values)
        ]
        result.append((stage, points))
        start += len(values)
    return result


def draw(losses: Sequence[tuple[str, float]], width: int, height: int, palette: Any) -> qt.QPixmap:
    """Draw the curve in the colors of the panel's theme, with the names of the stages."""
    margin, line = 4, 16
    picture = qt.QPixmap(width, height)
    picture.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter()
    painter.begin(picture)
    text, accent = palette.color(qt.QPalette.Text), palette.color(qt.QPalette.Highlight)
    for stage, points in segments(losses, width - 2 * margin, height - 3 * margin - line):
        left = points[0][0] + margin
        painter.setPen(qt.QPen(text))
        painter.drawText(left + 2, line, stage if points[-1][0] - points[0][0] > 7 * len(stage) else "")
        if left > margin:
            painter.drawLine(left, margin, left, height - margin)
        painter.setPen(qt.QPen(accent, 2))
        for (x0, y0), (x1, y1) in zip(points[:-1], points[1:]):
            top = line + margin
            painter.drawLine(x0 + margin, y0 + top, x1 + margin, y1 + top)
    painter.end()
    return picture
