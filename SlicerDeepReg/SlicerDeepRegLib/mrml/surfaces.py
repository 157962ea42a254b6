"""Surfaces from files of VTK and from nodes, as points, LPS mm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..types import InputError

_READERS = {
    ".vtk": vtk.vtkPolyDataReader,
    ".vtp": vtk.vtkXMLPolyDataReader,
    ".stl": vtk.vtkSTLReader,
    ".ply": vtk.vtkPLYReader,
    ".obj": vtk.vtkOBJReader,
}
#: Slicer writes surfaces in LPS and says where it does not, in the first bytes of the file.
_RAS, _HEAD = b"SPACE=RAS", 400


def is_surface_file(path: str | Path) -> bool:
    """Tell by its ending whether a file is a surface that VTK reads."""
    return Path(path).suffix.lower() in _READERS


def read_surface(path: str | Path, role: str) -> np.ndarray:
    """Return the points of a surface or line in a file, (N, 3) LPS mm.

    Args:
        path: .vtk, .vtp, .stl, .ply or .obj.
        role: "fixed surface" or "moving surface", for messages.

    Raises:
        InputError: it is missing, or holds no points.
    """
    path, control = Path(path), role.replace(" ", "_")
    if not path.is_file():
        raise InputError(f"The {role} file {path} does not exist. Check the path.", control)
    reader = _READERS[path.suffix.lower()]()
    reader.SetFileName(str(path))
    before = vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(vtk.vtkStringOutputWindow())  # it would print what is said below
    try:
        reader.Update()
    finally:
        vtk.vtkOutputWindow.SetInstance(before)
    points = points_of(reader.GetOutput())
    if points is None:
        raise InputError(f"The {role} file {path} holds no points, or could not be read. Save it again.", control)
    with open(path, "rb") as stream:
        is_ras = _RAS in stream.read(_HEAD)
    return points * (-1, -1, 1) if is_ras else points


def surface_in_world(node: Any, initial: Any = None) -> np.ndarray:
    """Return the points of a model or a curve node in the world, (N, 3) LPS mm.

    Args:
        initial: a transform node that is applied after those of the node, or None.

    Raises:
        InputError: it has no points.
    """
    if node.IsA("vtkMRMLMarkupsNode"):
        points, steps = points_of(node.GetCurveWorld()), (initial,)
    else:
        points, steps = points_of(node.GetPolyData()), (node.GetParentTransformNode(), initial)
    if points is None:
        raise InputError(f"{node.GetName()} has no points. Draw it, or choose None.")
    for parent in steps:
        if parent is not None:
            to_world = vtk.vtkGeneralTransform()
            parent.GetTransformToWorld(to_world)
            points = np.array([to_world.TransformPoint(point) for point in points])
    return points * (-1, -1, 1)


def points_of(poly: Any) -> np.ndarray | None:
    """Return the points of a vtkPolyData as they are, (N, 3), or None without any."""
    if poly is None or not poly.GetNumberOfPoints():
        return None
    points: np.ndarray = vtk_to_numpy(poly.GetPoints().GetData()).astype(float)
    return points
