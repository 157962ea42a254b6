"""The locations of a registration that should be looked at first."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from ..geometry.jacobian import smallest_digital_determinant
from ..geometry.points import apply_matrix
from ..types import Field, Grid, Location

#: How many of each kind are listed, and how far apart they are at least.
MOST, APART_MM = 3, 15.0
#: A change of volume or a difference less than this is not worth a look.
SHRINKS_BELOW, GROWS_ABOVE, DIFFERS_ABOVE = 0.8, 1.25, 0.1
#: Differences are looked at over about this distance, so that noise is not a place.
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
    """Folds, the strongest shrinking and growing, and the largest difference that is left.

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
    grid, found = grid or field.grid, []
    if folded:
        found += _lowest("fold", smallest_digital_determinant(field, grid), mask, grid, 0.0)
    found += _lowest("shrinks", jacobian, mask, grid, SHRINKS_BELOW)
    found += _lowest("grows", jacobian, mask, grid, GROWS_ABOVE, sign=-1)
    sigma = SMOOTH_MM / grid.spacing_mm[::-1] * (np.array(grid.shape_kji) > 1)
    left = np.abs(scipy.ndimage.gaussian_filter(warped_scaled - fixed_scaled, sigma))
    found += _lowest("differs", left, mask, grid, DIFFERS_ABOVE, sign=-1)
    return tuple(found)


def _lowest(kind: str, values: np.ndarray, mask: np.ndarray, grid: Grid, limit: float, sign: int = 1) -> list[Location]:
    """The locations of the least values (largest for sign -1) that are beyond the limit."""
    inside = np.flatnonzero(mask & (sign * values <= sign * limit))
    flat, found = values.ravel(), []
    places_mm = None
    while len(inside) and len(found) < MOST:
        best = inside[np.argmin(sign * flat[inside])]
        position = _positions(np.array([best]), values.shape, grid)[0]
        found.append(Location(kind, tuple(float(x) for x in position), float(flat[best])))
        if places_mm is None:
            places_mm = _positions(inside, values.shape, grid)
        far = np.linalg.norm(places_mm - position, axis=1) >= APART_MM
        inside, places_mm = inside[far], places_mm[far]
    return found


def _positions(flat: np.ndarray, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    ijk = np.stack(np.unravel_index(flat, shape), -1)[:, ::-1]
    return apply_matrix(grid.ijk_to_lps, ijk)
