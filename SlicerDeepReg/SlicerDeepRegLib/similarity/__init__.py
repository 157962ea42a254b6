"""Similarity metrics that a registration can lower, one file each: a file declares them as ``SIMILARITIES``.

Menus, command-line choices, memory estimates, checks and the tests over the registry read what is declared there.
Nothing here imports torch before a metric is prepared.
"""

from __future__ import annotations

import sys
from functools import cache

from ..registry import all_declared
from ..types import AUTOMATIC, InputError
from .base import Comparison, Similarity, State


@cache
def similarities() -> dict[str, Similarity]:
    """Return every metric by name."""
    return {metric.name: metric for metric in all_declared(sys.modules[__name__], "SIMILARITIES")}


def names() -> tuple[str, ...]:
    """Return what a request may ask for: "auto", then every metric."""
    return (AUTOMATIC, *similarities())


def similarity(name: str) -> Similarity:
    """Return the metric of that name.

    Raises:
        InputError: there is none.
    """
    if name not in similarities():
        raise InputError(f"similarity must be one of {', '.join(names())}; it was {name!r}.", "similarity")
    return similarities()[name]


def for_modality(modality: str) -> Similarity:
    """Return the metric that "auto" stands for where the images are of the "same" or of "different" modality."""
    return next(metric for metric in similarities().values() if metric.automatic and metric.modality == modality)


__all__ = [
    "Comparison",
    "Similarity",
    "State",
    "for_modality",
    "names",
    "similarities",
    "similarity",
]
