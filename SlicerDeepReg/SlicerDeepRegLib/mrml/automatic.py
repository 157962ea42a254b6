"""Segmentations of brains that a program made: in the scene, marked as such."""

from __future__ import annotations

import dataclasses

import slicer
import slicer.util

from ..anatomy import STRUCTURE_BY_NUMBER
from ..types import Image
from .nodes import image_from_node
from .segments import add_segmentation

#: Attribute of a segmentation node that no person made.
MARK = "DeepReg.automatic"


def is_automatic(node: slicer.vtkMRMLNode | None) -> bool:
    """Tell whether a program made the segmentation."""
    return node is not None and node.GetAttribute(MARK) is not None


def add_structures(
    scene: slicer.vtkMRMLScene, labels: Image, volume: slicer.vtkMRMLVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """Add the structures of a brain as a segmentation node that is hidden, and lies where the volume lies.

    Args:
        labels: FreeSurfer's numbers on the volume's voxels, or in the world where its transform is not linear.
        volume: what was segmented.
    """
    own, parent = image_from_node(volume), volume.GetParentTransformNode()
    follows = own.values.shape == labels.values.shape and (parent is None or parent.IsTransformToWorldLinear())
    if follows:
        labels = dataclasses.replace(labels, grid=own.grid)
    names = {number: structure.name for number, structure in STRUCTURE_BY_NUMBER.items()}
    colors = {number: structure.color for number, structure in STRUCTURE_BY_NUMBER.items()}
    node = add_segmentation(scene, labels, f"{volume.GetName()} structures (automatic)", names, colors)
    node.SetAttribute(MARK, "1")
    node.GetDisplayNode().SetVisibility(False)
    if follows and parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node
