"""Whether a volume that Slicer loaded from DICOM lies where its slices were scanned. No Qt."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import slicer

from ..geometry.stacks import Stack, stack_of
from ..types import Grid
from .nodes import grid_of

#: DICOM's names of a slice's position, orientation and pixel spacing.
_TAGS = ("0020,0032", "0020,0037", "0028,0030")
#: Slices that Slicer shows nearer to their place than this are where they belong.
_OFF_MM = 0.5


def dicom_notes(node: slicer.vtkMRMLVolumeNode, called: str) -> tuple[str, ...]:
    """Say where the slices of a volume were scanned elsewhere than Slicer shows them, or are missing.

    Slicer puts the slices of a series on a regular grid. Where they do not lie so, it warns in its log only, and adds
    an acquisition transform if its DICOM settings ask for it; a volume under that transform is where it belongs.

    Args:
        node: the volume.
        called: what to call it at the beginning of a sentence ("The fixed volume (CT)").

    Returns:
        Sentences; none for a volume that was not loaded from DICOM, or whose headers are not at hand.
    """
    database = getattr(slicer, "dicomDatabase", None)
    uids = tuple((node.GetAttribute("DICOM.instanceUIDs") or "").split())
    if database is None or len(uids) < 2 or node.GetImageData() is None:
        return ()
    stack = _stack(database, uids)
    if stack is None:
        return ()
    notes = []
    if stack.missing:
        count = sum(lost for _, lost in stack.missing)
        notes.append(f"{called} is missing {count} slice{'s' * (count != 1)}. Load the whole series again.")
    parent = node.GetParentTransformNode()
    if parent is None or parent.IsTransformToWorldLinear():
        off = _off_mm(stack, grid_of(node))
        if off > _OFF_MM:
            notes.append(
                f"{called} is shown up to {off:.1f} mm from where its slices were scanned{_why(stack)}. In Slicer's "
                "Application Settings, DICOM, set 'Acquisition geometry regularization' to 'apply regularization "
                "transform', and load it again."
            )
    return tuple(notes)


@functools.lru_cache(maxsize=8)
def _stack(database: Any, uids: tuple[str, ...]) -> Stack | None:
    """Return how the slices lie by the headers that the database knows; None where it does not know all."""
    values = [[_numbers(database.instanceValue(uid, tag)) for tag in _TAGS] for uid in uids]
    if any(len(p) != 3 or len(o) != 6 or len(s) != 2 for p, o, s in values):
        return None
    axes = np.array(values[0][1]).reshape(2, 3).T
    return stack_of(np.array([position for position, _, _ in values]), axes, np.array(values[0][2])[::-1])


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in (text or "").split("\\")]
    except ValueError:
        return []


def _off_mm(stack: Stack, grid: Grid) -> float:
    """Return how far the farthest slice's first pixel lies from the nearest end of where the grid has that slice."""
    scanned = stack.first_lps_mm + np.column_stack([stack.moved_mm, stack.distance_mm]) @ stack.axes.T
    count = len(scanned)
    if grid.size_ijk[2] != count:
        return 0.0  # a part of the series, or several files: it cannot be told slice by slice
    shown = grid.origin_lps_mm + np.outer(np.arange(count), grid.ijk_to_lps[:3, 2])
    off = [float(np.linalg.norm(order - scanned, axis=1).max()) for order in (shown, shown[::-1])]
    return min(off)


def _why(stack: Stack) -> str:
    if stack.tilt_degrees is not None and not stack.is_straight:
        return f" (gantry tilt of {stack.tilt_degrees:.1f} degrees)"
    if stack.missing:
        return " (slices are missing)"
    return "" if stack.is_even else f" ({stack.gaps_mm.min():.1f} to {stack.gaps_mm.max():.1f} mm apart)"
