"""The nearest of many points."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


class NearestPoint:
    """Finds the nearest of (M, 3) points."""

    def __init__(self, points: np.ndarray) -> None:
        self._points, self._tree = points, cKDTree(points)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Return the nearest point to each of (N, 3) places, (N, 3)."""
        nearest: np.ndarray = self._points[self._tree.query(places)[1]]
        return nearest
