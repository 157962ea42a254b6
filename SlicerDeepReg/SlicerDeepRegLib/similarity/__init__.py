"""Similarity metrics that a registration can lower, one file each: a file declares them as ``SIMILARITIES``.

Menus, command-line choices, memory estimates, checks and the tests over the registry read what is declared there.
Nothing here imports torch before a metric is prepared.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np

from ..registry import all_declared
from ..types import AUTOMATIC, InputError
from .base import Comparison, Similarity, State

#: Images whose intensities correlate at least so much after the linear part are taken for one modality.
SAME_MODALITY_CORRELATION = 0.3


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


def same_modality(fixed: np.ndarray, moving: np.ndarray) -> bool:
    """Tell whether two images look like one modality: their correlation is at least 0.3.

    Args:
        fixed, moving: (N,) intensities of the voxels that are inside both.
    """
    if fixed.size < 2 or fixed.std() == 0 or moving.std() == 0:
        return False
    return bool(np.corrcoef(fixed, moving)[0, 1] >= SAME_MODALITY_CORRELATION)


def for_modality(modality: str) -> Similarity:
    """Return the metric that "auto" stands for where the images are of the "same" or of "different" modality."""
    return next(metric for metric in similarities().values() if metric.automatic and metric.modality == modality)


def automatic(fixed: np.ndarray, moving: np.ndarray) -> Similarity:
    """Choose the metric by the images; the arguments are those of :func:`same_modality`."""
    return for_modality("same" if same_modality(fixed, moving) else "different")


__all__ = [
    "Comparison",
    "Similarity",
    "State",
    "automatic",
    "for_modality",
    "names",
    "same_modality",
    "similarities",
    "similarity",
]
