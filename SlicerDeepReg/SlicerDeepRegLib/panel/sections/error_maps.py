"""Maps of what may be wrong: landmark errors, inverse consistency, uncertainty. Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...mrml.error_maps import consistency, residuals, way_back
from ...mrml.runs import Run
from ..section import BaseSection
from ..selection import complete
from ..text import as_text


class ErrorMapsSection(BaseSection):
    """Maps of the selected run."""

    name = "error_maps"
    title = _("Uncertainty, inverse consistency")
    ui = "ErrorMaps.ui"
    order = 70
    collapsed = True
    container = "reviewPage"
    tool_tip = _("Maps of where the selected result may be wrong.")

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._told: Run | None = None  # what the text is about
        widgets = self.widgets
        for button, act in (
            (widgets.landmarkErrorsButton, self.show_landmark_errors),
            (widgets.inverseConsistencyButton, self.show_inverse_consistency),
            (widgets.uncertaintyButton, self.show_uncertainty),
            (widgets.minimumJacobianButton, context.display.go_to_minimum_jacobian),
        ):
            button.connect("clicked(bool)", self._trying(act))

    def update(self) -> None:
        run, widgets = self.context.runs.selected, self.widgets
        is_there = complete(run)
        self.box.enabled = is_there
        widgets.landmarkErrorsButton.enabled = is_there and bool(run.facts.get("points"))
        widgets.uncertaintyButton.enabled = is_there and run.get("uncertainty") is not None
        widgets.inverseConsistencyButton.enabled = is_there and self._opposite(run) is not None
        if run != self._told:
            self._told = run
            widgets.qualityLabel.text = ""

    def selection_changed(self) -> None:
        self.update()

    def close(self) -> None:
        self._told = None

    def _opposite(self, run: Run) -> Run | None:
        """Return the newest run with fixed and moving exchanged, or None."""
        return way_back(run, self.context.runs.runs)

    def _trying(self, act: Callable[[], None]) -> Callable[[bool], None]:
        """Return a slot that does something, and says below what the run lacks for it."""

        def attempt(checked: bool = False) -> None:
            self.context.take_views()
            try:
                act()
            except ValueError as error:
                self.widgets.qualityLabel.text = as_text(_(str(error)))

        return attempt

    def show_landmark_errors(self) -> None:
        """Show the remaining error of each landmark as an arrow, and list the largest."""
        run = self.context.runs.selected
        node, rows = residuals(slicer.mrmlScene, run)
        if self.context.review.shown != run:  # the arrows go with the look, over the images that they are about
            self.context.display.show(run)
        node.GetDisplayNode().SetVisibility(True)
        worst = "; ".join(f"{row['name']}: {row['mm']:.1f} mm" for row in rows[:5])
        self.widgets.qualityLabel.text = as_text(_("Largest landmark errors: {worst}.").format(worst=worst))
        self.context.review.jump(rows[0]["ras"])

    def show_inverse_consistency(self) -> None:
        """Map how far points end from where they began after both registrations."""
        run = self.context.runs.selected
        opposite = self._opposite(run)
        if opposite is None:
            raise ValueError(_("Register the two volumes in the opposite direction first."))
        node, metrics = consistency(slicer.mrmlScene, run, opposite)
        run.add_facts(both_ways=metrics)
        self.context.select(run)  # its status is another now
        self.context.display.show_map(run, node)
        text = _("Inverse consistency with {name}: mean {mean:.2f} mm, largest {most:.2f} mm.")
        self.widgets.qualityLabel.text = as_text(
            text.format(name=opposite.name, mean=metrics["both_ways_mm"], most=metrics["both_ways_max_mm"])
        )

    def show_uncertainty(self) -> None:
        """Map how far the results of perturbed inputs disagree."""
        run = self.context.runs.selected
        run.need("uncertainty")
        self.context.display.show_map(run, run.get("uncertainty"))
        metrics = run.facts["metrics"]
        text = _("Uncertainty from perturbed runs: mean {mean:.2f} mm, 95% below {most:.2f} mm.")
        self.widgets.qualityLabel.text = text.format(mean=metrics["uncertainty_mm"], most=metrics["uncertainty_p95_mm"])
