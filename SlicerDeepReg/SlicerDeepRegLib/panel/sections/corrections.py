"""Correct the selected result where it is wrong, and continue from it. Qt."""

from __future__ import annotations

import dataclasses
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...mrml.corrections import (
    Correction,
    begin_line,
    corrections_of,
    lines_of,
    remove_line,
    remove_lines,
    root_of,
    set_corrected,
    show_lines,
)
from ...mrml.nodes import flipped
from ...mrml.runs import Run
from ...types import InputError
from ..choice import Choice
from ..controls import set_columns, show_rows, signals_blocked
from ..section import BaseSection
from ..selection import complete
from ..session import Job

TABLE_HEIGHT = 90


class CorrectionsSection(BaseSection):
    """Lists the corrections of the selected result, and continues the registration with them."""

    name = "corrections"
    title = _("Correct")
    ui = "Corrections.ui"
    order = 45
    collapsed = True
    tool_tip = _("Where the result is wrong, show where a structure belongs; it is mended there in seconds.")
    container = "reviewPage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._corrections: list[Correction] = []
        self._ages: list[Any] = []
        widgets = self.widgets
        set_columns(widgets.correctionsTable, (_("Correction"), _("Distance (mm)")), [0], TABLE_HEIGHT)
        widgets.correctionsTable.connect("cellClicked(int,int)", lambda row=0, column=0: self._go(row))
        widgets.addCorrectionButton.connect("clicked(bool)", lambda checked=False: self.add())
        widgets.updateButton.connect("clicked(bool)", lambda checked=False: self.continue_result())
        widgets.undoCorrectionButton.connect("clicked(bool)", lambda checked=False: self.undo())

    # ------------------------------------------------------------------ what is shown

    def update(self) -> None:
        run, widgets = self.context.runs.selected, self.widgets
        is_there = complete(run)
        self._corrections = corrections_of(slicer.mrmlScene, run) if is_there else []
        ages = [(line.node.GetID(), round(line.length_mm, 2), line.node.GetName()) for line in self._corrections]
        if ages != self._ages:
            self._ages = ages
            with signals_blocked(widgets.correctionsTable):
                rows = [(name.split(": ")[-1], f"{length:.1f}") for _identifier, length, name in ages]
                show_rows(widgets.correctionsTable, rows, [" ".join(row) for row in rows])
        free = is_there and not self.context.session.busy
        widgets.addCorrectionButton.enabled = free
        widgets.updateButton.enabled = free and bool(self._corrections)
        widgets.undoCorrectionButton.enabled = free and bool(lines_of(slicer.mrmlScene, run)) if is_there else False

    def choice_changed(self) -> None:
        self.update()  # the ends of a line were dragged, perhaps

    def watched(self) -> list[Any]:
        run = self.context.runs.selected
        return lines_of(slicer.mrmlScene, run) if complete(run) else []

    def selection_changed(self) -> None:
        show_lines(slicer.mrmlScene, self.context.runs.selected)
        self.update()

    def run_about_to_be_removed(self, run: Run) -> None:
        if root_of(run) == run:
            remove_lines(slicer.mrmlScene, run)

    def close(self) -> None:
        self._corrections, self._ages = [], []

    def _go(self, row: int) -> None:
        if 0 <= row < len(self._corrections):
            self.context.review.jump(flipped(self._corrections[row].belongs_lps_mm))

    # ------------------------------------------------------------------ the user

    def add(self) -> None:
        """Let the user draw a correction."""
        run = self.context.runs.selected
        if not complete(run):
            return
        begin_line(slicer.mrmlScene, run)
        self.context.say(_("Click a structure where the warped volume shows it, then the place where it belongs."))
        self.update()

    def continue_result(self) -> None:
        """Continue the registration of the selected result around its corrections."""
        run = self.context.runs.selected
        if not complete(run):
            return
        self.update()
        root = root_of(run)
        chosen = self.context.choice()
        if (chosen.fixed, chosen.moving) != (root.get("fixed"), root.get("moving")):
            chosen = Choice(device=chosen.device, preset=chosen.preset)  # what is chosen belongs to other volumes
        choice = dataclasses.replace(
            chosen,
            fixed=root.get("fixed"),
            moving=root.get("moving"),
            method="svf",
            settings={},
            initial=None,
            start="",
            uncertainty_runs=0,
            guide_points_mm=None,
            guide_structures=(),
            held_points=(),
            fixed_rigid=None,
            fixed_surface=None,
            moving_surface=None,
            continued=root,
            corrections=tuple(self._corrections),
        )
        try:
            self.context.begin(choice, _("{name}, corrected").format(name=root.name))
        except InputError as error:
            self.context.error(str(error))

    def undo(self) -> None:
        """Remove the last correction, and the result that was made with it."""
        run = self.context.runs.selected
        lines = lines_of(slicer.mrmlScene, run) if complete(run) else []
        if not lines:
            return
        root = root_of(run)
        corrections = [correction.node for correction in corrections_of(slicer.mrmlScene, run)]
        made_with = run.facts.get("corrections", [])
        is_drawn = lines[-1] in corrections  # a line with one end was used by no result
        goes = is_drawn and run != root and len(made_with) >= len(corrections)
        if goes and run.permanent:
            text = _("{name} was made with this correction and is locked. Unlock it to undo the correction.")
            self.context.say(text.format(name=run.name))
            return
        remove_line(slicer.mrmlScene, lines[-1])
        if goes:
            earlier = [
                other
                for other in self.context.runs.runs
                if other != run
                and root_of(other) == root
                and len(other.facts.get("corrections", [])) < len(corrections)
            ]
            self.context.remove(run)
            self.context.runs.read()
            before = max(earlier, key=lambda other: len(other.facts.get("corrections", [])), default=root)
            self.context.select(before)
            self.context.display.show(before)
        self.context.update()

    def progressed(self, job: Job) -> None:
        self._store(job)

    def finished(self, job: Job) -> None:
        self._store(job)
        self.update()

    @staticmethod
    def _store(job: Job) -> None:
        """Store with a corrected run which run it corrects, and how."""
        run, choice = job.run, job.choice
        if run is None or choice.continued is None or run.node.GetScene() is None:
            return
        if root_of(run) == run:
            set_corrected(run, choice.continued)
            run.add_facts(
                corrections=[
                    {
                        "shown_lps_mm": correction.shown_lps_mm.tolist(),
                        "belongs_lps_mm": correction.belongs_lps_mm.tolist(),
                    }
                    for correction in choice.corrections
                ]
            )
