"""The list of runs and the ways to look at one. Qt."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..mrml.review import Review
from ..mrml.runs import Run, moving_is_where_it_was, remove, rename, runs
from ..types import InputError
from .reporting import ask_dicom, ask_folder, write, write_dicom

MODES = (
    ("fade", _("Fade fixed and warped")),
    ("swipe", _("Swipe from fixed to warped")),
    ("difference", _("Difference")),
    ("checkerboard", _("Checkerboard")),
    ("jacobian", _("Jacobian over fixed")),
    ("log_jacobian", _("Jacobian, logarithmic")),
    ("magnitude", _("Length of the displacement")),
)
LEGENDS = {
    "fade": _("The slider fades from the fixed volume to the warped one."),
    "swipe": _("Fixed on the patient's right of the border, warped on the left of it; the slider moves the border."),
    "difference": _("Red: the moving volume is brighter than the fixed one. Blue: darker. Black: equal."),
    "checkerboard": _("Squares alternate between the fixed and the warped volume: edges should run on across them."),
    "jacobian": _("Blue: smaller in the moving volume than in fixed. White: equal. Red: larger. 0 and below: folded."),
    "log_jacobian": _(
        "From fixed to moving: blue shrinks, white keeps, red grows, half as strong as twice. Magenta: folded."
    ),
    "magnitude": _("How far each voxel is displaced, in mm, without the linear part."),
}


#: How long flickering shows each volume.
FLICKER_MS = 450


class Results:
    """The lower half of the panel: which runs there are, and what the slice views show of one.

    Args:
        ui: the widgets of the .ui by name.
        review: shows runs.
        confirm: asks a question and gives the answer.
    """

    def __init__(self, ui, review: Review, confirm: Callable[[str], bool]) -> None:
        self.ui, self.review, self.confirm = ui, review, confirm
        self.parameters: Optional[Any] = None
        self._runs: List[Run] = []
        self._checked: List[Run] = []
        self.checks_changed: Callable[[], None] = lambda: None
        self.selection_changed: Callable[[], None] = lambda: None
        self.facts_of: Callable[[Run], Dict[str, Any]] = lambda run: run.facts
        self.about_to_remove: Callable[[Run], None] = lambda run: None
        table = ui.runsTable
        table.setColumnCount(5)
        table.setHorizontalHeaderLabels([_("Name"), _("Method"), _("Time"), _("NCC"), _("Folds")])
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column in range(1, 5):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        table.verticalHeader().hide()
        table.setMaximumHeight(120)
        table.connect("itemSelectionChanged()", self._selection_changed)
        table.connect("itemChanged(QTableWidgetItem*)", lambda item=None: self._take_checks())
        ui.showButton.connect("clicked(bool)", lambda checked=False: self.show_selected())
        ui.renameButton.connect("clicked(bool)", lambda checked=False: self.rename_selected())
        ui.keepButton.connect("clicked(bool)", self.keep_selected)
        ui.deleteButton.connect("clicked(bool)", lambda checked=False: self.delete_selected())
        ui.beforeButton.connect("toggled(bool)", lambda checked=False: self.look())
        ui.dicomButton.connect("clicked(bool)", lambda checked=False: self.dicom_of_selected())
        ui.reportButton.connect("clicked(bool)", lambda checked=False: self.report_selected())
        ui.worstButton.connect("clicked(bool)", lambda checked=False: self._go_to_worst())
        self._flicker = qt.QTimer()
        self._flicker.interval = FLICKER_MS
        self._flicker.connect("timeout()", self._flick)
        self._flicked = False
        ui.flickerButton.connect("toggled(bool)", self._flicker_toggled)
        ui.restoreButton.connect("clicked(bool)", lambda checked=False: self._restore_views())

    def update(self) -> None:
        """Make the list show the scene's runs."""
        selected = self.selected()
        self._runs = runs(slicer.mrmlScene)
        table = self.ui.runsTable
        blocked = table.blockSignals(True)
        table.setRowCount(len(self._runs))
        for row, run in enumerate(self._runs):
            facts = run.facts
            metrics = facts.get("metrics", {})
            texts = [
                ("\U0001f512 " if run.permanent else "") + run.name,
                f"{facts.get('method', '')}, {facts.get('preset', '')}",
                f"{facts.get('seconds', 0):.0f} s",
                _number(metrics.get("ncc"), "{:.3f}"),
                _number(metrics.get("folds_percent"), "{:.2g} %"),
            ]
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(_run_text(run))
                if column == 0:
                    item.setCheckState(qt.Qt.Checked if run in self._checked else qt.Qt.Unchecked)
                table.setItem(row, column, item)
        table.blockSignals(blocked)
        if selected in self._runs:
            self.select(selected)
        self._update_run_buttons()

    def checked(self) -> List[Run]:
        """The runs that are ticked, in the order of the list."""
        return [run for run in self._runs if run in self._checked and run.node.GetScene()]

    def check(self, runs: List[Run]) -> None:
        """Tick these runs and no others."""
        self._checked = list(runs)
        self.update()
        self.checks_changed()

    def _take_checks(self) -> None:
        items = [self.ui.runsTable.item(row, 0) for row in range(len(self._runs))]
        ticked = [run for run, item in zip(self._runs, items) if item and item.checkState() == qt.Qt.Checked]
        if ticked != self.checked():
            self._checked = ticked
            self.checks_changed()

    def selected(self) -> Optional[Run]:
        """The run that is selected in the list."""
        row = self.ui.runsTable.currentRow()
        return self._runs[row] if 0 <= row < len(self._runs) and self._runs[row].node.GetScene() else None

    def select(self, run: Optional[Run]) -> None:
        """Select a run in the list."""
        blocked = self.ui.runsTable.blockSignals(True)
        if run in self._runs:
            self.ui.runsTable.selectRow(self._runs.index(run))
        else:
            self.ui.runsTable.clearSelection()
        self.ui.runsTable.blockSignals(blocked)
        self._update_run_buttons()

    def _selection_changed(self) -> None:
        self._update_run_buttons()
        if self.review.shown is not None and self.selected() is not None:
            self.show_selected()

    def _update_run_buttons(self) -> None:
        ui, run = self.ui, self.selected()
        for button in (ui.showButton, ui.renameButton, ui.keepButton, ui.deleteButton):
            button.enabled = run is not None
        blocked = ui.keepButton.blockSignals(True)
        ui.keepButton.checked = run is not None and run.permanent
        ui.keepButton.blockSignals(blocked)
        complete = run is not None and run.get("fixed") is not None and run.get("warped") is not None
        overlays = (ui.gridCheck, ui.arrowsCheck, ui.grid3dCheck, ui.spacingSlider)
        for widget in (ui.modeCombo, ui.amountSlider, *overlays, ui.beforeButton, ui.flickerButton, ui.worstButton):
            widget.enabled = complete
        ui.beforeButton.enabled = complete and moving_is_where_it_was(run)
        ui.restoreButton.enabled = self.review.shown is not None
        ui.reportButton.enabled = complete
        ui.dicomButton.enabled = complete
        self.selection_changed()

    def show_selected(self) -> None:
        """Show the selected run in the slice views, fitted to them the first time."""
        run = self.selected()
        if run is None or run.get("fixed") is None:
            return
        first = self.review.shown is None
        self.look(run)
        if first:
            self.review.fit(run)

    def rename_selected(self) -> None:
        run = self.selected()
        if run is None:
            return
        window = slicer.util.mainWindow()
        name = qt.QInputDialog.getText(window, _("Rename"), _("Name of the run:"), qt.QLineEdit.Normal, run.name)
        if name and name.strip():
            rename(slicer.mrmlScene, run, name.strip())
            self.update()
            self.look()

    def keep_selected(self, keep: bool) -> None:
        run = self.selected()
        if run is not None:
            run.set_permanent(keep)
            self.update()
            self.look()

    def delete_selected(self) -> None:
        run = self.selected()
        if run is None:
            return
        question = _("{name} was made permanent. Delete it all the same?").format(name=run.name)
        if run.permanent and not self.confirm(question):
            return
        self.review.forget(run)
        self.about_to_remove(run)
        remove(slicer.mrmlScene, run, also_permanent=True)
        self.update()
        self.checks_changed()
        self.look()

    def report_selected(self) -> None:
        """Write the report of the selected run into a folder that the user chooses."""
        run = self.selected()
        folder = ask_folder() if run is not None else None
        if folder is None:
            return
        shown = self.review.shown
        self.ui.flickerButton.checked = False
        if shown is None:
            self.review.show(run)
            self.review.fit(run)
        try:
            said = write(run, self.facts_of(run), self.review, folder)
        except InputError as error:
            slicer.util.errorDisplay(str(error), windowTitle=_("DeepReg"))
            return
        except OSError as error:
            text = _("The report could not be written to {folder}: {error}").format(folder=folder, error=error)
            slicer.util.errorDisplay(text, windowTitle=_("DeepReg"))
            return
        finally:
            if shown is None:
                self.review.restore()
            else:
                self.look(shown)
        self.ui.legendLabel.text = " ".join(said)

    def dicom_of_selected(self) -> None:
        """Write the transform of the selected run as a DICOM object."""
        run = self.selected()
        path = ask_dicom() if run is not None else None
        if path is None:
            return
        try:
            self.ui.legendLabel.text = write_dicom(run, path)
        except (InputError, ValueError) as error:
            slicer.util.errorDisplay(_(str(error)), windowTitle=_("DeepReg"))
        except OSError as error:
            text = _("The DICOM object could not be written to {path}: {error}").format(path=path, error=error)
            slicer.util.errorDisplay(text, windowTitle=_("DeepReg"))

    # ------------------------------------------------------------------ looking

    def look(self, run: Optional[Run] = None) -> None:
        """Make the views show a run, the shown one when left out, the way the controls say."""
        run, p = run or self.review.shown, self.parameters
        if run is None or p is None or run.node.GetScene() is None or run.get("warped") is None:
            self._update_run_buttons()
            return
        mode = p.reviewMode if p.reviewMode in LEGENDS else "fade"
        after = not (self.ui.beforeButton.checked and moving_is_where_it_was(run))
        if run.get("fixed") is not None:
            try:
                self.review.show(run, mode, p.reviewAmount, after)
            except ValueError as error:  # a linear run has no displacement
                self.ui.legendLabel.text = _(str(error))
                return
            self.review.overlay(run, p.showGrid, p.showArrows, p.gridSpacing or None, in_3d=p.showIn3D)
        self.ui.legendLabel.text = LEGENDS[mode]
        self._update_run_buttons()

    def _go_to_worst(self) -> None:
        run = self.selected()
        if run is None:
            return
        value = self.review.jump_to_worst(run)
        text = _("The Jacobian is {value:.2f} here: ") if value > 0 else _("The Jacobian is {value:.2f} here, a fold: ")
        advice = (
            _("the strongest shrinking from fixed to moving.") if value > 0 else _("this place must not be trusted.")
        )
        self.ui.legendLabel.text = text.format(value=value) + advice

    def _flicker_toggled(self, on: bool) -> None:
        if on:
            self._flicker.start()
        else:
            self._flicker.stop()
            self.look()

    def _flick(self) -> None:
        run = self.review.shown
        if run is None or run.node.GetScene() is None or run.get("fixed") is None or run.get("warped") is None:
            self.ui.flickerButton.checked = False
            return
        self._flicked = not self._flicked
        self.review.show(run, "fade", float(self._flicked))

    def close(self) -> None:
        """Stop what goes by itself."""
        self.ui.flickerButton.checked = False
        self._flicker.stop()

    def _restore_views(self) -> None:
        self.ui.flickerButton.checked = False
        self.review.restore()
        self._update_run_buttons()


def _number(value: Optional[float], form: str) -> str:
    return "-" if value is None else form.format(value)


def _run_text(run: Run) -> str:
    """Everything about a run in a few lines."""
    facts = run.facts
    lines = [run.name, f"{facts.get('title', '')}, {facts.get('preset', '')}, {facts.get('device', '')}"]
    lines += [f"{stage['name']}: {stage['seconds']:.1f} s" for stage in facts.get("stages", [])]
    lines += facts.get("notes", [])
    return "\n".join(lines)
