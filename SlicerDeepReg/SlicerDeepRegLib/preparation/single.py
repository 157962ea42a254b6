"""One image alone as a network takes it, by a card's recipe: for training, and for segmentation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..geometry.grids import content_box, oriented, resized, triple, with_voxels
from ..geometry.points import apply_matrix
from ..metrics.content import background_level
from ..types import Grid, Image, InputError
from .intensity import robust_range, scaled
from .resample import resample
from .working import CROP_MARGIN


def grid_by_recipe(
    image: Image, recipe: Mapping[str, Any], size_ijk: Sequence[int] | None = None, resample_to: bool = False
) -> Grid:
    """Where the network's voxels lie: in the recipe's orientation and size of voxels, cut or padded to a size.

    Args:
        image: whose grid is turned.
        recipe: as on a card.
        size_ijk: voxels along each axis that exists.
        resample_to: the size divides the whole box of the image instead, whatever voxels that gives.

    Raises:
        InputError: the size has another number of axes than the image.
    """
    grid = image.grid
    if recipe.get("orientation") and not grid.is_planar:
        grid = oriented(grid, recipe["orientation"])
    if recipe.get("voxel_mm"):
        grid = with_voxels(grid, recipe["voxel_mm"])
    if size_ijk is None:
        return grid
    return resized(grid, triple(_size_of(grid, image, size_ijk))) if resample_to else _sized(grid, image, size_ijk)


def unit_values(image: Image, grid: Grid, inside: np.ndarray | None = None) -> np.ndarray:
    """(K, J, I) float32, 0..1 by the robust range of what is shown (``inside``, where given), as a pair is prepared."""
    values = resample(image, grid, outside=float(image.values.min()))
    box = _shown(values)
    return scaled(values, *robust_range(values[box], inside[box] if inside is not None else None))


def shows_more(image: Image, grid: Grid) -> bool:
    """Whether the image shows something more than a voxel of the grid beyond it."""
    corners = np.array(list(itertools.product(*zip(*content_box(image.values > background_level(image.values))))))
    indices = apply_matrix(grid.lps_to_ijk @ image.grid.ijk_to_lps, corners)
    return bool((indices < -1.5).any() or (indices > np.array(grid.size_ijk) + 0.5).any())


def _shown(values: np.ndarray) -> tuple[slice, ...]:
    """Return the box of what the image shows, with the margin that a registration's working grid has."""
    low, high = content_box(values > background_level(values))
    return tuple(slice(max(0, a - CROP_MARGIN), b + 1 + CROP_MARGIN) for a, b in zip(low[::-1], high[::-1]))


def _sized(grid: Grid, image: Image, wanted_ijk: Sequence[int]) -> Grid:
    """Return the grid cut or padded to a size (0 leaves an axis), its middle at the middle of what the image shows."""
    size_ijk = _size_of(grid, image, wanted_ijk)
    low, high = content_box(image.values > background_level(image.values))
    middle_ijk = (grid.lps_to_ijk @ image.grid.ijk_to_lps @ [*((low + high) / 2), 1])[:3]
    start = np.round(middle_ijk - (np.array(size_ijk) - 1) / 2).astype(int)
    start = np.where(np.array(size_ijk) >= grid.size_ijk, (np.array(grid.size_ijk) - size_ijk) // 2, start)
    start = np.where(np.array(size_ijk) < grid.size_ijk, np.clip(start, 0, np.array(grid.size_ijk) - size_ijk), start)
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, 3] = (grid.ijk_to_lps @ [*start, 1])[:3]
    return Grid(triple(size_ijk), matrix)


def _size_of(grid: Grid, image: Image, wanted_ijk: Sequence[int]) -> list[int]:
    """Return a number of voxels for each of the three axes; 0 leaves an axis as it is."""
    size_ijk = list(wanted_ijk)
    if grid.is_planar:
        flat = [c for c in range(3) if grid.size_ijk[c] == 1]
        for c in flat:
            size_ijk.insert(c, 1)
    if len(size_ijk) != 3:
        axes = 2 if grid.is_planar else 3
        raise InputError(
            f"{image.name} has {axes} axes and --size has {len(wanted_ijk)} numbers. Give one for each axis."
        )
    return [wanted or present for wanted, present in zip(size_ijk, grid.size_ijk)]
