"""What the panel remembers with the scene."""

# No postponed annotations here: Slicer's wrapper reads the types of the class.

from typing import Annotated

from slicer import (
    vtkMRMLDisplayableNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class SlicerDeepRegParameterNode:
    """The state of the panel.

    fixed, moving: the volumes. The nodes after them are optional.
    method to device: as in ``Request``. settings: JSON of the numbers that were changed.
    reviewMode to showAfter: how the shown run is looked at. shownRun: the ID of its node.
    """

    fixed: vtkMRMLScalarVolumeNode
    moving: vtkMRMLScalarVolumeNode
    fixedMask: vtkMRMLDisplayableNode
    movingMask: vtkMRMLDisplayableNode
    fixedSegmentation: vtkMRMLDisplayableNode
    movingSegmentation: vtkMRMLDisplayableNode
    fixedPoints: vtkMRMLMarkupsFiducialNode
    movingPoints: vtkMRMLMarkupsFiducialNode
    initial: vtkMRMLTransformNode
    method: str = "optimise"
    linear: str = "affine"
    effort: str = "standard"
    similarity: str = "auto"
    device: str = "auto"
    settings: str = "{}"
    reviewMode: str = "fade"
    reviewAmount: Annotated[float, WithinRange(0, 1)] = 0.5
    showGrid: bool = False
    showArrows: bool = False
