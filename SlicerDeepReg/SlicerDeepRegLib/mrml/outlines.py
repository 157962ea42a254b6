"""Segmentations of a pair while a result is looked at: outlines, each where it belongs, and as they were after it.

Filled segmentations of the fixed, the moving and the warped image over each other hide the image, and which is which.
The fixed one is drawn as a thin outline, the warped one as a thick one, both in the colors of their segments; the
moving one belongs on the moving image alone.
"""

from __future__ import annotations

from typing import Any

import slicer

from .runs import Run

#: Widths of the outlines in pixels: an aligned structure shows the thin one within the thick one.
THIN, THICK = 1, 3


class Outlines:
    """The segmentations of the run that is looked at.

    Args:
        scene: the MRML scene.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        #: Of each display node that was changed: visibility, fill, outline, width.
        self._before: dict[str, tuple[Any, ...]] = {}

    def show(self, run: Run, after: bool = True) -> None:
        """Show outlines of the run's segmentations: the fixed one, and the warped one, or before it the moving one."""
        drawn = {"fixed_segmentation": THIN, "segmentation" if after else "moving_segmentation": THICK}
        for role in ("fixed_segmentation", "moving_segmentation", "segmentation"):
            display = _display(run, role)
            if display is None:
                continue
            self._remember(display)
            display.SetVisibility2D(role in drawn and self._wanted(display))
            if role in drawn:
                display.SetVisibility2DFill(False)
                display.SetVisibility2DOutline(True)
                display.SetSliceIntersectionThickness(drawn[role])

    def restore(self) -> None:
        """Show every segmentation as it was before the first look."""
        for identifier, (visible, fill, outline, width) in self._before.items():
            display = self.scene.GetNodeByID(identifier)
            if display is not None:
                display.SetVisibility2D(visible)
                display.SetVisibility2DFill(fill)
                display.SetVisibility2DOutline(outline)
                display.SetSliceIntersectionThickness(width)
        self._before.clear()

    def _remember(self, display: slicer.vtkMRMLSegmentationDisplayNode) -> None:
        self._before.setdefault(
            display.GetID(),
            (
                display.GetVisibility2D(),
                display.GetVisibility2DFill(),
                display.GetVisibility2DOutline(),
                display.GetSliceIntersectionThickness(),
            ),
        )

    def _wanted(self, display: slicer.vtkMRMLSegmentationDisplayNode) -> bool:
        """Return whether the user had it on the screen: one that was switched off stays off."""
        return bool(display.GetVisibility() and self._before[display.GetID()][0])


def _display(run: Run, role: str) -> slicer.vtkMRMLSegmentationDisplayNode | None:
    node = run.get(role)
    if node is None or not node.IsA("vtkMRMLSegmentationNode"):
        return None
    return node.GetDisplayNode()
