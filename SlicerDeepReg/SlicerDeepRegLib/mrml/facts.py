"""What a run remembers of its result, as plain values in RAS mm: so that it can be judged when the result is gone."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import numpy as np
import slicer.util
import vtk

from ..contracts import Result
from .nodes import FLIP
from .scene import display_range


def facts_of(
    result: Result, then: Optional[vtk.vtkAbstractTransform] = None, label_names: Optional[Mapping[int, str]] = None
) -> Dict[str, Any]:
    """The facts.

    Args:
        then: from the world to the moving volume's own coordinates, None where they are the same.
        label_names: name of each label.

    Returns:
        linear_ras and world_to_local_ras, (4, 4), the second None where it is not linear; worst_ras and
        worst_jacobian; places (kind, ras, value); structures (see :func:`structures_of`); points, where landmarks
        were given; stages (name, seconds, curve, figures, note); spacing_mm of the fixed image.
    """
    place, worst = _worst_place(result)
    return {
        "linear_ras": (FLIP @ result.transform.linear_lps @ FLIP).tolist(),
        "world_to_local_ras": _matrix(then),
        "worst_ras": place,
        "worst_jacobian": worst,
        "places": [{"kind": one.kind, "ras": _ras(one.position_lps_mm), "value": one.value} for one in result.places],
        "structures": structures_of(result, label_names or {}),
        "points": _points(result),
        "stages": [
            {
                "name": stage.name,
                "seconds": stage.seconds,
                "curve": list(stage.curve),
                "figures": {name: value for name, value in stage.figures.items() if _simple(value)},
                "note": stage.note,
            }
            for stage in result.stages
        ],
        "spacing_mm": result.fixed.grid.spacing_mm.tolist(),
    }


def structures_of(result: Result, names: Mapping[int, str]) -> List[Dict[str, Any]]:
    """A row for each label of either image, in order.

    Each has label, name, ras (a place inside it in the fixed image, or None), fixed_ml and warped_ml, and dice and
    hd95_mm "before", "linear" and "after"; None where one of the images lacks it.
    """
    after = result.figures.get("after", {})
    if "fixed_volume_by_label_ml" not in after:
        return []
    fixed, warped = (_by_number(after[f"{side}_volume_by_label_ml"]) for side in ("fixed", "warped"))
    centres = _by_number(after["centre_by_label_lps_mm"])
    rows = []
    for label in sorted({*fixed, *warped}):
        row = {"label": label, "name": names.get(label, f"label {label}")}
        row["ras"] = _ras(centres[label]) if label in centres else None
        row["fixed_ml"], row["warped_ml"] = fixed.get(label), warped.get(label)
        for name, figure in (("dice", "dice_by_label"), ("hd95_mm", "hd95_by_label_mm")):
            row[name] = {
                state: _by_number(result.figures.get(state, {}).get(figure) or {}).get(label)
                for state in ("before", "linear", "after")
            }
        rows.append(row)
    return rows


def _by_number(values: Mapping[Any, Any]) -> Dict[int, Any]:
    """The keys are text after a way through JSON."""
    return {int(label): value for label, value in values.items()}


def _ras(point_lps_mm) -> List[float]:
    x, y, z = point_lps_mm
    return [-float(x), -float(y), float(z)]


def _simple(value: Any) -> bool:
    return value is None or isinstance(value, (int, float, str, bool))


def _points(result: Result) -> Optional[Dict[str, Any]]:
    fixed, moving = result.request.fixed_points, result.request.moving_points
    if not isinstance(fixed, np.ndarray) or not isinstance(moving, np.ndarray):
        return None
    return {"fixed_lps_mm": fixed.tolist(), "moving_lps_mm": moving.tolist()}


def _matrix(then: Optional[vtk.vtkAbstractTransform]) -> Optional[List[List[float]]]:
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
    return _ras(lps[:3]), float(values[kji])
