"""Convert displacement fields between voxels of a grid and LPS millimeters: the one place that does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..types import Field, Grid


def existing_axes(grid: Grid) -> list[int]:
    """Return the axes along which the grid has more than one voxel: 0, 1, 2, or two of them for a single slice."""
    return [c for c in range(3) if grid.size_ijk[c] > 1]


def to_lps(displacement_voxels: np.ndarray, grid: Grid, axes: Sequence[int] | None = None) -> Field:
    """Return a displacement in voxels as a field in LPS mm.

    Args:
        displacement_voxels: (n, ...) float32, voxels of ``grid``, order i, j(, k), without the other axes.
        grid: where the displacement is known.
        axes: the n axes that ``displacement_voxels`` has; those that exist in ``grid`` when left out.
    """
    axes = existing_axes(grid) if axes is None else list(axes)
    columns = grid.ijk_to_lps[:3, axes].astype(np.float32)  # one voxel's step along each axis, LPS mm
    vectors = np.moveaxis(displacement_voxels, 0, -1) @ columns.T
    return Field(np.ascontiguousarray(vectors.reshape(*grid.shape_kji, 3)), grid)


def to_voxels(field: Field, grid: Grid | None = None, axes: Sequence[int] | None = None) -> np.ndarray:
    """Return a field's displacement in voxels.

    Args:
        field: in LPS mm.
        grid: whose voxels are the unit; the field's own when left out.
        axes: the n axes to return; those that exist in ``grid`` when left out.

    Returns:
        (n, ...) float32, C-contiguous, order i, j(, k), at the voxels of the field's grid, without the axes left out.
    """
    grid = grid or field.grid
    axes = existing_axes(grid) if axes is None else list(axes)
    rows = grid.lps_to_ijk[axes, :3].astype(np.float32)
    shape = [n for c, n in enumerate(field.grid.size_ijk) if c in axes][::-1]
    values: np.ndarray = rows @ field.displacement_lps_mm.reshape(-1, 3).T  # contiguous as it comes
    return values.reshape(len(axes), *shape)
