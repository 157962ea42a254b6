"""Where the result goes besides its own nodes. Qt."""

from __future__ import annotations

from typing import Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLTransformNode
from slicer.i18n import tr as _

from ...mrml.outputs import put_transform, put_volume
from ...mrml.runs import put_under
from ..marks import TitleMarks
from ..section import BaseSection
from ..session import Job


class OutputsSection(BaseSection):
    """Puts the warped volume and the transform into nodes of the user's, and the moving volume under the transform."""

    name = "outputs"
    ui = "Outputs.ui"
    order = 25
    container = "outputsWidget"

    class Parameters:
        """Nodes that are overwritten with each result; none leaves it with the nodes of the result."""

        outputVolume: vtkMRMLScalarVolumeNode
        outputTransform: vtkMRMLTransformNode
        applyTransform: bool = False

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._marks = TitleMarks(self.widgets)

    def choice_changed(self) -> None:
        self._marks.show(self.context.findings)

    def update(self) -> None:
        self.choice_changed()

    def finished(self, job: Job) -> None:
        run, choice = job.run, job.choice
        if job.state != "done" or run is None or run.node.GetScene() is None:
            return
        said = []
        for role, node, put in (
            ("warped", choice.output_volume, put_volume),
            ("transform", choice.output_transform, put_transform),
        ):
            if node is not None and node.GetScene() is None:
                text = _("{name} was removed meanwhile, so the result was not put into it.")
                self.context.say(text.format(name=node.GetName()))
            elif node is not None and run.get(role) is not None:
                put(run, node)
                said.append(node.GetName())
        if said:
            self.context.say(_("The result was also put into {names}.").format(names=", ".join(said)))
        moving, transform = run.get("moving"), run.get("transform")
        if choice.apply_transform and moving is not None and transform is not None:
            parent = moving.GetParentTransformNode()
            there = [node for node in choice.of_moving() if node.GetScene() is not None]
            put_under(run, [node for node in there if node.GetParentTransformNode() is parent], transform)
            text = _("{name} is now under the transform {transform}, with what was chosen for it.")
            self.context.say(text.format(name=moving.GetName(), transform=transform.GetName()))
            self.context.display.refresh()
