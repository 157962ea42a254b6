"""Segmentations of a pair while a result is looked at: outlines, each where it belongs, and as they were after it.

Filled segmentations of the fixed, the moving and the warped image over each other hide the image, and which is which.
The fixed one is drawn as a thin outline, the warped one as a thick one, both in the colors of their segments; the
moving one belongs on the moving image alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import slicer

from .runs import Run, runs
from .segments import segments_of

#: Widths of the outlines in pixels: an aligned structure shows the thin one within the thick one.
THIN, THICK = 1, 3
FIXED, MOVING, WARPED = "fixed_segmentation", "moving_segmentation", "segmentation"


@dataclass(frozen=True)
class _Before:
    """How a segmentation was displayed."""

    visible: bool
    fill: bool
    outline: bool
    width: int
    segments: tuple[tuple[str, bool], ...]


class Outlines:
    """The segmentations of the run that is looked at.

    Args:
        scene: the MRML scene.

    Attributes:
        only: the name of the one structure that is drawn; empty for all.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        self.only = ""
        self._before: dict[str, _Before] = {}  # by the identifier of the display node

    def show(self, run: Run, over: str = WARPED) -> None:
        """Show outlines of the run's segmentations.

        Args:
            over: the segmentation that belongs on the image over the fixed one: ``WARPED``, ``MOVING``, or none, "".
        """
        own = {node.GetID() for role, node in _segmentations(run)}
        for other in runs(self.scene):  # what belongs to another pair or result would lie over this one
            for _role, node in _segmentations(other):
                if node.GetID() not in own:
                    self._remembered(node)
                    node.GetDisplayNode().SetVisibility2D(False)
        for role, node in _segmentations(run):
            display = node.GetDisplayNode()
            before = self._remembered(node)
            drawn = role in (FIXED, over)
            display.SetVisibility2D(drawn and display.GetVisibility() and before.visible)
            display.SetVisibility2DFill(before.fill and not drawn)
            display.SetVisibility2DOutline(True)
            display.SetSliceIntersectionThickness(THIN if role == FIXED else THICK)
            names = dict(segments_of(node))
            one = self.only if self.only in names.values() else ""  # a structure of another pair hides nothing
            for identifier, visible in before.segments:
                display.SetSegmentVisibility(identifier, visible and (not one or names.get(identifier) == one))

    def restore(self) -> None:
        """Show every segmentation as it was before the first look."""
        for identifier, before in self._before.items():
            display = self.scene.GetNodeByID(identifier)
            if display is None:
                continue
            display.SetVisibility2D(before.visible)
            display.SetVisibility2DFill(before.fill)
            display.SetVisibility2DOutline(before.outline)
            display.SetSliceIntersectionThickness(before.width)
            for segment, visible in before.segments:
                display.SetSegmentVisibility(segment, visible)
        self._before.clear()

    def _remembered(self, node: slicer.vtkMRMLSegmentationNode) -> _Before:
        """Return how a segmentation was displayed before the first look: one that was switched off stays off."""
        display = node.GetDisplayNode()
        if display.GetID() not in self._before:
            self._before[display.GetID()] = _Before(
                visible=bool(display.GetVisibility2D()),
                fill=bool(display.GetVisibility2DFill()),
                outline=bool(display.GetVisibility2DOutline()),
                width=display.GetSliceIntersectionThickness(),
                segments=tuple(
                    (identifier, bool(display.GetSegmentVisibility(identifier))) for identifier, _ in segments_of(node)
                ),
            )
        return self._before[display.GetID()]


def _segmentations(run: Run) -> Iterator[tuple[str, slicer.vtkMRMLSegmentationNode]]:
    """Yield (role, node) of each segmentation of a run that can be displayed; label maps are none."""
    for role in (FIXED, MOVING, WARPED):
        node = run.get(role)
        if node is not None and node.IsA("vtkMRMLSegmentationNode") and node.GetDisplayNode() is not None:
            yield role, node
