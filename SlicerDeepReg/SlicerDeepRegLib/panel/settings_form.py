"""Controls for the numbers of a method, made from its dataclass. Qt."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping

import qt
from slicer.i18n import tr as _

from ..settings import fields_of, settings_for


class SettingsForm:
    """The controls of one method at one preset.

    Args:
        layout: the QFormLayout that they go into.
        changed: called with the numbers that differ from the defaults, by name.
    """

    def __init__(self, layout, changed: Callable[[Dict[str, Any]], None]) -> None:
        self._layout, self._changed = layout, changed
        self._controls: Dict[str, Any] = {}
        self._labels: Dict[str, Any] = {}
        self._shown = None
        self._defaults = None

    @property
    def controls(self) -> Mapping[str, Any]:
        """The controls that are shown, by the names of their settings."""
        return self._controls

    def show(self, module: str, preset: str, values: Dict[str, Any], defaults: Mapping[str, Any]) -> None:
        """Show a method's numbers; ``values`` are those that differ from the defaults.

        ``defaults`` are those of the card, where they differ from its module's.
        """
        if self._shown != module:
            self._make(module)
            self._shown = module
        self._defaults = settings_for(module, preset, defaults=defaults)
        for name, control in self._controls.items():
            value = values.get(name, getattr(self._defaults, name))
            blocked = control.blockSignals(True)
            control.value = value
            control.blockSignals(blocked)

    def _make(self, module: str) -> None:
        for name in list(self._controls):
            for widget in (self._labels.pop(name), self._controls.pop(name)):
                self._layout.removeWidget(widget)
                widget.deleteLater()
        for setting in fields_of(module):
            whole = isinstance(setting.default, int)
            control = qt.QSpinBox() if whole else qt.QDoubleSpinBox()
            low, high = setting.metadata["low"], setting.metadata["high"]
            if not whole:
                control.decimals = 4 if low < 0.01 else 3 if low < 0.05 else 2
                control.singleStep = max(10.0**-control.decimals, (high - low) / 100)
            control.minimum, control.maximum = low, high
            control.toolTip = _(setting.metadata["text"])
            label = qt.QLabel(_(setting.metadata["title"]) + ":")
            label.toolTip = control.toolTip
            self._layout.addRow(label, control)
            control.connect("valueChanged(int)" if whole else "valueChanged(double)", self._tell)
            self._controls[setting.name], self._labels[setting.name] = control, label

    def _tell(self, value=None) -> None:
        found = {}
        for name, control in self._controls.items():
            default = getattr(self._defaults, name)
            if abs(control.value - default) > 1e-9:
                found[name] = control.value
        self._changed(found)
