"""Label maps from segments."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..types import InputError

#: Two segments may share this part of the smaller one: surfaces that touch share voxels of their border.
MAX_SHARED = 0.01


def label_map(
    segments: Iterable[tuple[str, int, np.ndarray]], shape_kji: tuple[int, int, int], called: str, dtype: type
) -> np.ndarray:
    """Return the label map of segments; voxels of two belong to the later one.

    Args:
        segments: (name, number, (K, J, I) bool) of each.
        called: what messages call the segmentation.
        dtype: of the result.

    Raises:
        InputError: two have the same number, because they have the same name, or they overlap.
    """
    values: np.ndarray = np.zeros(shape_kji, dtype)
    names: dict[int, str] = {}
    sizes: dict[int, int] = {}
    for name, number, inside in segments:
        if number in names:
            raise InputError(f"{called} has two segments named {name}. Rename or remove one of them.")
        names[number], sizes[number] = name, int(inside.sum())
        for other, shared in zip(*np.unique(values[inside], return_counts=True)):
            if other and shared > MAX_SHARED * min(sizes[int(other)], sizes[number]):
                raise InputError(
                    f"The segments {names[int(other)]} and {name} of {called} overlap; only segments that do not "
                    "overlap can be compared together. Move one of them to another segmentation."
                )
        values[inside] = number
    return values
