"""What is moved along by a result: volumes, dose, segmentations, models, markups. No Qt.

What lies where the moving volume lies goes to the fixed one, and what lies with the fixed volume goes to the moving
one, by the inverse that Slicer finds itself.
"""

from __future__ import annotations

import slicer
import slicer.util
import vtk

from .nodes import resampled
from .runs import OWNED, Run, own, runs

KINDS = (
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLModelNode",
    "vtkMRMLMarkupsNode",
)
#: The directions: what lies in the first goes to the second.
TO_FIXED, TO_MOVING = "to fixed", "to moving"


def movable(scene: slicer.vtkMRMLScene, run: Run, direction: str = TO_FIXED) -> list[slicer.vtkMRMLNode]:
    """Return the nodes that lie where the volume lies that a direction begins in, in the order of the scene.

    Those under other transforms lie elsewhere, and those of results are moved already.
    """
    start = run.get("moving" if direction == TO_FIXED else "fixed")
    owned = {node for one in runs(scene) for role in OWNED if (node := one.get(role)) is not None}
    ours = {one.get("transform") for one in runs(scene)} | {one.get("transform_back") for one in runs(scene)}
    parent = start.GetParentTransformNode() if start is not None else None
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


def transform_for(scene: slicer.vtkMRMLScene, run: Run, direction: str) -> slicer.vtkMRMLTransformNode:
    """Return the transform node to put nodes under; that of the way back is made when it is first asked for.

    Raises:
        ValueError: the run has lost its transform.
    """
    run.need("transform")
    forward = run.get("transform")
    if direction == TO_FIXED:
        return forward
    back = run.get("transform_back")
    if back is None:
        back = scene.AddNewNodeByClass("vtkMRMLTransformNode", "back")
        back.SetAndObserveTransformToParent(forward.GetTransformFromParent())
        own(scene, run, "transform_back", back, save=True)
    return back


def put_under(nodes: list[slicer.vtkMRMLNode], transform: slicer.vtkMRMLTransformNode) -> None:
    """Put nodes under a transform, in place of the one that they are under."""
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())


def moved_copies(
    scene: slicer.vtkMRMLScene, run: Run, nodes: list[slicer.vtkMRMLNode], direction: str
) -> list[slicer.vtkMRMLNode]:
    """Return copies that are moved for good: volumes on the grid of the other volume, everything else by its points.

    A volume keeps its unit and what it is (a dose); values are interpolated linearly, labels are the nearest ones.
    """
    transform, reference = transform_for(scene, run, direction), run.get("fixed" if direction == TO_FIXED else "moving")
    copies = []
    for node in nodes:
        name = scene.GenerateUniqueName(f"{node.GetName()} moved")
        if node.IsA("vtkMRMLVolumeNode"):
            copy = resampled(node, reference, transform, name)
            copy.SetVoxelValueQuantity(node.GetVoxelValueQuantity())
            copy.SetVoxelValueUnits(node.GetVoxelValueUnits())
            for attribute in node.GetAttributeNames():
                copy.SetAttribute(attribute, node.GetAttribute(attribute))
        else:
            copy = _cloned(scene, node, name)
            copy.SetAndObserveTransformNodeID(transform.GetID())
            copy.HardenTransform()
        copies.append(copy)
    return copies


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
