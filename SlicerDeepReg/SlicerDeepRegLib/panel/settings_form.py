"""Controls for the numbers of a method, made from its dataclass. Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..settings import Number, numbers_of
from .controls import signals_blocked


class SettingsForm:
    """The controls of one method at one preset.

    Args:
        layout: the QFormLayout that they go into.
        changed: called with the numbers that differ from the defaults, by name.
    """

    def __init__(self, layout: Any, changed: Callable[[dict[str, Any]], None]) -> None:
        self._layout, self._changed = layout, changed
        self._labels: dict[str, Any] = {}
        self._numbers: dict[str, Number] = {}
        #: The controls by the name of their number.
        self.controls: dict[str, Any] = {}

    def show(self, settings: Any, values: Mapping[str, Any]) -> None:
        """Show a method's numbers.

        Args:
            settings: its settings at the preset, the defaults.
            values: the numbers that differ from them, by name.
        """
        numbers = {n.name: n for n in numbers_of(settings)}
        if list(numbers) != list(self._numbers):
            self._make(list(numbers.values()))
        self._numbers = numbers
        for name, control in self.controls.items():
            with signals_blocked(control):
                value = values.get(name, numbers[name].value)
                if numbers[name].is_switch:
                    control.checked = bool(value)
                else:
                    control.value = value

    def _make(self, numbers: list[Number]) -> None:
        for name in list(self.controls):
            for widget in (self._labels.pop(name), self.controls.pop(name)):
                self._layout.removeWidget(widget)
                widget.deleteLater()
        for number in numbers:
            control, signal = _control_of(number)
            control.toolTip = _(number.text)
            label = qt.QLabel(_(number.title) + ":")
            label.toolTip = control.toolTip
            self._layout.addRow(label, control)
            control.connect(signal, self._tell)
            self.controls[number.name], self._labels[number.name] = control, label

    def _tell(self, value: Any = None) -> None:
        differing = {}
        for name, control in self.controls.items():
            number = self._numbers[name]
            value = control.checked if number.is_switch else control.value
            if abs(value - number.value) > 1e-9:
                differing[name] = value
        self._changed(differing)


def _control_of(number: Number) -> tuple[Any, str]:
    """Return a control for a number, and the signal that tells of its change."""
    if number.is_switch:
        return qt.QCheckBox(), "toggled(bool)"
    control = qt.QSpinBox() if number.whole else qt.QDoubleSpinBox()
    if not number.whole:
        control.decimals = 4 if number.low < 0.01 else 3 if number.low < 0.05 else 2
        control.singleStep = max(10.0**-control.decimals, (number.high - number.low) / 100)
    control.minimum, control.maximum = number.low, number.high
    return control, "valueChanged(int)" if number.whole else "valueChanged(double)"
