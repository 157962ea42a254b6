"""What the panel remembers with the scene."""

# No postponed annotations here: Slicer's wrapper reads the types of the class.

from typing import Annotated, Union

from slicer import (
    vtkMRMLBSplineTransformNode,
    vtkMRMLGridTransformNode,
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLLinearTransformNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from ..types import MAX_UNCERTAINTY_RUNS, Request

# The same classes in the same order as the node types of the selectors in the .ui.
Structures = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]
AnyTransform = Union[
    vtkMRMLTransformNode, vtkMRMLLinearTransformNode, vtkMRMLBSplineTransformNode, vtkMRMLGridTransformNode, None
]


@parameterNodeWrapper
class SlicerDeepRegParameterNode:
    """The state of the panel.

    fixed, moving: the volumes. The nodes after them are optional.
    method to perturbed: as in ``Request``. settings: JSON of the numbers that were changed.
    methods: JSON of the methods that are to run one after another.
    reviewMode to showArrows: how the shown run is looked at.
    """

    fixed: vtkMRMLScalarVolumeNode
    moving: vtkMRMLScalarVolumeNode
    fixedMask: Structures
    movingMask: Structures
    fixedSegmentation: Structures
    movingSegmentation: Structures
    fixedPoints: vtkMRMLMarkupsFiducialNode
    movingPoints: vtkMRMLMarkupsFiducialNode
    initial: AnyTransform
    method: str = Request.method
    linear: str = Request.linear
    preset: str = Request.preset
    similarity: str = Request.similarity
    device: str = Request.device
    uncertainty_runs: Annotated[int, WithinRange(0, MAX_UNCERTAINTY_RUNS)] = Request.uncertainty_runs
    settings: str = "{}"
    methods: str = "[]"
    reviewMode: str = "fade"
    reviewAmount: Annotated[float, WithinRange(0, 1)] = 0.5
    showGrid: bool = False
    showArrows: bool = False
    showIn3D: bool = False
    gridSpacing: Annotated[float, WithinRange(0, 50)] = 0.0
