"""Error maps of runs: landmark errors as arrows, inverse consistency, disagreement of several runs. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..geometry.grids import sampled
from ..geometry.points import apply_matrix, spread_mm, voxel_centers_lps
from ..metrics.content import content_of
from ..types import Grid, Image
from .nodes import flipped, grid_of, grid_part, in_turn
from .runs import Run, check_fixed_place, lay_alike, linear_ras, own
from .scene import add_distances, show_distances

#: Maps are computed at so many points at most; the views interpolate between them.
POINTS = 100_000


def in_world(run: Run) -> vtk.vtkGeneralTransform:
    """Return ``T`` of a run in world RAS mm, without the transform from the world to the moving volume's coordinates.

    Raises:
        ValueError: the run was made by an older version, or has lost its transform.
    """
    linear = slicer.util.vtkMatrixFromArray(linear_ras(run))
    return in_turn(grid_part(run.get("transform").GetTransformFromParent()), linear)


def moved(transform: vtk.vtkAbstractTransform, points: np.ndarray) -> np.ndarray:
    """Apply a VTK transform to (N, 3) points."""
    original, moved_points = vtk.vtkPoints(), vtk.vtkPoints()
    for container in (original, moved_points):
        container.SetDataTypeToDouble()
    original.SetData(numpy_to_vtk(np.ascontiguousarray(points, float), deep=True))
    transform.TransformPoints(original, moved_points)
    return vtk_to_numpy(moved_points.GetData()).copy()


# ------------------------------------------------------------------ inverse consistency


def way_back(run: Run, runs: Sequence[Run]) -> Run | None:
    """Return the newest run of the same two volumes in the opposite direction, of the same method if possible."""
    fixed, moving = run.get("fixed"), run.get("moving")
    if fixed is None or moving is None:
        return None
    opposite = [
        candidate
        for candidate in runs
        if candidate.get("fixed") is moving and candidate.get("moving") is fixed and lay_alike(run, candidate, True)
    ]
    same = [candidate for candidate in opposite if candidate.facts.get("method") == run.facts.get("method")]
    return (same or opposite or [None])[-1]


def consistency(scene: slicer.vtkMRMLScene, run: Run, back: Run) -> tuple[slicer.vtkMRMLVolumeNode, dict[str, float]]:
    """Make a map of the inverse consistency error ``|T_back(T(x)) - x|`` in mm, and its metrics.

    Returns:
        The volume node, and {"both_ways_mm": mean, "both_ways_max_mm": largest} where the fixed volume has content.
    """
    grid, points = _sampled(run)
    there = moved(in_world(back), moved(in_world(run), points))
    error = np.linalg.norm(there - points, axis=1).reshape(grid.shape_kji)
    node = _map(scene, run, "consistency", error, grid, "Inverse consistency (mm)")
    inside = _content(run, points).reshape(grid.shape_kji)
    return node, {"both_ways_mm": float(error[inside].mean()), "both_ways_max_mm": float(error[inside].max())}


# ------------------------------------------------------------------ disagreement


def disagreement(scene: slicer.vtkMRMLScene, runs: Sequence[Run]) -> tuple[slicer.vtkMRMLVolumeNode, dict[str, float]]:
    """Make a map of the disagreement of runs of one pair: the root mean square distance from their mean, mm.

    The runs may be of several methods, or of one with perturbed inputs. The map belongs to the first.

    Returns:
        The volume node, and {"disagreement_mm": mean, "disagreement_max_mm": largest}
        where the fixed volume has content.

    Raises:
        ValueError: fewer than two runs, or runs of different volumes.
    """
    if len(runs) < 2:
        raise ValueError("Select two or more results for the same two volumes.")
    for run in runs:
        run.need("fixed", "moving")
    if any(
        run.get("fixed") is not runs[0].get("fixed") or run.get("moving") is not runs[0].get("moving") for run in runs
    ):
        raise ValueError("The selected results are of different volumes. Select results of the same two volumes.")
    if any(not lay_alike(run, runs[0]) for run in runs[1:]):
        raise ValueError(
            "A volume was moved or changed between the selected registrations, or one of them started from an initial "
            "transform, so that their results cannot be compared. Register again with both as they are now."
        )
    grid, points = _sampled(runs[0])
    positions = np.stack([moved(in_world(run), points) for run in runs])
    error = spread_mm(positions).reshape(grid.shape_kji)
    node = _map(scene, runs[0], "disagreement", error, grid, "Disagreement (mm)")
    inside = _content(runs[0], points).reshape(grid.shape_kji)
    return node, {"disagreement_mm": float(error[inside].mean()), "disagreement_max_mm": float(error[inside].max())}


def _sampled(run: Run) -> tuple[Grid, np.ndarray]:
    """Return a coarse grid over the run's, and its points, RAS mm."""
    run.need("warped")
    grid = grid_of(run.get("warped"))
    coarse = sampled(grid, POINTS)
    return coarse, flipped(voxel_centers_lps(coarse).reshape(-1, 3))


def _content(run: Run, points_ras: np.ndarray) -> np.ndarray:
    """Return whether the warped volume shows something at points; true everywhere if it never does."""
    warped = run.get("warped")
    values, grid = slicer.util.arrayFromVolume(warped), grid_of(warped)
    ijk = np.round(apply_matrix(grid.lps_to_ijk, flipped(points_ras))).astype(int)
    ijk = np.clip(ijk, 0, np.array(grid.size_ijk) - 1)
    inside = content_of(values)[ijk[:, 2], ijk[:, 1], ijk[:, 0]]
    return inside if inside.any() else np.ones(len(points_ras), bool)


def _map(
    scene: slicer.vtkMRMLScene, run: Run, role: str, values: np.ndarray, grid: Grid, title: str
) -> slicer.vtkMRMLVolumeNode:
    values = np.ascontiguousarray(values, np.float32)
    node = run.get(role)
    if node is None:
        return own(scene, run, role, add_distances(scene, Image(values, grid), role, title))
    slicer.util.updateVolumeFromArray(node, values)
    show_distances(node, values)
    return node


# ------------------------------------------------------------------ landmarks


def residuals(scene: slicer.vtkMRMLScene, run: Run) -> tuple[Any, list[dict[str, Any]]]:
    """Make the landmark errors: arrows in the fixed image, and a table.

    An arrow begins at the fixed landmark and is the part of the way to its partner that is missing, brought back by
    the linear part, so that it points into the fixed image.

    Returns:
        The model node, and a row for each landmark, the largest error first: name, mm, place (RAS).

    Raises:
        ValueError: the run was made without landmarks, or its fixed volume was moved.
    """
    check_fixed_place(run)
    points = run.facts.get("points")
    if not points:
        raise ValueError(f"{run.name} was made without landmarks. Choose fixed and moving points, and register again.")
    fixed, moving = (flipped(points[side]) for side in ("fixed_lps_mm", "moving_lps_mm"))
    missing = moving - moved(in_world(run), fixed)
    linear = np.linalg.inv(linear_ras(run)[:3, :3])
    errors = np.linalg.norm(missing, axis=1)
    names = run.facts.get("point_names") or []
    if len(names) != len(fixed):  # of an older result
        names = [f"number {n + 1}" for n in range(len(fixed))]
    rows = [
        {"name": names[n], "mm": float(errors[n]), "ras": fixed[n].tolist()} for n in np.argsort(-errors, kind="stable")
    ]
    node = run.get("residuals") or _arrows(scene, run, fixed, missing @ linear.T, errors)
    return node, rows


def _arrows(
    scene: slicer.vtkMRMLScene, run: Run, starts: np.ndarray, ways: np.ndarray, errors: np.ndarray
) -> slicer.vtkMRMLModelNode:
    together = vtk.vtkAppendPolyData()
    for start, way, error in zip(starts, ways, errors):
        length = float(np.linalg.norm(way))
        if length < 1e-6:
            continue
        arrow = vtk.vtkArrowSource()
        arrow.SetTipLength(0.3)
        arrow.SetTipRadius(0.12)
        arrow.SetShaftRadius(0.05)
        place = vtk.vtkTransform()
        place.Translate(*start)
        axis = np.cross([1.0, 0, 0], way / length)
        angle = np.degrees(np.arccos(np.clip(way[0] / length, -1, 1)))
        place.RotateWXYZ(angle, *(axis if np.linalg.norm(axis) > 1e-9 else (0, 0, 1)))
        place.Scale(length, length, length)
        shape = vtk.vtkTransformPolyDataFilter()
        shape.SetInputConnection(arrow.GetOutputPort())
        shape.SetTransform(place)
        shape.Update()
        part = shape.GetOutput()
        values = numpy_to_vtk(np.full(part.GetNumberOfPoints(), error), deep=True)
        values.SetName("mm")
        part.GetPointData().SetScalars(values)
        together.AddInputData(part)
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", "residuals")
    if together.GetNumberOfInputConnections(0):
        together.Update()
        node.SetAndObservePolyData(together.GetOutput())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetVisibility2D(True)
    display.SetSliceDisplayModeToProjection()  # landmarks are seldom on the slice that is shown
    display.SetColor(1.0, 0.55, 0.0)
    display.SetSliceIntersectionThickness(2)
    return own(scene, run, "residuals", node)
