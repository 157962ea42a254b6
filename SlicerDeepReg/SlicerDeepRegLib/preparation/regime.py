"""Tell an image that cannot be what a network was trained for, from a look at its voxels.

A rule names what an image cannot be; it does not recognize what it is. One that does (a segmentation network that
looks for the structures of a brain) needs the voxels on a device, and would be asked by ``NetworkMethod.run``, not
here: these rules are asked whenever something in the panel changes.

Limits of the brain's rule, in mm of the box around the content: over 24 heads and brains of adults, stripped and whole,
T1, T2, FLAIR and CT, sides were 115 to 194 mm; crops of the hippocampus had 30 to 53 mm, a heart 48 to 74 mm, and the
chest 157 to 330 mm (``Testing/methods/test_trained_models.py`` measures where the images are at hand). A head with its
neck is taller than those, and a newborn's brain smaller: hence the room on both sides. Lung is told by its Hounsfield
units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..catalog import BRAIN
from ..geometry.grids import content_box
from ..types import Grid

#: How many voxels along each axis are looked at, at most.
LOOKED_AT = 48
#: Content is what lies above the low end by this part of the range between the percentiles 0.5 and 99.5.
CONTENT = 0.1
#: A slice of the grid belongs to the box where so much of it is content: specks are none.
LEAST_OF_SLICE = 0.01
#: Sides of a box that may hold the brain or the head of a person, mm.
SMALLEST_MM, LARGEST_MM = 75, 300
#: Hounsfield units of lung, and the part of what is denser than air above which it is lung: the skin of a head and a
#: headrest are less.
LUNG_HU, MOST_LUNG = (-950, -400), 0.1


def outside(regime: str, values: np.ndarray, grid: Grid) -> str:
    """Return why an image cannot be what a regime names, as the end of a sentence about it; "" where it can.

    Args:
        regime: one of ``catalog.REGIMES``.
        values: (K, J, I), NaN allowed.
        grid: where they lie.
    """
    every = [-(-n // LOOKED_AT) for n in values.shape]
    thin = values[tuple(slice(None, None, step) for step in every)].astype(np.float32)
    thin[~np.isfinite(thin)] = np.nan
    if values.shape != grid.shape_kji or np.isnan(thin).all():
        return ""
    sides_mm = _sides(thin) * np.array(every[::-1]) * grid.spacing_mm
    return RULES[regime](np.sort(sides_mm[np.array(grid.size_ijk) > 1]), thin)


def _sides(values: np.ndarray) -> np.ndarray:
    """Return the sides of the box around the content, in voxels along i, j and k."""
    low, high = np.nanpercentile(values, [0.5, 99.5])
    content = values > low + CONTENT * (high - low)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        content = content & (content.mean(axis=others, keepdims=True) > LEAST_OF_SLICE)
    if not content.any():
        return np.array(values.shape[::-1])
    first, last = content_box(content)
    return np.asarray(last - first + 1)


def _no_brain(sides_mm: np.ndarray, values: np.ndarray) -> str:
    if sides_mm[0] < SMALLEST_MM:
        return f"shows something of {_written(sides_mm)} mm, less than a whole brain"
    if sides_mm[-1] > LARGEST_MM:
        return f"shows something of {_written(sides_mm)} mm, more than a head"
    denser = values[values > LUNG_HU[0]]
    if denser.size and np.mean(denser < LUNG_HU[1]) > MOST_LUNG and np.nanmin(values) < LUNG_HU[0]:
        return f"has values of lung in CT ({LUNG_HU[0]} to {LUNG_HU[1]} HU)"
    return ""


def _written(sides_mm: np.ndarray) -> str:
    return " x ".join(f"{side:.0f}" for side in sides_mm)


#: The rule of each regime: takes the sides of the content in mm, the shortest first, and some of the voxels.
RULES: Mapping[str, Callable[[np.ndarray, np.ndarray], str]] = {BRAIN: _no_brain}
