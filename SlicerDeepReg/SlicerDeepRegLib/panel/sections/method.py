"""The method, its preset and parameters, and where it computes. Qt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange

from ...catalog import refresh
from ...methods import Method, linear_methods, method, methods
from ...methods.menu import line_of, menu
from ...similarity import similarities
from ...types import AUTOMATIC, MAX_UNCERTAINTY_RUNS, PAIR_CHOICES, PRESETS, InputError, Request
from ..context import read_settings
from ..controls import choose, chosen, fill
from ..marks import TitleMarks
from ..section import BaseSection
from ..settings_form import SettingsForm
from ..text import as_text
from ..titles import STARTS, pair_title, preset_choice

#: What a scene may name that is not there (any more), in words.
NAMED = {
    "method": _("method"),
    "preset": _("preset"),
    "linear": _("linear alignment"),
    "similarity": _("similarity metric"),
    "pair": _("kind of pair"),
    "start": _("start of the alignment"),
    "device": _("device"),
}
#: What the text about a method says; the credits of its data follow.
ABOUT = "What the method does, what it was trained on, and its license."


class MethodSection(BaseSection):
    """Lets the user choose how to register."""

    name = "method"
    ui = "Method.ui"
    order = 20

    class Parameters:
        """As in ``Request``; ``start`` is its ``initial``, ``settings`` is JSON of the numbers that differ."""

        method: str = Request.method
        linear: str = Request.linear
        preset: str = Request.preset
        similarity: str = Request.similarity
        pair: str = Request.pair
        start: str = ""
        device: str = Request.device
        uncertainty_runs: Annotated[int, WithinRange(0, MAX_UNCERTAINTY_RUNS)] = Request.uncertainty_runs
        settings: str = "{}"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        widgets = self.widgets
        self._marks = TitleMarks(widgets)
        self._form = SettingsForm(widgets.settingsWidget.layout(), self._set_settings)
        #: What the menu of methods offers: name and title.
        self._offered: list[tuple[str, str]] = []
        #: The menus that show one parameter each.
        self._menus = {
            "preset": widgets.presetCombo,
            "device": widgets.deviceCombo,
            "linear": widgets.linearCombo,
            "similarity": widgets.similarityCombo,
            "pair": widgets.pairCombo,
            "start": widgets.startCombo,
        }
        fill(self._menus["preset"], [(preset, preset_choice(preset)) for preset in PRESETS])
        fill(self._menus["linear"], [(name, _(linear.title)) for name, linear in linear_methods().items()])
        metrics = [(name, _(metric.title)) for name, metric in similarities().items()]
        fill(self._menus["similarity"], [(AUTOMATIC, _("Automatic")), *metrics])
        fill(self._menus["start"], STARTS.items())
        fill(self._menus["pair"], [(kind, pair_title(kind)) for kind in PAIR_CHOICES])
        self._fill_methods()
        self.devices_changed()
        for name, combo in self._menus.items():
            combo.connect("currentIndexChanged(int)", self._setter(name, combo))
        widgets.methodCombo.connect("currentIndexChanged(int)", lambda index=0: self._set_method(""))
        widgets.variantCombo.connect(
            "currentIndexChanged(int)", lambda index=0: self._set_method(chosen(widgets.variantCombo) or "")
        )
        widgets.lookButton.connect("clicked()", self.look)
        widgets.restoreDefaultsButton.connect("clicked(bool)", lambda checked=False: self._set_settings({}))

    @property
    def controls(self) -> Mapping[str, Any]:
        """The controls of the method's parameters, by the parameter's name."""
        return self._form.controls

    # ------------------------------------------------------------------ what the controls do

    def _setter(self, name: str, combo: Any) -> Callable[[int], None]:
        def set_parameter(index: int = 0) -> None:
            value = chosen(combo)
            if self.parameters is not None and value is not None:
                setattr(self.parameters, name, value)

        return set_parameter

    def _set_method(self, variant: str) -> None:
        """Set the parameter, which is NAME or NAME:VARIANT."""
        name = chosen(self.widgets.methodCombo)
        if self.parameters is not None and name is not None and name + variant != self.parameters.method:
            self.parameters.settings = "{}"  # another method has other parameters
            self.parameters.method = name + variant

    def bind(self, parameters: Any | None) -> None:
        """Replace names of an older scene that are not known any more by the usual ones, and say so."""
        if parameters is None:
            return
        unknown = [name for name in self._menus if not self._is_offered(name, getattr(parameters, name))]
        try:
            method(parameters.method)
        except InputError:
            unknown.append("method")
        for name in unknown:
            self._replace(parameters, name)

    def _is_offered(self, name: str, value: str) -> bool:
        if name == "device" and not self.context.session.client.devices:
            return True  # the worker has not said yet what there is
        return self._menus[name].findData(value) >= 0

    def _replace(self, parameters: Any, name: str) -> None:
        """Choose the usual value in place of one that is not known here, and say so."""
        text = _("The {name} {value} of this scene is not known here; the usual one was chosen.")
        self.context.say(text.format(name=NAMED[name], value=getattr(parameters, name)))
        setattr(parameters, name, "" if name == "start" else getattr(Request, name))

    def _set_settings(self, values: Mapping[str, Any]) -> None:
        if self.parameters is not None:
            self.parameters.settings = json.dumps(values)

    # ------------------------------------------------------------------ what the controls show

    def entered(self) -> None:
        """Offer the networks that are there now: the user may have added one since."""
        before = self._offered
        refresh()
        self._fill_methods()
        if self._offered != before:
            self.context.update()
        elif self.parameters is not None:
            choose(self.widgets.methodCombo, self.parameters.method.partition(":")[0])

    def _fill_methods(self) -> None:
        """Offer the methods, what can be used at once first, each with a line on it."""
        listed = [offered for part in menu().values() for offered in part]
        self._offered = [(offered.name, f"{_(offered.title)} - {_(line_of(offered))}") for offered in listed]
        fill(self.widgets.methodCombo, self._offered)

    def devices_changed(self) -> None:
        combo = self.widgets.deviceCombo
        before = chosen(combo) if combo.count else "auto"
        devices = self.context.session.client.devices or [{"name": "cpu", "title": "CPU"}]
        entries = [("auto", _("Automatic (GPU if available)"))]
        for device in devices:
            free = device.get("free_bytes")
            title = device["title"] + (f", {free / 1e9:.0f} GB {_('free')}" if free else "")
            entries.append((device["name"], title))
        fill(combo, entries)
        choose(combo, before)
        if self.parameters is not None and not self._is_offered("device", self.parameters.device):
            self._replace(self.parameters, "device")
        notes = [_(device["note"]) for device in devices if device.get("note")]
        combo.toolTip = " ".join([_("Where to compute, and how much memory is free there."), *notes])

    def update(self) -> None:
        parameters = self.parameters
        for name, combo in self._menus.items():
            choose(combo, getattr(parameters, name))
        base, _colon, variant = parameters.method.partition(":")
        choose(self.widgets.methodCombo, base)
        self._show_variants(base, variant)
        shown = shown_method(parameters.method)
        card = shown.card
        trained = "" if card.trained_on is None else _("Trained on: {data}.").format(data=card.trained_on) + " "
        limits = _("Not good for: {images}.").format(images=_(card.limits)) + " " if card.limits else ""
        text = f"{_(card.summary)} {limits}{trained}{_('License')}: {card.license}."
        self.widgets.methodLabel.text = as_text(text)
        self.widgets.methodLabel.toolTip = as_text("\n".join([_(ABOUT), *card.credits]))
        preset = parameters.preset if parameters.preset in shown.presets else Request.preset
        self._form.show(shown.presets[preset], read_settings(parameters.settings))
        if not self.context.session.busy:
            self.choice_changed()

    def choice_changed(self) -> None:
        self._marks.show(self.context.findings)
        self._show_look()

    def look(self) -> None:
        """Find out what the chosen pair is."""
        try:
            self.context.launcher.look()
        except InputError as error:
            self.context.error(str(error))

    def _show_look(self) -> None:
        looker = self.context.session.looker
        text = _("Looking at the pair...") if looker.busy else _(looker.text_for(self.context.choice()))
        self.widgets.pairLabel.text = as_text(text)
        self.widgets.pairLabel.visible = bool(text)
        self.widgets.lookButton.enabled = not looker.busy

    def _show_variants(self, base: str, variant: str) -> None:
        """Offer the variants of the method, if it has some."""
        combo = self.widgets.variantCombo
        variants = methods()[base].card.variants if base in methods() else {}
        offered = [("", _("Default")), *[(f":{name}", _(values["title"])) for name, values in variants.items()]]
        if [combo.itemData(row) for row in range(combo.count)] != [value for value, _title in offered]:
            fill(combo, offered)
        choose(combo, f":{variant}" if variant else "")
        for widget in (self.widgets.variantTitle, combo):
            widget.visible = bool(variants)


def shown_method(name: str) -> Method:
    """Return the method of that name, or the default one if a scene names a method that is not there (any more)."""
    try:
        return method(name)
    except InputError:
        return method(Request.method)
