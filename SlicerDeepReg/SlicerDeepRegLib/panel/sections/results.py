"""The results of the scene, to be compared, in a table that sorts. Qt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from ...mrml.runs import Run
from ..controls import set_columns, show_rows, signals_blocked
from ..section import BaseSection
from ..text import as_text
from ..titles import method_title, preset_title

#: Of each column: its heading, the metric (or a part of the facts), how it is written, and whether more is better.
COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], float | None], str], ...] = (
    (_("Dice"), lambda facts: facts.get("metrics", {}).get("dice"), "{:.3f}"),
    (_("HD95 (mm)"), lambda facts: facts.get("metrics", {}).get("hd95_mm"), "{:.1f}"),
    (_("TRE (mm)"), lambda facts: facts.get("metrics", {}).get("tre_mm"), "{:.2f}"),
    (_("NCC"), lambda facts: facts.get("metrics", {}).get("ncc"), "{:.3f}"),
    (_("Folding (%)"), lambda facts: facts.get("metrics", {}).get("folds_percent"), "{:.2g}"),
    (_("Time (s)"), lambda facts: facts.get("seconds_until_shown", facts.get("seconds")), "{:.0f}"),
)
NAME = _("Result")
TABLE_HEIGHT = 170


class ResultsSection(BaseSection):
    """Lists the runs of the scene; one is selected, several can be checked."""

    name = "results"
    ui = "Results.ui"
    order = 20
    container = "comparePage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._sorted_by: tuple[int, bool] | None = None  # column, and whether it ascends
        self._rows: list[Run] = []
        table = self.widgets.runsTable
        # A unit stands below its name: the panel is narrow, and the width is for the names of the results.
        titles = [title.replace(" (", "\n(") for title, _of, _form in COLUMNS]
        set_columns(table, (NAME, *titles), [0], TABLE_HEIGHT)
        table.connect("itemSelectionChanged()", self._row_selected)
        table.connect("itemChanged(QTableWidgetItem*)", lambda item=None: self._row_checked())
        table.horizontalHeader().connect("sectionClicked(int)", self._sort)

    # ------------------------------------------------------------------ the list

    def update(self) -> None:
        runs = self.context.runs.runs
        self._rows = self._in_order(runs)
        # Columns of what no result has are hidden: the panel is narrow.
        facts = [run.facts for run in self._rows]
        for column, (_title, of, _form) in enumerate(COLUMNS, start=1):
            self.widgets.runsTable.setColumnHidden(column, all(of(one) is None for one in facts))
        show_rows(self.widgets.runsTable, [_cells(run) for run in self._rows], [_about(run) for run in self._rows])
        self.selection_changed()

    def _in_order(self, runs: list[Run]) -> list[Run]:
        if self._sorted_by is None:
            return list(runs)
        column, ascending = self._sorted_by
        if column == 0:
            return sorted(runs, key=lambda run: run.name.casefold(), reverse=not ascending)
        of = COLUMNS[column - 1][1]
        values = {run: _finite(of(run.facts)) for run in runs}
        known = [run for run in runs if values[run] is not None]
        return sorted(known, key=lambda run: values[run], reverse=not ascending) + [
            run for run in runs if values[run] is None
        ]

    def _sort(self, column: int = 0) -> None:
        ascending = self._sorted_by != (column, True)
        self._sorted_by = (column, ascending)
        self.update()

    def selection_changed(self) -> None:
        table, runs = self.widgets.runsTable, self.context.runs
        selected, checked = runs.selected, runs.checked
        with signals_blocked(table):
            for row, run in enumerate(self._rows):
                item = table.item(row, 0)
                if item is not None:
                    item.setCheckState(qt.Qt.Checked if run in checked else qt.Qt.Unchecked)
            if selected in self._rows:
                table.selectRow(self._rows.index(selected))
            else:
                table.clearSelection()

    def _row_selected(self) -> None:
        row = self.widgets.runsTable.currentRow()
        run = self._rows[row] if 0 <= row < len(self._rows) else None
        self.context.select(run)
        if self.context.layouts.is_side_by_side:  # a blinded reading may go on there; the Review page shows the run
            return
        if run is not None and self.context.review.shown is not None:
            self.context.display.show(self.context.runs.selected)

    def _row_checked(self) -> None:
        items = [self.widgets.runsTable.item(row, 0) for row in range(len(self._rows))]
        found = [run for run, item in zip(self._rows, items) if item and item.checkState() == qt.Qt.Checked]
        checked = [run for run in self.context.runs.runs if run in found]
        if checked != self.context.runs.checked:
            self.context.check(checked)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def table_of(runs: Sequence[Run]) -> list[list[str]]:
    """Return the table of runs as it is saved, its headings first, values with six digits."""
    rows = [[NAME, _("Method"), _("Preset"), *(title for title, _of, _form in COLUMNS)]]
    for run in runs:
        facts = run.facts
        values = [_finite(of(facts)) for _title, of, _form in COLUMNS]
        about = [run.name, method_title(facts.get("method", "")), preset_title(facts.get("preset", ""))]
        rows.append([*about, *("" if value is None else f"{value:.6g}" for value in values)])
    return rows


def _cells(run: Run) -> list[str]:
    facts = run.facts
    values = [(_finite(of(facts)), form) for _title, of, form in COLUMNS]
    return [run.name, *("-" if value is None else form.format(value) for value, form in values)]


def _about(run: Run) -> str:
    facts = run.facts
    return as_text(f"{run.name}: {method_title(facts.get('method', ''))}, {preset_title(facts.get('preset', ''))}")
