"""The checked results side by side, and a blinded reading of them. Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from ...files.atomic import reason
from ...mrml.error_maps import disagreement
from ...mrml.runs import Run
from ...mrml.side_by_side import FEWEST, MOST, SideBySide
from ...types import InputError
from ..blinded import LETTERS, TABLE, read_ranking, save_ranking, shuffled
from ..reporting import ask_table, write_table
from ..section import BaseSection
from ..session import Job
from ..text import as_text, show_error
from ..titles import method_title, preset_title
from .results import table_of


class SideBySideSection(BaseSection):
    """Shows runs in linked views, under letters and in random order for a blinded reading.

    Attributes:
        views: arranges and fills the views.
    """

    name = "side_by_side"
    ui = "SideBySide.ui"
    order = 30
    container = "comparePage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self.views = SideBySide(context.layouts)
        widgets = self.widgets
        self._tip = widgets.sideBySideButton.toolTip
        widgets.sideBySideButton.connect("clicked(bool)", lambda checked=False: self.compare(context.runs.checked))
        widgets.leaveSideBySideButton.connect("clicked(bool)", lambda checked=False: self.restore())
        widgets.saveRankingButton.connect("clicked(bool)", lambda checked=False: self.rank())
        widgets.saveTableButton.connect("clicked(bool)", lambda checked=False: self.save_table())
        widgets.disagreementButton.connect("clicked(bool)", lambda checked=False: self.show_disagreement())

    def bind(self, parameters: Any | None) -> None:
        if parameters is not None:
            self.views.recover()

    def update(self) -> None:
        self.views.refresh()
        widgets, shown = self.widgets, bool(self.views.shown)
        count, free = len(self.context.runs.checked), not self.context.launcher.unattended
        widgets.sideBySideButton.enabled = free and FEWEST <= count <= MOST
        few_or_many = _("Check one to four results in the table.")
        widgets.sideBySideButton.toolTip = self._tip if FEWEST <= count <= MOST else few_or_many
        widgets.leaveSideBySideButton.enabled = shown
        widgets.disagreementButton.enabled = count >= 2
        widgets.saveTableButton.enabled = bool(self.context.runs.runs)
        widgets.rankingEdit.enabled = widgets.saveRankingButton.enabled = shown and self.views.blind is not None

    def selection_changed(self) -> None:
        self.update()

    def view_changed(self) -> None:
        self.update()

    def started(self, job: Job) -> None:
        self.update()

    def compare(self, runs: Sequence[Run]) -> None:
        blinded = self.widgets.blindedCheck.checked and 2 <= len(runs) <= MOST  # one has nothing to be told from
        try:
            if blinded:
                self.views.show(shuffled(runs), list(LETTERS[: len(runs)]))
            else:
                self.views.show(runs)
        except ValueError as error:
            show_error(_(str(error)))
        self.update()

    def rank(self) -> None:
        """Save the reader's ranking, then reveal which run was which."""
        runs = list(self.views.shown)
        try:
            ranking = read_ranking(self.widgets.rankingEdit.text, len(runs))
        except InputError as error:
            show_error(_(str(error)))
            return
        save_ranking(slicer.mrmlScene, [_described(runs[index]) for index in ranking])
        self.widgets.rankingEdit.text = ""
        try:
            self.views.show(runs)
        except ValueError:  # a volume was removed meanwhile: the ranking is saved, and the names can be told
            self.views.restore()
        text = _("Saved in the table {table}. Ranked first: {best}.")
        self._say(text.format(table=TABLE, best=_described(runs[ranking[0]])))
        self.update()

    def show_disagreement(self) -> None:
        """Map how far the checked runs disagree."""
        checked = self.context.runs.checked
        self.context.take_views()
        try:
            node, metrics = disagreement(slicer.mrmlScene, checked)
        except ValueError as error:
            self._say(_(str(error)))
            return
        try:
            self.context.display.show_map(checked[0], node)
        except ValueError as error:
            self._say(_(str(error)))
            return
        self.update()
        text = _("Disagreement of {count} results: mean {mean:.2f} mm, largest {most:.2f} mm.")
        self._say(text.format(count=len(checked), mean=metrics["disagreement_mm"], most=metrics["disagreement_max_mm"]))

    def save_table(self) -> None:
        """Write the table of all results as CSV where the user chooses."""
        path = ask_table()
        if path is None:
            return
        try:
            write_table(path, table_of(self.context.runs.runs))
        except OSError as error:
            text = _("The table could not be written to {path}: {error}. Choose another folder.")
            show_error(text.format(path=path, error=reason(error)))
            return
        self._say(_("The table was saved as {path}").format(path=path))

    def _say(self, text: str) -> None:
        self.widgets.compareLabel.text = as_text(text)

    def restore(self) -> None:
        """Restore the layout that was there before."""
        self.views.restore()
        self.update()

    def run_about_to_be_removed(self, run: Run) -> None:
        self.views.forget(run)

    def close(self) -> None:
        if self.views.shown:
            self.views.restore()


def _described(run: Run) -> str:
    facts = run.facts
    how = [method_title(facts.get("method", "")), preset_title(facts.get("preset", ""))]
    more = [part for part in how if part and part not in run.name]  # several methods' results are named after them
    return f"{run.name} ({', '.join(more)})" if more else run.name
