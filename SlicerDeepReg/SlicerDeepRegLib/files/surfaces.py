"""Curves and surfaces as points that lie densely on them, LPS mm. ``mrml/surfaces.py`` reads the files of VTK."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..types import InputError, PointsSource

_FORMATS = "a curve of Slicer (.mrk.json), or on the command line also a surface as .vtk, .vtp, .stl, .ply or .obj"
#: A curve has a point at least this often, mm.
STEP_MM = 1.0
#: Slicer's kinds of markups that are lines.
_CURVES = {"Curve": False, "ClosedCurve": True, "Line": False}
_SIGNS = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1)}


def load_surface(source: PointsSource, role: str) -> np.ndarray:
    """Return the points of a curve or a surface, (N, 3) LPS mm.

    Args:
        source: a file, or (N, 3) LPS mm.
        role: "fixed surface" or "moving surface", for messages.

    Raises:
        InputError: it cannot be read, or has fewer than three points.
    """
    control = role.replace(" ", "_")
    points = _read(Path(source), role, control) if isinstance(source, (str, Path)) else np.asarray(source, float)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 3 or not np.isfinite(points).all():
        raise InputError(f"The {role} has fewer than 3 points, or points that are not numbers. Correct it.", control)
    return points


def _read(path: Path, role: str, control: str) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"The {role} file {path} does not exist. Check the path.", control)
    try:
        return _curve(path)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"The {role} file {path} could not be read ({error}). Give {_FORMATS}.", control) from error


def _curve(path: Path) -> np.ndarray:
    (markup,) = json.loads(path.read_text(encoding="utf-8"))["markups"]
    kind, system = markup.get("type"), str(markup.get("coordinateSystem", "LPS"))
    if kind not in _CURVES:
        raise ValueError(f"it is a {kind}, and no curve")
    defined = [point for point in markup["controlPoints"] if point.get("positionStatus", "defined") == "defined"]
    if len(defined) < 2:
        raise ValueError(f"it has {len(defined)} control points with a position; two are needed")
    places = np.array([point["position"] for point in defined], float) * _SIGNS[system]
    return _dense(np.concatenate([places, places[:1]]) if _CURVES[kind] else places)


def _dense(places: np.ndarray) -> np.ndarray:
    """Return points along a line through places, one in each ``STEP_MM`` at least."""
    parts = []
    for first, second in zip(places[:-1], places[1:]):
        steps = max(1, int(np.ceil(np.linalg.norm(second - first) / STEP_MM)))
        parts.append(first + (second - first) * (np.arange(steps) / steps)[:, None])
    return np.concatenate([*parts, places[-1:]])
