"""The deformation of the selected result in motion: gradually, stage by stage, and as a file. Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ...mrml.runs import Run
from ..controls import signals_blocked
from ..reporting import ask_animation, write_animation
from ..section import BaseSection
from ..selection import complete
from ..text import as_text
from ..titles import stage_title

#: Frames of the way from moving to warped, and seconds that a frame of it and a stage are shown.
FRAMES, FRAME_S, STAGE_S = 16, 0.08, 1.0


class AnimationSection(BaseSection):
    """Deforms the moving volume gradually, or shows it after each stage."""

    name = "animation"
    title = _("Animation")
    ui = "Animation.ui"
    order = 80
    collapsed = True
    tool_tip = _("The deformation of the selected result in motion.")

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._listed: tuple[Any, ...] = ()  # what the menu of stages was filled for
        widgets = self.widgets
        widgets.timeSlider.connect("valueChanged(double)", lambda value=0.0: self._try(self._show_time))
        widgets.stageCombo.connect("currentIndexChanged(int)", lambda index=0: self._try(self._show_stage))
        widgets.animationButton.connect("clicked(bool)", lambda checked=False: self._try(self.export))

    # ------------------------------------------------------------------ what is shown

    def update(self) -> None:
        run = self.context.runs.selected
        is_complete = complete(run)
        self.box.enabled = is_complete
        if self._listed != (run, is_complete):
            self._listed = (run, is_complete)
            combo = self.widgets.stageCombo
            with signals_blocked(combo):
                combo.clear()
                for name in [_("Choose a stage"), *map(stage_title, self.context.display.stage_names())]:
                    combo.addItem(name)
        self.view_changed()

    def selection_changed(self) -> None:
        self.update()

    def view_changed(self) -> None:
        widgets, display = self.widgets, self.context.display
        with signals_blocked(widgets.timeSlider, widgets.stageCombo):
            widgets.timeSlider.value = display.time
            widgets.stageCombo.setCurrentIndex(0 if display.stage is None else display.stage + 1)
        widgets.animationLabel.text = as_text(display.motion_text)

    def run_about_to_be_removed(self, run: Run) -> None:
        if self._listed and self._listed[0] == run:
            self._listed = ()

    def close(self) -> None:
        self._listed = ()

    # ------------------------------------------------------------------ what the controls do

    def _try(self, act: Callable[[], None]) -> None:
        """Do it, and say below what the run lacks for it."""
        self.context.take_views()
        try:
            act()
        except ValueError as error:
            self.context.display.say_of_motion(_(str(error)))

    def _show_time(self) -> None:
        self.context.display.show_time(self.widgets.timeSlider.value)

    def _show_stage(self) -> None:
        index = self.widgets.stageCombo.currentIndex
        if index > 0:
            self.context.display.show_stage(index - 1)

    def export(self) -> None:
        """Write the way from moving to warped and back, or the stages if one is chosen, as an animation.

        Raises:
            ValueError: the file cannot be written, or the run lacks something.
        """
        display = self.context.display
        path = ask_animation() if self.context.runs.selected is not None else None
        if path is None:
            return
        try:
            if display.stage is not None:
                stages = list(range(self.widgets.stageCombo.count - 1))
                write_animation(path, stages, display.show_stage, STAGE_S)
            else:
                forth = [step / FRAMES for step in range(FRAMES + 1)]
                write_animation(path, [*forth, *reversed(forth)], display.show_time, FRAME_S)
        except OSError as error:
            text = _("The animation could not be written to {path}: {error}").format(path=path, error=error)
            raise ValueError(text) from error
        display.say_of_motion(_("The animation was saved as {path}").format(path=path))
