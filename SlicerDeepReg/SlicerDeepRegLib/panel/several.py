"""Several methods, one after another, on the pair in the panel; then their runs side by side. Qt."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Dict, List

import qt
import slicer
from slicer.i18n import tr as _

from ..catalog import card
from ..mrml.runs import Run
from ..mrml.side_by_side import FEWEST, MOST, SideBySide
from ..types import InputError
from .blind import LETTERS, TABLE, keep_ranking, read_ranking, shuffled
from .choice import Choice


class Several:
    """The list of methods, and the round through it.

    Args:
        panel: its controls, session and results.
        beside: shows runs beside each other.
    """

    def __init__(self, panel, beside: SideBySide) -> None:
        self.panel, self.beside, self.ui = panel, beside, panel.ui
        self._waiting: List[Dict[str, Any]] = []
        self._done: List[Run] = []
        self._failed: List[str] = []
        self.running = False
        table = self.ui.methodsTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Method"), _("Preset")])
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        table.verticalHeader().hide()
        table.setMaximumHeight(110)
        self.ui.addMethodButton.connect("clicked(bool)", lambda checked=False: self.add())
        self.ui.clearMethodsButton.connect("clicked(bool)", lambda checked=False: self._set([]))
        self.ui.runMethodsButton.connect("clicked(bool)", lambda checked=False: self.start())
        self.ui.besideButton.connect("clicked(bool)", lambda checked=False: self.show(self.panel.results.checked()))
        self.ui.rankButton.connect("clicked(bool)", lambda checked=False: self.rank())
        self.ui.layoutButton.connect("clicked(bool)", lambda checked=False: self.restore())

    # ------------------------------------------------------------------ the list

    def methods(self) -> List[Dict[str, Any]]:
        """What the parameter node remembers: method, preset and settings of each."""
        try:
            found = json.loads(self.panel.parameters.methods or "[]")
        except (AttributeError, ValueError):
            return []
        return [one for one in found if isinstance(one, dict) and {"method", "preset", "settings"} <= set(one)]

    def add(self) -> None:
        """Put the method that is chosen above, with its preset and numbers, into the list."""
        choice = self.panel.choice()
        one = {"method": choice.method, "preset": choice.preset, "settings": dict(choice.settings)}
        if one not in self.methods():
            self._set([*self.methods(), one])

    def _set(self, methods: List[Dict[str, Any]]) -> None:
        if self.panel.parameters is not None:
            self.panel.parameters.methods = json.dumps(methods)

    def update(self) -> None:
        """Make the controls show the list, the runs and the round."""
        methods, table = self.methods(), self.ui.methodsTable
        table.setRowCount(len(methods))
        for row, one in enumerate(methods):
            settings = ", ".join(f"{name} {value}" for name, value in one["settings"].items())
            for column, text in enumerate((_title(one["method"]), one["preset"])):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{one['method']}. {settings}" if settings else one["method"])
                table.setItem(row, column, item)
        free = not self.panel.session.busy and not self.running
        self.ui.addMethodButton.enabled = free
        self.ui.clearMethodsButton.enabled = free and bool(methods)
        self.ui.runMethodsButton.enabled = free and bool(methods) and self.panel.ui.applyButton.enabled
        self.update_beside()

    def update_beside(self) -> None:
        """The buttons of the side by side view."""
        self.ui.besideButton.enabled = 2 <= len(self.panel.results.checked()) <= MOST and not self.running
        self.ui.layoutButton.enabled = bool(self.beside.shown)
        reading = bool(self.beside.shown) and self.beside.blind is not None
        self.ui.rankingEdit.enabled = self.ui.rankButton.enabled = reading

    # ------------------------------------------------------------------ the round

    def start(self) -> None:
        """Register with every method of the list, one after another."""
        if self.running or self.panel.session.busy:
            return
        self._waiting, self._done, self._failed = self.methods(), [], []
        self.running = bool(self._waiting)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            one = self._waiting.pop(0)
            if self.panel.begin(self._choice(one), name=_title(one["method"])):
                return
            if not self.running:  # the user said no to what it needs
                return
            self._failed.append(one["method"])
        self._end()

    def _choice(self, one: Dict[str, Any]) -> Choice:
        return dataclasses.replace(
            self.panel.choice(), method=one["method"], preset=one["preset"], settings=dict(one["settings"])
        )

    def finished(self, job) -> None:
        """A job of the round is over: the next, or the end."""
        if not self.running:
            return
        if job.state == "done":
            self._done.append(job.run)
        elif job.state == "canceled":
            self._waiting = []
        else:
            self._failed.append(f"{job.choice.method}: {job.text}")
        self._next()

    def stop(self) -> None:
        """Nothing more is begun."""
        self._waiting, self.running = [], False

    def _end(self) -> None:
        self.running = False
        self.panel.update()
        if self._failed:
            self.ui.stageLabel.text = _("Not done: {names}").format(names="; ".join(self._failed))
        if len(self._done) >= 2:
            self.panel.results.check(self._done[-MOST:])
            self.show(self._done[-MOST:])

    # ------------------------------------------------------------------ side by side

    def show(self, runs: List[Run]) -> None:
        """Put runs beside each other in linked views; for a blind reading in a random order and without names."""
        blind = self.ui.blindCheck.checked and FEWEST <= len(runs) <= MOST
        try:
            if blind:
                self.beside.show(shuffled(runs), list(LETTERS[: len(runs)]))
            else:
                self.beside.show(runs)
        except ValueError as error:
            slicer.util.errorDisplay(_(str(error)), windowTitle=_("DeepReg"))
        self.update_beside()

    def rank(self) -> None:
        """Keep the reader's ranking, then tell which run was which."""
        runs = list(self.beside.shown)
        try:
            ranking = read_ranking(self.ui.rankingEdit.text, len(runs))
        except InputError as error:
            slicer.util.errorDisplay(_(str(error)), windowTitle=_("DeepReg"))
            return
        keep_ranking(slicer.mrmlScene, runs, ranking)
        self.ui.rankingEdit.text = ""
        self.beside.show(runs)
        best = runs[ranking[0]]
        self.ui.legendLabel.text = _("Kept in the table {table}. The best was {name}.").format(
            table=TABLE, name=f"{best.name}, {_title(best.facts.get('method', ''))}"
        )
        self.update_beside()

    def restore(self) -> None:
        """The layout that was there before."""
        self.beside.restore()
        self.update_beside()


def _title(method: str) -> str:
    try:
        return card(method).title
    except InputError:  # a model that was taken away
        return method
