"""Rotations: spread evenly over all directions, and how far a matrix turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

#: The two irrational numbers of the spirals: the square root of 2, and the positive solution of x^4 = x + 4.
_FIRST, _SECOND = 2**0.5, 1.533751168755204288118041


def rotations(count: int, dimensions: int = 3) -> np.ndarray:
    """Return that many rotations, as far from one another as that many can be, or nearly.

    In space by super-Fibonacci spirals (Alexa, CVPR 2022); in the plane, equal steps from none on.

    Args:
        dimensions: 2 or 3.

    Returns:
        (count, dimensions, dimensions) matrices.
    """
    if dimensions == 2:
        angles = np.arange(count) * 2 * np.pi / count
        return np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], 1).reshape(-1, 2, 2)
    number = np.arange(count) + 0.5
    low, high = np.sqrt(number / count), np.sqrt(1 - number / count)
    first, second = 2 * np.pi * number / _FIRST, 2 * np.pi * number / _SECOND
    quaternions = [low * np.sin(first), low * np.cos(first), high * np.sin(second), high * np.cos(second)]
    matrices: np.ndarray = Rotation.from_quat(np.stack(quaternions, 1)).as_matrix()
    return matrices


def rotation_by(degrees: Sequence[float]) -> np.ndarray:
    """Return the rotation about x, then y, then z by three angles, (3, 3), or in the plane by one, (2, 2)."""
    if len(degrees) == 1:
        cosine, sine = np.cos(np.deg2rad(degrees[0])), np.sin(np.deg2rad(degrees[0]))
        return np.array([[cosine, -sine], [sine, cosine]])
    matrix: np.ndarray = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix


def rotation_degrees(matrix: np.ndarray) -> float:
    """Return by how many degrees the rotation that is nearest to a (2, 2) or (3, 3) matrix turns."""
    left, _, right = np.linalg.svd(matrix)
    cosine = (np.trace(left @ right) - (len(matrix) - 2)) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
