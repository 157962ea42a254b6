"""Move other nodes along with the selected result: one list for all kinds. Qt."""

from __future__ import annotations

from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from ...mrml.ages import age_of
from ...mrml.moved_along import TO_FIXED, TO_MOVING, displacement_mm, movable, moved_copies, transform_for
from ...mrml.runs import put_under
from ..controls import chosen, fill, signals_blocked
from ..section import BaseSection
from ..selection import complete
from ..text import escaped, show_error

LIST_HEIGHT = 90


class ApplyToSection(BaseSection):
    """Lists what lies where a volume of the pair lies, and moves what is checked."""

    name = "apply_to"
    title = _("Apply to...")
    ui = "ApplyTo.ui"
    order = 47
    collapsed = True
    tool_tip = _("Move other volumes, dose, segmentations, models and markups along with the result.")
    container = "reviewPage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._nodes: list[Any] = []
        self._said: list[Any] = []  # what the line below the list is about
        widgets = self.widgets
        widgets.applyToTree.setMaximumHeight(LIST_HEIGHT)
        directions = ((TO_FIXED, _("From moving to fixed")), (TO_MOVING, _("From fixed to moving")))
        fill(widgets.directionCombo, directions)
        widgets.directionCombo.connect("currentIndexChanged(int)", lambda index=0: self.update())
        widgets.applyToTree.connect(
            "itemChanged(QTreeWidgetItem*,int)", lambda item=None, column=0: self._say_how_far()
        )
        widgets.putUnderButton.connect("clicked(bool)", lambda checked=False: self.put_under())
        widgets.copyButton.connect("clicked(bool)", lambda checked=False: self.copy())

    def update(self) -> None:
        run, widgets = self.context.runs.selected, self.widgets
        nodes = movable(slicer.mrmlScene, run, chosen(widgets.directionCombo)) if complete(run) else []
        tree = widgets.applyToTree
        if [(node.GetID(), node.GetName()) for node in nodes] != [(n.GetID(), n.GetName()) for n in self._nodes]:
            checked = [node for node in self._checked() if node in nodes]
            self._nodes = nodes
            with signals_blocked(tree):
                tree.clear()
                for node in nodes:
                    item = qt.QTreeWidgetItem()
                    item.setText(0, node.GetName())
                    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                    item.setCheckState(0, qt.Qt.Checked if node in checked else qt.Qt.Unchecked)
                    tree.addTopLevelItem(item)
        widgets.putUnderButton.enabled = widgets.copyButton.enabled = bool(nodes)
        self._say_how_far()

    def selection_changed(self) -> None:
        self.update()

    def entered(self) -> None:
        self.update()

    def close(self) -> None:
        self._nodes, self._said = [], []
        self.widgets.applyToTree.clear()
        self.widgets.displacementLabel.text = ""

    def _checked(self) -> list[Any]:
        tree = self.widgets.applyToTree
        rows = range(min(len(self._nodes), tree.topLevelItemCount))
        return [self._nodes[row] for row in rows if tree.topLevelItem(row).checkState(0) == qt.Qt.Checked]

    def _say_how_far(self) -> None:
        """Say how far what is checked is moved."""
        run, label, lines = self.context.runs.selected, self.widgets.displacementLabel, []
        direction, nodes = chosen(self.widgets.directionCombo), self._checked() if complete(run) else []
        asked = [
            direction,
            run and run.node.GetID(),
            run and run.get("transform"),
            *(age_of(node) for node in nodes),
        ]
        if asked == self._said:
            return
        self._said = asked
        for node in nodes:
            try:
                lengths = displacement_mm(run, node, direction)
            except ValueError:  # its transform was removed: the buttons say so when they are pressed
                lengths = np.zeros(0)
            if len(lengths):
                text = _("{name}: moves by {mean:.1f} mm on average, at most {most:.1f} mm")
                lines.append(text.format(name=node.GetName(), mean=lengths.mean(), most=lengths.max()))
        label.text = "<br>".join(escaped(line) for line in lines)
        label.visible = bool(lines)

    def put_under(self) -> None:
        """Put what is checked under the transform of the result."""
        self._move(lambda run, nodes, way: put_under(run, nodes, transform_for(slicer.mrmlScene, run, way)))

    def copy(self) -> None:
        """Make copies of what is checked that are moved for good."""
        self._move(lambda run, nodes, way: moved_copies(slicer.mrmlScene, run, nodes, way))

    def _move(self, move: Any) -> None:
        run, nodes = self.context.runs.selected, self._checked()
        if not complete(run) or not nodes:
            self.context.say(_("Check what to move."))
            return
        try:
            move(run, nodes, chosen(self.widgets.directionCombo))
        except ValueError as error:
            show_error(_(str(error)))
            return
        self.context.say(_("Moved: {names}.").format(names=", ".join(node.GetName() for node in nodes)))
        self.update()
