"""What the sections of the panel share, and the only way from one section to another. No Qt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..mrml.ages import age_of
from ..mrml.layouts import Layouts
from ..mrml.removed import Removed
from ..mrml.review import Review
from ..mrml.runs import Run
from ..mrml.segments import common_segments
from ..types import Finding, InputError
from .choice import Choice, findings
from .display import Display
from .launcher import Launcher
from .section import Section
from .selection import RunSelection
from .session import Session
from .text import as_text, show_error


class Pages(Protocol):
    """What shows one page of the panel at a time."""

    @property
    def page(self) -> str:
        """The page that is open."""

    def open_page(self, page: str) -> None:
        """Open a page."""


class Context:
    """The session, the runs, the views, and the events that sections send to each other.

    Args:
        session: runs registrations.
        review: shows runs.
        working: called with True when a registration starts and with False when it is over.
        pages: opens the pages of the panel.

    Attributes:
        sections: all of them, in their order.
        parameters: the parameter node that the panel shows, or None.
        runs: the runs of the scene, which is selected, and which are checked.
        display: what the views show.
        launcher: starts registrations.
        findings: what is to be said about the present choice.
        pages: opens the pages of the panel.
    """

    def __init__(self, session: Session, review: Review, working: Callable[[bool], None], pages: Pages) -> None:
        self.session, self.review = session, review
        self.layouts = Layouts(slicer.mrmlScene, review)
        self.sections: Sequence[Section] = ()
        self.parameters: Any | None = None
        self.runs = RunSelection()
        self.display = Display(review, self.layouts, lambda: self.parameters, self._view_changed)
        self.launcher = Launcher(self, working)
        self.findings: list[Finding] = []
        self.pages = pages
        self._updating = False
        self._input_ages: list[Any] = []  # of the chosen nodes, when they were looked at last

    # ------------------------------------------------------------------ the state

    def bind(self, parameters: Any | None) -> None:
        """Show another parameter node, or none."""
        self.parameters = parameters
        if parameters is not None:  # the scene may have been saved while one of our views was shown
            self.layouts.recover()
            self.review.recover()
            self.review.outlines.recover()
        for section in self.sections:
            section.bind(parameters)
        self.update()
        if self.runs.selected is None and self.runs.runs:  # of a scene that was loaded
            self.select(self.runs.runs[-1])

    def update(self) -> None:
        """Make every section show the parameter node, the runs and the job."""
        if self.parameters is None or self._updating:
            return
        self._updating = True
        try:
            self.runs.read()
            self.display.follow(self.runs.selected)
            if not self.session.busy:
                self.findings = self.findings_of(self.choice())
            for section in self.sections:
                section.update()
        finally:
            self._updating = False
        self.display.refresh()

    def choice(self) -> Choice:
        """Return what is chosen now."""
        return choice_of(self.parameters)

    def findings_of(self, choice: Choice) -> list[Finding]:
        """Return what is to be said about a choice."""
        from ..processes.memory import free_memory_bytes

        return findings(choice, self.session.client.devices, free_memory_bytes())

    def choice_changed(self) -> None:
        """Look at the choice again, and tell the sections."""
        if self.parameters is None:
            return
        if not self.session.busy:
            self.findings = self.findings_of(self.choice())
        for section in self.sections:
            section.choice_changed()

    def notice_changed_inputs(self) -> None:
        """Look at the choice again if a node was modified that is chosen or that a section watches."""
        if self.parameters is None or self.session.busy:
            return
        watched = [node for section in self.sections for node in section.watched()]
        ages = [age_of(node) for node in (*watched, *self.choice().nodes())]
        if ages != self._input_ages:
            self._input_ages = ages
            self.choice_changed()

    def scene_closing(self) -> None:
        """Let go of everything in the scene."""
        self.launcher.scene_closing()
        self.close()
        self.review.restore()
        self.bind(None)

    def close(self) -> None:
        """Let every section let go of the scene."""
        for section in self.sections:
            section.close()
        self.display.close()

    # ------------------------------------------------------------------ registrations

    def begin(self, choice: Choice, name: str = "", attended: bool = True) -> bool:
        """Start a registration; see ``Launcher.begin``."""
        return self.launcher.begin(choice, name, attended)

    def begin_chosen(self) -> None:
        """Register what is chosen now."""
        try:
            self.begin(self.choice())
        except InputError as error:
            self.error(str(error))

    # ------------------------------------------------------------------ runs

    def select(self, run: Run | None) -> None:
        """Select a run."""
        self.runs.select(run)
        self._selection_changed()

    def check(self, checked: Sequence[Run]) -> None:
        """Check these runs and no others."""
        self.runs.check(checked)
        self._selection_changed()

    def compare(self, runs: Sequence[Run]) -> None:
        """Show runs side by side."""
        for section in self.sections:
            section.compare(runs)

    def remove(self, run: Run) -> Removed:
        """Put away what shows a run, then remove it and all its nodes from the scene; it can be put back."""
        removed = Removed(slicer.mrmlScene, run)
        self.display.forget(run)
        for section in self.sections:
            section.run_about_to_be_removed(run)
        removed.remove()
        return removed

    def take_views(self) -> None:
        """Stop what changes the views repeatedly, because the caller is about to change them."""
        for section in self.sections:
            section.views_taken()

    def _selection_changed(self) -> None:
        self.display.follow(self.runs.selected)
        for section in self.sections:
            section.selection_changed()

    def _view_changed(self) -> None:
        for section in self.sections:
            section.view_changed()

    # ------------------------------------------------------------------ the user

    def say(self, text: str) -> None:
        """Show a line of text below Apply."""
        for section in self.sections:
            section.status_changed(text)

    def error(self, text: str, detail: str = "") -> None:
        """Display an error."""
        self.say(text)
        show_error(text, detail)

    @staticmethod
    def confirm(question: str) -> bool:
        """Ask the user; with --testing Slicer's dialog always answers no."""
        return slicer.util.confirmOkCancelDisplay(as_text(question), windowTitle=_("DeepReg"))


def choice_of(parameters: Any) -> Choice:
    """Return what a parameter node says."""
    return Choice(
        fixed=parameters.fixed,
        moving=parameters.moving,
        fixed_mask=parameters.fixedMask,
        moving_mask=parameters.movingMask,
        fixed_segmentation=parameters.fixedSegmentation,
        moving_segmentation=parameters.movingSegmentation,
        fixed_points=parameters.fixedPoints,
        moving_points=parameters.movingPoints,
        initial=parameters.initial,
        method=parameters.method,
        linear=parameters.linear,
        preset=parameters.preset,
        similarity=parameters.similarity,
        pair=parameters.pair,
        start=parameters.start,
        device=parameters.device,
        uncertainty_runs=parameters.uncertainty_runs,
        settings=read_settings(parameters.settings),
        output_volume=parameters.outputVolume,
        output_transform=parameters.outputTransform,
        apply_transform=parameters.applyTransform,
        guide_points_mm=parameters.guidePointsUncertainty if parameters.guidePoints else None,
        held_points=names_in(parameters.heldPoints, _labels(parameters.fixedPoints)) if parameters.guidePoints else (),
        guide_structures=_offered(
            read_list(parameters.guideStructures), parameters.fixedSegmentation, parameters.movingSegmentation
        ),
        fixed_excluded=parameters.fixedExcluded,
        moving_excluded=parameters.movingExcluded,
        fixed_rigid=parameters.fixedRigid,
        fixed_surface=parameters.fixedSurface,
        moving_surface=parameters.movingSurface,
    )


def _offered(names: list[str], fixed: Any, moving: Any) -> tuple[str, ...]:
    """Return those of the names that both segmentations have: others are not offered, and guide nothing."""
    offered = common_segments(fixed, moving) if names else []
    return tuple(name for name in names if name in offered)


def names_in(text: str, known: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names in a text with commas; of those that are known, one may have a comma of its own."""
    with_comma = sorted((name for name in known if "," in name), key=len, reverse=True)
    own = "|".join(map(re.escape, with_comma)) or r"(?!)"
    found = re.findall(rf"\s*((?:{own})(?=\s*(?:,|$))|[^,]+)", text or "")
    return tuple(name.strip() for name in found if name.strip())


def _labels(points: Any) -> list[str]:
    """Return the labels of a point list's points."""
    if points is None:
        return []
    return [points.GetNthControlPointLabel(n).strip() for n in range(points.GetNumberOfControlPoints())]


def read_list(text: str) -> list[str]:
    """Return names that are kept as JSON; none if the text cannot be read."""
    try:
        names = json.loads(text or "[]")
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def read_settings(text: str) -> dict[str, Any]:
    """Return the settings that are kept as JSON; none if the text was edited by hand and cannot be read."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
