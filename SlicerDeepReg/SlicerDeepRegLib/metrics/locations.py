"""The locations of a registration that should be checked first."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from ..geometry.jacobian import smallest_digital_determinant
from ..geometry.points import apply_matrix
from ..processes.load import in_threads
from ..types import Field, Grid, Location

#: How many of each kind are listed, and how far apart they are at least.
MOST, APART_MM = 3, 15.0
#: Smaller changes of volume or differences are not reported.
SHRINKS_BELOW, GROWS_ABOVE, DIFFERS_ABOVE = 0.8, 1.25, 0.1
#: Differences are smoothed over about this distance, so that noise is not reported.
SMOOTH_MM = 3.0


def worst_locations(
    field: Field,
    jacobian: np.ndarray,
    fixed_scaled: np.ndarray,
    warped_scaled: np.ndarray,
    mask: np.ndarray,
    folded: bool,
    grid: Grid | None = None,
) -> tuple[Location, ...]:
    """Find folds, the strongest compression and expansion, and the largest remaining differences.

    Args:
        field: the displacement.
        jacobian: (K, J, I) of the whole transform.
        fixed_scaled, warped_scaled: (K, J, I), each 0..1.
        mask: (K, J, I) bool, where to look.
        folded: whether the digital criterion failed anywhere; else it is not computed again.
        grid: the fixed one; the field's when left out.

    Returns:
        At most ``MOST`` of each kind, at least ``APART_MM`` from each other.
    """
    grid = grid or field.grid
    locations: list[Location] = []
    if folded:
        locations += _lowest("fold", smallest_digital_determinant(field, grid), mask, grid, 0.0)

    def differences() -> list[Location]:
        sigma = SMOOTH_MM / grid.spacing_mm[::-1] * (np.array(grid.shape_kji) > 1)
        left = np.abs(scipy.ndimage.gaussian_filter(warped_scaled - fixed_scaled, sigma))
        return _lowest("differs", left, mask, grid, DIFFERS_ABOVE, sign=-1)

    def changes() -> list[Location]:
        shrinking = _lowest("shrinks", jacobian, mask, grid, SHRINKS_BELOW)
        return shrinking + _lowest("grows", jacobian, mask, grid, GROWS_ABOVE, sign=-1)

    different, changed = in_threads(lambda find: find(), (differences, changes))
    return (*locations, *changed, *different)


def _lowest(kind: str, values: np.ndarray, mask: np.ndarray, grid: Grid, limit: float, sign: int = 1) -> list[Location]:
    """Find the smallest values (largest for sign -1) beyond the limit."""
    inside = np.flatnonzero(mask & (sign * values <= sign * limit))
    flat = values.ravel()
    locations: list[Location] = []
    positions_mm = None
    while len(inside) and len(locations) < MOST:
        best = inside[np.argmin(sign * flat[inside])]
        position = _positions(np.array([best]), values.shape, grid)[0]
        x, y, z = (float(coordinate) for coordinate in position)
        locations.append(Location(kind, (x, y, z), float(flat[best])))
        if positions_mm is None:
            positions_mm = _positions(inside, values.shape, grid)
        far = np.linalg.norm(positions_mm - position, axis=1) >= APART_MM
        inside, positions_mm = inside[far], positions_mm[far]
    return locations


def _positions(flat: np.ndarray, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    ijk = np.stack(np.unravel_index(flat, shape), -1)[:, ::-1]
    return apply_matrix(grid.ijk_to_lps, ijk)
