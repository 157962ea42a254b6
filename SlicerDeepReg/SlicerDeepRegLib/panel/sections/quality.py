"""Quality assessment of the selected result: statuses, suspicious locations, structures, error maps. Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...metrics.status import GRAY, Status, overall
from ...mrml.error_maps import consistency, disagreement, residuals, way_back
from ...mrml.nodes import flipped
from ...mrml.runs import Run
from .. import bars
from ..controls import set_columns, show_rows, signals_blocked
from ..quality import STATUS_WORDS, location_cells, run_statuses, structure_cells
from ..section import BaseSection
from ..selection import complete
from ..session import Job
from ..text import as_text, escaped

#: How much narrower the section is than the panel, on each side, and the smallest width of the bars; pixels.
MARGIN, BARS_WIDTH = 12, 260
#: The status of a measure that is still to come.
MEASURING = _("Measuring...")


class QualitySection(BaseSection):
    """Says how good the selected run is, and shows where it is not."""

    name = "quality"
    title = _("Quality assessment")
    ui = "Quality.ui"
    order = 70
    collapsed = True
    tool_tip = _("What was measured for the selected result, and whether it is within tolerance.")

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._shown: tuple[Any, ...] = ()  # what the tables were filled with
        self._locations: list[Sequence[float]] = []  # RAS mm of each row
        self._structures: list[Sequence[float] | None] = []
        widgets = self.widgets
        for table, titles, height in (
            (widgets.statusTable, (_("Measure"), _("Status"), _("Value")), 130),
            (widgets.locationsTable, (_("Finding"), _("Value")), 110),
            (widgets.structuresTable, (_("Segment"), _("Dice"), _("HD95 (mm)"), _("Volume (ml)")), 130),
        ):
            set_columns(table, titles, [len(titles) - 1], height)
            table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)  # long values wrap
        widgets.barsLabel.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # not as wide as it was drawn
        for table, go in (
            (widgets.locationsTable, lambda row: self._go(self._locations, row)),
            (widgets.structuresTable, lambda row: self._go(self._structures, row)),
        ):
            table.connect("itemSelectionChanged()", self._selected_row(table, go))
            table.connect("cellClicked(int,int)", self._clicked_row(go))
        for button, act in (
            (widgets.landmarkErrorsButton, self.show_landmark_errors),
            (widgets.inverseConsistencyButton, self.show_inverse_consistency),
            (widgets.disagreementButton, self.show_disagreement),
            (widgets.uncertaintyButton, self.show_uncertainty),
        ):
            button.connect("clicked(bool)", self._trying(act))

    # ------------------------------------------------------------------ what is shown

    def update(self) -> None:
        run, widgets = self.context.runs.selected, self.widgets
        is_complete = complete(run)
        self.box.enabled = is_complete
        widgets.disagreementButton.enabled = len(self.context.runs.checked) >= 2
        widgets.uncertaintyButton.enabled = is_complete and run.get("uncertainty") is not None
        widgets.inverseConsistencyButton.enabled = is_complete and self._opposite(run) is not None
        theme = self.root.palette.color(qt.QPalette.Base).name()  # the bars are drawn in its colors
        told = [str(run.facts.get(name)) for name in ("both_ways", "is_measured", "statuses")] if is_complete else []
        state = (run, is_complete, told, theme, self.context.launcher.measures(run))
        if state == self._shown:
            return
        self._shown = state
        facts = run.facts if is_complete else {}
        measuring = self.context.launcher.measures(run)
        self._fill_statuses(run_statuses(run) if is_complete else [], measuring)
        self._fill_locations(facts.get("locations", []))
        self._fill_structures(facts.get("structures", []))
        widgets.landmarkErrorsButton.enabled = bool(facts.get("points"))
        widgets.qualityLabel.text = ""

    def selection_changed(self) -> None:
        self.update()

    def progressed(self, job: Job) -> None:
        if job.run is not None and job.run == self.context.runs.selected:
            self.update()  # as more is measured

    def run_about_to_be_removed(self, run: Run) -> None:
        if self._shown and self._shown[0] == run:
            self._shown = ()

    def close(self) -> None:
        self._shown = ()

    def _fill_statuses(self, statuses: list[Status], measuring: bool) -> None:
        table, label = self.widgets.statusTable, self.widgets.summaryLabel
        rows = [
            (_(status.name), MEASURING, "")
            if measuring and status.color == GRAY
            else (_(status.name), STATUS_WORDS[status.color][0], status.value)
            for status in statuses
        ]
        show_rows(table, rows, [f"{status.value}\n{_('Within tolerance')}: {status.rule}" for status in statuses])
        for row, status in enumerate(statuses):
            table.item(row, 1).setForeground(qt.QBrush(qt.QColor(STATUS_WORDS[status.color][1])))
        label.visible = bool(statuses)
        if statuses:
            summary = overall(statuses)
            word, color = STATUS_WORDS[summary.color]
            label.text = f'<b style="color:{color}">\u25cf {word}</b> {escaped(summary.value)}'

    def _fill_locations(self, locations: list[dict[str, Any]]) -> None:
        self._locations = [flipped(location["position_lps_mm"]) for location in locations]
        self._fill(self.widgets.locationsTable, [location_cells(location) for location in locations])

    def _fill_structures(self, structures: list[dict[str, Any]]) -> None:
        places = [structure["lps_mm"] for structure in structures]
        self._structures = [None if place is None else flipped(place) for place in places]
        self._fill(self.widgets.structuresTable, [structure_cells(structure) for structure in structures])
        self.widgets.structuresTable.visible = bool(structures)
        width = max(BARS_WIDTH, self.box.width - 2 * MARGIN)
        pixmap = bars.draw(structures, width, self.root.palette)
        self.widgets.barsLabel.visible = pixmap is not None
        if pixmap is not None:
            self.widgets.barsLabel.pixmap = pixmap

    @staticmethod
    def _fill(table: Any, rows: Sequence[Sequence[str]]) -> None:
        """Show other rows, none of them selected."""
        with signals_blocked(table):
            table.clearSelection()
            show_rows(table, rows)

    def _opposite(self, run: Run) -> Run | None:
        """Return the newest run with fixed and moving exchanged, or None."""
        return way_back(run, self.context.runs.runs)

    # ------------------------------------------------------------------ where it is

    @staticmethod
    def _selected_row(table: Any, go: Callable[[int], None]) -> Callable[[], None]:
        return lambda: go(table.currentRow())

    @staticmethod
    def _clicked_row(go: Callable[[int], None]) -> Callable[[int, int], None]:
        return lambda row=0, column=0: go(row)

    def _go(self, positions_ras_mm: Sequence[Sequence[float] | None], row: int) -> None:
        if 0 <= row < len(positions_ras_mm) and positions_ras_mm[row] is not None:
            self.context.review.jump(positions_ras_mm[row])

    # ------------------------------------------------------------------ error maps

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
        node, rows = residuals(slicer.mrmlScene, self.context.runs.selected)
        node.GetDisplayNode().SetVisibility(True)
        worst = "; ".join(f"{row['name']}: {row['mm']:.1f} mm" for row in rows[:5])
        self.widgets.qualityLabel.text = as_text(_("Largest landmark errors: {worst}").format(worst=worst))
        self.context.review.jump(rows[0]["ras"])

    def show_inverse_consistency(self) -> None:
        """Map how far points end from where they began after both registrations."""
        run = self.context.runs.selected
        opposite = self._opposite(run)
        if opposite is None:
            raise ValueError(_("Register the two volumes in the opposite direction first."))
        node, metrics = consistency(slicer.mrmlScene, run, opposite)
        run.add_facts(both_ways=metrics)
        self.update()
        self.context.review.show_over(run, node)
        text = _("Inverse consistency with {name}: mean {mean:.2f} mm, largest {most:.2f} mm.")
        self.widgets.qualityLabel.text = as_text(
            text.format(name=opposite.name, mean=metrics["both_ways_mm"], most=metrics["both_ways_max_mm"])
        )

    def show_disagreement(self) -> None:
        """Map how far the checked runs disagree."""
        checked = self.context.runs.checked
        node, metrics = disagreement(slicer.mrmlScene, checked)
        self.context.review.show_over(checked[0], node)
        text = _("Disagreement of {count} results: mean {mean:.2f} mm, largest {most:.2f} mm.")
        self.widgets.qualityLabel.text = text.format(
            count=len(checked), mean=metrics["disagreement_mm"], most=metrics["disagreement_max_mm"]
        )

    def show_uncertainty(self) -> None:
        """Map how far the results of perturbed inputs disagree."""
        run = self.context.runs.selected
        run.need("uncertainty")
        self.context.review.show_over(run, run.get("uncertainty"))
        metrics = run.facts["metrics"]
        text = _("Uncertainty from perturbed runs: mean {mean:.2f} mm, 95% below {most:.2f} mm.")
        self.widgets.qualityLabel.text = text.format(mean=metrics["uncertainty_mm"], most=metrics["uncertainty_p95_mm"])
