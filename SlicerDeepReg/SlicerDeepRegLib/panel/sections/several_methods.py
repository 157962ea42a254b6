"""Several methods, one after another, on the chosen pair; then their results side by side. Qt."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import qt
from slicer.i18n import tr as _

from ...methods.menu import NOT_INSTALLED, menu
from ...mrml.runs import Run
from ...mrml.side_by_side import MOST
from ...types import InputError
from ..choice import Choice
from ..controls import signals_blocked
from ..section import BaseSection
from ..session import Job
from ..text import as_text, escaped
from ..titles import method_title, preset_title, stage_title

LIST_HEIGHT = 210


class SeveralMethodsSection(BaseSection):
    """The list of methods, and the round through it.

    Attributes:
        running: whether a round is going on.
    """

    name = "several_methods"
    title = _("Run several methods")
    ui = "SeveralMethods.ui"
    order = 10
    container = "comparePage"

    class Parameters:
        """``methods`` is JSON: the names of the methods that are checked."""

        methods: str = "[]"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self.running = False
        self._waiting: list[str] = []
        self._pair: Choice | None = None  # what the round is about, as it was chosen when it began
        self._done: list[Run] = []
        self._failed: list[str] = []
        self._said = ""  # how the last round ended, and what was chosen then
        self._said_of: tuple[Any, ...] = ()
        self._items: dict[str, Any] = {}  # of the list, by the method's name
        self._groups: list[tuple[str, list[str]]] = []
        widgets = self.widgets
        self._tip = widgets.runMethodsButton.toolTip
        widgets.methodsTree.setMaximumHeight(LIST_HEIGHT)
        widgets.methodsTree.connect("itemChanged(QTreeWidgetItem*,int)", lambda item=None, column=0: self._checked())
        widgets.clearMethodsButton.connect("clicked(bool)", lambda checked=False: self._set([]))
        widgets.runMethodsButton.connect("clicked(bool)", lambda checked=False: self.run())
        self._fill()

    # ------------------------------------------------------------------ the list

    def methods(self) -> list[str]:
        """Return the names that the parameter node keeps, of methods that are listed, in the order of the list."""
        if self.parameters is None:
            return []
        try:
            kept = json.loads(self.parameters.methods or "[]")
        except ValueError:
            return []
        return [name for name in self._items if isinstance(kept, list) and name in kept]

    def _fill(self) -> None:
        """List the methods in groups, those that are not installed last and gray."""
        groups = [(title, [offered.name for offered in part]) for title, part in menu().items()]
        if groups == self._groups:
            return
        tree, self._groups = self.widgets.methodsTree, groups
        with signals_blocked(tree):
            tree.clear()
            self._items = {}
            for title, part in menu().items():
                group = qt.QTreeWidgetItem()
                group.setText(0, _(title))
                group.setFlags(qt.Qt.ItemIsEnabled)
                tree.addTopLevelItem(group)
                for offered in part:
                    item = qt.QTreeWidgetItem()
                    item.setText(0, _(offered.title))
                    item.setToolTip(0, as_text(_(offered.card.summary)))
                    if title == NOT_INSTALLED:
                        item.setFlags(qt.Qt.NoItemFlags)
                        item.setToolTip(0, as_text(_(offered.missing().sentence)))
                    else:
                        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                        item.setCheckState(0, qt.Qt.Unchecked)
                        self._items[offered.name] = item
                    group.addChild(item)
                group.setExpanded(title != NOT_INSTALLED)

    def entered(self) -> None:
        """List the networks that are there now: the user may have added one since."""
        self._fill()

    def _checked(self) -> None:
        self._set([name for name, item in self._items.items() if item.checkState(0) == qt.Qt.Checked])

    def _set(self, methods: list[str]) -> None:
        if self.parameters is not None:
            self.parameters.methods = json.dumps(methods)

    def update(self) -> None:
        checked = self.methods()
        with signals_blocked(self.widgets.methodsTree):
            for name, item in self._items.items():
                item.setCheckState(0, qt.Qt.Checked if name in checked else qt.Qt.Unchecked)
        self.choice_changed()

    def choice_changed(self) -> None:
        widgets, methods = self.widgets, self.methods()
        free = not self.context.session.busy and not self.running
        error = self._error(methods) if free else ""
        widgets.methodsTree.enabled = free
        widgets.clearMethodsButton.enabled = free and bool(methods)
        ready = free and bool(methods) and not error and not self.context.launcher.installing
        widgets.runMethodsButton.enabled = ready or self.running
        widgets.runMethodsButton.text = _("Cancel") if self.running else _("Run selected")
        if self.running:
            return
        widgets.runMethodsButton.toolTip = self._tip if ready else _("Choose two volumes, and check a method.")
        choice = self.context.choice() if self.parameters is not None else Choice()
        if self._said and self._said_of != _about(choice, methods):
            self._said = ""  # of another pair, or of other methods
        widgets.severalLabel.text = self._said or _hint(choice, error)

    def _error(self, methods: list[str]) -> str:
        """Return why none of the methods can be run, in words; "" where one can, or where there is nothing to run.

        What only matters to the method of the page Register, or to the outputs that are chosen there, is no reason.
        """
        if self.parameters is None:
            return ""
        pair = _pair_of(self.context.choice())
        first = ""
        for name in methods or [pair.method]:
            found = self.context.findings_of(_with_method(pair, name))
            errors = [_(finding.sentence) for finding in found if finding.severity == "error"]
            if not errors:
                return ""
            first = first or errors[0]
        return first

    def started(self, job: Job) -> None:
        self.choice_changed()

    def progressed(self, job: Job) -> None:
        if self.running:
            done = len(self._done) + len(self._failed)
            text = f"{done + 1}/{done + 1 + len(self._waiting)}: {job.name}, {stage_title(job.stage)}"
            self.widgets.severalLabel.text = as_text(text)

    # ------------------------------------------------------------------ the round

    def run(self) -> None:
        """Register with every checked method, one after another; or cancel that."""
        if self.running:
            self._waiting = []
            self.context.launcher.cancel()
            return
        if self.context.session.busy:
            return
        self._said = ""
        self._waiting, self._done, self._failed = self.methods(), [], []
        self.running = bool(self._waiting)
        self._pair = _pair_of(self.context.choice())
        self._next()

    def _next(self) -> None:
        while self._waiting:
            name = self._waiting.pop(0)
            title = method_title(name)
            try:
                begun = self.context.begin(self._choice(name), title, attended=False)
            except InputError as error:
                self._failed.append(f"{title}: {error}")
                continue
            except BaseException:
                self.close()
                self.choice_changed()
                raise
            if not begun:  # the user declined
                self.close()
                self.choice_changed()
            return
        self._end()

    def _choice(self, name: str) -> Choice:
        return _with_method(self._pair or _pair_of(self.context.choice()), name)

    def finished(self, job: Job) -> None:
        if not self.running:
            return
        if job.state == "done":
            self._done.append(job.run)
        elif job.state != "canceled":
            self._failed.append(f"{method_title(job.choice.method)}: {job.text}")
        if self.context.launcher.stopped:  # a result that was deleted while it was measured stops no other one
            self._waiting = []
        self._next()

    def close(self) -> None:
        self._waiting, self._pair, self.running = [], None, False

    def _end(self) -> None:
        self.running = False
        self.context.update()
        if self._failed:
            text = _("Failed: {methods}").format(methods="; ".join(self._failed))
            self._said, self._said_of = as_text(text), _about(self.context.choice(), self.methods())
            self.context.say(text)
            self.choice_changed()
        made = [run for run in self._done if run.node.GetScene() is not None]  # one may have been deleted meanwhile
        if len(made) >= 2:
            self.context.check(made[-MOST:])
            self.context.compare(made[-MOST:])


def _pair_of(choice: Choice) -> Choice:
    """Return what a round takes of a choice: its results are put into no output of the user's."""
    return dataclasses.replace(choice, output_volume=None, output_transform=None, apply_transform=False)


def _with_method(choice: Choice, name: str) -> Choice:
    """Return a choice with a method; that chosen on the page Register has its settings."""
    if choice.method.partition(":")[0] == name:
        return choice
    return dataclasses.replace(choice, method=name, settings={})


def _about(choice: Choice, methods: list[str]) -> tuple[Any, ...]:
    """Return what a sentence about a round is about."""
    return choice.fixed, choice.moving, choice.preset, tuple(methods)


def _hint(choice: Choice, error: str) -> str:
    """Return what is to be done before methods can be run."""
    if choice.fixed is None or choice.moving is None:
        return escaped(_("Choose two volumes on the Register page, then check methods here."))
    if error:
        return escaped(error)
    return escaped(
        _("{moving} to {fixed}, preset {preset} (change it on the Register page).").format(
            moving=choice.moving.GetName(), fixed=choice.fixed.GetName(), preset=preset_title(choice.preset)
        )
    )
