"""The selected result shown or put away, its report and figures, and its transform as DICOM. Qt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ...report import figures, paper
from ...types import InputError
from ..quality import run_facts
from ..reporting import ask_dicom, ask_folder, dicom_series, write_dicom, write_report, write_run_figures
from ..section import BaseSection
from ..selection import complete
from ..text import show_error


class ExportSection(BaseSection):
    """Shows the selected run, gives the views back, and writes files about it."""

    name = "export"
    ui = "Export.ui"
    order = 50
    container = "reviewPage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self.widgets.showButton.connect("clicked(bool)", lambda checked=False: self.show())
        self.widgets.restoreViewsButton.connect("clicked(bool)", lambda checked=False: self.restore_views())
        self.widgets.reportButton.connect("clicked(bool)", lambda checked=False: self.save_report())
        self.widgets.figuresButton.connect("clicked(bool)", lambda checked=False: self.save_figures())
        self.widgets.dicomButton.connect("clicked(bool)", lambda checked=False: self.export_dicom())

    def update(self) -> None:
        self.selection_changed()

    def selection_changed(self) -> None:
        enabled = complete(self.context.runs.selected)
        widgets = self.widgets
        for button in (widgets.showButton, widgets.reportButton, widgets.figuresButton, widgets.dicomButton):
            button.enabled = enabled
        self.view_changed()

    def view_changed(self) -> None:
        shown = self.context.review.shown is not None or self.context.layouts.is_ours
        self.widgets.restoreViewsButton.enabled = shown

    def show(self) -> None:
        """Show the selected run in the slice views."""
        self.context.display.show(self.context.runs.selected)

    def restore_views(self) -> None:
        """Give back what the views showed, and their layout."""
        self.context.take_views()
        self.context.display.arrange("")
        self.context.display.restore_views()

    def save_report(self) -> None:
        """Save the report of the selected run in a folder that the user chooses."""
        context = self.context
        run, shown = context.runs.selected, context.review.shown
        folder = self._folder_for(_("Folder for report.html and report.pdf"), paper.FILES) if run is not None else None
        if folder is None:
            return
        if context.launcher.measures(run):
            show_error(_("{name} is still being measured. Save the report when that has ended.").format(name=run.name))
            return
        context.take_views()
        try:
            if shown is None:
                context.review.show(run)
                context.review.fit(run)
            text = " ".join(write_report(run, run_facts(run), context.review, folder))
        except (InputError, ValueError) as error:
            show_error(_(str(error)))
            return
        except OSError as error:
            text = _("The report could not be written to {folder}: {error}").format(folder=folder, error=error)
            show_error(text)
            return
        finally:
            if shown is None:
                context.display.restore_views()
            else:
                context.display.look(shown)
        context.display.explain(text)

    def save_figures(self) -> None:
        """Save the figures of the selected run, as papers print them, in a folder that the user chooses."""
        run = self.context.runs.selected
        text = _("Folder for the figures (PNG and PDF)")
        folder = self._folder_for(text, figures.FILES) if run is not None else None
        if folder is None:
            return
        try:
            self.context.display.explain(write_run_figures(run, run_facts(run), folder))
        except (InputError, ValueError) as error:
            show_error(_(str(error)))
        except OSError as error:
            text = _("The figures could not be written to {folder}: {error}").format(folder=folder, error=error)
            show_error(text)

    def _folder_for(self, text: str, files: Sequence[str]) -> Path | None:
        """Ask for a folder, and whether files of those names in it may be replaced: they may be another result's."""
        folder = ask_folder(text)
        there = [name for name in files if folder is not None and (folder / name).exists()]
        question = _("{folder} contains {files} already. Replace them?")
        if there and not self.context.confirm(question.format(folder=folder, files=", ".join(there))):
            return None
        return folder

    def export_dicom(self) -> None:
        """Write the transform of the selected run as a DICOM object."""
        run = self.context.runs.selected
        if run is None:
            return
        try:
            series = dicom_series(run)
        except (InputError, ValueError, OSError) as error:
            show_error(_(str(error)))
            return
        path = ask_dicom()
        if path is None:
            return
        try:
            self.context.display.explain(write_dicom(run, series, path))
        except (InputError, ValueError) as error:
            show_error(_(str(error)))
        except OSError as error:
            text = _("The DICOM object could not be written to {path}: {error}").format(path=path, error=error)
            show_error(text)
