"""Ways to register: each takes a prepared pair and gives stages, a field and its inverse."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..catalogue import Card


def load_method(card: Card) -> ModuleType:
    """The module of ``methods/`` that a card names; it has ``run(pair, device, report) -> Outcome``."""
    return importlib.import_module(f"{__name__}.{card.module}")
