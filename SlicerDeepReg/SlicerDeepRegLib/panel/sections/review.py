"""How the selected result is shown in the slice views. Qt."""

from __future__ import annotations

from typing import Annotated, Any

import qt
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange

from ...mrml.review import DEFAULT_MODE
from ...mrml.runs import is_deformed, moving_is_where_it_was
from ..controls import choose, chosen, fill, signals_blocked
from ..display import MODES, WITH_BEFORE
from ..section import BaseSection
from ..selection import complete
from ..text import as_text

LAYOUTS = (
    ("", _("Layout: your own")),
    ("review", _("Layout: three planes")),
    ("before_after", _("Layout: before, after")),
    ("deformation", _("Layout: deformation")),
)
#: Modes in which the slider acts, and in which the moving volume can take the place of the warped one.
WITH_AMOUNT = ("fade", "swipe", "jacobian", "magnitude")
#: How long flickering shows each volume.
FLICKER_MS = 450


class ReviewSection(BaseSection):
    """Lets the user choose display mode, layout and overlays."""

    name = "review"
    ui = "Review.ui"
    order = 30
    container = "reviewPage"
    shortcuts = {"Ctrl+Alt+F": "toggle_flicker", "Ctrl+Alt+B": "toggle_before"}

    class Parameters:
        """How runs are displayed; a grid spacing of 0 mm is chosen automatically."""

        reviewMode: str = DEFAULT_MODE
        reviewAmount: Annotated[float, WithinRange(0, 1)] = 0.5
        showGrid: bool = False
        showArrows: bool = False
        showIn3D: bool = False
        gridSpacing: Annotated[float, WithinRange(0, 50)] = 0.0

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._flicker = qt.QTimer()
        self._flicker.interval = FLICKER_MS
        self._flicker.connect("timeout()", self._flick)
        self._shows_warped = False  # while flickering
        widgets, display = self.widgets, context.display
        fill(widgets.modeCombo, [(mode, title) for mode, (title, _legend) in MODES.items()])
        fill(widgets.layoutCombo, LAYOUTS)
        widgets.modeCombo.connect("currentIndexChanged(int)", lambda index=0: self._set_mode())
        widgets.layoutCombo.connect("currentIndexChanged(int)", lambda index=0: self._arrange())
        widgets.beforeButton.connect("toggled(bool)", lambda checked=False: display.show_before(checked))
        widgets.flickerButton.connect("toggled(bool)", self._set_flicker)

    # ------------------------------------------------------------------ what is shown

    def update(self) -> None:
        choose(self.widgets.modeCombo, self.parameters.reviewMode)
        self.view_changed()

    def selection_changed(self) -> None:
        self.view_changed()

    def view_changed(self) -> None:
        widgets, display, run = self.widgets, self.context.display, self.context.runs.selected
        is_complete = complete(run)
        layout = display.layout
        choose(widgets.layoutCombo, layout)
        with signals_blocked(widgets.beforeButton):
            widgets.beforeButton.checked = display.shows_before
        widgets.layoutCombo.enabled = is_complete or bool(layout)
        acts = is_complete and display.acts  # the views of a layout are filled by it
        for widget in (widgets.modeCombo, widgets.flickerButton):
            widget.enabled = acts
        for widget in (widgets.gridCheck, widgets.arrowsCheck):  # of a matrix there is none to draw
            widget.enabled = acts and is_deformed(run)
        drawn = widgets.gridCheck.enabled and (self.parameters.showGrid or self.parameters.showArrows)
        widgets.grid3dCheck.enabled = widgets.spacingSpin.enabled = drawn
        mode = chosen(widgets.modeCombo)
        widgets.amountSlider.enabled = acts and mode in WITH_AMOUNT
        widgets.amountTitle.text = _("Border:") if mode == "swipe" else _("Opacity:")
        widgets.beforeButton.enabled = acts and mode in WITH_BEFORE and moving_is_where_it_was(run)
        said = display.motion_text or display.legend  # of a stage that is shown
        if not said and is_complete and not acts and not layout:
            said = _("Press Show to see the result in the views.")
        widgets.legendLabel.text = as_text(said)

    # ------------------------------------------------------------------ what the controls do

    def _set_mode(self) -> None:
        mode = chosen(self.widgets.modeCombo)
        if self.parameters is not None and mode is not None:
            self.parameters.reviewMode = mode

    def _arrange(self) -> None:
        self.context.take_views()
        self.context.display.arrange(chosen(self.widgets.layoutCombo) or "")

    def toggle_flicker(self) -> None:
        """Alternate between fixed and warped, or stop."""
        self._toggle(self.widgets.flickerButton)

    def toggle_before(self) -> None:
        """Show the moving volume in place of the warped one, or the warped one again."""
        self._toggle(self.widgets.beforeButton)

    @staticmethod
    def _toggle(button: Any) -> None:
        if button.enabled:
            button.checked = not button.checked

    def _set_flicker(self, on: bool) -> None:
        if on:
            self._flicker.start()
        else:
            self._flicker.stop()
            self.context.display.look()

    def _flick(self) -> None:
        run = self.context.review.shown
        if run is None or run.node.GetScene() is None or not complete(run):
            self.views_taken()
            return
        self._shows_warped = not self._shows_warped
        try:
            if self.context.display.shows_before:  # what changed, in place of what is left
                self.context.review.show(run, DEFAULT_MODE, 1.0, after=self._shows_warped)
            else:
                self.context.review.show(run, DEFAULT_MODE, float(self._shows_warped))
        except ValueError as error:  # the fixed volume was moved
            self.views_taken()
            self.context.display.explain(_(str(error)))

    def views_taken(self) -> None:
        self.widgets.flickerButton.checked = False

    def close(self) -> None:
        self.views_taken()
        self._flicker.stop()
