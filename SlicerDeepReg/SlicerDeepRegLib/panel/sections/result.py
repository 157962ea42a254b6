"""Which result is reviewed, and its name. Qt."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...mrml.removed import Removed
from ...mrml.runs import Run, rename
from ..controls import signals_blocked
from ..section import BaseSection
from ..session import Job
from ..text import as_text
from ..titles import method_title, preset_title, stage_title

LOCKED = "\U0001f512 "


class ResultSection(BaseSection):
    """Chooses the result that the page is about."""

    name = "result"
    ui = "Result.ui"
    order = 10
    container = "reviewPage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self._deleted: Removed | None = None  # until the next registration
        widgets = self.widgets
        widgets.resultCombo.connect("currentIndexChanged(int)", lambda index=0: self._chosen())
        widgets.renameButton.connect("clicked(bool)", lambda checked=False: self.rename())
        widgets.lockButton.connect("clicked(bool)", self.lock)
        widgets.deleteButton.connect("clicked(bool)", lambda checked=False: self.delete())
        widgets.undoDeleteButton.connect("clicked(bool)", lambda checked=False: self.undo_delete())

    def update(self) -> None:
        combo, runs = self.widgets.resultCombo, self.context.runs.runs
        titles = [(LOCKED if run.permanent else "") + run.name for run in runs] or [_("No result yet: press Apply")]
        if [combo.itemText(row) for row in range(combo.count)] != titles:
            with signals_blocked(combo):
                combo.clear()
                for title in titles:
                    combo.addItem(title)
        self.selection_changed()

    def selection_changed(self) -> None:
        widgets, runs = self.widgets, self.context.runs
        selected = runs.selected
        with signals_blocked(widgets.resultCombo, widgets.lockButton):
            nothing = -1 if runs.runs else 0  # the only entry then says what to do
            widgets.resultCombo.setCurrentIndex(runs.runs.index(selected) if selected in runs.runs else nothing)
            widgets.lockButton.checked = selected is not None and selected.permanent
        widgets.resultCombo.enabled = bool(runs.runs)
        about = _("The registrations in this scene. Choose one to show it.")
        widgets.resultCombo.toolTip = about if selected is None else as_text(_run_text(selected))
        for button in (widgets.renameButton, widgets.lockButton, widgets.deleteButton):
            button.enabled = selected is not None
        widgets.undoDeleteButton.visible = self._deleted is not None

    def _chosen(self) -> None:
        row, runs = self.widgets.resultCombo.currentIndex, self.context.runs.runs
        if 0 <= row < len(runs):
            self.context.select(runs[row])
            self.context.display.show(runs[row])

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
        """Delete the selected run if the user agrees."""
        run = self.context.runs.selected
        if run is None:
            return
        question = (
            _("{name} is locked. Delete it anyway?")
            if run.permanent
            else _("Delete {name} and the nodes that it created? Your own volumes are kept.")
        )
        undone = _("Undo delete brings it back until the next registration.")
        if not self.context.confirm(f"{question.format(name=run.name)}\n\n{undone}"):
            return
        name = run.name
        self._deleted = self.context.remove(run)
        self.context.update()
        self.context.say(_("{name} was deleted. Undo delete brings it back.").format(name=name))

    def undo_delete(self) -> None:
        """Put back the result that was deleted last."""
        deleted, self._deleted = self._deleted, None
        if deleted is None:
            return
        run = deleted.put_back()
        self.context.update()
        self.context.select(run)
        self.context.say(_("{name} is back.").format(name=run.name))

    def started(self, job: Job) -> None:
        self._forget()

    def close(self) -> None:
        if self._deleted is not None:
            self.context.say("")
        self._forget()

    def _forget(self) -> None:
        """Let go of what was deleted: its nodes take memory."""
        self._deleted = None
        self.selection_changed()


def _run_text(run: Run) -> str:
    """Return everything about a run in a few lines."""
    facts = run.facts
    method, preset = facts.get("title", ""), preset_title(facts.get("preset", ""))
    lines = [run.name, f"{method_title(facts.get('method', '')) or method}, {preset}, {facts.get('device', '')}"]
    if "seconds_until_shown" in facts:
        text = _("{shown:.1f} s from Apply to the result, including {method:.1f} s for the method")
        method_s = facts.get("seconds_by_part", {}).get("method", 0.0)
        lines.append(text.format(shown=facts["seconds_until_shown"], method=method_s))
    lines += [f"{stage_title(stage['name'])}: {stage['seconds']:.1f} s" for stage in facts.get("stages", [])]
    lines += facts.get("notes", [])
    return "\n".join(lines)
