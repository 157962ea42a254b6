"""Points and matrices: between voxel indices and LPS millimeters, and through a transform."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from ..types import Field, Grid, Transform


def apply_matrix(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a (4, 4) matrix to (N, 3) points."""
    moved: np.ndarray = np.asarray(points, float) @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def voxel_centers_lps(grid: Grid) -> np.ndarray:
    """Return the LPS mm position of every voxel center, (K, J, I, 3) float64."""
    kji = np.indices(grid.shape_kji, dtype=np.float64)
    centers: np.ndarray = np.moveaxis(kji[::-1], 0, -1) @ grid.ijk_to_lps[:3, :3].T + grid.origin_lps_mm
    return centers


def are_inside(grid: Grid, points_lps_mm: np.ndarray) -> np.ndarray:
    """Tell which of (N, 3) points lie inside a voxel of the grid, (N,) bool; those that are NaN do not."""
    ijk = apply_matrix(grid.lps_to_ijk, points_lps_mm)
    inside = (ijk >= -0.5) & (ijk <= np.array(grid.size_ijk) - 0.5)
    return np.asarray(inside.all(axis=1))


def interpolate_at_ijk(values: np.ndarray, points_ijk: np.ndarray) -> np.ndarray:
    """Interpolate ``values`` (K, J, I, C) linearly at (N, 3) voxel indices; return (N, C).

    Points outside take the value of the nearest border point.
    """
    points_kji = np.asarray(points_ijk, float).T[::-1]
    channels = [
        map_coordinates(values[..., c], points_kji, order=1, output=float, mode="nearest")
        for c in range(values.shape[3])
    ]
    return np.stack(channels, axis=-1)


def spread_mm(positions_mm: np.ndarray) -> np.ndarray:
    """Return the root mean square distance, (N,), of the (R, N, 3) positions of R results from their mean."""
    spread: np.ndarray = np.sqrt(((positions_mm - positions_mm.mean(0)) ** 2).sum(-1).mean(0))
    return spread


def displacement_at(field: Field | None, points_lps_mm: np.ndarray) -> np.ndarray:
    """Return the displacement of ``field`` at (N, 3) LPS points, in LPS mm; zero without a field."""
    points_lps_mm = np.asarray(points_lps_mm, float)
    if field is None:
        return np.zeros_like(points_lps_mm)
    return interpolate_at_ijk(field.displacement_lps_mm, apply_matrix(field.grid.lps_to_ijk, points_lps_mm))


def fixed_to_moving(transform: Transform, points_lps_mm: np.ndarray) -> np.ndarray:
    """Compute ``T(x) = A (x + u(x))`` for (N, 3) points of the fixed image, LPS mm."""
    return apply_matrix(transform.linear_lps, points_lps_mm + displacement_at(transform.field, points_lps_mm))


def points_before(transform: Transform, points_lps_mm: np.ndarray, rounds: int = 40) -> np.ndarray:
    """Solve ``T(x) = y`` for (N, 3) points of the moving image, LPS mm, by Newton's method; needs no inverse field."""
    goal = apply_matrix(np.linalg.inv(transform.linear_lps), points_lps_mm)
    if transform.field is None or not len(goal):
        return goal
    field = transform.field
    step_mm = float(max(length for length, n in zip(field.grid.spacing_mm, field.grid.size_ijk) if n > 1))
    x = moving_to_fixed(transform, points_lps_mm) if transform.inverse_fields else goal - displacement_at(field, goal)
    axes = np.eye(3) * step_mm / 2
    for _ in range(rounds):
        rest = goal - x - displacement_at(field, x)
        if np.abs(rest).max() < 1e-4:
            break
        slopes = [(displacement_at(field, x + axis) - displacement_at(field, x - axis)) / step_mm for axis in axes]
        matrices = np.eye(3) + np.stack(slopes, axis=-1)
        steps = np.stack([np.linalg.lstsq(matrix, r, rcond=0.05)[0] for matrix, r in zip(matrices, rest)])
        length = np.linalg.norm(steps, axis=1, keepdims=True)
        x = x + steps * np.minimum(1, 2 * step_mm / np.maximum(length, 1e-9))
    return x


def moving_to_fixed(transform: Transform, points_lps_mm: np.ndarray) -> np.ndarray:
    """Compute ``T^-1(y)`` for (N, 3) points of the moving image, LPS mm.

    Raises:
        ValueError: the transform has a field but no inverse field.
    """
    if transform.field is not None and not transform.inverse_fields:
        raise ValueError("This transform was made without an inverse field.")
    points = apply_matrix(np.linalg.inv(transform.linear_lps), points_lps_mm)
    for field in transform.inverse_fields:
        points = points + displacement_at(field, points)
    return points
