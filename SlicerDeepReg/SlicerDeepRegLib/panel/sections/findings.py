"""Where the selected result is suspicious, its structures, and its stages: a click goes there. Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slicer.i18n import tr as _

from ...metrics.status import AMBER, OVERLAP, RED, SURFACES, Status, overall
from ...metrics.table import written
from ...mrml.nodes import flipped
from ...mrml.runs import Run
from ..controls import set_columns, show_rows, signals_blocked
from ..quality import location_cells, structure_cells
from ..section import BaseSection
from ..selection import complete
from ..session import Job
from ..titles import stage_title

TABLE_HEIGHT = 150
#: Metrics of a stage, in the order in which the first that was measured is shown.
OF_STAGES = (("tre_mm", "TRE {:.2f} mm"), ("dice", "Dice {:.3f}"), ("ncc", "NCC {:.3f}"))


class FindingsSection(BaseSection):
    """Lists locations, structures and stages of the selected run."""

    name = "findings"
    ui = "Findings.ui"
    order = 40
    container = "reviewPage"
    shortcuts = {"Ctrl+Alt+N": "go_to_next"}

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._shown: tuple[Any, ...] = ()  # what the tables were filled with
        self._locations: list[Sequence[float]] = []  # RAS mm of each row
        self._structures: list[Sequence[float] | None] = []
        self._names: list[str] = []  # of the structures
        self._opened: tuple[Any, ...] = ()  # the run whose tab was chosen, and whether it was measured then
        widgets = self.widgets
        for table, titles in (
            (widgets.locationsTable, (_("Finding"), _("Value"))),
            (widgets.structuresTable, (_("Segment"), _("Dice"), _("HD95 (mm)"), _("Volume (ml)"))),
            (widgets.stagesTable, (_("Stage"), _("Time"), _("Measured"))),
        ):
            set_columns(table, titles, [0], TABLE_HEIGHT)
        for table, go in (
            (widgets.locationsTable, lambda row: self._go(self._locations, row)),
            (widgets.structuresTable, self._go_to_structure),
            (widgets.stagesTable, self._show_stage),
        ):
            table.connect("itemSelectionChanged()", self._selected_row(table, go))
            table.connect("cellClicked(int,int)", self._clicked_row(go))
        widgets.onlyCheck.connect("toggled(bool)", lambda checked=False: self._draw_structures())

    # ------------------------------------------------------------------ what is shown

    def update(self) -> None:
        run = self.context.runs.selected
        is_there = complete(run)
        facts = run.facts if is_there else {}
        state = (run, is_there, *(str(facts.get(name)) for name in ("is_measured", "locations", "structures")))
        if state == self._shown:
            return
        self._shown = state
        self._fill_locations(facts.get("locations", []))
        self._fill_structures(facts.get("structures", []))
        self._fill_stages(facts.get("stages", []))
        if is_there and self._opened != (run, facts.get("is_measured")):
            self._opened = (run, facts.get("is_measured"))
            self._open_what_is_worst(run)

    def _open_what_is_worst(self, run: Run) -> None:
        """Open the structures where they decide the verdict, so that the first row is what has to be looked at."""
        statuses = [Status(**values) for values in run.facts.get("statuses", [])]
        worst = overall(statuses, run.facts.get("is_measured", True)).color
        decides = worst in (RED, AMBER) and any(
            status.color == worst for status in statuses if status.name in (OVERLAP, SURFACES)
        )
        tab = self.widgets.structuresTab if decides and self._names else self.widgets.findingsTab
        tabs = self.widgets.findingsTabs
        tabs.setCurrentIndex(tabs.indexOf(tab))

    def selection_changed(self) -> None:
        self.update()

    def progressed(self, job: Job) -> None:
        if job.run is not None and job.run == self.context.runs.selected:
            self.update()

    def view_changed(self) -> None:
        """Mark the stage that is shown."""
        table, stage = self.widgets.stagesTable, self.context.display.stage
        with signals_blocked(table):
            if stage is None:
                table.clearSelection()
            elif table.currentRow() != stage:
                table.selectRow(stage)

    def run_about_to_be_removed(self, run: Run) -> None:
        if self._shown and self._shown[0] == run:
            self._shown = ()

    def close(self) -> None:
        self._shown = self._opened = ()

    def _fill_locations(self, locations: list[dict[str, Any]]) -> None:
        self._locations = [flipped(location["position_lps_mm"]) for location in locations]
        rows = [location_cells(location) for location in locations]
        self._fill(self.widgets.locationsTable, rows)
        self._title("findingsTab", _("Findings"), len(rows))

    def _fill_structures(self, structures: list[dict[str, Any]]) -> None:
        def overlap(structure: dict[str, Any]) -> float:
            after = structure["dice"].get("after")
            return 2.0 if after is None else after

        structures = sorted(structures, key=overlap)  # those that were not measured come last
        places = [structure["lps_mm"] for structure in structures]
        self._structures = [None if place is None else flipped(place) for place in places]
        self._names = [structure["name"] for structure in structures]
        self.widgets.onlyCheck.enabled = bool(structures)
        self._fill(self.widgets.structuresTable, [structure_cells(structure) for structure in structures])
        self._title("structuresTab", _("Structures"), len(structures))

    def _fill_stages(self, stages: list[dict[str, Any]]) -> None:
        names = self.context.display.stage_names()
        by_name = {stage["name"]: stage for stage in stages}
        rows = [_stage_cells(name, by_name.get(name)) for name in names]
        self._fill(self.widgets.stagesTable, rows)
        self._title("stagesTab", _("Stages"), len(rows))

    def _title(self, tab: str, title: str, count: int) -> None:
        tabs = self.widgets.findingsTabs
        index = tabs.indexOf(vars(self.widgets)[tab])
        tabs.setTabText(index, f"{title} ({count})" if count else title)
        tabs.setTabEnabled(index, bool(count) or index == 0)

    @staticmethod
    def _fill(table: Any, rows: Sequence[Sequence[str]]) -> None:
        """Show other rows, none of them selected."""
        with signals_blocked(table):
            table.clearSelection()
            show_rows(table, rows, [" ".join(row) for row in rows])

    # ------------------------------------------------------------------ where it is

    @staticmethod
    def _selected_row(table: Any, go: Callable[[int], None]) -> Callable[[], None]:
        return lambda: go(table.currentRow())

    @staticmethod
    def _clicked_row(go: Callable[[int], None]) -> Callable[[int, int], None]:
        return lambda row=0, column=0: go(row)

    def go_to_next(self) -> None:
        """Center the views on the next finding; after the last one comes the first."""
        table = self.widgets.locationsTable
        if table.rowCount:
            row = (table.currentRow() + 1) % table.rowCount
            table.selectRow(row)
            self._go(self._locations, row)

    def _go(self, positions_ras_mm: Sequence[Sequence[float] | None], row: int) -> None:
        if 0 <= row < len(positions_ras_mm) and positions_ras_mm[row] is not None:
            self.context.review.jump(positions_ras_mm[row])

    def _go_to_structure(self, row: int) -> None:
        self._go(self._structures, row)
        self._draw_structures()

    def _draw_structures(self) -> None:
        """Draw the outlines of the selected structure, or of all."""
        row, outlines = self.widgets.structuresTable.currentRow(), self.context.review.outlines
        only = self.widgets.onlyCheck.checked and 0 <= row < len(self._names)
        outlines.only = self._names[row] if only else ""
        if self.context.review.shown is not None:
            self.context.display.look()

    def _show_stage(self, row: int) -> None:
        if row < 0 or row == self.context.display.stage:
            return
        self.context.take_views()
        try:
            self.context.display.show_stage(row)
        except ValueError as error:
            self.context.display.say_of_motion(_(str(error)))


def _stage_cells(name: str, stage: dict[str, Any] | None) -> tuple[str, str, str]:
    if stage is None:
        return stage_title(name), "", ""
    metrics = stage["metrics"]
    known = [written(metrics[key], form) for key, form in OF_STAGES if metrics.get(key) is not None]
    return stage_title(name), f"{stage['seconds']:.1f} s", known[0] if known else ""
