"""The cards: what each method is, where it comes from and what it needs. Read without torch.

A card is ``Resources/Models/<name>/card.json``. Adding a method is one file in ``methods/`` and one card.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Dict, Optional, Tuple

from .contracts import InputError

_LIBRARY = Path(__file__).resolve().parent
#: Beside the library in the repository and in Slicer; inside it in an installed wheel.
MODEL_FOLDERS = (_LIBRARY.parent / "Resources" / "Models", _LIBRARY / "Resources" / "Models")


@dataclass(frozen=True)
class Card:
    """One method.

    Attributes:
        name: what ``--method`` takes.
        title: for people.
        module: the file in ``methods/`` that runs it.
        summary: one or two sentences.
        references: the papers, as text with DOI.
        licence: of our code and weights.
        dimensions: 2, 3 or both.
        parameters: number of trained parameters.
        weights: file name, or None.
        trained_on: what the weights have seen, or None.
        operations: multiply-accumulates of convolutions and linear layers at 160 x 192 x 224, or None.
    """

    name: str
    title: str
    module: str
    summary: str
    references: Tuple[str, ...]
    licence: str
    dimensions: Tuple[int, ...]
    parameters: int
    weights: Optional[str]
    trained_on: Optional[str]
    operations: Optional[float] = None


@cache
def cards() -> Dict[str, Card]:
    """Every card by name, in alphabetical order."""
    found = {}
    for folder in MODEL_FOLDERS:
        for path in sorted(folder.glob("*/card.json")):
            values = json.loads(path.read_text(encoding="utf-8"))
            values["references"] = tuple(values["references"])
            values["dimensions"] = tuple(values["dimensions"])
            found.setdefault(path.parent.name, Card(**values))
    return found


def card(name: str) -> Card:
    """The card of that name.

    Raises:
        InputError: there is none.
    """
    if name not in cards():
        raise InputError(f"There is no method {name!r}. The methods are: {', '.join(cards())}.")
    return cards()[name]
