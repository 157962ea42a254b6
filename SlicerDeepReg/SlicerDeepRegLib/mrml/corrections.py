"""Corrections of a result: lines from where the warped volume shows a structure to where it belongs. No Qt.

A line is the user's node: it is saved with the scene, and both its ends can be dragged. It belongs to the result that
it corrects, the first one of a chain of corrected results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util

from ..geometry.points import fixed_to_moving
from ..types import InputError
from .nodes import flipped
from .runs import Run, check_fixed_place, moving_is_where_it_was, transform_of

#: The reference of a line to its result, and of a result to the one that it corrects.
CORRECTS = "DeepReg.corrects"
KIND = "vtkMRMLMarkupsLineNode"
COLOR = (1.0, 0.8, 0.1)


@dataclass(frozen=True, eq=False)
class Correction:
    """One correction, as the user drew it.

    Attributes:
        shown_lps_mm: (3,) where the warped volume shows the structure, LPS mm.
        belongs_lps_mm: (3,) where it belongs in the fixed volume.
    """

    node: slicer.vtkMRMLNode
    shown_lps_mm: np.ndarray
    belongs_lps_mm: np.ndarray

    @property
    def length_mm(self) -> float:
        """How far it is from one to the other."""
        return float(np.linalg.norm(self.shown_lps_mm - self.belongs_lps_mm))


def root_of(run: Run) -> Run:
    """Return the result that a chain of corrected results began with; the run itself if it corrects none."""
    node, seen = run.node, set()
    while node.GetNodeReference(CORRECTS) is not None and node.GetID() not in seen:
        seen.add(node.GetID())
        node = node.GetNodeReference(CORRECTS)
    return Run(node)


def set_corrected(run: Run, corrected: Run) -> None:
    """Store that a run corrects another one."""
    run.node.SetNodeReferenceID(CORRECTS, corrected.node.GetID())


def lines_of(scene: slicer.vtkMRMLScene, run: Run) -> list[slicer.vtkMRMLNode]:
    """Return the lines that correct a run, oldest first; also those that are not finished."""
    root = root_of(run)
    return [line for line in slicer.util.getNodesByClass(KIND, scene) if line.GetNodeReference(CORRECTS) is root.node]


def corrections_of(scene: slicer.vtkMRMLScene, run: Run) -> list[Correction]:
    """Return the corrections of a run that have both ends, oldest first."""
    found = []
    for line in lines_of(scene, run):
        if line.GetNumberOfControlPoints() == 2 and line.GetNumberOfDefinedControlPoints() == 2:
            shown, belongs = flipped(slicer.util.arrayFromMarkupsControlPoints(line, world=True))
            found.append(Correction(line, shown, belongs))
    return found


def begin_line(scene: slicer.vtkMRMLScene, run: Run) -> slicer.vtkMRMLNode:
    """Add a line to a run, and let the user click its two ends in the views."""
    for unfinished in lines_of(scene, run):
        if unfinished.GetNumberOfDefinedControlPoints() == 0:
            remove_line(scene, unfinished)
    line = scene.AddNewNodeByClass(KIND, f"{root_of(run).name}: correction {len(lines_of(scene, run)) + 1}")
    line.SetNodeReferenceID(CORRECTS, root_of(run).node.GetID())
    line.CreateDefaultDisplayNodes()
    display = line.GetDisplayNode()
    if display is not None:
        display.SetSelectedColor(*COLOR)
        display.SetColor(*COLOR)
        display.SetPropertiesLabelVisibility(False)
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    if selection is not None and interaction is not None:
        selection.SetReferenceActivePlaceNodeClassName(KIND)
        selection.SetActivePlaceNodeID(line.GetID())
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.Place)
    return line


def show_lines(scene: slicer.vtkMRMLScene, run: Run | None) -> None:
    """Show the lines of a run, and hide those of others."""
    root = None if run is None else root_of(run).node
    for line in slicer.util.getNodesByClass(KIND, scene):
        of = line.GetNodeReference(CORRECTS)
        if of is not None and line.GetDisplayNode() is not None:
            line.GetDisplayNode().SetVisibility(of is root)


def remove_lines(scene: slicer.vtkMRMLScene, run: Run) -> None:
    """Remove the lines of a run."""
    for line in lines_of(scene, run):
        remove_line(scene, line)


def remove_line(scene: slicer.vtkMRMLScene, line: slicer.vtkMRMLNode) -> None:
    """Remove a line; if the next click would have placed an end of it, it places nothing."""
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    if selection is not None and interaction is not None and selection.GetActivePlaceNodeID() == line.GetID():
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        selection.SetActivePlaceNodeID(None)
    scene.RemoveNode(line)


def partners_of(run: Run, corrections: list[Correction]) -> tuple[np.ndarray, np.ndarray]:
    """Return the landmarks that corrections stand for, (N, 3) in the fixed and in the moving volume, world LPS mm.

    Raises:
        InputError: a volume is not where it was, or the run has lost its transform.
    """
    root = root_of(run)
    if root.facts.get("had_initial"):
        raise InputError(
            "This result started from an initial transform and cannot be corrected. Harden that transform on the "
            "moving volume, register again, and correct that result."
        )
    if not moving_is_where_it_was(root):
        raise InputError(
            "The moving volume is not what it was, or not where it was, when it was registered, so its result cannot "
            "be corrected. Put it back as it was."
        )
    try:
        check_fixed_place(root)
        transform = transform_of(root)
    except ValueError as error:
        raise InputError(str(error)) from error
    shown = np.array([correction.shown_lps_mm for correction in corrections]).reshape(-1, 3)
    belongs = np.array([correction.belongs_lps_mm for correction in corrections]).reshape(-1, 3)
    return belongs, fixed_to_moving(transform, shown)
