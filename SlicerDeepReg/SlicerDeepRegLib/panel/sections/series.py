"""Registers the frames of a sequence to one of them, and plays what was found. Qt."""

from __future__ import annotations

from typing import Any, Union

import slicer
from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
)
from slicer.i18n import tr as _

from ...mrml.series import SeriesNodes, browser_of, hide_charts, show_chart
from ...types import InputError
from ..follower import Following, SeriesChoice
from ..section import BaseSection
from ..text import as_text
from ..titles import stage_title

# The same classes in the same order as the node types of the selectors in the .ui.
Labels = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]


class SeriesSection(BaseSection):
    """Lets the user choose a sequence and what is known of one of its frames."""

    name = "series"
    title = _("Series")
    ui = "Series.ui"
    order = 50
    collapsed = True
    tool_tip = _("Register the frames of a sequence to one of them, and bring its segmentation to all.")

    class Parameters:
        """``seriesReference`` counts from 1; what belongs to that frame is optional."""

        seriesSequence: vtkMRMLSequenceNode
        seriesReference: int = 1
        seriesSegmentation: Labels
        seriesPoints: vtkMRMLMarkupsFiducialNode
        seriesFromNeighbor: bool = False

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._nodes: SeriesNodes | None = None
        self._sequence: Any = None  # whose series they are, and of which this was said
        self._said = ""
        self._layout_before: int | None = None
        self._chart = 0  # how many of the charts were shown
        widgets = self.widgets
        self._tip = widgets.seriesButton.toolTip
        widgets.seriesButton.connect("clicked()", self.register_or_cancel)
        widgets.seriesPlayButton.connect("clicked()", self.play_or_pause)
        widgets.seriesCurvesButton.connect("clicked()", self.show_or_hide_curves)

    def update(self) -> None:
        parameters, widgets, busy = self.parameters, self.widgets, self.context.session.follower.busy
        if parameters is None:
            return
        sequence = parameters.seriesSequence
        if sequence is not self._sequence:
            self._hide_curves()
        if not busy:
            widgets.seriesLabel.text = self._said if sequence is not None and sequence is self._sequence else ""
        count = 0 if sequence is None else sequence.GetNumberOfDataNodes()
        widgets.seriesReferenceSpin.maximum = max(1, count)
        widgets.seriesButton.text = _("Cancel") if busy else _("Register series")
        widgets.seriesButton.enabled = busy or count > 1
        widgets.seriesButton.toolTip = self._tip if count > 1 else _("Choose a sequence of two or more volumes.")
        browser = None if sequence is None else browser_of(sequence)
        widgets.seriesPlayButton.enabled = browser is not None
        widgets.seriesPlayButton.text = _("Pause") if browser is not None and browser.GetPlaybackActive() else _("Play")
        charts = self._charts()
        widgets.seriesCurvesButton.enabled = bool(charts)
        if self._layout_before is None:
            widgets.seriesCurvesButton.text = _("Show curves")
        else:
            widgets.seriesCurvesButton.text = _("Next curves") if self._chart < len(charts) else _("Hide curves")

    def register_or_cancel(self) -> None:
        """Register the chosen sequence, or stop the registration that runs."""
        if self.context.session.follower.busy:
            self.context.session.follower.cancel()
            self.widgets.seriesLabel.text = _("Canceling...")
            return
        parameters = self.parameters
        choice = SeriesChoice(
            sequence=parameters.seriesSequence,
            reference=parameters.seriesReference - 1,
            segmentation=parameters.seriesSegmentation,
            points=parameters.seriesPoints,
            from_neighbor=parameters.seriesFromNeighbor,
            how=self.context.choice(),
        )
        try:
            self.context.launcher.follow(choice)
        except InputError as error:
            self.context.error(str(error))
        self.update()

    def followed(self, following: Following) -> None:
        label = self.widgets.seriesLabel
        if not following.over:
            label.text = as_text(f"{100 * following.fraction:.0f} %, {stage_title(following.stage)}")
            return
        self._hide_curves()
        self._nodes, self._sequence = following.nodes, following.choice.sequence
        if following.nodes is None:
            self._said = as_text(_(following.text))
        else:
            names = [self._nodes.stabilized, self._nodes.transforms, self._nodes.segmentations, self._nodes.table]
            listed = ", ".join(node.GetName() for node in names if node is not None)
            self._said = as_text(_("Added: {names}. Play shows them together.").format(names=listed))
        self.update()

    def play_or_pause(self) -> None:
        """Play the frames, or stop."""
        browser = browser_of(self.parameters.seriesSequence)
        if browser is not None:
            browser.SetPlaybackActive(not browser.GetPlaybackActive())
        self.update()

    def show_or_hide_curves(self) -> None:
        """Show the curves of the last series beside the views, one chart after another; then restore the layout."""
        charts = self._charts()
        if self._chart < len(charts):
            before = show_chart(slicer.mrmlScene, charts[self._chart])
            self._layout_before = before if self._layout_before is None else self._layout_before
            self._chart += 1
        else:
            self._hide_curves()
        self.update()

    def close(self) -> None:
        """Let go of the last series: its curves and what was said of it."""
        self._hide_curves()
        self._nodes, self._sequence, self._said = None, None, ""
        self.widgets.seriesLabel.text = ""

    def _hide_curves(self) -> None:
        if self._layout_before is not None:
            hide_charts(slicer.mrmlScene, self._layout_before)
        self._layout_before, self._chart = None, 0

    def _charts(self) -> list[Any]:
        """Return the charts of the last series that are left, where its sequence is the chosen one."""
        chosen = self.parameters is not None and self.parameters.seriesSequence is self._sequence
        charts = self._nodes.charts if self._nodes is not None and chosen else ()
        return [chart for chart in charts if slicer.mrmlScene.IsNodePresent(chart)]
