"""Units of length that headers name, and how people write them."""

from __future__ import annotations

#: Millimeters of each, by the name that it has here.
UNITS_MM = {"mm": 1.0, "cm": 10.0, "dm": 100.0, "meter": 1000.0, "micron": 0.001, "nm": 1e-6, "pm": 1e-9, "inch": 25.4}
_PREFIXES = {"milli": "mm", "centi": "cm", "deci": "dm", "": "meter", "micro": "micron", "nano": "nm", "pico": "pm"}
_ENDINGS = ("meter", "meters", "metre", "metres", "meter(s)")
#: What else they are called.
_ALIASES = {f"{prefix}{ending}": unit for prefix, unit in _PREFIXES.items() for ending in _ENDINGS}
_ALIASES |= {"m": "meter", "in": "inch", "inches": "inch"}
_ALIASES |= dict.fromkeys(("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "microns"), "micron")
#: What is written where nothing is meant.
_UNSAID = {"", "???", "unknown", "none", "n/a", "pixel", "pixels", "voxel", "voxels", "px"}
_PLURALS = {"meter": "meters", "micron": "microns", "inch": "inches"}


def unit_named(texts: list[str]) -> str:
    """Return the unit that the axes of a header have in common, a key of ``UNITS_MM``; "mm" where they say nothing.

    Raises:
        ValueError: they differ, or one is no length.
    """
    named = {text.strip().lower() for text in texts} - _UNSAID
    known = {_ALIASES.get(text, text) for text in named} or {"mm"}
    if len(known) > 1 or not known <= set(UNITS_MM):
        raise ValueError(f"its header gives its geometry in {', '.join(sorted(named))}")
    return known.pop()


def in_plural(unit: str) -> str:
    """Return the word for several of a unit."""
    return _PLURALS.get(unit, unit)
