"""What guides the registration beside the images: landmarks, structures, surfaces, and what is excluded. Qt."""

from __future__ import annotations

import json
from typing import Any, Union

import qt
from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsClosedCurveNode,
    vtkMRMLMarkupsCurveNode,
    vtkMRMLModelNode,
    vtkMRMLSegmentationNode,
)
from slicer.i18n import tr as _

from ...mrml.segments import common_segments
from ..context import read_list
from ..controls import signals_blocked
from ..marks import TitleMarks
from ..section import BaseSection

# The same classes in the same order as the node types of the selectors in the .ui.
Labels = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]
Surface = Union[vtkMRMLModelNode, vtkMRMLMarkupsCurveNode, vtkMRMLMarkupsClosedCurveNode, None]
LIST_HEIGHT = 90


class GuidanceSection(BaseSection):
    """Lets the user choose what guides, and lists the structures that can."""

    name = "guidance"
    title = _("Guidance")
    ui = "Guidance.ui"
    order = 15
    collapsed = True
    tool_tip = _("What you know of how the volumes correspond. It pulls at the deformation beside the images.")
    container = "registerPage"

    class Parameters:
        """``guideStructures`` is JSON: the names of the structures that guide."""

        guidePoints: bool = False
        guidePointsUncertainty: float = 1.0
        heldPoints: str = ""
        guideStructures: str = "[]"
        fixedExcluded: Labels
        movingExcluded: Labels
        fixedRigid: Labels
        fixedSurface: Surface
        movingSurface: Surface

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._marks = TitleMarks(self.widgets)
        self._listed: list[str] = []
        tree = self.widgets.guideStructuresTree
        tree.setMaximumHeight(LIST_HEIGHT)
        tree.connect("itemChanged(QTreeWidgetItem*,int)", lambda item=None, column=0: self._checked())

    def update(self) -> None:
        self.choice_changed()

    def choice_changed(self) -> None:
        parameters, widgets = self.parameters, self.widgets
        if parameters is None:
            return
        self._list(common_segments(parameters.fixedSegmentation, parameters.movingSegmentation))
        guided = bool(parameters.guidePoints)
        for widget in (widgets.guidePointsSpin, widgets.heldPointsEdit):
            widget.enabled = guided
        self._marks.show(self.context.findings)

    def _list(self, names: list[str]) -> None:
        tree, chosen = self.widgets.guideStructuresTree, read_list(self.parameters.guideStructures)
        with signals_blocked(tree):
            if names != self._listed:
                tree.clear()
                self._listed = names
                for name in names:
                    item = qt.QTreeWidgetItem()
                    item.setText(0, name)
                    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                    tree.addTopLevelItem(item)
            for row, name in enumerate(names):
                tree.topLevelItem(row).setCheckState(0, qt.Qt.Checked if name in chosen else qt.Qt.Unchecked)
        tree.enabled = bool(names)

    def _checked(self) -> None:
        tree = self.widgets.guideStructuresTree
        rows = range(len(self._listed))
        checked = [self._listed[row] for row in rows if tree.topLevelItem(row).checkState(0) == qt.Qt.Checked]
        if self.parameters is not None:
            self.parameters.guideStructures = json.dumps(checked)
