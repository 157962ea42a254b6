"""What is moved along by a result: volumes, dose, segmentations, models, markups. No Qt.

What lies where the moving volume lies goes to the fixed one, and what lies with the fixed volume goes to the moving
one, by the inverse that Slicer finds itself.
"""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..geometry.points import apply_matrix
from ..types import Grid, Image
from .nodes import FLIP, add_volume, ijk_to_ras, in_turn, resampled
from .runs import OWNED, Run, check_own_coordinates, own, remove_node, runs
from .segments import closed_surface, segments_of
from .surfaces import points_of
from .world import local_to_world

KINDS = (
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
)
#: The directions: what lies in the first goes to the second.
TO_FIXED, TO_MOVING = "to fixed", "to moving"
#: About so many points of a node are followed to say how far it is moved.
POINTS = 2000
#: The array of a moved model that says how far each vertex was moved, to color it by.
DISPLACEMENT = "displacement (mm)"


def movable(scene: slicer.vtkMRMLScene, run: Run, direction: str = TO_FIXED) -> list[slicer.vtkMRMLNode]:
    """Return the nodes that lie where the volume lies that a direction begins in, in the order of the scene.

    Those under other transforms lie elsewhere, and those of results are moved already. Those under a transform of this
    direction lay there: they are moved by this one instead.
    """
    role = "moving" if direction == TO_FIXED else "fixed"
    start = run.get(role)
    owned = {node for one in runs(scene) for owns in OWNED if (node := one.get(owns)) is not None}
    moves = "transform" if direction == TO_FIXED else "transform_back"
    ours = {one.get(moves) for one in runs(scene) if one.get(role) is start} - {None}
    parent = start.GetParentTransformNode() if start is not None else None
    if parent in ours and _lay_under_nothing(run, role):  # it was moved along itself: the others lie where it lay
        parent = None
    nodes = {node.GetID(): node for kind in KINDS for node in slicer.util.getNodesByClass(kind, scene)}
    end = run.get("fixed" if direction == TO_FIXED else "moving")
    return [
        node
        for node in nodes.values()
        if node not in owned
        and node is not end
        and not node.GetHideFromEditors()
        and (node.GetParentTransformNode() is parent or node.GetParentTransformNode() in ours)
        and not node.IsA("vtkMRMLSliceNode")
        and not (node.IsA("vtkMRMLModelNode") and node.GetName().endswith("Volume Slice"))
    ]


def _lay_under_nothing(run: Run, role: str) -> bool:
    """Return whether a volume of the run was under no transform when it was registered."""
    place = run.facts.get("places", {}).get(role)
    return place is None or place["to_world_ras"] == np.eye(4).tolist()


def _to_world(run: Run, role: str) -> vtk.vtkAbstractTransform | vtk.vtkMatrix4x4 | None:
    """Return what put a volume of the run into the world when it was registered; None for nothing.

    Raises:
        ValueError: it was not linear, and the volume is under it no longer.
    """
    if _lay_under_nothing(run, role):
        return None
    matrix = run.facts["places"][role]["to_world_ras"]
    if matrix is not None:
        return slicer.util.vtkMatrixFromArray(np.array(matrix))
    node = run.get(role)
    parent = node.GetParentTransformNode() if node is not None else None
    if parent is None or parent in (run.get("transform"), run.get("transform_back")):
        raise ValueError(
            f"The {role} volume of {run.name} is no longer under the transform under which it was registered. Put it "
            "back under it, or register again."
        )
    return local_to_world(node)


def _along(run: Run, direction: str) -> vtk.vtkAbstractTransform:
    """Return the transform from the own coordinates of what lies with a volume to the world after it was moved.

    That of the run leads from the world to the moving volume's own coordinates, and the other way round.
    """
    run.need("transform")
    check_own_coordinates(run, "moving" if direction == TO_FIXED else "fixed")
    forward = run.get("transform")
    if direction == TO_FIXED:
        return forward.GetTransformToParent()
    fixed, moving = _to_world(run, "fixed"), _to_world(run, "moving")
    if fixed is None and moving is None:
        return forward.GetTransformFromParent()
    return in_turn(fixed, forward.GetTransformFromParent(), moving)


def transform_for(scene: slicer.vtkMRMLScene, run: Run, direction: str) -> slicer.vtkMRMLTransformNode:
    """Return the transform node to put nodes under, in place of that of the volume that they lie with.

    That of the way back is made when it is first asked for.

    Raises:
        ValueError: the run has lost its transform, or one was hardened on the volume that nodes lie with.
    """
    run.need("transform")
    check_own_coordinates(run, "moving" if direction == TO_FIXED else "fixed")
    forward = run.get("transform")
    if direction == TO_FIXED:
        return forward
    back = run.get("transform_back")
    if back is None:
        back = scene.AddNewNodeByClass("vtkMRMLTransformNode", "back")
        back.SetAndObserveTransformToParent(_along(run, direction))
        own(scene, run, "transform_back", back, save=True)
    return back


def displacement_mm(run: Run, node: slicer.vtkMRMLNode, direction: str) -> np.ndarray:
    """Return how far the points of a node are moved, (N,) mm; of large ones about ``POINTS`` of them.

    These are the control points of markups, the vertices of models, the voxels inside segments and those of volumes.

    Raises:
        ValueError: the run has lost its transform.
    """
    along, own = _along(run, direction), _local_points(node)
    moved = np.array([along.TransformPoint(point) for point in own]).reshape(-1, 3)
    lengths: np.ndarray = np.linalg.norm(moved - _where_it_lay(run, own, direction), axis=1)
    return lengths


def _where_it_lay(run: Run, local: np.ndarray, direction: str) -> np.ndarray:
    """Return points (N, 3) of a node that lies with a volume of the run, in the world before they are moved, RAS mm."""
    to_world = in_turn(_to_world(run, "moving" if direction == TO_FIXED else "fixed"))
    return np.array([to_world.TransformPoint(point) for point in local]).reshape(-1, 3)


def _local_points(node: slicer.vtkMRMLNode) -> np.ndarray:
    """Return points of a node in its own coordinates, (N, 3) RAS mm."""
    if node.IsA("vtkMRMLMarkupsNode"):
        points = slicer.util.arrayFromMarkupsControlPoints(node)
    elif node.IsA("vtkMRMLModelNode"):
        points = points_of(node.GetPolyData())
    elif node.IsA("vtkMRMLSegmentationNode"):
        inside = [_inside(node, identifier) for identifier, _name in segments_of(node)]
        points = np.concatenate(inside) if inside else None
    else:
        size = node.GetImageData().GetDimensions() if node.GetImageData() is not None else (0, 0, 0)
        steps = [np.linspace(0, n - 1, min(n, round(POINTS ** (1 / 3)))) for n in size]
        points = apply_matrix(ijk_to_ras(node), np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3))
    points = np.zeros((0, 3)) if points is None else np.asarray(points, float).reshape(-1, 3)
    return points[:: max(1, len(points) // POINTS)]


def _inside(node: slicer.vtkMRMLNode, identifier: str) -> np.ndarray:
    """Return the voxels of a segment in its node's coordinates, (N, 3) RAS mm, about ``POINTS``; or of its surface."""
    labelmap, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    if not node.GetBinaryLabelmapRepresentation(identifier, labelmap) or labelmap.GetNumberOfPoints() == 0:
        surface = closed_surface(node, identifier)
        return np.zeros((0, 3)) if surface is None else points_of(surface)
    labelmap.GetImageToWorldMatrix(matrix)
    values = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
    places = np.argwhere(values > 0)[:, ::-1]
    places = places[:: max(1, len(places) // POINTS)] + np.array(labelmap.GetExtent()[::2])
    return apply_matrix(slicer.util.arrayFromVTKMatrix(matrix), places)


def moved_copies(
    scene: slicer.vtkMRMLScene, run: Run, nodes: list[slicer.vtkMRMLNode], direction: str
) -> list[slicer.vtkMRMLNode]:
    """Return copies that are moved for good: volumes on the grid of the other volume, everything else by its points.

    A volume keeps its unit and what it is (a dose); values are interpolated linearly, labels are the nearest ones.
    """
    transform = transform_for(scene, run, direction)
    any_volume = any(node.IsA("vtkMRMLVolumeNode") for node in nodes)
    reference = _reference(scene, run, "fixed" if direction == TO_FIXED else "moving") if any_volume else None
    try:
        return [_moved_copy(scene, run, node, direction, transform, reference) for node in nodes]
    finally:
        if reference is not None:
            remove_node(scene, reference)


def _moved_copy(
    scene: slicer.vtkMRMLScene,
    run: Run,
    node: slicer.vtkMRMLNode,
    direction: str,
    transform: slicer.vtkMRMLTransformNode,
    reference: slicer.vtkMRMLVolumeNode | None,
) -> slicer.vtkMRMLNode:
    name = scene.GenerateUniqueName(f"{node.GetName()} moved")
    if node.IsA("vtkMRMLVolumeNode"):
        copy = resampled(node, reference, transform, name)
        copy.SetVoxelValueQuantity(node.GetVoxelValueQuantity())
        copy.SetVoxelValueUnits(node.GetVoxelValueUnits())
        for attribute in node.GetAttributeNames():
            # The copy does not lie where its DICOM series was scanned.
            copy.SetAttribute(attribute, None if attribute.startswith("DICOM.") else node.GetAttribute(attribute))
        return copy
    copy = _cloned(scene, node, name)
    before = points_of(copy.GetPolyData()) if node.IsA("vtkMRMLModelNode") else None
    copy.SetAndObserveTransformNodeID(transform.GetID())
    copy.HardenTransform()
    if before is not None:
        lengths = np.linalg.norm(points_of(copy.GetPolyData()) - _where_it_lay(run, before, direction), axis=1)
        array = numpy_to_vtk(lengths.astype(np.float32), deep=True)
        array.SetName(DISPLACEMENT)
        copy.GetPolyData().GetPointData().AddArray(array)
    return copy


def _reference(scene: slicer.vtkMRMLScene, run: Run, role: str) -> slicer.vtkMRMLVolumeNode:
    """Add a volume node on the grid of a volume of the run, where that lay in the world when it was registered.

    Raises:
        ValueError: the volume is gone, or lay under a transform that is not linear and so has no grid in the world.
    """
    node, to_world = run.get(role), _to_world(run, role)
    if node is None:
        raise ValueError(f"The {role} volume of {run.name}, on whose grid copies are made, was removed from the scene.")
    if to_world is not None and not isinstance(to_world, vtk.vtkMatrix4x4):
        raise ValueError(
            f"{node.GetName()} is under a transform that is not linear, so that it has no grid in the world to make a "
            "copy on. Harden the transform on it, and register again."
        )
    matrix = np.eye(4) if to_world is None else slicer.util.arrayFromVTKMatrix(to_world)
    grid = Grid(node.GetImageData().GetDimensions(), FLIP @ matrix @ ijk_to_ras(node))
    return add_volume(scene, Image(np.zeros(grid.shape_kji, np.uint8), grid), "grid")


def _cloned(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode, name: str) -> slicer.vtkMRMLNode:
    copy = scene.AddNewNodeByClass(node.GetClassName(), name)
    copy.CopyContent(node)
    copy.SetName(name)
    if node.IsA("vtkMRMLModelNode"):
        copy.SetAndObservePolyData(_deep(node.GetPolyData()))
    copy.CreateDefaultDisplayNodes()
    return copy


def _deep(poly: object) -> object:
    copied = vtk.vtkPolyData()
    copied.DeepCopy(poly)
    return copied
