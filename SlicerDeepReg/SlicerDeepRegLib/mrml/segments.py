"""Segments as arrays on a volume's voxels, and back; no volume is added to the scene for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..types import Image
from .display import label_colors
from .nodes import FLIP


def segments_of(node) -> list[tuple[str, str]]:
    """(identifier, name) of every segment of a segmentation node, in order."""
    segmentation = node.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return [(identifier, segmentation.GetSegment(identifier).GetName()) for identifier in identifiers]


def segment_array(node, identifier: str, volume) -> np.ndarray | None:
    """(K, J, I) bool, a segment on the voxels of a volume node in the same coordinates; None for an empty one."""
    found, on_volume = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    if not node.GetBinaryLabelmapRepresentation(identifier, found) or found.GetNumberOfPoints() == 0:
        return None
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    reference = slicer.vtkOrientedImageData()  # only its geometry is used
    reference.SetDimensions(*volume.GetImageData().GetDimensions())
    reference.SetImageToWorldMatrix(matrix)
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        found, reference, on_volume, False, False
    )
    values = vtk_to_numpy(on_volume.GetPointData().GetScalars()).reshape(on_volume.GetDimensions()[::-1])
    return values > 0


def add_segment(node, name: str, color, inside: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """Add a segment to a segmentation node.

    Args:
        inside: (K, J, I) bool.
        ijk_to_ras: (4, 4) where its voxels lie, in the node's coordinates.
    """
    identifier = node.GetSegmentation().AddEmptySegment("", name, color)
    picture = slicer.vtkOrientedImageData()
    picture.SetDimensions(*inside.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(inside, np.uint8).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    picture.GetPointData().SetScalars(scalars)
    picture.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(picture, node, identifier, logic.MODE_REPLACE)


def add_segmentation(scene, labels: Image, name: str, names: Mapping[int, str] | None = None):
    """A segmentation node with a segment for each label of a map (0 is none), in the colors that labels have.

    Args:
        names: of the labels; "Label N" where it has none.
    """
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    values = labels.values.astype(np.int64)
    present = [int(label) for label in np.unique(values) if label]
    colors = label_colors(scene, present) if present else None
    for label in present:
        color = [0.0] * 4
        colors.GetColor(label, color)
        add_segment(
            node, (names or {}).get(label, f"Label {label}"), color[:3], values == label, FLIP @ labels.grid.ijk_to_lps
        )
    if colors is not None:
        scene.RemoveNode(colors)
    return node
