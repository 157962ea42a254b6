"""Whether the selected result is within tolerance: one line, and each measure below it. Qt."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from ...metrics.status import GRAY, Status, overall
from ...mrml.runs import Run
from ..quality import STATUS_WORDS, measure_text, run_statuses
from ..section import BaseSection
from ..selection import complete
from ..session import Job
from ..text import as_text, escaped

#: What is said in the place of a measure that is still to come.
MEASURING = _("Measuring...")


class VerdictSection(BaseSection):
    """Says how good the selected run is.

    Attributes:
        shown: (measure, word of its status, value) of each line.
    """

    name = "verdict"
    ui = "Verdict.ui"
    order = 20
    container = "reviewPage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self.shown: list[tuple[str, str, str]] = []
        self._state: tuple[Any, ...] = ()  # what the labels were filled with

    def update(self) -> None:
        run = self.context.runs.selected
        is_there = complete(run)
        measuring = self.context.launcher.measures(run)
        facts = run.facts if is_there else {}
        theme = self.root.palette.color(qt.QPalette.Base).name()
        told = [str(facts.get(name)) for name in ("both_ways", "is_measured", "statuses", "metrics")]
        state = (run, is_there, measuring, told, theme)
        if state == self._state:
            return
        self._state = state
        statuses = run_statuses(run) if is_there else []
        self.shown = [
            (_(status.name), MEASURING, "")
            if measuring and status.color == GRAY
            else (_(status.name), STATUS_WORDS[status.color][0], status.value)
            for status in statuses
        ]
        widgets = self.widgets
        widgets.summaryLabel.text = (
            _summary(statuses, measuring, facts.get("is_measured", True)) if is_there or run is None else _lost(run)
        )
        lines = [
            _line(status, word, measure_text(status, facts))
            for status, (_name, word, _value) in zip(statuses, self.shown)
        ]
        widgets.measuresLabel.text = "<br>".join(lines)
        tips = [
            f"{name}: {value or word}\n{_('Within tolerance')}: {status.rule}"
            for status, (name, word, value) in zip(statuses, self.shown)
        ]
        about = _("Each measure with its status, before and after registration.")
        widgets.measuresLabel.toolTip = as_text("\n\n".join(tips)) if tips else about

    def selection_changed(self) -> None:
        self.update()

    def progressed(self, job: Job) -> None:
        if job.run is not None and job.run == self.context.runs.selected:
            self.update()  # as more is measured

    def close(self) -> None:
        self._state = ()


def _summary(statuses: list[Status], measuring: bool, is_whole: bool) -> str:
    if not statuses:
        return escaped(_("Register two volumes on the Register page, or choose a result."))
    summary = overall(statuses, is_whole)
    word, color = STATUS_WORDS[summary.color]
    value = summary.value
    if measuring:
        if summary.color == GRAY or all(status.color == GRAY for status in statuses[:3]):
            word, color = MEASURING, STATUS_WORDS[GRAY][1]
        value = ""
    return f'<b style="color:{color}">\u25cf {word.upper()}</b> {escaped(value)}'


def _lost(run: Run) -> str:
    """Say what of a result is gone, without which it cannot be judged."""
    gone = [
        title for role, title in (("fixed", _("fixed volume")), ("warped", _("warped volume"))) if run.get(role) is None
    ]
    text = _("{name} has lost its {volumes}. Register again.")
    return escaped(text.format(name=run.name, volumes=_(" and its ").join(gone)))


def _line(status: Status, word: str, text: str) -> str:
    """Return a measure as a line: a dot in the color of its status, its name, its value; the word where it is bad."""
    said = escaped(text)
    if word == MEASURING or status.color == GRAY:
        said = escaped(word)
    return f'<span style="color:{STATUS_WORDS[status.color][1]}">\u25cf</span> {escaped(_(status.name))}: {said}'
