"""Qt widgets that look and behave like those of CTK, as far as a module's panel uses them."""

from __future__ import annotations

from PySide6.QtCore import Property, QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPalette, QPolygon
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSlider,
    QStyle,
    QStyleOptionGroupBox,
    QStylePainter,
    QToolButton,
    QWidget,
)


def draw_arrow(painter: QPainter, box: QRect, down: bool, color) -> None:
    """A small filled triangle, to the right or downwards."""
    x, y, half = box.center().x(), box.center().y(), 4
    if down:
        corners = [QPoint(x - half, y - 2), QPoint(x + half, y - 2), QPoint(x, y + half - 1)]
    else:
        corners = [QPoint(x - 2, y - half), QPoint(x - 2, y + half), QPoint(x + half - 1, y)]
    painter.setRenderHint(QPainter.Antialiasing)
    painter.setPen(Qt.NoPen)
    painter.setBrush(color)
    painter.drawPolygon(QPolygon(corners))


class Folding:
    """Hides and shows again the children of a widget."""

    def __init__(self, widget: QWidget) -> None:
        self.widget = widget
        self.hidden: list[QWidget] = []

    def fold(self) -> None:
        for child in self.widget.children():
            if isinstance(child, QWidget) and not child.isHidden():
                self.hidden.append(child)
                child.hide()

    def unfold(self) -> None:
        for child in self.hidden:
            child.show()
        self.hidden = []


class ctkCollapsibleButton(QAbstractButton):
    """A header that shows and hides what its layout holds."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments) -> None:
        text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        parent = arguments[-1] if arguments and isinstance(arguments[-1], QWidget) else None
        super().__init__(parent)
        self._folding = Folding(self)
        self._flat = False
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._unfold)
        self._make_room()

    def _header(self) -> int:
        return self.fontMetrics().height() + 10

    def _make_room(self) -> None:
        self.setContentsMargins(0, self._header(), 0, 0)

    def _unfold(self, opened: bool) -> None:
        if opened:
            self.setMaximumHeight(16777215)
            self._folding.unfold()
        else:
            self._folding.fold()
            self.setMaximumHeight(self._header())
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Show, QEvent.LayoutRequest, QEvent.ChildPolished) and not self.isChecked():
            self._folding.fold()  # children that came after it was folded
        if event.type() == QEvent.FontChange:
            self._make_room()
        return super().event(event)

    def hitButton(self, place: QPoint) -> bool:
        return place.y() < self._header()

    def _size(self, inner: QSize) -> QSize:
        width = self.fontMetrics().horizontalAdvance(self.text()) + 40
        if not self.isChecked() or self.layout() is None:
            return QSize(max(width, inner.width()), self._header())
        return QSize(max(width, inner.width()), self._header() + inner.height())

    def _inner(self, size: QSize) -> QSize:
        return QSize(size.width(), size.height() - self._header())  # a layout counts the margin for the header in

    def sizeHint(self) -> QSize:
        return self._size(self._inner(self.layout().totalSizeHint()) if self.layout() else QSize(0, 0))

    def minimumSizeHint(self) -> QSize:
        return self._size(self._inner(self.layout().totalMinimumSize()) if self.layout() else QSize(0, 0))

    def paintEvent(self, event) -> None:
        painter = QPainter(self)
        header = QRect(0, 0, self.width(), self._header())
        palette = self.palette()
        painter.setRenderHint(QPainter.Antialiasing)
        painter.setPen(palette.color(QPalette.Mid))
        painter.setBrush(palette.color(QPalette.Button))
        painter.drawRoundedRect(header.adjusted(0, 0, -1, -2), 3, 3)
        color = palette.color(QPalette.Active if self.isEnabled() else QPalette.Disabled, QPalette.ButtonText)
        draw_arrow(painter, QRect(4, 0, 16, header.height() - 2), self.isChecked(), color)
        painter.setPen(color)
        painter.drawText(header.adjusted(24, 0, -4, -2), Qt.AlignLeft | Qt.AlignVCenter, self.text())

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), _set_collapsed)
    flat = Property(bool, lambda self: self._flat, lambda self, flat: setattr(self, "_flat", flat))
    collapsedHeight = Property(int, lambda self: self._header(), lambda self, height: None)


class ctkCollapsibleGroupBox(QGroupBox):
    """A group box that an arrow at its title shows and hides."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self._folding = Folding(self)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._unfold)

    def _unfold(self, opened: bool) -> None:
        if opened:
            self.setMaximumHeight(16777215)
            self._folding.unfold()
        else:
            self._folding.fold()
            self.setMaximumHeight(self.fontMetrics().height() + 8)
        self.updateGeometry()

    def event(self, event: QEvent) -> bool:
        if event.type() in (QEvent.Show, QEvent.LayoutRequest, QEvent.ChildPolished) and not self.isChecked():
            self._folding.fold()
        return super().event(event)

    def minimumSizeHint(self) -> QSize:
        size = super().minimumSizeHint()
        return size if self.isChecked() else QSize(size.width(), self.fontMetrics().height() + 8)

    def paintEvent(self, event) -> None:
        painter = QStylePainter(self)
        option = QStyleOptionGroupBox()
        self.initStyleOption(option)
        box = self.style().subControlRect(QStyle.CC_GroupBox, option, QStyle.SC_GroupBoxCheckBox, self)
        option.subControls &= ~QStyle.SC_GroupBoxCheckBox
        option.text = "      " + self.title()
        painter.drawComplexControl(QStyle.CC_GroupBox, option)
        draw_arrow(painter, box, self.isChecked(), self.palette().color(QPalette.WindowText))

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), _set_collapsed)
    collapsedHeight = Property(int, lambda self: self.fontMetrics().height() + 8, lambda self, height: None)


class ctkSliderWidget(QWidget):
    """A slider and a spin box for one number."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    SLICER_SIGNALS = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Horizontal, self), QDoubleSpinBox(self)
        self._tracking = True
        self._box.setMaximum(99.0)
        self._box.setSingleStep(1.0)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._follow)
        self._slider.valueChanged.connect(self._lead)
        self._fit()

    def _fit(self) -> None:
        self._slider.blockSignals(True)
        self._slider.setRange(0, 1000)
        span = self._box.maximum() - self._box.minimum()
        part = (self._box.value() - self._box.minimum()) / span if span else 0
        self._slider.setValue(round(part * self._slider.maximum()))
        self._slider.blockSignals(False)

    def _follow(self, value: float) -> None:
        self._fit()
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def _lead(self, step: int) -> None:
        span = self._box.maximum() - self._box.minimum()
        steps = span * step / self._slider.maximum() / max(self._box.singleStep(), 1e-9)
        self._box.setValue(self._box.minimum() + round(steps) * self._box.singleStep())

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        self._box.setDecimals(decimals)
        self.decimalsChanged.emit(decimals)

    def reset(self) -> None:
        self._box.setValue(self._box.minimum())

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._box.setVisible(visible)

    def _set(self, setter: str, value) -> None:
        getattr(self._box, setter)(value)
        self._fit()

    value = Property(float, lambda self: self._box.value(), setValue)
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, value: self._set("setMinimum", value))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, value: self._set("setMaximum", value))
    singleStep = Property(
        float, lambda self: self._box.singleStep(), lambda self, value: self._set("setSingleStep", value)
    )
    pageStep = Property(float, lambda self: self._slider.pageStep(), lambda self, value: None)
    decimals = Property(int, lambda self: self._box.decimals(), setDecimals)
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, text: self._box.setSuffix(text))
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, text: self._box.setPrefix(text))
    tracking = Property(bool, lambda self: self._tracking, lambda self, on: setattr(self, "_tracking", on))
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)


class ctkComboBox(QComboBox):
    """A combo box that shows a text of its own while nothing is chosen."""

    def _set_text(self, text: str) -> None:
        self.setPlaceholderText(text)

    defaultText = Property(str, lambda self: self.placeholderText(), _set_text)


class ctkDoubleSpinBox(QDoubleSpinBox):
    """Qt's spin box under CTK's name."""


class ctkExpandableWidget(QFrame):
    """A frame; in CTK its lower edge can be pulled."""


class ctkMenuButton(QPushButton):
    """A push button; in CTK its arrow opens a menu beside the click."""


class ctkPathLineEdit(QWidget):
    """A line for a path and a button to choose it."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._line, self._button = QLineEdit(self), QToolButton(self)
        self._button.setText("...")
        self._filters, self._options, self._key, self._label, self._name_filters = 0, 0, "", "", []
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)
        layout.addWidget(self._button)
        self._line.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """There is no history here."""

    def browse(self) -> None:
        self.setCurrentPath(QFileDialog.getOpenFileName(self)[0])

    currentPath = Property(str, lambda self: self._line.text(), setCurrentPath)
    filters = Property(int, lambda self: self._filters, lambda self, value: setattr(self, "_filters", value))
    options = Property(int, lambda self: self._options, lambda self, value: setattr(self, "_options", value))
    settingKey = Property(str, lambda self: self._key, lambda self, value: setattr(self, "_key", value))
    label = Property(str, lambda self: self._label, lambda self, value: setattr(self, "_label", value))
    nameFilters = Property(
        "QStringList", lambda self: self._name_filters, lambda self, value: setattr(self, "_name_filters", list(value))
    )
    showBrowseButton = Property(
        bool, lambda self: not self._button.isHidden(), lambda self, shown: self._button.setVisible(shown)
    )
    showHistoryButton = Property(bool, lambda self: False, lambda self, shown: None)
