"""The volumes to register, and masks, segmentations, landmarks and an initial transform for them. Qt."""

from __future__ import annotations

from typing import Any, Union

import qt
import slicer
import slicer.util
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
from slicer.i18n import tr as _

from ...mrml.runs import OWNED, runs
from ...mrml.series import proxies
from ...types import InputError
from ..marks import SIGNS, TitleMarks
from ..section import BaseSection
from ..text import escaped

# The same classes in the same order as the node types of the selectors in the .ui.
Labels = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]
AnyTransform = Union[
    vtkMRMLTransformNode, vtkMRMLLinearTransformNode, vtkMRMLBSplineTransformNode, vtkMRMLGridTransformNode, None
]


class InputsSection(BaseSection):
    """Lets the user choose the input nodes, and lists what is to be said about them."""

    name = "inputs"
    ui = "Inputs.ui"
    order = 10

    class Parameters:
        """The volumes; the nodes after them are optional."""

        fixed: vtkMRMLScalarVolumeNode
        moving: vtkMRMLScalarVolumeNode
        fixedMask: Labels
        movingMask: Labels
        fixedSegmentation: Labels
        movingSegmentation: Labels
        fixedPoints: vtkMRMLMarkupsFiducialNode
        movingPoints: vtkMRMLMarkupsFiducialNode
        initial: AnyTransform

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._marks = TitleMarks(self.widgets)
        self.widgets.segmentButton.connect("clicked()", self.segment)

    def bind(self, parameters: Any | None) -> None:
        if parameters is not None:
            self.choose_volumes()

    def volume_added(self, node: Any) -> None:
        # That it shows a frame of a sequence, or belongs to a result, is known when whoever added it has said so.
        qt.QTimer.singleShot(0, self._choose_now)

    def _choose_now(self) -> None:
        if self.parameters is not None and not self.context.session.busy:
            self.choose_volumes()

    def update(self) -> None:
        self.widgets.segmentButton.enabled = not self.context.session.segmenter.busy
        if not self.context.session.busy:
            self.choice_changed()

    def segment(self) -> None:
        """Segment the structures of the brains in the chosen volumes."""
        try:
            self.context.launcher.segment()
        except InputError as error:
            self.context.error(str(error))

    def choice_changed(self) -> None:
        findings = self.context.findings
        label = self.widgets.findingsLabel
        lines = [f"{SIGNS[finding.severity]} {escaped(_(finding.sentence))}" for finding in findings]
        if lines and self.parameters is not None and not (self.parameters.fixed or self.parameters.moving):
            if slicer.util.getNodesByClass("vtkMRMLSequenceNode"):
                lines.append(escaped(_("To register the frames of a sequence, use Series below.")))
        label.text = "<br>".join(lines)
        label.visible = bool(findings)
        self._marks.show(findings)

    def choose_volumes(self) -> None:
        """Choose the scene's first two volumes where none is chosen yet: then Apply suffices.

        The frame of a sequence that is shown at the moment is not meant, unless the user chooses it.
        """
        not_meant = _not_meant()
        volumes = [
            volume
            for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if volume.GetClassName() == "vtkMRMLScalarVolumeNode"  # no labels, no vectors
            and volume not in not_meant
            and not volume.GetHideFromEditors()
        ]
        for name, other in (("fixed", "moving"), ("moving", "fixed")):
            free = [volume for volume in volumes if volume is not getattr(self.parameters, other)]
            if getattr(self.parameters, name) is None and free:
                setattr(self.parameters, name, free[0])


def _not_meant() -> set[Any]:
    """Return nodes that are not to be chosen by themselves: those of results, and frames of sequences on the screen."""
    return {run.get(role) for run in runs(slicer.mrmlScene) for role in OWNED}.union(proxies())
