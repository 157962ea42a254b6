"""Looking at a run in the slice views: fade, swipe, difference, checkerboard, maps, grid and arrows. No Qt.

The first look remembers what the views showed; ``restore`` puts that back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util

from ..types import Image
from .display import add_legend, diverging_colors, draw_glyphs, draw_grid, refresh_legends, set_range
from .maps import log_jacobian, magnitude
from .nodes import add_volume, grid_of, grid_part, image_from_node, resampled
from .runs import Run, own, remove_node
from .scene import add_where, display_range
from .world import placed_volume

MODES = ("fade", "swipe", "difference", "checkerboard", "jacobian", "log_jacobian", "magnitude")
#: Those that lay a map over the fixed volume.
MAPS = {"log_jacobian": log_jacobian, "magnitude": magnitude}
#: What the names of the views begin with that a layout of ours fills.
ARRANGED = "DeepReg"
DIFFERENCE_COLORS = "Difference: blue moving darker, red moving brighter"


class Review:
    """The slice views of a scene and what of a run they show.

    Args:
        scene: the MRML scene.
        logics: the vtkCollection of slice logics (``application_logic.GetSliceLogics()``).
    """

    def __init__(self, scene, logics) -> None:
        self.scene, self.logics = scene, logics
        self._before: dict[str, tuple[Any, ...]] = {}
        self._shown: Run | None = None
        self._halves: tuple[Run, np.ndarray, np.ndarray] | None = None  # what "swipe" puts together

    @property
    def shown(self) -> Run | None:
        """The run in the views, or None."""
        return self._shown

    def show(self, run: Run, mode: str = "fade", amount: float = 0.5, after: bool = True) -> None:
        """Show a run.

        Args:
            mode: one of ``MODES``.
            amount: of the upper layer, 0..1: fixed to warped in "fade", the map's opacity in "jacobian",
                "log_jacobian" and "magnitude"; in "swipe" where, from the patient's right, fixed gives way to warped.
            after: the warped volume; False shows the moving volume as it was, for comparison.

        Raises:
            ValueError: another mode, or the run is linear and has no displacement to show.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}; it was {mode!r}")
        fixed, moving = run.get("fixed"), run.get("warped" if after else "moving")
        background, foreground, opacity = fixed, moving, amount
        if mode == "jacobian":
            foreground = self._jacobian(run)
        elif mode in MAPS:
            foreground = MAPS[mode](self.scene, run)
        elif mode == "swipe":
            background, foreground, opacity = self._swipe(run, amount), None, 0.0
        elif mode == "difference":
            background, foreground, opacity = self._difference(run, after), None, 0.0
        elif mode == "checkerboard":
            background, foreground, opacity = self._checkerboard(run), None, 0.0
        self._show_layers(run, background, foreground, opacity)

    def show_alone(self, run: Run, node) -> None:
        """Fade from the fixed volume to another than the warped one: one that moves."""
        self._show_layers(run, run.get("fixed"), node, 1.0)

    def show_over(self, run: Run, node) -> None:
        """A map over the fixed volume."""
        self._show_layers(run, run.get("fixed"), node, 0.7)

    def _show_layers(self, run: Run, background, foreground, opacity: float) -> None:
        self._remember()
        if self._shown is not None and self._shown != run:
            self._hide_overlays(self._shown)
        self._shown = run
        for _, composite in self._views():
            composite.SetBackgroundVolumeID(background.GetID() if background is not None else None)
            composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
            composite.SetForegroundOpacity(opacity)
            composite.SetLabelVolumeID(None)  # an old label map would lie over what is looked at
        refresh_legends(self.scene)

    def volume(self, run: Run, what: str):
        """A run's "warped"; or, made where it is not there yet, one of the maps of MODES or "difference_before"."""
        if what == "warped":
            return run.get("warped")
        if what in ("difference", "difference_before"):
            return self._difference(run, after=what == "difference")
        return {"jacobian": self._jacobian, "checkerboard": self._checkerboard}[what](run)

    def fit(self, run: Run) -> None:
        """Move the views to the run's volume, once: after that the user's place is kept."""
        volume = run.get("warped")
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        self.jump([(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2, (bounds[4] + bounds[5]) / 2])
        for logic, _ in self._views():
            logic.FitSliceToBackground()

    def overlay(
        self,
        run: Run,
        grid: bool,
        arrows: bool,
        spacing_mm: float | None = None,
        in_3d: bool = False,
    ) -> None:
        """Draw the deformation as a grid, as arrows, as both, or not at all, over whatever the views show.

        Args:
            spacing_mm: between lines or arrows; what fits the volume when left out, a quarter of that at least.
            in_3d: in 3D views too.
        """
        fitting = self.fitting_spacing(run.get("warped"))
        spacing = max(spacing_mm or fitting, fitting / 4)  # finer ones take minutes and all the memory
        for role, wanted, draw in (("shown_grid", grid, draw_grid), ("shown_arrows", arrows, draw_glyphs)):
            node = run.get(role)
            if wanted:
                node = node or self._shown_field(run, role)
                if node is not None:
                    draw(node, run.get("warped"), spacing).SetVisibility3D(in_3d)
            else:
                _hide(node)

    def grid_in(self, run: Run, views: Sequence[str]) -> None:
        """Draw the deformation's grid in the views of those identifiers only; in none, to take it away."""
        node = run.get("layout_grid")
        if not views:
            _hide(node)
            return
        node = node or self._shown_field(run, "layout_grid")
        if node is not None:
            draw_grid(node, run.get("warped"), self.fitting_spacing(run.get("warped")), views, pieces=2)

    @property
    def crosshair(self):
        """The scene's crosshair node; None in a scene without one."""
        return self.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")

    def cross(self, ras_mm) -> None:
        """Put the crosshair on a point; it is seen where somebody shows it."""
        if self.crosshair is not None:
            self.crosshair.SetCrosshairRAS(*[float(value) for value in ras_mm])

    def jump(self, ras_mm) -> None:
        """Center every slice view on a point, those of our layouts too; the crosshair goes there."""
        self.cross(ras_mm)
        for node in [self.logics.GetItemAsObject(n).GetSliceNode() for n in range(self.logics.GetNumberOfItems())]:
            if node.IsMappedInLayout():  # those that are not on the screen cost time unseen
                node.JumpSliceByCentering(*[float(value) for value in ras_mm])

    def jump_to_worst(self, run: Run) -> float:
        """Center the views where the volume shrinks most from fixed to moving, or folds; returns the Jacobian there."""
        facts = run.facts
        self.jump(facts["worst_ras"])
        return facts["worst_jacobian"]

    def forget(self, run: Run) -> None:
        """Before a run is removed: put the views back when they show it."""
        if self._shown == run:
            self.restore()

    def restore(self) -> None:
        """Show what the views showed before the first look; volumes that are gone since stay away."""
        for logic, composite in self._views():
            state = self._before.get(logic.GetSliceNode().GetID())
            if state is None:
                continue
            background, foreground, opacity, labels = state
            composite.SetLabelVolumeID(labels if self.scene.GetNodeByID(labels or "") else None)
            composite.SetBackgroundVolumeID(background if self.scene.GetNodeByID(background or "") else None)
            composite.SetForegroundVolumeID(foreground if self.scene.GetNodeByID(foreground or "") else None)
            composite.SetForegroundOpacity(opacity)
        if self._shown is not None:
            self._hide_overlays(self._shown)
        self._before.clear()
        self._shown, self._halves = None, None

    @staticmethod
    def _hide_overlays(run: Run) -> None:
        for role in ("shown_grid", "shown_arrows", "residuals"):
            _hide(run.get(role))

    def _remember(self) -> None:
        for logic, composite in self._views():
            self._before.setdefault(
                logic.GetSliceNode().GetID(),
                (
                    composite.GetBackgroundVolumeID(),
                    composite.GetForegroundVolumeID(),
                    composite.GetForegroundOpacity(),
                    composite.GetLabelVolumeID(),
                ),
            )

    def _views(self) -> list[tuple[Any, Any]]:
        """(slice logic, composite node) of every slice view that is not of a layout of ours."""
        found = [self.logics.GetItemAsObject(n) for n in range(self.logics.GetNumberOfItems())]
        return [
            (logic, logic.GetSliceCompositeNode())
            for logic in found
            if logic.GetSliceCompositeNode() is not None and not of_our_layout(logic.GetSliceNode())
        ]

    # ------------------------------------------------------------------ volumes that only a look needs

    def _jacobian(self, run: Run):
        """The Jacobian where the fixed volume has content, transparent elsewhere; all of it where all is content."""
        node = run.get("jacobian_shown")
        if node is not None:
            return node
        run.need("jacobian", "fixed")
        whole, fixed = run.get("jacobian"), run.get("fixed")
        on_grid = Image(self._on_grid(run, fixed), grid_of(run.get("warped")))
        content = on_grid.values > display_range(on_grid)[0]
        if content.mean() > 0.95:
            return whole
        values = slicer.util.arrayFromVolume(whole)
        node = add_where(self.scene, Image(values, grid_of(run.get("warped"))), content, whole)
        add_legend(node, "Jacobian")
        return own(self.scene, run, "jacobian_shown", node)

    def _difference(self, run: Run, after: bool):
        role = "difference" if after else "difference_before"
        node = run.get(role)
        if node is not None:
            return node
        fixed, shown = self._scaled_pair(run, run.get("warped") if after else self._moving_on_fixed(run))
        values = np.where(np.isnan(shown), 0, shown - fixed).astype(np.float32)
        node = add_volume(self.scene, Image(values, grid_of(run.get("warped"))), role)
        set_range(node, -0.5, 0.5, diverging_colors(self.scene, DIFFERENCE_COLORS, middle=0.0))
        add_legend(node, "Moving - fixed")
        return own(self.scene, run, role, node)

    def _checkerboard(self, run: Run, squares: int = 8):
        node = run.get("checkerboard")
        if node is not None:
            return node
        fixed, warped = self._scaled_pair(run, run.get("warped"))
        grid = grid_of(run.get("warped"))
        extent = np.array(grid.size_ijk) * grid.spacing_mm
        side = max(extent) / squares
        cells = [np.floor(np.arange(n) * s / side).astype(int) for n, s in zip(grid.size_ijk, grid.spacing_mm)]
        odd = (cells[2][:, None, None] + cells[1][None, :, None] + cells[0][None, None, :]) % 2 == 1
        node = add_volume(self.scene, Image(np.where(odd, warped, fixed).astype(np.float32), grid), "checkerboard")
        set_range(node, 0.0, 1.0)
        return own(self.scene, run, "checkerboard", node)

    def _swipe(self, run: Run, amount: float):
        """Fixed on the patient's right of a border, warped on the left of it."""
        if self._halves is None or self._halves[0] != run or run.get("swipe") is None:
            self._halves = (run, *self._scaled_pair(run, run.get("warped")))
        _, fixed, warped = self._halves
        grid = grid_of(run.get("warped"))
        leftwards = grid.direction[0] * (np.array(grid.size_ijk) > 1)  # how far each axis goes to the patient's left
        if np.abs(leftwards).max() < 1e-3:  # a sagittal slice: along its longer side
            leftwards = np.array(grid.size_ijk) * (np.array(grid.size_ijk) > 1) / max(grid.size_ijk)
        axis = int(np.argmax(np.abs(leftwards)))
        border = int(round(amount * grid.size_ijk[axis]))
        if leftwards[axis] < 0:
            border = grid.size_ijk[axis] - border
        first, second = (fixed, warped) if leftwards[axis] > 0 else (warped, fixed)
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

    def _scaled_pair(self, run: Run, other) -> tuple[np.ndarray, np.ndarray]:
        """Fixed and another volume on the run's grid, each 0..1 between the ends of its window."""
        fixed = self._on_grid(run, run.get("fixed"))
        values = other if isinstance(other, np.ndarray) else slicer.util.arrayFromVolume(other)
        return _windowed(fixed, run.get("fixed")), _windowed(values, run.get("moving") or run.get("warped"))

    def _moving_on_fixed(self, run: Run) -> np.ndarray:
        return self._on_grid(run, run.get("moving"))

    def _on_grid(self, run: Run, node) -> np.ndarray:
        """A volume of the user's, where it lies in the world, on the run's grid."""
        placed = placed_volume(node).image
        if placed.grid.same_as(grid_of(run.get("warped"))):
            return placed.values
        copy = add_volume(self.scene, placed, "copy")
        on_grid = resampled(copy, run.get("warped"), None, "copy on the grid")
        values = image_from_node(on_grid).values
        for temporary in (copy, on_grid):
            remove_node(self.scene, temporary)
        return values

    def _shown_field(self, run: Run, role: str):
        """A node that draws the displacement field: grids and glyphs draw "to parent", the run's is from parent."""
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

    @staticmethod
    def fitting_spacing(volume) -> float:
        """Between lines of the grid, mm: some 28 of them across the volume."""
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        extent = max(bounds[1] - bounds[0], bounds[3] - bounds[2], bounds[5] - bounds[4])
        return max(extent / 28, 2 * float(np.median(volume.GetSpacing())))


def of_our_layout(slice_node) -> bool:
    """Whether a slice view is of a layout of ours."""
    return any((name or "").startswith(ARRANGED) for name in (slice_node.GetLayoutName(), slice_node.GetName()))


def _hide(node) -> None:
    if node is not None and node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetVisibility(False)


def _windowed(values: np.ndarray, node) -> np.ndarray:
    display = node.GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return np.clip((values.astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)
