"""Synthetic images and fields, as functions of the point in LPS mm."""

from __future__ import annotations

import numpy as np
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.types import Field, Grid, Image


def texture(points_lps_mm: np.ndarray) -> np.ndarray:
    """Return the values at points of a smooth asymmetric image on a black background, 0 to about 100."""
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    head = 1 / (1 + np.exp((np.sqrt((x / 24) ** 2 + (y / 28) ** 2 + (z / 22) ** 2) - 1) * 8))
    detail = 60 + 18 * np.sin(x / 4.5 + 0.4) * np.cos(y / 5.5) + 14 * np.sin(z / 4 + x / 9) + 6 * np.cos(y / 3.5 + 1)
    return head * detail


def smooth_field(grid: Grid, largest_mm: float = 4.0) -> Field:
    """Return an asymmetric displacement that does not fold, in LPS mm."""
    x, y, z = np.moveaxis(voxel_centers_lps(grid), -1, 0)
    vectors = np.stack(
        [np.sin(y / 15 + 0.3) * np.cos(z / 18), 0.8 * np.cos(x / 16) * np.sin(z / 14), 0.7 * np.sin(x / 17 - y / 20)],
        -1,
    )
    return Field((largest_mm * vectors / np.linalg.norm(vectors, axis=-1).max()).astype(np.float32), grid)


def noise_image(grid: Grid, name: str = "scan", dtype: type = np.float32, scale: float = 1.0) -> Image:
    """Return an image of uniform noise between 0 and ``scale``, the same one each time."""
    return Image((np.random.default_rng(0).random(grid.shape_kji) * scale).astype(dtype), grid, name)
