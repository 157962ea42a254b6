"""Controls for the numbers and files of a method, made from its dataclass. Qt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from ..settings import File, Number, files_of, numbers_of
from .controls import signals_blocked


class SettingsForm:
    """The controls of one method at one preset.

    Args:
        layout: the QFormLayout that they go into.
        changed: called with the numbers and files that differ from the defaults, by name.
    """

    def __init__(self, layout: Any, changed: Callable[[dict[str, Any]], None]) -> None:
        self._layout, self._changed = layout, changed
        self._labels: dict[str, Any] = {}
        self._settings: dict[str, Number | File] = {}
        #: The controls by the name of their number or file.
        self.controls: dict[str, Any] = {}

    def show(self, settings: Any, values: Mapping[str, Any]) -> None:
        """Show a method's numbers and files.

        Args:
            settings: its settings at the preset, the defaults.
            values: those that differ from them, by name.
        """
        asked: dict[str, Number | File] = {one.name: one for one in (*files_of(settings), *numbers_of(settings))}
        if list(asked) != list(self._settings):
            self._make(list(asked.values()))
        self._settings = asked
        for name, control in self.controls.items():
            with signals_blocked(control):
                one = asked[name]
                value = values.get(name, one.value)
                if isinstance(one, File):
                    if control.currentPath != str(value):  # else the cursor would jump while it is typed
                        control.currentPath = str(value)
                elif one.is_switch:
                    control.checked = bool(_shown(one, value))
                else:
                    control.value = _shown(one, value)

    def _make(self, asked: list[Number | File]) -> None:
        for name in list(self.controls):
            for widget in (self._labels.pop(name), self.controls.pop(name)):
                self._layout.removeWidget(widget)
                widget.deleteLater()
        for one in asked:
            control, signal = _control_of(one)
            control.toolTip = _(one.text)
            label = qt.QLabel(_(one.title) + ":")
            label.toolTip = control.toolTip
            self._layout.addRow(label, control)
            control.connect(signal, self._tell)
            self.controls[one.name], self._labels[one.name] = control, label

    def _tell(self, value: Any = None) -> None:
        differing = {}
        for name, control in self.controls.items():
            one = self._settings[name]
            if isinstance(one, File):
                value = control.currentPath.strip()
                is_other = value != one.value
            else:
                value = control.checked if one.is_switch else control.value
                rounds = 0.0 if one.is_switch or one.whole else 0.51 * 10.0**-control.decimals
                is_other = abs(value - one.value) > rounds
            if is_other:
                differing[name] = value
        self._changed(differing)


def _shown(number: Number, value: Any) -> float:
    """Return a value as a control takes it; the default for what is none, which the findings name."""
    try:
        return type(number.value)(float(value))
    except (TypeError, ValueError, OverflowError):
        return number.value


def _decimals(number: Number) -> int:
    """Return how many decimals show the smallest values of a number, and its default exactly enough."""
    wanted = 4 if number.low < 0.01 else 3 if number.low < 0.05 else 2
    small = min((abs(value) for value in (number.low, number.value) if value), default=1.0)
    return max(wanted, 1 - math.floor(math.log10(small)))


def _control_of(number: Number | File) -> tuple[Any, str]:
    """Return a control for a number or a file, and the signal that tells of its change."""
    if isinstance(number, File):
        return ctk.ctkPathLineEdit(), "currentPathChanged(QString)"
    if number.is_switch:
        return qt.QCheckBox(), "toggled(bool)"
    control = qt.QSpinBox() if number.whole else qt.QDoubleSpinBox()
    if not number.whole:
        control.decimals = _decimals(number)
        control.singleStep = max(10.0**-control.decimals, (number.high - number.low) / 100)
    control.minimum, control.maximum = number.low, number.high
    return control, "valueChanged(int)" if number.whole else "valueChanged(double)"
