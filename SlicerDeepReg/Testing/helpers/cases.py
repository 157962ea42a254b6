"""Synthetic pairs whose true transform is known."""

from __future__ import annotations

import numpy as np
from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
from SlicerDeepRegLib.types import Grid, Image, Transform

from .geometry import AFFINE, GEOMETRIES, make_grid
from .images import smooth_field, texture


class Case:
    """Fixed and moving images in two geometries, and a transform between them."""

    def __init__(self, name: str) -> None:
        fixed, moving = GEOMETRIES[name]
        fixed_grid, moving_grid = make_grid(*fixed), make_grid(*moving, center_lps_mm=(1.0, -2.0, 0.5))
        self.transform = Transform(AFFINE, smooth_field(fixed_grid))
        self.moving = Image(texture(voxel_centers_lps(moving_grid)).astype(np.float32), moving_grid, "moving")
        self.fixed = Image(self._seen_from(fixed_grid).astype(np.float32), fixed_grid, "fixed")

    def _seen_from(self, grid: Grid) -> np.ndarray:
        points = voxel_centers_lps(grid).reshape(-1, 3) + self.transform.field.displacement_lps_mm.reshape(-1, 3)
        return texture(apply_matrix(AFFINE, points)).reshape(grid.shape_kji)
