"""Looking at a run in the slice views: fade, swipe, difference, checkerboard, maps, grid and arrows. No Qt.

The first look remembers what the views showed; ``restore`` puts that back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from .display import draw_glyphs, draw_grid, refresh_legends
from .maps import magnitude
from .nodes import bounds_of
from .outlines import BEFORE, MOVING, WARPED, Outlines
from .review_volumes import ReviewVolumes
from .runs import Run, check_fixed_place

DEFAULT_MODE = "fade"
MODES = (DEFAULT_MODE, "swipe", "difference", "checkerboard", "jacobian", "magnitude")
#: What the names of the views begin with that a layout of ours fills.
ARRANGED = "DeepReg"
#: References of a view's composite node to what it showed before the first look, beside its opacity as ``BEFORE``: a
#: scene that is saved during a look holds no volumes that only show something.
BEFORE_ROLES = ("DeepReg.background", "DeepReg.foreground", "DeepReg.labels")


class Review:
    """The slice views of a scene and what of a run they show.

    Args:
        scene: the MRML scene.
        logics: the vtkCollection of slice logics (``application_logic.GetSliceLogics()``).
    """

    def __init__(self, scene: slicer.vtkMRMLScene, logics: vtk.vtkCollection) -> None:
        self.scene, self.logics = scene, logics
        self._before: dict[str, tuple[Any, ...]] = {}
        self._layers: dict[str, tuple[str | None, str | None]] = {}  # that we put into each view
        self._shown: Run | None = None
        self.volumes = ReviewVolumes(scene)
        self.outlines = Outlines(scene)

    @property
    def shown(self) -> Run | None:
        """The run in the views, or None."""
        return self._shown

    @property
    def all_logics(self) -> list[slicer.vtkMRMLSliceLogic]:
        """The logics of all slice views, those of our layouts too."""
        return [self.logics.GetItemAsObject(n) for n in range(self.logics.GetNumberOfItems())]

    def show(self, run: Run, mode: str = DEFAULT_MODE, amount: float = 0.5, after: bool = True) -> None:
        """Show a run.

        Args:
            mode: one of ``MODES``.
            amount: of the upper layer, 0..1: fixed to warped in "fade", the map's opacity in "jacobian" and
                "magnitude"; in "swipe" where, from the patient's right, fixed gives way to warped.
            after: the warped volume; False shows the moving volume as it was, for comparison.

        Raises:
            ValueError: another mode, the run is linear and has no displacement to show, or the fixed volume was moved.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}; it was {mode!r}")
        check_fixed_place(run)
        fixed, moving = run.get("fixed"), run.get("warped" if after else "moving")
        background, foreground, opacity = fixed, moving, amount
        if mode == "jacobian":
            foreground = self.volumes.jacobian(run)
        elif mode == "magnitude":
            foreground = magnitude(self.scene, run)
        elif mode == "swipe":
            background, foreground, opacity = self.volumes.swipe(run, amount), None, 0.0
        elif mode == "difference":
            background, foreground, opacity = self.volumes.difference(run, after), None, 0.0
        elif mode == "checkerboard":
            background, foreground, opacity = self.volumes.checkerboard(run), None, 0.0
        self._show_layers(run, background, foreground, opacity)
        self.outlines.show(run, WARPED if after else MOVING)

    def show_alone(self, run: Run, node: slicer.vtkMRMLNode) -> None:
        """Show another volume than the warped one over the fixed volume: one that moves.

        Raises:
            ValueError: the fixed volume was moved.
        """
        check_fixed_place(run)
        self._show_layers(run, run.get("fixed"), node, 1.0)
        self.outlines.show(run, over="")

    def show_over(self, run: Run, node: slicer.vtkMRMLNode) -> None:
        """Show a map over the fixed volume.

        Raises:
            ValueError: the fixed volume was moved.
        """
        check_fixed_place(run)
        self._show_layers(run, run.get("fixed"), node, 0.7)

    def _show_layers(
        self,
        run: Run,
        background: slicer.vtkMRMLVolumeNode | None,
        foreground: slicer.vtkMRMLVolumeNode | None,
        opacity: float,
    ) -> None:
        self._remember()
        if self._shown is not None and self._shown != run:
            self._hide_overlays(self._shown)
        self._shown = run
        for logic, composite in self._views():
            composite.SetBackgroundVolumeID(background.GetID() if background is not None else None)
            composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
            composite.SetForegroundOpacity(opacity)
            composite.SetLabelVolumeID(None)  # an old label map would lie over what is looked at
            self._layers[logic.GetSliceNode().GetID()] = _layers_of(composite)
        refresh_legends(self.scene)

    def volume(self, run: Run, what: str) -> slicer.vtkMRMLVolumeNode:
        """Return a run's "warped", a map of MODES or "difference_before"; make it if necessary."""
        if what == "warped":
            return run.get("warped")
        if what in ("difference", "difference_before"):
            return self.volumes.difference(run, after=what == "difference")
        return {"jacobian": self.volumes.jacobian, "checkerboard": self.volumes.checkerboard}[what](run)

    def fit(self, run: Run) -> None:
        """Fit the views to the run's volume, once: after that the user's position is kept."""
        self.jump(bounds_of(run.get("warped")).mean(1))
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
                node = node or self.volumes.field_to_draw(run, role)
                if node is not None:
                    draw(node, run.get("warped"), spacing).SetVisibility3D(in_3d)
            else:
                _hide(node)

    def grid_in(self, run: Run, views: Sequence[str]) -> None:
        """Draw the deformation grid in the views with those identifiers only; none hides it."""
        node = run.get("layout_grid")
        if not views:
            _hide(node)
            return
        node = node or self.volumes.field_to_draw(run, "layout_grid")
        if node is not None:
            draw_grid(node, run.get("warped"), self.fitting_spacing(run.get("warped")), views, pieces=2)

    @property
    def crosshair(self) -> slicer.vtkMRMLCrosshairNode | None:
        """The scene's crosshair node; None in a scene without one."""
        return self.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")

    def cross(self, ras_mm: Sequence[float]) -> None:
        """Put the crosshair on a point; it is visible if the user shows it."""
        if self.crosshair is not None:
            self.crosshair.SetCrosshairRAS(*[float(value) for value in ras_mm])

    def jump(self, ras_mm: Sequence[float]) -> None:
        """Center every slice view on a point, those of our layouts too; the crosshair goes there."""
        self.cross(ras_mm)
        for node in [logic.GetSliceNode() for logic in self.all_logics]:
            if node.IsMappedInLayout():  # those that are not on the screen cost time unseen
                node.JumpSliceByCentering(*[float(value) for value in ras_mm])

    def jump_to_worst(self, run: Run) -> float:
        """Center the views on the minimum Jacobian; return its value."""
        facts = run.facts
        self.jump(facts["worst_ras"])
        return facts["worst_jacobian"]

    def forget(self, run: Run) -> None:
        """Restore the views if they show a run that is about to be removed."""
        if self._shown == run:
            self.restore()

    def restore(self) -> None:
        """Show what the views showed before the first run, where they showed it; volumes removed since are left out.

        A view in which the user shows something else by now stays.
        """
        for logic, composite in self._views():
            state = self._before.get(logic.GetSliceNode().GetID())
            if state is None or not self._is_ours(logic, composite):
                continue
            background, foreground, opacity, labels, place = state
            composite.SetLabelVolumeID(labels if self.scene.GetNodeByID(labels or "") else None)
            composite.SetBackgroundVolumeID(background if self.scene.GetNodeByID(background or "") else None)
            composite.SetForegroundVolumeID(foreground if self.scene.GetNodeByID(foreground or "") else None)
            composite.SetForegroundOpacity(opacity)
            _put_back(logic.GetSliceNode(), place)
        for _logic, composite in self._views():
            _forget(composite)
        if self._shown is not None:
            self._hide_overlays(self._shown)
        self.outlines.restore()
        self._before.clear()
        self._layers.clear()
        self._shown = None
        self.volumes.forget()

    @staticmethod
    def _hide_overlays(run: Run) -> None:
        for role in ("shown_grid", "shown_arrows", "residuals"):
            _hide(run.get(role))

    def _remember(self) -> None:
        """Keep what the views show without us; also what the user put there between two looks."""
        for logic, composite in self._views():
            view = logic.GetSliceNode().GetID()
            if view in self._before and self._is_ours(logic, composite):
                continue
            self._before[view] = (
                composite.GetBackgroundVolumeID(),
                composite.GetForegroundVolumeID(),
                composite.GetForegroundOpacity(),
                composite.GetLabelVolumeID(),
                _place_of(logic.GetSliceNode()),
            )
            _keep(composite)

    def recover(self) -> None:
        """Show in views that are left blank by a scene that was saved during a look what they showed before it."""
        for logic, composite in self._views():
            if composite.GetAttribute(BEFORE) is None or logic.GetSliceNode().GetID() in self._before:
                continue
            if composite.GetBackgroundVolumeID() is None:
                background, foreground, labels = (composite.GetNodeReferenceID(role) for role in BEFORE_ROLES)
                composite.SetBackgroundVolumeID(background)
                composite.SetForegroundVolumeID(foreground)
                composite.SetLabelVolumeID(labels)
                with contextlib.suppress(ValueError):  # edited by hand
                    composite.SetForegroundOpacity(float(composite.GetAttribute(BEFORE)))
            _forget(composite)

    def _is_ours(self, logic: Any, composite: Any) -> bool:
        """Return whether a view shows what we put there, but for volumes that are gone."""
        ours = self._layers.get(logic.GetSliceNode().GetID(), (None, None))
        gone = any(one and self.scene.GetNodeByID(one) is None for one in ours)
        return gone or _layers_of(composite) == ours

    def _views(self) -> list[tuple[Any, Any]]:
        """Return (slice logic, composite node) of every slice view outside our layouts."""
        return [
            (logic, logic.GetSliceCompositeNode())
            for logic in self.all_logics
            if logic.GetSliceCompositeNode() is not None and not of_our_layout(logic.GetSliceNode())
        ]

    @staticmethod
    def fitting_spacing(volume: slicer.vtkMRMLVolumeNode) -> float:
        """Return the distance of grid lines in mm: about 28 of them across the volume."""
        return max(float(np.ptp(bounds_of(volume), axis=1).max()) / 28, 2 * float(np.median(volume.GetSpacing())))


def of_our_layout(slice_node: slicer.vtkMRMLSliceNode) -> bool:
    """Return whether a slice view belongs to one of our layouts."""
    return any((name or "").startswith(ARRANGED) for name in (slice_node.GetLayoutName(), slice_node.GetName()))


def _keep(composite: Any) -> None:
    """Write into a composite node what it shows, so that it is saved with the scene."""
    composite.SetAttribute(BEFORE, str(composite.GetForegroundOpacity()))
    layers = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID()
    for role, layer in zip(BEFORE_ROLES, layers):
        composite.SetNodeReferenceID(role, layer)


def _forget(composite: Any) -> None:
    if composite.GetAttribute(BEFORE) is not None:
        composite.RemoveAttribute(BEFORE)
        for role in BEFORE_ROLES:
            composite.SetNodeReferenceID(role, None)


def _layers_of(composite: Any) -> tuple[str | None, str | None]:
    return composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()


def _place_of(node: slicer.vtkMRMLSliceNode) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    """Return where a slice lies, what of it is seen, and its center in the view."""
    return slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()), node.GetFieldOfView(), node.GetXYZOrigin()


def _put_back(node: slicer.vtkMRMLSliceNode, place: tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]) -> None:
    matrix, field_of_view, origin = place
    node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
    shape = node.GetFieldOfView()[1] / node.GetFieldOfView()[0]  # of the view, which may be another by now
    node.SetFieldOfView(field_of_view[0], shape * field_of_view[0], field_of_view[2])
    node.SetXYZOrigin(*origin)
    node.UpdateMatrices()


def _hide(node: slicer.vtkMRMLNode) -> None:
    if node is not None and node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetVisibility(False)
