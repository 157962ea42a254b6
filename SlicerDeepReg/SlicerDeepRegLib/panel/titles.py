"""What the panel calls methods, presets, settings and stages on the screen. No Qt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from ..methods import method as method_named
from ..settings import numbers_of
from ..types import InputError

PRESET_TITLES = {"fast": _("Fast"), "standard": _("Standard"), "thorough": _("High quality")}


def method_title(method: str) -> str:
    """Return the title of a method, or its name if it is not there (any more)."""
    try:
        return method_named(method).title
    except InputError:
        return method


def preset_title(preset: str) -> str:
    """Return the title of a preset."""
    return PRESET_TITLES.get(preset, preset)


def settings_text(method: str, settings: Mapping[str, Any]) -> str:
    """Return settings as people read them, such as "Iterations: 10"."""
    try:
        chosen = method_named(method)
        titles = {number.name: _(number.title) for preset in chosen.presets.values() for number in numbers_of(preset)}
    except InputError:
        titles = {}
    return ", ".join(f"{titles.get(name, name)}: {value:g}" for name, value in settings.items())


def stage_title(name: str) -> str:
    """Return the title of a stage: "scale 1/4" is shown as "1/4 resolution"."""
    if name == "as given":
        return _("Before registration")
    name = re.sub(r"scale 1$", _("full resolution"), name)
    return re.sub(r"scale (\d+/\d+)", rf"\1 {_('resolution')}", name)
