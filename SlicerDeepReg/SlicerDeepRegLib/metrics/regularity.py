"""Regularity of a deformation: folding, its volume, and the variability of volume change."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry.jacobian import jacobian_of_field, non_diffeomorphic_volume
from ..geometry.points import apply_matrix, fixed_to_moving, moving_to_fixed
from ..types import Field, Grid, Transform


def regularity_metrics(
    field: Field | None, mask: np.ndarray, grid: Grid | None = None, linear_lps: np.ndarray | None = None
) -> dict[str, Any]:
    """Compute |J| <= 0, NDV, SDlogJ and the range of |J| inside a mask.

    Of |J| <= 0 there is also the part of all voxels of the grid, as TransMorph's tables have it. The smallest and the
    largest |J|, and where the smallest is, are those of the whole transform, as its map has them; the rest is that of
    the field: what the linear part does to it is a factor.

    Args:
        field: the displacement, or None for a linear transform (no metrics).
        mask: (K, J, I) bool on the grid.
        grid: where to measure, the fixed grid; the field's when left out.
        linear_lps: (4, 4), what follows the field; None for nothing.

    Raises:
        ValueError: the mask is not of that grid.
    """
    if field is None:
        return {}
    grid = grid or field.grid
    _check(mask, grid)
    scale = 1.0 if linear_lps is None else float(np.linalg.det(linear_lps[:3, :3]))
    everywhere = jacobian_of_field(field, grid)
    jacobian = everywhere[mask].astype(np.float64)
    whole = scale * jacobian
    ndv, failing = non_diffeomorphic_volume(field, mask, grid)
    return {
        "folds_percent": float(100 * np.mean(jacobian <= 0)),
        "folds_whole_percent": float(100 * np.mean(everywhere <= 0)),
        "ndv_percent": ndv,
        "digital_folds_percent": failing,
        "sdlogj": float(np.log(np.maximum(jacobian, 1e-9)).std()),
        "sdlogj_learn2reg": float(np.log(np.clip(jacobian + 3, 1e-9, 1e9)).std()),
        "jacobian_min": float(whole.min()),
        "jacobian_max": float(whole.max()),
        "jacobian_min_lps_mm": _place(np.flatnonzero(mask)[whole.argmin()], grid),
    }


def _place(flat: int, grid: Grid) -> list[float]:
    ijk = np.unravel_index(flat, grid.shape_kji)[::-1]
    x, y, z = apply_matrix(grid.ijk_to_lps, np.array([ijk], float))[0]
    return [float(x), float(y), float(z)]


def inverse_metrics(
    transform: Transform, mask: np.ndarray, points: int = 50_000, grid: Grid | None = None
) -> dict[str, float]:
    """Compute the inverse consistency error in mm: points of the mask through the transform and its inverse.

    Args:
        transform: with the inverse in it; without a field or an inverse there are no metrics.
        mask: (K, J, I) bool on the grid.
        points: how many, anywhere inside voxels of the mask, the same at every call.
        grid: the fixed one; the field's when left out.

    Raises:
        ValueError: the mask is not of that grid.
    """
    if transform.field is None or not transform.inverse_fields:
        return {}
    grid = grid or transform.field.grid
    _check(mask, grid)
    random = np.random.default_rng(0)
    inside = np.flatnonzero(mask)
    chosen = np.stack(np.unravel_index(random.choice(inside, points), mask.shape), -1)[:, ::-1].astype(float)
    size_ijk = np.array(mask.shape[::-1])
    chosen += random.uniform(-0.5, 0.5, chosen.shape) * (size_ijk > 1)
    here = apply_matrix(grid.ijk_to_lps, np.clip(chosen, 0, size_ijk - 1))
    error = np.linalg.norm(moving_to_fixed(transform, fixed_to_moving(transform, here)) - here, axis=1)
    return {
        "inverse_error_mm": float(error.mean()),
        "inverse_error_max_mm": float(error.max()),
        "inverse_over_tenth_mm_percent": float(100 * np.mean(error > 0.1)),
    }


def _check(mask: np.ndarray, grid: Grid) -> None:
    if mask.shape != grid.shape_kji:
        raise ValueError(f"The mask has shape {mask.shape} and its grid {grid.shape_kji} (k, j, i).")
