"""How old is what a node holds: ``GetMTime`` of markups and segmentations tells nothing of points and segments."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

#: What a segment may be held in.
REPRESENTATIONS = (
    slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName,
    slicer.vtkSegmentationConverter.GetSegmentationFractionalLabelmapRepresentationName,
    slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName,
)


def age_of(node: slicer.vtkMRMLNode | None) -> tuple[Any, ...]:
    """Return what is another tuple when a node, its points, segments or voxels, or its place have changed.

    Points are compared by position, label and whether they are placed; segments by name and the ages of what they hold.
    """
    if node is None:
        return ()
    age: list[Any] = [node.GetID(), node.GetMTime()]
    if node.IsA("vtkMRMLTransformableNode"):
        parent = node.GetParentTransformNode()
        age.append(None if parent is None else (parent.GetID(), parent.GetTransformToWorldMTime()))
    if node.IsA("vtkMRMLVolumeNode"):
        image = node.GetImageData()
        age.append(0 if image is None else image.GetMTime())
    elif node.IsA("vtkMRMLMarkupsNode"):
        age.append(_points(node))
    elif node.IsA("vtkMRMLSegmentationNode"):
        age.append(_segments(node.GetSegmentation()))
    return tuple(age)


def _points(node: slicer.vtkMRMLMarkupsNode) -> tuple[Any, ...]:
    positions, labels = vtk.vtkPoints(), vtk.vtkStringArray()
    node.GetControlPointPositionsWorld(positions)
    node.GetControlPointLabels(labels)
    placed = b"" if not positions.GetNumberOfPoints() else vtk_to_numpy(positions.GetData()).tobytes()
    names = tuple(labels.GetValue(n) for n in range(labels.GetNumberOfValues()))
    statuses = tuple(node.GetNthControlPointPositionStatus(n) for n in range(node.GetNumberOfControlPoints()))
    return placed, names, statuses


def _segments(segmentation: slicer.vtkSegmentation) -> tuple[Any, ...]:
    found = []
    for n in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(n)
        held = [segment.GetRepresentation(name()) for name in REPRESENTATIONS]
        ages = tuple(0 if one is None else one.GetMTime() for one in held)
        found.append((segmentation.GetNthSegmentID(n), segment.GetName(), ages))
    return tuple(found)
