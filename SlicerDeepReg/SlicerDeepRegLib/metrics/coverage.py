"""Where the moving image lies under the fixed one: elsewhere there is nothing to compare."""

from __future__ import annotations

import numpy as np

from ..geometry.grids import triple
from ..geometry.points import apply_matrix, fixed_to_moving
from ..types import Grid, Transform

#: The transform is followed from every n-th voxel of a larger image, and from the last one along each axis.
EVERY, FEW_VOXELS = 4, 100_000


def covered(transform: Transform, grid: Grid, moving: Grid) -> np.ndarray | None:
    """Return the voxels whose place in the moving image is inside of it, (K, J, I) bool; None where all are.

    Between voxels that were followed it takes both to be inside: the border of a large image is a few voxels too
    narrow.

    Args:
        transform: fixed to moving.
        grid: of the fixed image. moving: of the moving one.
    """
    every = EVERY if grid.voxels > FEW_VOXELS else 1
    # The last voxel too: nothing beyond the last place would be known else.
    followed = [np.unique([*range(0, count, every), count - 1]) for count in grid.shape_kji]
    kji = np.stack(np.meshgrid(*followed, indexing="ij"), -1)
    places = fixed_to_moving(transform, apply_matrix(grid.ijk_to_lps, kji[..., ::-1].reshape(-1, 3)))
    axes = [axis for axis, size in enumerate(moving.size_ijk) if size > 1]
    ijk, size = apply_matrix(moving.lps_to_ijk, places)[:, axes], np.array(moving.size_ijk)[axes]
    inside: np.ndarray = ((ijk > -0.5) & (ijk < size - 0.5)).all(1).reshape(kji.shape[:3])
    if inside.all():
        return None
    for axis, count in enumerate(grid.shape_kji):
        below = np.searchsorted(followed[axis], np.arange(count), "right") - 1
        above = np.searchsorted(followed[axis], np.arange(count), "left")
        inside = inside.take(below, axis) & inside.take(above, axis)
    return inside


def thinned(grid: Grid, every: int) -> Grid:
    """Return the grid of every n-th voxel along each axis, from the first one on."""
    size = triple(-(-n // every) for n in grid.size_ijk)
    return Grid(size, grid.ijk_to_lps @ np.diag([*(every if n > 1 else 1 for n in grid.size_ijk), 1.0]))
