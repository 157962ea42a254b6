"""Several methods, one after another, on the chosen pair; then their results side by side. Qt."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from slicer.i18n import tr as _

from ...mrml.runs import Run
from ...mrml.side_by_side import MOST
from ...types import InputError
from ..choice import Choice
from ..controls import set_columns, show_rows
from ..section import BaseSection
from ..session import Job
from ..titles import method_title, preset_title, settings_text


class SeveralMethodsSection(BaseSection):
    """The list of methods, and the round through it.

    Attributes:
        running: whether a round is going on.
    """

    name = "several_methods"
    title = _("Run several methods")
    ui = "SeveralMethods.ui"
    order = 30
    collapsed = True
    container = "methodSectionsWidget"

    class Parameters:
        """``methods`` is JSON: method, preset and settings of each entry of the list."""

        methods: str = "[]"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self.running = False
        self._waiting: list[dict[str, Any]] = []
        self._done: list[Run] = []
        self._failed: list[str] = []
        widgets = self.widgets
        set_columns(widgets.methodsTable, (_("Method"), _("Preset")), [0], 110)
        widgets.addMethodButton.connect("clicked(bool)", lambda checked=False: self.add())
        widgets.clearMethodsButton.connect("clicked(bool)", lambda checked=False: self._set([]))
        widgets.runMethodsButton.connect("clicked(bool)", lambda checked=False: self.run())

    # ------------------------------------------------------------------ the list

    def methods(self) -> list[dict[str, Any]]:
        """Return the list that the parameter node keeps; entries that cannot be read are left out."""
        if self.parameters is None:
            return []
        try:
            entries = json.loads(self.parameters.methods or "[]")
        except ValueError:
            return []
        keys = {"method", "preset", "settings"}
        return [entry for entry in entries if isinstance(entry, dict) and keys <= set(entry)]

    def add(self) -> None:
        """Add the chosen method, with its preset and parameters, unless the list has it already."""
        choice = self.context.choice()
        entry = {"method": choice.method, "preset": choice.preset, "settings": dict(choice.settings)}
        if entry not in self.methods():
            self._set([*self.methods(), entry])

    def _set(self, methods: list[dict[str, Any]]) -> None:
        if self.parameters is not None:
            self.parameters.methods = json.dumps(methods)

    def update(self) -> None:
        rows, tool_tips = [], []
        for entry in self.methods():
            title = method_title(entry["method"])
            settings = settings_text(entry["method"], entry["settings"])
            rows.append((title, preset_title(entry["preset"])))
            tool_tips.append(f"{title}. {settings}" if settings else title)
        show_rows(self.widgets.methodsTable, rows, tool_tips)
        self.choice_changed()

    def choice_changed(self) -> None:
        widgets, methods = self.widgets, self.methods()
        errors = any(finding.severity == "error" for finding in self.context.findings)
        free = not self.context.session.busy and not self.running
        widgets.addMethodButton.enabled = free
        widgets.clearMethodsButton.enabled = free and bool(methods)
        widgets.runMethodsButton.enabled = (
            free and bool(methods) and not errors and not self.context.launcher.installing
        )

    def started(self, job: Job) -> None:
        self.choice_changed()

    # ------------------------------------------------------------------ the round

    def run(self) -> None:
        """Register with every method of the list, one after another."""
        if self.running or self.context.session.busy:
            return
        self._waiting, self._done, self._failed = self.methods(), [], []
        self.running = bool(self._waiting)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            entry = self._waiting.pop(0)
            title = method_title(entry["method"])
            try:
                begun = self.context.begin(self._choice(entry), title, attended=False)
            except InputError as error:
                self._failed.append(f"{title}: {error}")
                continue
            if not begun:  # the user declined
                self.close()
                self.choice_changed()
            return
        self._end()

    def _choice(self, entry: dict[str, Any]) -> Choice:
        return dataclasses.replace(
            self.context.choice(), method=entry["method"], preset=entry["preset"], settings=dict(entry["settings"])
        )

    def finished(self, job: Job) -> None:
        if not self.running:
            return
        if job.state == "done":
            self._done.append(job.run)
        elif job.state == "canceled":
            self._waiting = []
        else:
            self._failed.append(f"{method_title(job.choice.method)}: {job.text}")
        self._next()

    def close(self) -> None:
        self._waiting, self.running = [], False

    def _end(self) -> None:
        self.running = False
        self.context.update()
        if self._failed:
            self.context.say(_("Failed: {methods}").format(methods="; ".join(self._failed)))
        if len(self._done) >= 2:
            self.context.check(self._done[-MOST:])
            self.context.compare(self._done[-MOST:])
