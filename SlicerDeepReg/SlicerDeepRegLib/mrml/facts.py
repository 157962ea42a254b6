"""What a run in the scene stores about its result, in RAS mm, to be assessed when the result itself is gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer.util
import vtk

from ..metrics.content import content_of
from ..types import Result
from .nodes import FLIP, flipped


def scene_facts(result: Result, then: vtk.vtkAbstractTransform | None = None) -> dict[str, Any]:
    """Return the facts, as plain values.

    Args:
        then: from the world to the moving volume's own coordinates, None where they are the same.

    Returns:
        linear_ras and world_to_local_ras, (4, 4), the second None where it is not linear; worst_ras and
        worst_jacobian; points, where landmarks were given.
    """
    return {
        "linear_ras": (FLIP @ result.transform.linear_lps @ FLIP).tolist(),
        "world_to_local_ras": _matrix(then),
        **worst_place(result),
        "points": _points(result),
    }


def _points(result: Result) -> dict[str, Any] | None:
    fixed, moving = result.request.fixed_points, result.request.moving_points
    if not isinstance(fixed, np.ndarray) or not isinstance(moving, np.ndarray):
        return None
    return {"fixed_lps_mm": fixed.tolist(), "moving_lps_mm": moving.tolist()}


def _matrix(then: vtk.vtkAbstractTransform | None) -> list[list[float]] | None:
    """Return the transform as a matrix; None if it is not linear."""
    if then is None:
        return np.eye(4).tolist()
    if not then.IsA("vtkLinearTransform"):
        return None
    return slicer.util.arrayFromVTKMatrix(then.GetMatrix()).tolist()


def worst_place(result: Result) -> dict[str, Any]:
    """Return worst_ras, where the Jacobian is smallest, RAS mm, and worst_jacobian, its value there.

    It is the smallest that was measured; of a result that was not, the smallest inside the fixed image's content.
    """
    measured = result.metrics.get("after", {})
    if "jacobian_min_lps_mm" in measured:
        place = flipped(measured["jacobian_min_lps_mm"])
        return {"worst_ras": place.tolist(), "worst_jacobian": measured["jacobian_min"]}
    values = np.where(content_of(result.fixed.values), result.jacobian.values, np.inf)
    kji = np.unravel_index(int(np.argmin(values)), values.shape)
    lps = result.fixed.grid.ijk_to_lps @ [*kji[::-1], 1.0]
    return {"worst_ras": flipped(lps[:3]).tolist(), "worst_jacobian": float(values[kji])}
