"""What a section of the panel is: one class with its own .ui file and its own parameters.

A section is added by two files: ``panel/sections/NAME.py`` with one class that derives from ``BaseSection``, and the
.ui file that the class names. Nothing else lists the sections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import slicer.util

from ..mrml.runs import Run
from .follower import Following
from .session import Job

if TYPE_CHECKING:
    from .context import Context


#: The pages of the panel, in their order; the widgets of SlicerDeepReg.ui are called after them.
PAGES = ("register", "review", "compare", "lessons")


class Section(Protocol):
    """A group of controls of the panel, and how it learns what happens elsewhere.

    Attributes:
        name: short and unique; ``panel.sections[name]`` is the section.
        title: heading of its collapsible box; empty for controls without a box.
        ui: its .ui file in Resources/UI, or a whole path. The root is a qMRMLWidget, and connects its scene to the MRML
            widgets inside.
        order: sections of a page come in ascending order.
        collapsed: whether its box is closed at first.
        tool_tip: of its box.
        container: name of the widget that it is put into: a page of the panel ("registerPage", "reviewPage",
            "comparePage" or "lessonsPage"), or a widget in the .ui file of a section of lower order.
        shortcuts: keys, as Qt writes them, and the name of the method that each calls while the module is open.
        Parameters: a class whose annotated attributes are kept in the scene, as those of a class under
            ``parameterNodeWrapper``; a control is bound to one by the property ``SlicerParameterName``.
        root: the widget that was loaded from the .ui file.
        widgets: the named widgets of the .ui file, as attributes.
        box: the collapsible box around it, or None.
    """

    name: str
    title: str
    ui: str
    order: int
    collapsed: bool
    tool_tip: str
    container: str
    shortcuts: Mapping[str, str]
    Parameters: type
    root: Any
    widgets: Any
    box: Any

    # The life of the section.

    def bind(self, parameters: Any | None) -> None:
        """Another parameter node is shown from now on; None while there is no scene."""

    def update(self) -> None:
        """Make the controls show the parameter node, the runs and the job."""

    def entered(self) -> None:
        """Respond to the opening of the module."""

    def close(self) -> None:
        """Let go of everything in the scene, before the scene or the module is closed."""

    # What happens elsewhere.

    def choice_changed(self) -> None:
        """Respond to a change of an input node: ``context.findings`` may differ."""

    def volume_added(self, node: Any) -> None:
        """Respond to a scalar volume that was added to the scene."""

    def devices_changed(self) -> None:
        """Respond to the devices that the worker reported."""

    def started(self, job: Job) -> None:
        """Respond to the start of a registration."""

    def progressed(self, job: Job) -> None:
        """Respond to the progress of a registration."""

    def finished(self, job: Job) -> None:
        """Respond to the end of a registration; another may have been started by a section before this one."""

    def followed(self, following: Following) -> None:
        """Respond to the progress or the end of a series."""

    def status_changed(self, text: str) -> None:
        """Show a line of text about what the module is doing."""

    def selection_changed(self) -> None:
        """Another run is selected, or other runs are checked."""

    def view_changed(self) -> None:
        """``context.display`` shows something else."""

    def watched(self) -> list[Any]:
        """Return nodes whose changes are to be noticed: ``choice_changed`` follows."""
        return []

    def views_taken(self) -> None:
        """Another section is about to change the views: stop whatever changes them repeatedly."""

    def run_about_to_be_removed(self, run: Run) -> None:
        """Let go of a run that is about to be removed from the scene."""

    def compare(self, runs: Sequence[Run]) -> None:
        """Show runs side by side."""


class BaseSection(Section):
    """A section that ignores every event, as the protocol's methods do; derive from it and override what matters.

    Args:
        context: what the sections share.
        root: the widget that was loaded from the .ui file.
    """

    name = ""
    title = ""
    ui = ""
    order = 0
    collapsed = False
    tool_tip = ""
    container = "registerPage"
    shortcuts: Mapping[str, str] = {}

    class Parameters:
        """A section has no parameters unless it declares some."""

    def __init__(self, context: Context, root: Any) -> None:
        self.context = context
        self.root = root
        self.widgets = slicer.util.childWidgetVariables(root)
        self.box: Any | None = None

    @property
    def parameters(self) -> Any | None:
        """The parameter node that the panel shows, or None."""
        return self.context.parameters
