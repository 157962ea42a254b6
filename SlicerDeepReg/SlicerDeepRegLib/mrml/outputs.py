"""The result of a run in nodes of the user's: the warped volume's voxels, the transform."""

from __future__ import annotations

import slicer
import vtk

from .display import show_alike
from .runs import Run


def put_volume(run: Run, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Replace a volume's voxels and geometry by those of the run's warped volume, which looks as that does.

    Raises:
        ValueError: the run has lost its warped volume.
    """
    run.need("warped")
    warped = run.get("warped")
    voxels = vtk.vtkImageData()
    voxels.DeepCopy(warped.GetImageData())
    matrix = vtk.vtkMatrix4x4()
    warped.GetIJKToRASMatrix(matrix)
    modified = node.StartModify()
    node.SetAndObserveTransformNodeID(None)  # the voxels of the result are in world coordinates
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(voxels)
    for name in list(node.GetAttributeNames()):
        if name.startswith("DICOM."):  # it is not that series any more
            node.RemoveAttribute(name)
    node.EndModify(modified)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    show_alike(node, warped)


def put_transform(run: Run, node: slicer.vtkMRMLTransformNode) -> None:
    """Replace a transform by that of a run, from fixed to moving points as Slicer's transforms of images are.

    Raises:
        ValueError: the run has lost its transform.
    """
    run.need("transform")
    copied = run.get("transform")
    attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames()}
    description = node.GetDescription()
    node.SetAndObserveTransformNodeID(None)
    node.CopyContent(copied)
    for name in list(node.GetAttributeNames()):
        node.RemoveAttribute(name)
    for name, value in attributes.items():
        node.SetAttribute(name, value)
    node.SetDescription(description)
