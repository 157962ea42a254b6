"""Segmentations of a pair while a result is looked at: outlines, each where it belongs, and as they were after it.

Filled segmentations of the fixed, the moving and the warped image over each other hide the image, and which is which.
The fixed one is drawn as a thin outline, the warped one as a thick one, both in the colors of their segments; the
moving one belongs on the moving image alone. How each was is kept in the scene, too: one that is saved meanwhile and
loaded again would otherwise show outlines for ever.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import slicer.util

from .runs import Run, runs
from .segments import segments_of

#: Widths of the outlines in pixels: an aligned structure shows the thin one within the thick one.
THIN, THICK = 1, 3
FIXED, MOVING, WARPED = "fixed_segmentation", "moving_segmentation", "segmentation"
SEGMENTATIONS = (FIXED, MOVING, WARPED)
#: The attribute of a node that keeps how it was.
BEFORE = "DeepReg.before"


@dataclass(frozen=True)
class _Look:
    """How a segmentation is displayed."""

    visible: bool
    fill: bool
    outline: bool
    width: int
    segments: tuple[tuple[str, bool], ...]

    @classmethod
    def of(cls, display: Any, segments: Sequence[str]) -> _Look:
        return cls(
            visible=bool(display.GetVisibility2D()),
            fill=bool(display.GetVisibility2DFill()),
            outline=bool(display.GetVisibility2DOutline()),
            width=display.GetSliceIntersectionThickness(),
            segments=tuple((segment, bool(display.GetSegmentVisibility(segment))) for segment in segments),
        )

    def show(self, display: Any) -> None:
        display.SetVisibility2D(self.visible)
        display.SetVisibility2DFill(self.fill)
        display.SetVisibility2DOutline(self.outline)
        display.SetSliceIntersectionThickness(self.width)
        for segment, visible in self.segments:
            display.SetSegmentVisibility(segment, visible)

    def after(self, ours: _Look, now: _Look) -> _Look:
        """Return the same with what somebody changed since it looked as we had made it: that is meant to stay."""
        was, segments = dict(ours.segments), dict(self.segments)
        segments |= {name: shown for name, shown in now.segments if was.get(name) != shown}
        return dataclasses.replace(
            self,
            visible=now.visible if now.visible != ours.visible else self.visible,
            segments=tuple(segments.items()),
        )


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
        self._before: dict[str, _Look] = {}  # by the identifier of the display node
        self._ours: dict[str, _Look] = {}  # as we left it: what differs was changed by the user

    def show(self, run: Run, over: str = WARPED) -> None:
        """Show outlines of the run's segmentations.

        Args:
            over: the segmentation that belongs on the image over the fixed one: ``WARPED``, ``MOVING``, or none, "".
        """
        own = {node.GetID() for role, node in _segmentations(run)}
        for other in runs(self.scene):  # what belongs to another pair or result would lie over this one
            for _role, node in _segmentations(other):
                if node.GetID() not in own:
                    self._show(node, dataclasses.replace(self._looked(node), visible=False))
        for role, node in _segmentations(run):
            display, before = node.GetDisplayNode(), self._looked(node)
            drawn = role in (FIXED, over)
            names = dict(segments_of(node))
            one = self.only if self.only in names.values() else ""  # a structure of another pair hides nothing
            ours = _Look(
                visible=bool(drawn and display.GetVisibility() and before.visible),
                fill=before.fill and not drawn,
                outline=True,
                width=THIN if role == FIXED else THICK,
                segments=tuple(
                    (segment, visible and (not one or names.get(segment) == one))
                    for segment, visible in before.segments
                ),
            )
            self._show(node, ours)

    def restore(self) -> None:
        """Show every segmentation as it was before the first look, but for what the user changed since."""
        for identifier in self._before:
            display = self.scene.GetNodeByID(identifier)
            if display is not None:
                self._updated(display).show(display)
                display.RemoveAttribute(BEFORE)
        self._before.clear()
        self._ours.clear()

    def recover(self) -> None:
        """Show segmentations as they were in a scene that was saved during a look."""
        for display in slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode", self.scene):
            kept = display.GetAttribute(BEFORE)
            if kept and display.GetID() not in self._before:
                with contextlib.suppress(ValueError, TypeError):  # edited by hand
                    _Look(**json.loads(kept)).show(display)
                display.RemoveAttribute(BEFORE)

    def _show(self, node: slicer.vtkMRMLSegmentationNode, look: _Look) -> None:
        display = node.GetDisplayNode()
        look.show(display)
        self._ours[display.GetID()] = look

    def _looked(self, node: slicer.vtkMRMLSegmentationNode) -> _Look:
        """Return how a segmentation looks without us: one that was switched off stays off."""
        display = node.GetDisplayNode()
        if display.GetID() not in self._before:
            self._before[display.GetID()] = _Look.of(display, tuple(segment for segment, _name in segments_of(node)))
        before = self._before[display.GetID()] = self._updated(display, node)
        display.SetAttribute(BEFORE, json.dumps(dataclasses.asdict(before)))
        return before

    def _updated(self, display: Any, node: slicer.vtkMRMLSegmentationNode | None = None) -> _Look:
        """Return how it was before, with what the user changed since we last drew it."""
        before, ours = self._before[display.GetID()], self._ours.get(display.GetID())
        if ours is None:
            return before
        known = [segment for segment, _visible in before.segments]
        segments = known if node is None else [segment for segment, _name in segments_of(node)]
        return before.after(ours, _Look.of(display, tuple(segments)))


def _segmentations(run: Run) -> Iterator[tuple[str, slicer.vtkMRMLSegmentationNode]]:
    """Yield (role, node) of each segmentation of a run that can be displayed; label maps are none."""
    for role in SEGMENTATIONS:
        node = run.get(role)
        if node is not None and node.IsA("vtkMRMLSegmentationNode") and node.GetDisplayNode() is not None:
            yield role, node
