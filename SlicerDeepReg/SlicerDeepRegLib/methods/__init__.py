"""Ways to register: each takes a prepared pair and gives stages, a field and its inverse."""

from __future__ import annotations

import importlib
from typing import Any

from ..catalog import Card


def load_method(card: Card) -> Any:
    """What a card names: it has ``run(pair, device, report, settings) -> Outcome``.

    A module of ``methods/`` runs for itself, or says by ``for_card`` what runs for that card.
    """
    module = importlib.import_module(f"{__name__}.{card.module}")
    return module.for_card(card) if hasattr(module, "for_card") else module
