"""The deformation of the selected result in motion, and as a file. Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..controls import signals_blocked
from ..reporting import ask_animation, write_animation
from ..section import BaseSection
from ..selection import complete
from ..text import as_text

#: Frames of the way from moving to warped, and seconds that a frame of it and a stage are shown.
FRAMES, FRAME_S, STAGE_S = 16, 0.08, 1.0


class AnimationSection(BaseSection):
    """Deforms the moving volume gradually."""

    name = "animation"
    title = _("Animation")
    ui = "Animation.ui"
    order = 60
    collapsed = True
    container = "reviewPage"
    tool_tip = _("The deformation of the selected result in motion.")

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        widgets = self.widgets
        widgets.timeSlider.connect("valueChanged(double)", lambda value=0.0: self._try(self._show_time))
        widgets.animationButton.connect("clicked(bool)", lambda checked=False: self._try(self.export))

    # ------------------------------------------------------------------ what is shown

    def update(self) -> None:
        self.box.enabled = complete(self.context.runs.selected)
        self.view_changed()

    def selection_changed(self) -> None:
        self.update()

    def view_changed(self) -> None:
        widgets, display = self.widgets, self.context.display
        with signals_blocked(widgets.timeSlider):
            widgets.timeSlider.value = display.time
        widgets.animationLabel.text = as_text(display.motion_text)

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
                stages = list(range(len(display.stage_names())))
                write_animation(path, stages, display.show_stage, STAGE_S)
            else:
                forth = [step / FRAMES for step in range(FRAMES + 1)]
                write_animation(path, [*forth, *reversed(forth)], display.show_time, FRAME_S)
        except OSError as error:
            text = _("The animation could not be written to {path}: {error}").format(path=path, error=error)
            raise ValueError(text) from error
        display.say_of_motion(_("The animation was saved as {path}").format(path=path))
