"""What a run in the scene remembers of where its result was, in RAS mm: so that it can be judged when that is gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer.util
import vtk

from ..types import Result
from .nodes import FLIP, flipped
from .scene import display_range


def scene_facts(result: Result, then: vtk.vtkAbstractTransform | None = None) -> dict[str, Any]:
    """The facts, as plain values.

    Args:
        then: from the world to the moving volume's own coordinates, None where they are the same.

    Returns:
        linear_ras and world_to_local_ras, (4, 4), the second None where it is not linear; worst_ras and
        worst_jacobian; points, where landmarks were given.
    """
    place, worst = _worst_place(result)
    return {
        "linear_ras": (FLIP @ result.transform.linear_lps @ FLIP).tolist(),
        "world_to_local_ras": _matrix(then),
        "worst_ras": place,
        "worst_jacobian": worst,
        "points": _points(result),
    }


def _points(result: Result) -> dict[str, Any] | None:
    fixed, moving = result.request.fixed_points, result.request.moving_points
    if not isinstance(fixed, np.ndarray) or not isinstance(moving, np.ndarray):
        return None
    return {"fixed_lps_mm": fixed.tolist(), "moving_lps_mm": moving.tolist()}


def _matrix(then: vtk.vtkAbstractTransform | None) -> list[list[float]] | None:
    """The transform as a matrix; None where it is no linear one."""
    if then is None:
        return np.eye(4).tolist()
    if not then.IsA("vtkLinearTransform"):
        return None
    return slicer.util.arrayFromVTKMatrix(then.GetMatrix()).tolist()


def _worst_place(result: Result):
    """Where the Jacobian is least inside the fixed image's content, RAS mm, and what it is there."""
    content = result.fixed.values > display_range(result.fixed)[0]
    values = np.where(content, result.jacobian.values, np.inf) if content.any() else result.jacobian.values
    kji = np.unravel_index(int(np.argmin(values)), values.shape)
    lps = result.fixed.grid.ijk_to_lps @ [*kji[::-1], 1.0]
    return flipped(lps[:3]).tolist(), float(values[kji])
