"""The list of results, and what can be done with the selected one. Qt."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...metrics.table import written
from ...mrml.runs import Run, rename
from ..controls import set_columns, show_rows, signals_blocked
from ..section import BaseSection
from ..titles import method_title, preset_title, stage_title

HEADINGS = (_("Name"), _("Method"), _("Time"), _("NCC"), _("Folding (%)"))


class ResultsSection(BaseSection):
    """Lists the runs of the scene; one is selected, several can be checked."""

    name = "results"
    title = _("Results")
    ui = "Results.ui"
    order = 50

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        widgets, table = self.widgets, self.widgets.runsTable
        set_columns(table, HEADINGS, (0, 1), 120)
        table.connect("itemSelectionChanged()", self._row_selected)
        table.connect("itemChanged(QTableWidgetItem*)", lambda item=None: self._row_checked())
        widgets.showButton.connect("clicked(bool)", lambda checked=False: self.show())
        widgets.renameButton.connect("clicked(bool)", lambda checked=False: self.rename())
        widgets.lockButton.connect("clicked(bool)", self.lock)
        widgets.deleteButton.connect("clicked(bool)", lambda checked=False: self.delete())

    # ------------------------------------------------------------------ the list

    def update(self) -> None:
        runs = self.context.runs.runs
        show_rows(self.widgets.runsTable, [_cells(run) for run in runs], [_run_text(run) for run in runs])
        self.selection_changed()

    def selection_changed(self) -> None:
        table, runs = self.widgets.runsTable, self.context.runs
        selected, checked = runs.selected, runs.checked
        with signals_blocked(table):
            for row, run in enumerate(runs.runs):
                item = table.item(row, 0)
                if item is not None:
                    item.setCheckState(qt.Qt.Checked if run in checked else qt.Qt.Unchecked)
            if selected is None:
                table.clearSelection()
            else:
                table.selectRow(runs.runs.index(selected))
        widgets = self.widgets
        for button in (widgets.showButton, widgets.renameButton, widgets.lockButton, widgets.deleteButton):
            button.enabled = selected is not None
        with signals_blocked(widgets.lockButton):
            widgets.lockButton.checked = selected is not None and selected.permanent

    def _row_selected(self) -> None:
        runs, row = self.context.runs.runs, self.widgets.runsTable.currentRow()
        run = runs[row] if 0 <= row < len(runs) else None
        self.context.select(run)
        if run is not None and self.context.review.shown is not None:
            self.context.display.show(self.context.runs.selected)

    def _row_checked(self) -> None:
        table, runs = self.widgets.runsTable, self.context.runs
        items = [table.item(row, 0) for row in range(len(runs.runs))]
        checked = [run for run, item in zip(runs.runs, items) if item and item.checkState() == qt.Qt.Checked]
        if checked != runs.checked:
            self.context.check(checked)

    # ------------------------------------------------------------------ the buttons

    def show(self) -> None:
        """Show the selected run in the slice views."""
        self.context.display.show(self.context.runs.selected)

    def rename(self) -> None:
        """Ask for another name of the selected run."""
        run = self.context.runs.selected
        if run is None:
            return
        window = slicer.util.mainWindow()
        name = qt.QInputDialog.getText(window, _("Rename"), _("Name of the result:"), qt.QLineEdit.Normal, run.name)
        if name and name.strip():
            rename(slicer.mrmlScene, run, name.strip())
            self.context.update()

    def lock(self, locked: bool) -> None:
        """Lock the selected run, or unlock it."""
        run = self.context.runs.selected
        if run is not None:
            run.set_permanent(locked)
            self.context.update()

    def delete(self) -> None:
        """Delete the selected run; ask first if it is locked."""
        run = self.context.runs.selected
        if run is None:
            return
        question = _("{name} is locked. Delete it anyway?").format(name=run.name)
        if run.permanent and not self.context.confirm(question):
            return
        self.context.remove(run)
        self.context.update()


def _cells(run: Run) -> list[str]:
    facts = run.facts
    metrics = facts.get("metrics", {})
    return [
        ("\U0001f512 " if run.permanent else "") + run.name,
        method_title(facts.get("method", "")),
        f"{facts.get('seconds_until_shown', facts.get('seconds', 0)):.0f} s",
        written(metrics.get("ncc"), "{:.3f}"),
        written(metrics.get("folds_percent"), "{:.2g}"),
    ]


def _run_text(run: Run) -> str:
    """Return everything about a run in a few lines."""
    facts = run.facts
    method, preset = facts.get("title", ""), preset_title(facts.get("preset", ""))
    lines = [run.name, f"{method}, {preset}, {facts.get('device', '')}"]
    if "seconds_until_shown" in facts:
        text = _("{shown:.1f} s from Apply to the result, {method:.1f} s of them of the method")
        method_s = facts.get("seconds_by_part", {}).get("method", 0.0)
        lines.append(text.format(shown=facts["seconds_until_shown"], method=method_s))
    lines += [f"{stage_title(stage['name'])}: {stage['seconds']:.1f} s" for stage in facts.get("stages", [])]
    lines += facts.get("notes", [])
    return "\n".join(lines)
