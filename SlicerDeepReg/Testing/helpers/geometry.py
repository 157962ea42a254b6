"""Grids in every orientation, and the linear transform of the synthetic pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from SlicerDeepRegLib.types import Grid


def rotation(degrees: Sequence[float]) -> np.ndarray:
    """Return the 3 x 3 rotation about x, then y, then z by these angles."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def make_grid(
    size_ijk: Sequence[int],
    spacing_mm: Sequence[float],
    direction: np.ndarray,
    center_lps_mm: Sequence[float] = (0.0, 0.0, 0.0),
) -> Grid:
    """Return the grid of that size whose center is at ``center_lps_mm``."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(direction, float) * np.asarray(spacing_mm, float)
    matrix[:3, 3] = np.asarray(center_lps_mm) - matrix[:3, :3] @ ((np.asarray(size_ijk) - 1) / 2)
    return Grid(tuple(size_ijk), matrix)


LPS, RAS, LAS = np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.diag([1.0, -1.0, 1.0])
OBLIQUE = rotation([25, -18, 12])
#: Fixed and moving geometry: size, spacing and direction all differ. LAS and the last are left-handed.
GEOMETRIES = {
    "LPS-RAS": (((30, 34, 28), (2.0, 2.0, 2.2), LPS), ((40, 30, 36), (1.8, 2.5, 2.0), RAS)),
    "RAS-LAS": (((30, 34, 28), (2.0, 2.0, 2.2), RAS), ((38, 34, 30), (2.0, 2.1, 2.4), LAS)),
    "oblique-LPS": (((28, 36, 22), (2.1, 1.7, 3.1), OBLIQUE), ((40, 36, 36), (2.0, 2.0, 2.0), LPS)),
    "LIA-oblique": (
        ((34, 30, 32), (2.0, 2.0, 2.0), np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])),
        ((30, 42, 34), (2.4, 1.9, 2.1), rotation([-10, 30, 5])),
    ),
    "left-handed oblique": (
        ((30, 30, 30), (2.0, 2.2, 2.4), OBLIQUE @ np.diag([1.0, 1.0, -1.0])),
        ((36, 36, 36), (2.0, 2.0, 2.0), rotation([0, 15, -20]) @ np.diag([-1.0, 1.0, 1.0])),
    ),
}

AFFINE = np.eye(4)
AFFINE[:3, :3] = rotation([6, -5, 8]) @ np.diag([1.06, 0.95, 1.03])
AFFINE[:3, 3] = [2.5, -3.0, 1.5]
