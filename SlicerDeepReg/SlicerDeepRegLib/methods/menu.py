"""The methods in the order in which menus and lists offer them, with a line on each. No torch."""

from __future__ import annotations

from ..types import Request
from . import methods
from .base import Method

#: The parts of a menu in their order: what can be used at once comes first, what has to be installed last.
WITH_WEIGHTS, ANY_PAIR = "With trained weights", "For any pair, without training"
TO_FIT, NOT_INSTALLED = "Networks without weights, to fit on the pair", "Not installed"


def menu() -> dict[str, list[Method]]:
    """Return the methods of each part of a menu that has some, the recommended one first where it is."""
    parts: dict[str, list[Method]] = {part: [] for part in (WITH_WEIGHTS, ANY_PAIR, TO_FIT, NOT_INSTALLED)}
    for offered in methods().values():
        parts[_part(offered)].append(offered)
    parts[WITH_WEIGHTS].sort(key=lambda offered: offered.card.order)
    parts[ANY_PAIR].sort(key=lambda offered: offered.name != Request.method)
    return {part: found for part, found in parts.items() if found}


def line_of(offered: Method) -> str:
    """Return what a menu says of a method beside its title."""
    part = _part(offered)
    if part == NOT_INSTALLED:
        return "not installed"
    if part == TO_FIT:
        return "to fit on the pair"
    if offered.card.good_for:
        return offered.card.good_for
    if part == WITH_WEIGHTS:
        return "weights of your own"
    return "any modality" if "different" in offered.modalities else "one modality"


def _part(offered: Method) -> str:
    if offered.missing() is not None:
        return NOT_INSTALLED
    if offered.card.network is None:
        return ANY_PAIR
    return WITH_WEIGHTS if offered.card.weights else TO_FIT
