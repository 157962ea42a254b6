"""Segments as arrays on a volume's voxels, and back; no volume is added to the scene for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..types import Image
from .display import label_colors
from .nodes import FLIP


def segments_of(node: slicer.vtkMRMLNode) -> list[tuple[str, str]]:
    """Return (identifier, name) of every segment of a segmentation node, in order."""
    segmentation = node.GetSegmentation()
    identifiers = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return [(identifier, segmentation.GetSegment(identifier).GetName()) for identifier in identifiers]


def segment_array(node: slicer.vtkMRMLNode, identifier: str, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray | None:
    """Return a segment on the voxels of a volume node in the same coordinates, (K, J, I) bool; None if empty."""
    labelmap, on_volume = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    if not node.GetBinaryLabelmapRepresentation(identifier, labelmap) or labelmap.GetNumberOfPoints() == 0:
        surface = closed_surface(node, identifier)
        return None if surface is None else _inside_surface(surface, volume)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    reference = slicer.vtkOrientedImageData()  # only its geometry is used
    reference.SetDimensions(*volume.GetImageData().GetDimensions())
    reference.SetImageToWorldMatrix(matrix)
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        labelmap, reference, on_volume, False, False
    )
    values = vtk_to_numpy(on_volume.GetPointData().GetScalars()).reshape(on_volume.GetDimensions()[::-1])
    return values > 0


def closed_surface(node: slicer.vtkMRMLNode, identifier: str) -> vtk.vtkPolyData | None:
    """Return the closed surface of a segment, as of an STL or an RT structure set, if it has one that is not empty."""
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    surface = node.GetSegmentation().GetSegment(identifier).GetRepresentation(name)
    return surface if surface is not None and surface.GetNumberOfPoints() else None


def _inside_surface(surface: vtk.vtkPolyData, volume: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Return the voxels of a volume inside a closed surface in the same coordinates, (K, J, I) bool.

    The node stays as it is, which Slicer's own conversion would add a label map to.
    """
    matrix, to_voxels = vtk.vtkMatrix4x4(), vtk.vtkTransform()
    volume.GetRASToIJKMatrix(matrix)
    to_voxels.SetMatrix(matrix)
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetInputData(surface)
    placed.SetTransform(to_voxels)
    stencil = vtk.vtkPolyDataToImageStencil()
    stencil.SetInputConnection(placed.GetOutputPort())
    size = volume.GetImageData().GetDimensions()
    stencil.SetOutputWholeExtent(0, size[0] - 1, 0, size[1] - 1, 0, size[2] - 1)
    drawn = vtk.vtkImageStencilToImage()
    drawn.SetInputConnection(stencil.GetOutputPort())
    drawn.SetInsideValue(1)
    drawn.SetOutsideValue(0)
    drawn.SetOutputScalarTypeToUnsignedChar()
    drawn.Update()
    inside: np.ndarray = vtk_to_numpy(drawn.GetOutput().GetPointData().GetScalars()).reshape(size[::-1]) > 0
    return inside


def add_segment(
    node: slicer.vtkMRMLNode, name: str, color: Sequence[float], inside: np.ndarray, ijk_to_ras: np.ndarray
) -> None:
    """Add a segment to a segmentation node.

    Args:
        inside: (K, J, I) bool.
        ijk_to_ras: (4, 4) where its voxels lie, in the node's coordinates.
    """
    identifier = node.GetSegmentation().AddEmptySegment("", name, color)
    image_data = slicer.vtkOrientedImageData()
    image_data.SetDimensions(*inside.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(inside, np.uint8).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image_data.GetPointData().SetScalars(scalars)
    image_data.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image_data, node, identifier, logic.MODE_REPLACE)


def add_segmentation(
    scene: slicer.vtkMRMLScene,
    labels: Image,
    name: str,
    names: Mapping[int, str] | None = None,
    own_colors: Mapping[int, tuple[int, int, int]] | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation node with a segment for each label of a map (0 is background), in the labels' colors.

    Args:
        names: of the labels; "Label N" where it has none.
        own_colors: of the labels, 0..255, where they have colors of their own.
    """
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    values = labels.values.astype(np.int64)
    present = [int(label) for label in np.unique(values) if label]
    colors = label_colors(scene, present) if present else None
    for label in present:
        color = [0.0] * 4
        colors.GetColor(label, color)
        shown = [part / 255 for part in own_colors[label]] if own_colors and label in own_colors else color[:3]
        add_segment(
            node, (names or {}).get(label, f"Label {label}"), shown, values == label, FLIP @ labels.grid.ijk_to_lps
        )
    if colors is not None:
        scene.RemoveNode(colors)
    return node


def common_segments(fixed: slicer.vtkMRMLNode | None, moving: slicer.vtkMRMLNode | None) -> list[str]:
    """Return the names of the segments that both segmentations have; none where one is a label map or missing."""
    if any(node is None or not node.IsA("vtkMRMLSegmentationNode") for node in (fixed, moving)):
        return []
    others = {name for _identifier, name in segments_of(moving)}
    return [name for _identifier, name in segments_of(fixed) if name in others]
