"""Pictures of the panel and of a window like Slicer's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QImage, QLinearGradient, QPainter, QPalette
from PySide6.QtWidgets import QApplication, QFrame, QScrollArea, QWidget

_BARS = {"Red": "#f34a33", "Yellow": "#edd54c", "Green": "#6eb04b"}
_PLACES = {"Red": (0, 0), "Green": (1, 0), "Yellow": (1, 1)}  # Slicer's four-up layout; the 3D view is at (0, 1)
_BAR, _GAP = 20, 3


def prepare_fonts() -> None:
    """A font for the headless platform; without one every letter is a box."""
    if not QFontDatabase.families():
        found = importlib.util.find_spec("matplotlib")
        if found is not None:
            for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf"):
                path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name
                QFontDatabase.addApplicationFont(str(path))
    families = QFontDatabase.families()
    wanted = [name for name in ("Noto Sans", "DejaVu Sans", "Liberation Sans") if name in families] + families
    QApplication.setFont(QFont(wanted[0] if wanted else "", 9))


def light_palette() -> QPalette:
    palette = QPalette(QColor("#efefef"))
    palette.setColor(QPalette.Highlight, QColor("#308cc6"))
    palette.setColor(QPalette.Base, QColor("#ffffff"))
    return palette


def dark_palette() -> QPalette:
    palette = QPalette(QColor("#353535"))
    for role, color in (
        (QPalette.Window, "#353535"),
        (QPalette.WindowText, "#f0f0f0"),
        (QPalette.Base, "#232323"),
        (QPalette.AlternateBase, "#2d2d2d"),
        (QPalette.Text, "#f0f0f0"),
        (QPalette.Button, "#404040"),
        (QPalette.ButtonText, "#f0f0f0"),
        (QPalette.Highlight, "#2a82da"),
        (QPalette.HighlightedText, "#ffffff"),
        (QPalette.Link, "#56a5f0"),
        (QPalette.ToolTipBase, "#404040"),
        (QPalette.ToolTipText, "#f0f0f0"),
        (QPalette.PlaceholderText, "#8c8c8c"),
    ):
        palette.setColor(role, QColor(color))
    for role in (QPalette.WindowText, QPalette.Text, QPalette.ButtonText):
        palette.setColor(QPalette.Disabled, role, QColor("#808080"))
    return palette


def _draw_view(painter: QPainter, view: Any, name: str, place: QRect, drawn: bool) -> None:
    painter.fillRect(place, QColor("black"))
    bar = QRect(place.left(), place.top(), place.width(), _BAR)
    painter.fillRect(bar, QColor(_BARS[name]))
    painter.setPen(QColor("black"))
    offset = f"{view.logic.GetSliceOffset():.1f} mm"
    painter.drawText(bar.adjusted(6, 0, -6, 0), Qt.AlignLeft | Qt.AlignVCenter, name[0])
    painter.drawText(bar.adjusted(6, 0, -6, 0), Qt.AlignRight | Qt.AlignVCenter, offset)
    if not drawn:
        return
    width, height = place.width(), place.height() - _BAR
    if tuple(view.size) != (width, height):
        view.size = (width, height)
        view.window.SetSize(width, height)
        view.logic.ResizeSliceNode(width, height)
    pixels = np.ascontiguousarray(view.picture())
    rows, columns = pixels.shape[:2]
    image = QImage(pixels.data, columns, rows, 3 * columns, QImage.Format_RGB888)
    painter.drawImage(place.left(), place.top() + _BAR, image)


def draw_views(painter: QPainter, host: Any, area: QRect, drawn: bool) -> None:
    """The slice views and an empty 3D view, two by two."""
    painter.fillRect(area, QColor("#202020"))
    width, height = (area.width() - _GAP) // 2, (area.height() - _GAP) // 2

    def place(row: int, column: int) -> QRect:
        return QRect(area.left() + column * (width + _GAP), area.top() + row * (height + _GAP), width, height)

    empty = place(0, 1)
    shade = QLinearGradient(0, empty.top(), 0, empty.bottom())
    shade.setColorAt(0, QColor("#747ec8"))
    shade.setColorAt(1, QColor("#c1c3e8"))
    painter.fillRect(empty, shade)
    bar = QRect(empty.left(), empty.top(), empty.width(), _BAR)
    painter.fillRect(bar, QColor("#a9abdb"))
    painter.setPen(QColor("black"))
    painter.drawText(bar.adjusted(6, 0, -6, 0), Qt.AlignLeft | Qt.AlignVCenter, "1")
    for name, (row, column) in _PLACES.items():
        if name in host.views:
            _draw_view(painter, host.views[name], name, place(row, column), drawn)


def _settle() -> None:
    for _ in range(4):
        QApplication.processEvents()


def panel_picture(panel: QWidget, width: int) -> QImage:
    """The panel at its full height."""
    panel.setAttribute(Qt.WA_DontShowOnScreen, False)
    panel.resize(width, 100)
    panel.show()
    _settle()
    needed = panel.layout().totalSizeHint().height()
    if panel.layout().hasHeightForWidth():
        needed = panel.layout().totalHeightForWidth(width)
    panel.resize(width, max(needed, 50))
    _settle()
    return panel.grab().toImage()


def window_picture(panel: QWidget, host: Any, size: tuple[int, int], panel_width: int, drawn: bool) -> QImage:
    """The panel in a scroll area at the left, the views at the right."""
    area = QScrollArea()
    area.setFrameShape(QFrame.NoFrame)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
    area.setWidget(panel)
    area.resize(panel_width, size[1])
    area.show()
    _settle()
    left = area.grab().toImage()
    area.takeWidget()
    area.hide()
    area.deleteLater()
    picture = QImage(*size, QImage.Format_RGB32)
    picture.fill(QApplication.palette().color(QPalette.Window))
    painter = QPainter(picture)
    painter.setFont(QApplication.font())
    painter.drawImage(0, 0, left)
    draw_views(painter, host, QRect(panel_width + 4, 0, size[0] - panel_width - 4, size[1]), drawn)
    painter.end()
    return picture
