"""The button Apply, the progress of the registration, its loss curve and its log. Qt."""

from __future__ import annotations

import time
from typing import Any

import qt
from slicer.i18n import tr as _

from ..curve import draw
from ..section import BaseSection
from ..session import Job
from ..text import as_text
from ..titles import stage_title

#: Height of the curve and its smallest width, pixels; seconds between two drawings.
CURVE_HEIGHT, CURVE_WIDTH, REDRAW_S = 90, 260, 0.25
LOG_HEIGHT = 160
#: The longest pause between the two clicks of one who clicks twice on a button by habit, in seconds.
DOUBLE_CLICK_S = 0.4


class ApplySection(BaseSection):
    """Starts and cancels registrations, and shows how far one is."""

    name = "apply"
    ui = "Apply.ui"
    order = 40

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._losses_drawn, self._drawn_at = 0, 0.0
        self._lines_shown = 0  # of the job's log
        self._started_at = -DOUBLE_CLICK_S
        self._stage_curve: list[tuple[str, float]] = []  # of the display
        widgets = self.widgets
        widgets.logText.setMaximumHeight(LOG_HEIGHT)
        # The pixmap must not keep the panel as wide as it was drawn.
        widgets.curveLabel.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        widgets.applyButton.connect("clicked(bool)", lambda checked=False: self._clicked())

    def _clicked(self) -> None:
        if time.monotonic() - self._started_at > DOUBLE_CLICK_S:  # else the second of two clicks on Apply, no Cancel
            self.apply()

    def apply(self) -> None:
        """Register what is chosen, or cancel the registration that runs."""
        if self.context.session.busy:
            self.widgets.applyButton.enabled = False
            self.context.launcher.cancel()
        else:
            self.context.begin_chosen()

    # ------------------------------------------------------------------ the button

    def update(self) -> None:
        self.widgets.progressBar.visible = self.context.launcher.job is not None
        self.choice_changed()

    def choice_changed(self) -> None:
        button = self.widgets.applyButton
        if self.context.session.busy:
            button.text = _("Cancel")
            button.enabled = True
            found = self.context.launcher.job is not None and self.context.launcher.job.run is not None
            button.toolTip = (
                _("Stop measuring. The result is kept.")
                if found
                else _("Cancel the registration. The scene is left unchanged.")
            )
            return
        errors = [_(finding.sentence) for finding in self.context.findings if finding.severity == "error"]
        button.text = _("Apply")
        button.enabled = not errors and not self.context.launcher.installing
        button.toolTip = as_text(errors[0]) if errors else _("Register the moving volume to the fixed volume.")

    def status_changed(self, text: str) -> None:
        self.widgets.stageLabel.text = as_text(text)

    def close(self) -> None:
        self.widgets.progressBar.visible = False

    # ------------------------------------------------------------------ the progress

    def started(self, job: Job) -> None:
        self._losses_drawn, self._drawn_at, self._lines_shown = 0, 0.0, 0
        self._started_at = time.monotonic()
        self.widgets.logText.clear()
        self.widgets.progressBar.value = 0
        self.widgets.progressBar.visible = True
        self.widgets.curveLabel.visible = False
        self.choice_changed()
        self.progressed(job)

    def progressed(self, job: Job) -> None:
        widgets = self.widgets
        widgets.progressBar.value = int(1000 * job.fraction)
        left = job.seconds_left()
        text = _(stage_title(job.stage))
        if left is not None:
            text += ", " + (f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min") + " " + _("left")
        widgets.stageLabel.text = text
        for line in job.log[self._lines_shown :]:
            widgets.logText.appendPlainText(line)
        self._lines_shown = len(job.log)
        now = time.monotonic()
        if len(job.losses) > max(1, self._losses_drawn) and (now - self._drawn_at > REDRAW_S or job.over):
            self._draw(job.losses)
            self._losses_drawn, self._drawn_at = len(job.losses), now

    def view_changed(self) -> None:
        curve = self.context.display.curve
        if curve is not self._stage_curve:
            self._stage_curve = curve
            if len(curve) > 1:
                self._draw(curve)

    def _draw(self, losses: list[tuple[str, float]]) -> None:
        widgets = self.widgets
        titled = [(stage_title(stage), loss) for stage, loss in losses]
        widgets.curveLabel.visible = True
        width = max(CURVE_WIDTH, widgets.applyButton.width)
        widgets.curveLabel.pixmap = draw(titled, width, CURVE_HEIGHT, widgets.applyButton.palette)
