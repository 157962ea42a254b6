"""Synthetic pairs whose true deformation is known, computed from formulas, for lessons and first trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..geometry.points import voxel_centers_lps
from ..types import Grid, Image

#: The labels of the synthetic head.
LABEL_NAMES = {1: "cortex", 2: "white matter", 3: "ventricles"}
#: Intensities of the synthetic head, from black to its brightest.
RANGE = (0.0, 135.0)
#: Slope of its edges: the larger, the sharper.
_SHARP = 40


@dataclass(frozen=True, eq=False)
class SyntheticPair:
    """A synthetic pair with its ground truth.

    Attributes:
        fixed, moving: images on one grid; ``fixed(x) = moving(T(x))`` with a known ``T``.
        fixed_labels, moving_labels: see LABEL_NAMES.
        fixed_points, moving_points: (N, 3) LPS mm; row n of the second is ``T`` of row n of the first. No method sees
            them: they measure how far its field is from the true one.
    """

    fixed: Image
    moving: Image
    fixed_labels: Image
    moving_labels: Image
    fixed_points: np.ndarray
    moving_points: np.ndarray

    def given(self) -> dict[str, object]:
        """Return all of it, named as in ``Request``."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def synthetic_head(size: int = 64, spacing_mm: float = 2.5) -> SyntheticPair:
    """Make a head with skull, folded cortex and ventricles, deformed by up to about 10 mm."""
    matrix = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    matrix[:3, 3] = -spacing_mm * (size - 1) / 2
    return _pair(Grid((size, size, size), matrix), lambda points: points + bend_mm(points))


def synthetic_slice() -> SyntheticPair:
    """Make one axial slice of that head, deformed in its plane: small enough to fit a network to during a class."""
    return _pair(_slice_grid(), lambda points: points + bend_in_plane_mm(points))


def rotated_slice(degrees: float = 14.0, shift_mm: tuple[float, float] = (12.0, -8.0)) -> SyntheticPair:
    """Make the same slice, rotated and shifted too, like another patient position."""
    turn, shift = np.eye(3), np.array([*shift_mm, 0.0])
    angle = np.deg2rad(degrees)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return _pair(_slice_grid(), lambda points: (points + bend_in_plane_mm(points)) @ turn.T + shift)


#: By the name that a lesson calls it.
PAIRS: dict[str, Callable[[], SyntheticPair]] = {
    "head": synthetic_head,
    "slice": synthetic_slice,
    "turned slice": rotated_slice,
    "far slice": lambda: rotated_slice(30.0, (25.0, -20.0)),
}


def bend_mm(points_lps_mm: np.ndarray) -> np.ndarray:
    """Compute the true displacement of ``synthetic_head`` at points (..., 3); (..., 3) LPS mm."""
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    return 6.0 * np.stack([np.sin(y / 30), np.cos(z / 35), np.sin(x / 32)], -1)


def bend_in_plane_mm(points_lps_mm: np.ndarray) -> np.ndarray:
    """Compute the true displacement of ``synthetic_slice``, as :func:`bend_mm`."""
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    return 6.0 * np.stack([np.sin(y / 30), np.cos(x / 28), np.zeros_like(z)], -1)


def _slice_grid(size: int = 96, spacing_mm: float = 1.7, height_mm: float = 10.0) -> Grid:
    matrix = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    matrix[:2, 3] = -spacing_mm * (size - 1) / 2
    matrix[2, 3] = height_mm
    return Grid((size, size, 1), matrix)


def _pair(grid: Grid, truth: Callable[[np.ndarray], np.ndarray]) -> SyntheticPair:
    """Make the pair with a true ``T``: (..., 3) fixed points to moving points, LPS mm."""
    points = voxel_centers_lps(grid)
    bent = truth(points)
    fixed_points = _landmarks(points.reshape(-1, 3))
    return SyntheticPair(
        Image(_head(bent).astype(np.float32), grid, "Synthetic fixed"),
        Image(_head(points).astype(np.float32), grid, "Synthetic moving"),
        Image(_labels(bent), grid, "Synthetic fixed labels"),
        Image(_labels(points), grid, "Synthetic moving labels"),
        fixed_points,
        truth(fixed_points),
    )


def _landmarks(points_lps_mm: np.ndarray) -> np.ndarray:
    """Choose points of a lattice inside the brain, on voxel centers."""
    brain = points_lps_mm[_shell(points_lps_mm) < 0.8]
    cell = np.round(brain / 21.0)
    off = np.linalg.norm(brain - 21.0 * cell, axis=1)
    order = np.lexsort((off, *cell.T))  # of each cell of the lattice the point that is nearest to its middle
    _, first = np.unique(cell[order], axis=0, return_index=True)
    return brain[order][first]


def _shell(points_lps_mm: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    return np.sqrt((x / 58) ** 2 + (y / 70) ** 2 + (z / 60) ** 2)


def _surfaces(points_lps_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute how far points are outside cortex, white matter and ventricles; negative inside."""
    x, y, z = np.moveaxis(points_lps_mm, -1, 0)
    shell = _shell(points_lps_mm)
    folds = 0.06 * np.sin(x / 5 + 0.7) * np.cos(y / 6) + 0.05 * np.sin(z / 5.5 + x / 13)
    side = np.minimum(np.hypot((x - 14) / 8, (y + 4) / 24), np.hypot((x + 14) / 8, (y + 4) / 24))
    return shell - 0.88 + folds, shell - 0.70 + 1.4 * folds, np.hypot(side, z / 22) - 1


def _head(points_lps_mm: np.ndarray) -> np.ndarray:
    """Compute the head's intensity, 0 to about 130, at points."""
    cortex, white, ventricles = _surfaces(points_lps_mm)
    skull = 70 * np.exp(-(((_shell(points_lps_mm) - 1.0) / 0.05) ** 2))
    tissue = 80 / (1 + np.exp(cortex * _SHARP)) + 45 / (1 + np.exp(white * _SHARP))
    return np.maximum(0, skull + tissue - 95 / (1 + np.exp(ventricles * 10)))


def _labels(points_lps_mm: np.ndarray) -> np.ndarray:
    cortex, white, ventricles = _surfaces(points_lps_mm)
    labels = np.where(white < 0, 2, np.where(cortex < 0, 1, 0))
    return np.where((ventricles < 0) & (cortex < 0), 3, labels).astype(np.uint8)
