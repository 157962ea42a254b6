"""What the slice views show of the selected run: a display mode, a layout, or the deformation in motion. No Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..metrics.stages import stage_values
from ..mrml.layouts import Layouts
from ..mrml.motion import Morph, Stages, stage_names
from ..mrml.nodes import grid_of
from ..mrml.outlines import SEGMENTATIONS
from ..mrml.review import DEFAULT_MODE, Review
from ..mrml.review_volumes import fixed_side, windows_of
from ..mrml.runs import Run, moving_is_where_it_was, place_of, runs
from .selection import complete
from .titles import stage_title

#: The display modes: their titles, and how to read what is shown.
MODES = {
    "fade": (_("Fade"), _("The slider fades from the fixed volume to the warped volume.")),
    "swipe": (
        _("Swipe"),
        _("Fixed volume on the {side} side of the border, warped on the other; the slider moves the border."),
    ),
    "difference": (
        _("Difference"),
        _("Red: the warped volume is brighter than the fixed volume. Blue: darker. Black: equal."),
    ),
    "checkerboard": (
        _("Checkerboard"),
        _("Squares alternate between the fixed and the warped volume: edges should continue across them."),
    ),
    "jacobian": (
        _("Jacobian determinant"),
        _(
            "From fixed to moving: blue is compression (below 1; darkest at 1/4 and less), white no change, red "
            "expansion (darkest at 4 and more). Magenta is folded (0 or less)."
        ),
    ),
    "magnitude": (
        _("Displacement magnitude (mm)"),
        _("Displacement of each voxel in mm, without the linear alignment."),
    ),
}
#: Sides of the patient.
SIDES = {
    "right": _("patient's right"),
    "left": _("patient's left"),
    "anterior": _("anterior"),
    "posterior": _("posterior"),
    "superior": _("superior"),
    "inferior": _("inferior"),
}
#: The parameters that say how a run is displayed, and the nodes of it that are seen.
DISPLAY_PARAMETERS = ("reviewMode", "reviewAmount", "showGrid", "showArrows", "gridSpacing", "showIn3D")
SEEN = ("fixed", "moving", "warped", "transform", "jacobian", *SEGMENTATIONS)
#: What is made for a look, and made again where the user removes it.
MADE = ("difference", "difference_before", "checkerboard", "swipe", "jacobian_shown", "shown_grid", "shown_arrows")
#: Modes that can show the moving volume as it was before registration.
WITH_BEFORE = ("fade", "difference")


class Display:
    """Shows runs in the slice views as the parameter node says.

    Args:
        review: shows runs.
        layouts: arranges the views.
        parameters: returns the parameter node, or None.
        changed: called after every change.

    Attributes:
        legend: how to read what is shown.
        before: whether the moving volume is shown in place of the warped one.
        time: deformation amount, 0 (moving) to 1 (warped).
        stage: number of the registration stage that is shown, or None.
        motion_text: what is said of the deformation amount or the stage; empty when neither is shown.
        curve: (stage, loss) of each iteration of the stage that is shown.
    """

    def __init__(
        self, review: Review, layouts: Layouts, parameters: Callable[[], Any], changed: Callable[[], None]
    ) -> None:
        self.review, self.layouts = review, layouts
        self._parameters, self._changed = parameters, changed
        self._followed: Run | None = None  # the selected one
        self._morph: Morph | None = None
        self._stages: Stages | None = None
        self._looked: tuple[Any, ...] = ()  # what the last look depended on
        self.legend = ""
        self.before = False
        self.time = 0.0
        self.stage: int | None = None
        self.motion_text = ""
        self.curve: list[tuple[str, float]] = []

    # ------------------------------------------------------------------ which run

    @property
    def _run(self) -> Run | None:
        """The selected run, or None if it was removed from the scene."""
        run = self._followed
        return run if run is not None and run.node.GetScene() is not None else None

    def follow(self, run: Run | None) -> None:
        """Another run may be selected now: end its motion, and show it in the layout that is on the screen."""
        if run != self._followed:
            self.end_motion()
            self._followed, self.before = run, False
        arranged = self.layouts.shown
        if complete(run) and arranged is not None and arranged[1] != run:
            self.arrange(arranged[0])

    def forget(self, run: Run) -> None:
        """Put away what shows a run, before the run is removed."""
        if self.review.shown == run:
            self.legend = ""
        self.review.forget(run)
        if self._followed == run:
            self.end_motion()
            self._followed = None
        if self.layouts.shown is not None and self.layouts.shown[1] == run:
            self.layouts.restore()

    def close(self) -> None:
        """Let go of the scene and give back its layout."""
        self.before, self.legend = False, ""
        self._morph = self._stages = self._followed = None
        if self.layouts.shown is not None:
            self.layouts.restore()

    # ------------------------------------------------------------------ display modes

    def show(self, run: Run | None) -> None:
        """Show a run, fitted to the views when none was shown before."""
        if not complete(run):
            return
        if self.layouts.is_side_by_side:  # else it would be shown where nobody sees it
            self.layouts.restore()
        first = self.review.shown is None
        self.look(run)
        if first:
            self.review.fit(run)

    def refresh(self) -> None:
        """Show the run again if what its look depends on has changed; else the views are the user's."""
        if self.review.shown is None or self._looked != self._state(self.review.shown):
            self.look()
        else:
            self._changed()

    def _state(self, run: Run) -> tuple[Any, ...]:
        """Return what a look at a run depends on."""
        parameters, nodes = self._parameters(), [run.get(role) for role in SEEN]
        if parameters is None:
            return ()
        windows = windows_of(run) if all(run.get(role) is not None for role in ("fixed", "warped")) else ""
        asked = [getattr(parameters, name) for name in DISPLAY_PARAMETERS]
        places = [place_of(node) for node in nodes if node is not None and node.IsA("vtkMRMLVolumeNode")]
        made = [run.get(role) is not None for role in MADE]
        others = [other.get(role) for other in runs(slicer.mrmlScene) for role in SEGMENTATIONS]  # hidden meanwhile
        return (run, nodes, places, windows, asked, self.before, self.review.outlines.only, made, others)

    def look(self, run: Run | None = None) -> None:
        """Show a run, the displayed one if left out, in the display mode of the parameter node."""
        run, parameters = run or self.review.shown, self._parameters()
        if run is None or parameters is None or run.node.GetScene() is None or run.get("warped") is None:
            self._looked = ()
            self._changed()
            return
        mode = parameters.reviewMode if parameters.reviewMode in MODES else DEFAULT_MODE
        after = not self._is_before(run, mode)
        side = SIDES[fixed_side(grid_of(run.get("warped")))] if mode == "swipe" else ""
        self.legend = MODES[mode][1].format(side=side)
        self.stage, self.motion_text = None, ""  # the views show the mode again
        if run.get("fixed") is not None:
            try:
                self.review.show(run, mode, parameters.reviewAmount, after)
            except ValueError as error:  # a linear run has no displacement
                self.legend = _(str(error))
            else:
                self.review.overlay(
                    run,
                    parameters.showGrid,
                    parameters.showArrows,
                    parameters.gridSpacing or None,
                    in_3d=parameters.showIn3D,
                )
        self._looked = self._state(run)
        self._changed()

    @property
    def shows_before(self) -> bool:
        """Whether the views show the moving volume as it was: asked for, and possible in the display mode."""
        run, parameters = self.review.shown, self._parameters()
        return run is not None and parameters is not None and self._is_before(run, parameters.reviewMode)

    def _is_before(self, run: Run, mode: str) -> bool:
        return self.before and mode in WITH_BEFORE and moving_is_where_it_was(run)

    def show_before(self, before: bool) -> None:
        """Show the moving volume before registration, or the warped one again."""
        if before != self.before:
            self.before = before
            self.look()

    def go_to_minimum_jacobian(self) -> None:
        """Center the views on the smallest Jacobian of the selected run."""
        if self._run is None:
            return
        value = self.review.jump_to_worst(self._run)
        text = (
            _("Minimum Jacobian J = {value:.2f}: the maximum compression from fixed to moving.")
            if value > 0
            else _("Minimum Jacobian J = {value:.2f}: a fold; the transform is not invertible here.")
        )
        self.explain(text.format(value=value))

    def show_map(self, run: Run, node: Any) -> None:
        """Show a map over the fixed volume of a run.

        Raises:
            ValueError: the fixed volume was moved.
        """
        self._leave_layout()
        self.review.show_over(run, node)
        self.stage, self.motion_text = None, ""
        self.explain(_("{name}, over the fixed volume.").format(name=node.GetName()))

    def explain(self, text: str) -> None:
        """Put a text in the place of the legend."""
        self.legend, self.motion_text = text, ""
        self._changed()

    @property
    def acts(self) -> bool:
        """Whether the display modes act: the views of the user's own layout show the selected run."""
        return self._run is not None and self.review.shown == self._run and not self.layouts.is_ours

    def restore_views(self) -> None:
        """Show what the slice views showed before the first run."""
        self.review.restore()
        self.legend, self.before = "", False
        self._changed()

    # ------------------------------------------------------------------ layouts

    @property
    def layout(self) -> str:
        """The layout that shows a run, or an empty name."""
        arranged = self.layouts.shown
        return "" if arranged is None else arranged[0]

    def arrange(self, layout: str) -> None:
        """Arrange the views for the selected run; the empty name gives back the layout of before."""
        if not layout or self._run is None:
            self._leave_layout()
        else:
            try:
                self.layouts.show(layout, self._run)
            except ValueError as error:
                self.legend = _(str(error))
                if self.layouts.shown is not None:
                    self.layouts.restore()
        self._changed()

    def _leave_layout(self) -> None:
        """Bring the user's layout back, in whose views a display mode, a map or a motion is seen."""
        if self.layouts.shown is not None or self.layouts.is_ours:
            self.layouts.restore()

    # ------------------------------------------------------------------ motion

    def stage_names(self) -> list[str]:
        """Return the names of the stages that the selected run has kept."""
        run = self._run
        return stage_names(run) if complete(run) and run.get("stages") is not None else []

    def show_time(self, time: float) -> None:
        """Deform the moving volume to a part of the way, 0 to 1.

        Raises:
            ValueError: the run has lost its moving volume, or that was under a nonlinear transform.
        """
        if self._run is None:
            return
        self.time = time
        try:
            if self._morph is None:
                self._morph = Morph(slicer.mrmlScene, self._run)
            self._leave_layout()
            self._morph.show(time)
            self._stages, self.stage = None, None
            self.review.show_alone(self._run, self._morph.node)
            self.motion_text = _("Deformation amount {time:.2f}: {how}.").format(time=time, how=_(self._morph.how))
        finally:
            self._changed()

    def show_stage(self, number: int) -> None:
        """Show the moving volume after a stage, counted from 0, which is the moving volume as it was given.

        Raises:
            ValueError: the run kept no stages, or has lost its volumes.
        """
        if self._run is None:
            return
        if self._stages is None or self._stages.run != self._run:
            self._stages = Stages(slicer.mrmlScene, self._run)
        self._leave_layout()
        self._stages.show(number)
        self.review.show_alone(self._run, self._stages.node)
        facts = self._run.facts["stages"][number - 1] if number else None
        self.stage = number
        self.motion_text = _("Before registration.") if facts is None else _stage_text(facts)
        self.curve = [(facts["name"], value) for value in facts["curve"]] if facts else []
        self._changed()

    def say_of_motion(self, text: str) -> None:
        """Put a text in the place of what is said of the motion."""
        self.motion_text = text
        self._changed()

    def end_motion(self) -> None:
        """Remove the moving copy of the volume."""
        if self._morph is not None and self._morph.run.node.GetScene() is not None:
            self._morph.remove()
        self._morph = self._stages = self.stage = None
        self.time, self.motion_text, self.curve = 0.0, "", []


def _stage_text(facts: dict[str, Any]) -> str:
    text = f"{stage_title(facts['name'])}: {facts['seconds']:.1f} s"
    return ". ".join(part for part in (text, _(stage_values(facts["metrics"])), facts["note"]) if part)
