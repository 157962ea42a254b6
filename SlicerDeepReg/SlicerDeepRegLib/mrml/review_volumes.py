"""Volumes and nodes that only a look at a run needs: differences, checkerboard, swipe, the field to draw."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from ..metrics.content import content_of
from ..types import Grid, Image
from .display import add_legend, diverging_colors, set_range, window_of, windowed
from .nodes import add_volume, grid_of, grid_part, image_from_node
from .runs import Run, own
from .scene import add_where, display_range
from .world import values_on_grid

#: Attribute of a volume that was made by the windows of others: which windows these were.
WINDOWS = "DeepReg.Windows"
#: The directions of the axes of LPS, and the opposite ones.
SIDES = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))
DIFFERENCE_COLORS = "Difference: blue moving darker, red moving brighter"


def fixed_side(grid: Grid) -> str:
    """Return the side of the border on which "swipe" shows the fixed volume: one of ``SIDES``.

    It is the patient's right but for a sagittal slice, which has none.
    """
    axis, fixed_first = _across(grid)
    towards_lps = grid.direction[:, axis] * (-1 if fixed_first else 1)
    largest = int(np.argmax(np.abs(towards_lps)))
    return SIDES[largest][0 if towards_lps[largest] > 0 else 1]


def _across(grid: Grid) -> tuple[int, bool]:
    """Return the axis that the border of "swipe" is moved along, and whether the fixed volume has its first voxels."""
    leftwards = grid.direction[0] * (np.array(grid.size_ijk) > 1)  # how far each axis goes to the patient's left
    if np.abs(leftwards).max() < 1e-3:  # a sagittal slice: along its longer side
        leftwards = np.array(grid.size_ijk) * (np.array(grid.size_ijk) > 1) / max(grid.size_ijk)
    axis = int(np.argmax(np.abs(leftwards)))
    return axis, bool(leftwards[axis] > 0)


class ReviewVolumes:
    """Makes the volumes of a review and gives them to their run, which keeps them.

    Args:
        scene: the MRML scene.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self.scene = scene
        self._halves: tuple[Run, str, np.ndarray, np.ndarray] | None = None  # the two images that "swipe" combines

    def forget(self) -> None:
        """Free the images kept for swiping."""
        self._halves = None

    def jacobian(self, run: Run) -> slicer.vtkMRMLVolumeNode:
        """Return the Jacobian where the fixed volume has content, transparent elsewhere, or all of it if all is."""
        node = run.get("jacobian_shown")
        if node is not None:
            return node
        run.need("jacobian", "fixed")
        whole, fixed = run.get("jacobian"), run.get("fixed")
        content = content_of(self._on_grid(run, fixed))
        if content.mean() > 0.95:
            return whole
        values = slicer.util.arrayFromVolume(whole)
        node = add_where(self.scene, Image(values, grid_of(run.get("warped"))), content, whole)
        add_legend(node, "Jacobian")  # its colors are those of the whole
        return own(self.scene, run, "jacobian_shown", node)

    def difference(self, run: Run, after: bool) -> slicer.vtkMRMLVolumeNode:
        """Return moving minus fixed, each scaled by its window, after registration or before."""
        role = "difference" if after else "difference_before"
        node, windows = run.get(role), windows_of(run)
        if node is not None and node.GetAttribute(WINDOWS) == windows:
            return node
        fixed, shown = self._scaled_pair(run, run.get("warped") if after else self._on_grid(run, run.get("moving")))
        values = np.nan_to_num(shown - fixed).astype(np.float32)  # no data is no difference
        if node is None:
            node = add_volume(self.scene, Image(values, grid_of(run.get("warped"))), role)
            set_range(node, -0.5, 0.5, diverging_colors(self.scene, DIFFERENCE_COLORS, middle=0.0))
            add_legend(node, "Warped - fixed" if after else "Moving - fixed")
            own(self.scene, run, role, node)
        else:
            slicer.util.updateVolumeFromArray(node, values)
        node.SetAttribute(WINDOWS, windows)
        return node

    def checkerboard(self, run: Run, squares: int = 8) -> slicer.vtkMRMLVolumeNode:
        """Return squares of the fixed and the warped volume in turn, each scaled by its window."""
        node, windows = run.get("checkerboard"), windows_of(run)
        if node is not None and node.GetAttribute(WINDOWS) == windows:
            return node
        fixed, warped = self._scaled_pair(run, run.get("warped"))
        grid = grid_of(run.get("warped"))
        extent = np.array(grid.size_ijk) * grid.spacing_mm
        side = max(extent) / squares
        cells = [np.floor(np.arange(n) * s / side).astype(int) for n, s in zip(grid.size_ijk, grid.spacing_mm)]
        odd = (cells[2][:, None, None] + cells[1][None, :, None] + cells[0][None, None, :]) % 2 == 1
        values = np.nan_to_num(np.where(odd, warped, fixed)).astype(np.float32)
        if node is None:
            node = add_volume(self.scene, Image(values, grid), "checkerboard")
            set_range(node, 0.0, 1.0)
            own(self.scene, run, "checkerboard", node)
        else:
            slicer.util.updateVolumeFromArray(node, values)
        node.SetAttribute(WINDOWS, windows)
        return node

    def swipe(self, run: Run, amount: float) -> slicer.vtkMRMLVolumeNode:
        """Show the fixed volume on the side of a border that ``fixed_side`` names, the warped one on the other."""
        windows = windows_of(run)
        if self._halves is None or self._halves[:2] != (run, windows) or run.get("swipe") is None:
            self._halves = (run, windows, *map(np.nan_to_num, self._scaled_pair(run, run.get("warped"))))
        _, _, fixed, warped = self._halves
        grid = grid_of(run.get("warped"))
        axis, fixed_first = _across(grid)
        border = int(round(amount * grid.size_ijk[axis]))
        if not fixed_first:
            border = grid.size_ijk[axis] - border
        first, second = (fixed, warped) if fixed_first else (warped, fixed)
        node = run.get("swipe")
        if node is None:
            node = add_volume(self.scene, Image(np.zeros(grid.shape_kji, np.float32), grid), "swipe")
            set_range(node, 0.0, 1.0)
            own(self.scene, run, "swipe", node)
        values = np.moveaxis(slicer.util.arrayFromVolume(node), 2 - axis, 0)
        values[:border] = np.moveaxis(first, 2 - axis, 0)[:border]
        values[border:] = np.moveaxis(second, 2 - axis, 0)[border:]
        slicer.util.arrayFromVolumeModified(node)
        return node

    def field_to_draw(self, run: Run, role: str) -> slicer.vtkMRMLTransformNode | None:
        """Add a node to draw the displacement field: grids and glyphs draw "to parent", the run's is from parent."""
        if run.get("transform") is None:
            return None
        field = grid_part(run.get("transform").GetTransformFromParent())
        if field is None:
            return None
        node = slicer.vtkMRMLTransformNode()
        node.SetHideFromEditors(True)  # before it is added: the data tree does not look again
        self.scene.AddNode(node)
        node.SetAndObserveTransformToParent(field)
        return own(self.scene, run, role, node)

    def _scaled_pair(self, run: Run, other: np.ndarray | slicer.vtkMRMLVolumeNode) -> tuple[np.ndarray, np.ndarray]:
        """Return fixed and another volume on the run's grid, each scaled to 0..1 by its window."""
        fixed = self._on_grid(run, run.get("fixed"))
        values = other if isinstance(other, np.ndarray) else slicer.util.arrayFromVolume(other)
        (low, high), (moving_low, moving_high) = _windows(run)
        return windowed(fixed, low, high), windowed(values, moving_low, moving_high)

    def _on_grid(self, run: Run, node: slicer.vtkMRMLNode) -> np.ndarray:
        """Return one of the user's volumes, where it lies in the world, on the run's grid."""
        return values_on_grid(self.scene, node, run.get("warped"))


def _windowed_by(run: Run) -> tuple[slicer.vtkMRMLVolumeNode, slicer.vtkMRMLVolumeNode]:
    """Return the volumes whose windows scale what is compared: fixed and moving."""
    return run.get("fixed"), run.get("moving") or run.get("warped")


def _windows(run: Run) -> list[tuple[float, float]]:
    """Return the windows of both, lowest and highest value; they are chosen for both where one has none."""
    nodes = _windowed_by(run)
    known = [window for node in nodes if (window := window_of(node)) is not None]
    return known if len(known) == len(nodes) else [display_range(image_from_node(node)) for node in nodes]


def windows_of(run: Run) -> str:
    """Return what a comparison by windows depends on: these, and the voxels, which another frame may have replaced."""
    depends = [str(window_of(node)) for node in _windowed_by(run)]
    for role in ("fixed", "moving", "warped"):
        node = run.get(role)
        if node is not None and node.GetImageData() is not None:
            depends.append(str(node.GetImageData().GetMTime()))
    return " ".join(depends)
