"""What the panel calls methods, presets, settings and stages on the screen. No Qt."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..methods import method
from ..metrics import stages
from ..types import AUTOMATIC, LANDMARKS, PEOPLE, PERSON, VISIT, InputError

#: Each preset, and what the menu adds to it.
PRESETS = {"fast": _("Fast"), "standard": _("Standard"), "thorough": _("High quality")}
#: What a pair shows, by its name in a request.
PAIRS = {
    AUTOMATIC: _("Automatic"),
    VISIT: _("One person, one visit"),
    PERSON: _("One person, another time"),
    PEOPLE: _("Different people, or an atlas"),
}
#: Where the linear alignment begins, by what a request calls it.
STARTS = {
    "": _("The volumes"),
    LANDMARKS: _("Landmarks, rigid"),
    f"{LANDMARKS}:similarity": _("Landmarks, similarity"),
    f"{LANDMARKS}:affine": _("Landmarks, affine"),
}
PRESET_HINTS = {"fast": _("half resolution"), "thorough": _("slower")}


def preset_choice(name: str) -> str:
    """Return a preset as the menu has it, such as "Fast (half resolution)"."""
    hint = PRESET_HINTS.get(name)
    return f"{PRESETS[name]} ({hint})" if hint is not None else PRESETS[name]


def pair_title(kind: str) -> str:
    """Return what a pair shows, as the menu has it."""
    return PAIRS[kind]


def method_title(name: str) -> str:
    """Return the title of a method, or its name if it is not there (any more)."""
    try:
        return method(name).title
    except InputError:
        return name


def preset_title(preset: str) -> str:
    """Return the title of a preset."""
    return PRESETS.get(preset, preset)


def stage_title(name: str) -> str:
    """Return the title of a stage: "scale 1/4" is shown as "1/4 resolution"."""
    if name == "as given":
        return _("Before registration")
    return _(stages.stage_title(name))
