"""The motion between paired landmarks, by least squares.

Umeyama, IEEE Transactions on Pattern Analysis and Machine Intelligence 1991, 13(4): 376-380, doi:10.1109/34.88573.
"""

from __future__ import annotations

import numpy as np

from ..types import InputError
from .points import apply_matrix

CONTROL = "fixed_points"
#: Points needed by kind: for volumes, and for single slices.
_NEEDED = {"rigid": (3, 2), "similarity": (3, 2), "affine": (4, 3)}
#: How points lie that fill fewer directions than are needed, by how many they fill.
_SHAPES = ("all at one place", "on one line", "in one plane")
#: Of the spread along the widest direction, the least that counts as a spread of its own; and the least at all, mm.
_FLAT, _FLAT_MM = 1e-2, 1e-6


def fit_landmarks(
    fixed_lps_mm: np.ndarray, moving_lps_mm: np.ndarray, kind: str, planar_normal: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the motion that brings fixed landmarks nearest to moving ones, by the sum of squared distances.

    Args:
        fixed_lps_mm: (N, 3), LPS mm.
        moving_lps_mm: (N, 3), LPS mm; row n belongs to row n of the fixed ones.
        kind: "rigid", "similarity" (with one scale for all directions), or "affine". No kind mirrors.
        planar_normal: (3,) unit vector across single slices, LPS: the motion is then found within their plane, and
            along the normal it only translates. None for volumes.

    Returns:
        (4, 4), fixed to moving, LPS mm; and (N,) the distance that remains between each moved fixed landmark and its
        moving one, mm.

    Raises:
        InputError: the lists differ in length, hold values that are not finite, are too short (3 points for a rigid
            motion or a similarity, 4 for an affine one; in a plane 2 and 3), lie on one line (rigid, similarity) or in
            one plane (affine), or are mirror images of one another (affine).
        ValueError: there is no such kind.
    """
    if kind not in _NEEDED:
        raise ValueError(f"The kind must be one of {', '.join(_NEEDED)}; it was {kind!r}.")
    fixed, moving = (np.asarray(points, float) for points in (fixed_lps_mm, moving_lps_mm))
    axes = np.eye(3) if planar_normal is None else _axes_across(np.asarray(planar_normal, float))
    _check(fixed, moving, kind, axes)
    middles = fixed.mean(axis=0), moving.mean(axis=0)
    a, b = (fixed - middles[0]) @ axes, (moving - middles[1]) @ axes
    inner = _affine(a, b) if kind == "affine" else _turn(a, b, kind == "similarity")
    if np.linalg.det(inner) <= 0:
        raise InputError(
            "The landmarks of the moving image are a mirror image of those of the fixed one. Check that they are in "
            "the same order, and that left and right were not confused.",
            CONTROL,
        )
    matrix = np.eye(4)
    matrix[:3, :3] += axes @ (inner - np.eye(len(inner))) @ axes.T  # what is across the plane stays as it is
    matrix[:3, 3] = middles[1] - matrix[:3, :3] @ middles[0]
    return matrix, np.linalg.norm(apply_matrix(matrix, fixed) - moving, axis=1)


def _axes_across(normal: np.ndarray) -> np.ndarray:
    """Return (3, 2) orthonormal columns at right angles to a vector."""
    rows = np.asarray(np.linalg.svd(normal[None])[2])  # the first is the normal itself
    return np.asarray(rows[1:].T)


def _check(fixed: np.ndarray, moving: np.ndarray, kind: str, axes: np.ndarray) -> None:
    if fixed.ndim != 2 or fixed.shape[1] != 3 or fixed.shape != moving.shape:
        raise InputError(
            f"The fixed and the moving landmarks cannot be paired: their shapes are {fixed.shape} and {moving.shape}. "
            "Give as many moving points as fixed ones, each with x, y and z.",
            CONTROL,
        )
    if not (np.isfinite(fixed).all() and np.isfinite(moving).all()):
        raise InputError(
            "The landmarks have coordinates that are not finite numbers. Place or remove those points.", CONTROL
        )
    planar = axes.shape[1] == 2
    needed = _NEEDED[kind][planar]
    if len(fixed) < needed:
        raise InputError(
            f"{len(fixed)} pairs of landmarks are too few for a motion of the kind {kind}: {needed} are needed. Place "
            "more points in both images.",
            CONTROL,
        )
    for role, points in (("fixed", fixed), ("moving", moving)):
        filled = _directions(points @ axes)
        if filled < needed - 1:  # that many directions settle a motion
            raise InputError(
                f"The {role} landmarks lie {_SHAPES[filled]}, or nearly so, and leave a motion of the kind {kind} "
                "open. Place points farther from it in both images.",
                CONTROL,
            )


def _directions(points: np.ndarray) -> int:
    """Return in how many directions the points spread."""
    spreads = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return int((spreads > max(_FLAT * float(spreads[0]), _FLAT_MM)).sum())


def _affine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the (n, n) matrix from points around their middle to others around theirs."""
    return np.asarray(np.linalg.lstsq(a, b, rcond=None)[0].T)


def _turn(a: np.ndarray, b: np.ndarray, scaled: bool) -> np.ndarray:
    """Return the (n, n) proper rotation between points around their middles, times a scale where asked for."""
    left, sizes, right = np.linalg.svd(b.T @ a)
    signs = np.ones(len(sizes))
    signs[-1] = np.sign(np.linalg.det(left) * np.linalg.det(right))  # never a mirror image
    scale = float((sizes * signs).sum() / (a**2).sum()) if scaled else 1.0
    return np.asarray(scale * (left * signs) @ right)
