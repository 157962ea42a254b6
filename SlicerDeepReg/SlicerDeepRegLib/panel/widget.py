"""The panel: loads its sections, binds them to the parameter node, and tells them what happens. Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..mrml.review import Review
from .choice import Choice
from .context import Context
from .section import PAGES, BaseSection, Section
from .sections import section_classes
from .session import Job, Session

#: How often the worker is listened to, in ms: while it works, and otherwise.
BUSY_MS, IDLE_MS = 50, 250


class Panel:
    """Everything between the .ui files and the logic.

    Args:
        root: the widget of SlicerDeepReg.ui, whose pages the sections are put into.
        folder: of the .ui files.
        session: runs registrations.
        review: shows runs.
        classes: of the sections, in their order; those of ``panel/sections`` if left out.

    Attributes:
        sections: by name, in their order.
        ui: the named widgets of all sections, as attributes.
        shortcuts: of all sections, enabled while the module is open.
    """

    def __init__(
        self,
        root: Any,
        folder: Path,
        session: Session,
        review: Review,
        classes: Sequence[type[BaseSection]] | None = None,
    ) -> None:
        self._help = folder.parent / "Help"
        self.timer = qt.QTimer()
        self.timer.interval = IDLE_MS
        self.context = Context(session, review, self._set_pace, self)
        self.ui = slicer.util.childWidgetVariables(root)
        self.sections: dict[str, Section] = {}
        for section_class in section_classes() if classes is None else classes:
            widget = slicer.util.loadUI(str(folder / section_class.ui))
            widget.setMRMLScene(slicer.mrmlScene)
            section = section_class(self.context, widget)
            self._place(section)
            vars(self.ui).update(vars(section.widgets))
            self.sections[section.name] = section
        self.context.sections = tuple(self.sections.values())
        self._pages = [getattr(self.ui, f"{name}Page") for name in PAGES]
        for page in self._pages:
            page.layout().addStretch(1)
        self.ui.pagesWidget.connect("currentChanged(int)", lambda index=0: self._fit_pages())
        self._fit_pages()
        self._devices: list[dict[str, Any]] = []  # that the sections know of
        self.timer.connect("timeout()", self.poll)
        self.timer.start()
        self.shortcuts = [
            self._shortcut(keys, getattr(section, method))
            for section in self.context.sections
            for keys, method in section.shortcuts.items()
        ]
        self._add_help()

    def _shortcut(self, keys: str, method: Callable[[], None]) -> Any:
        """Make keys of the main window, where there is one, call a method while the module is open."""
        shortcut = qt.QShortcut(qt.QKeySequence(keys), slicer.util.mainWindow() or self.ui.pagesWidget)
        shortcut.connect("activated()", method)
        shortcut.setEnabled(False)
        return shortcut

    def _add_help(self) -> None:
        """Put a question mark beside the pages: it opens the documentation of the one that is open, without network."""
        button = qt.QToolButton()
        button.setText("?")
        button.setAutoRaise(True)
        button.setToolTip(_("Open the documentation of this page."))
        button.connect("clicked(bool)", lambda checked=False: self.open_help())
        self.ui.pagesWidget.setCornerWidget(button)
        self.ui.helpButton = button

    def open_help(self) -> None:
        """Open the documentation of the open page in a browser."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self.help_path)))

    @property
    def help_path(self) -> Path:
        """The documentation of the open page, a file that comes with the module."""
        return self._help / f"{self.page}.html"

    @property
    def page(self) -> str:
        """The page that is open, one of ``PAGES``."""
        return PAGES[max(0, self.ui.pagesWidget.currentIndex)]

    def open_page(self, page: str) -> None:
        """Open a page, one of ``PAGES``."""
        self.ui.pagesWidget.setCurrentIndex(PAGES.index(page))

    def _fit_pages(self) -> None:
        """Make the panel as tall as the open page: otherwise every page scrolls as far as the longest."""
        for index, page in enumerate(self._pages):
            is_open = index == self.ui.pagesWidget.currentIndex
            policy = qt.QSizePolicy.Preferred if is_open else qt.QSizePolicy.Ignored
            page.setSizePolicy(qt.QSizePolicy.Ignored, policy)
            page.updateGeometry()

    def _place(self, section: Section) -> None:
        """Put a section into its box, and the box into its page or into another section."""
        widget = section.root
        if section.title:
            nested = section.container not in [f"{name}Page" for name in PAGES]
            section.box = ctk.ctkCollapsibleGroupBox() if nested else ctk.ctkCollapsibleButton()
            if nested:
                section.box.title = section.title
            else:
                section.box.text = section.title
            section.box.toolTip = section.tool_tip
            layout = qt.QVBoxLayout()
            section.box.setLayout(layout)
            layout.addWidget(widget)
            widget = section.box
        container = vars(self.ui)[section.container]
        container.layout().addWidget(widget)
        if section.box is not None:
            section.box.collapsed = section.collapsed

    # ------------------------------------------------------------------ what scripts and tests ask

    @property
    def session(self) -> Session:
        """What runs registrations."""
        return self.context.session

    @property
    def review(self) -> Review:
        """What shows runs."""
        return self.context.review

    @property
    def parameters(self) -> Any | None:
        """The parameter node that is shown, or None."""
        return self.context.parameters

    @property
    def job(self) -> Job | None:
        """The registration that was begun here and is not over, or None."""
        return self.context.launcher.job

    def choice(self) -> Choice:
        """Return what is chosen now."""
        return self.context.choice()

    # ------------------------------------------------------------------ the parameter node

    def bound_widgets(self) -> dict[str, Any]:
        """Return the widgets that carry the name of a parameter in their .ui file, by that name."""
        widgets = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
        return {name: widget for name, widget in widgets.items() if name}

    def set_parameters(self, parameters: Any | None) -> None:
        """Show and change another parameter node; None while there is no scene."""
        self.context.bind(parameters)

    def update(self, caller: Any = None, event: Any = None) -> None:
        """Make every control show the parameter node, the runs and the job."""
        self.context.update()

    # ------------------------------------------------------------------ what happens

    def poll(self) -> None:
        """Listen to the worker; called by the timer."""
        context = self.context
        context.launcher.poll()
        if self.session.client.devices != self._devices:
            self._devices = self.session.client.devices
            for section in context.sections:
                section.devices_changed()
        if context.launcher.job is None:
            context.notice_changed_inputs()

    def _set_pace(self, working: bool) -> None:
        self.timer.interval = BUSY_MS if working else IDLE_MS

    def entered(self) -> None:
        """Respond to the opening of the module."""
        for shortcut in self.shortcuts:
            shortcut.setEnabled(True)
        for section in self.context.sections:
            section.entered()

    def left(self) -> None:
        """Respond to the opening of another module: its keys are not ours."""
        for shortcut in self.shortcuts:
            shortcut.setEnabled(False)
        self.context.take_views()

    def volume_added(self, node: Any) -> None:
        """Respond to a scalar volume that was added to the scene."""
        if self.parameters is not None and not self.session.busy:
            for section in self.context.sections:
                section.volume_added(node)

    def node_removed(self, node: Any) -> None:
        """Respond to a node that left the scene: a registration that needs it cannot go on."""
        self.context.launcher.node_removed(node)
        if self.parameters is not None and self.context.runs.lost(node):
            qt.QTimer.singleShot(0, self._shown_again)  # when all that goes with it is gone, too

    def _shown_again(self) -> None:
        if self.parameters is not None:
            self.context.update()

    def scene_closing(self) -> None:
        """Everything is about to go."""
        self.context.scene_closing()

    def close(self) -> None:
        """Stop listening, and let go of the scene."""
        self.timer.stop()
        for shortcut in self.shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self.shortcuts = []
        self.context.close()
        self.context.review.restore()  # whoever opens the module again does not know what the views showed before
        self.context.bind(None)
