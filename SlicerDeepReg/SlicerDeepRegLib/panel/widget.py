"""The panel: binds its controls to the parameter node, the session and the review. Qt."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, List, Optional

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ..catalog import card as card_of
from ..catalog import cards, refresh
from ..mrml.layouts import Layouts
from ..mrml.review import Review
from ..mrml.runs import OWNED, Run, runs
from ..mrml.side_by_side import SideBySide
from ..types import InputError
from . import install
from .choice import Choice, Finding, findings
from .curve import draw
from .judging import Judging
from .results import MODES, Results
from .session import Job, Session
from .settings_form import SettingsForm
from .several import Several
from .teaching import Teaching

#: The choices of the menus: value and what people read.
PRESETS = (
    ("fast", _("Fast: half resolution")),
    ("standard", _("Standard")),
    ("thorough", _("Thorough: slower, finer")),
)
LINEAR = (
    ("none", _("None: already aligned")),
    ("center", _("Centers only")),
    ("rigid", _("Rigid")),
    ("affine", _("Affine")),
)
SIMILARITIES = (
    ("auto", _("Automatic")),
    ("lncc", _("Same contrast (LNCC)")),
    ("mind", _("Different contrast (MIND)")),
)
SIGNS = {"error": "\u26d4", "warning": "\u26a0", "note": "\u2139"}
#: How often the worker is listened to, in ms: while it works, and otherwise.
BUSY_MS, IDLE_MS = 50, 250


class Panel:
    """Everything between the .ui and the logic.

    Args:
        ui: the widgets of the .ui by name.
        session: runs registrations.
        review: shows runs.
    """

    def __init__(self, ui, session: Session, review: Review) -> None:
        self.ui, self.session, self.review = ui, session, review
        self.parameters: Optional[Any] = None
        self.results = Results(ui, review, lambda question: self.confirm(question))
        layouts = Layouts(slicer.mrmlScene, review)
        self.several = Several(self, SideBySide(layouts))
        self.judging = Judging(ui, layouts, self.results.selected, self.results.checked)
        self.results.checks_changed = self._checks_changed
        self.results.selection_changed = self.judging.update
        self.results.facts_of = self.judging.facts
        self.results.about_to_remove = self.about_to_remove
        self._settings = SettingsForm(ui.settingsWidget.layout(), self._settings_changed)
        self.teaching = Teaching(self)
        self._job: Optional[Job] = None
        self._filling = False
        self._drawn = (0, 0.0)  # losses in the curve, and when it was drawn
        self._logged = 0
        self._installing = False
        self._devices: List[Dict[str, Any]] = []  # in the menu
        self._ages: List[Any] = []  # of the chosen nodes, when they were looked at last
        self._fill_menus()
        self._connect()
        self.timer = qt.QTimer()
        self.timer.interval = IDLE_MS
        self.timer.connect("timeout()", self.poll)
        self.timer.start()

    # ------------------------------------------------------------------ the parameter node

    def set_parameters(self, parameters) -> None:
        """Show and change another parameter node; None while there is no scene."""
        self.parameters = self.results.parameters = parameters
        if parameters is not None:
            self.choose_volumes()
            self.update()

    def bound_widgets(self) -> Dict[str, Any]:
        """The widgets that carry the name of a parameter in the .ui, by that name."""
        found = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
        return {name: widget for name, widget in found.items() if name}

    def volume_added(self) -> None:
        """A volume was loaded: it may be one of the first two."""
        if self.parameters is not None and not self.session.busy:
            self.choose_volumes()

    def choose_volumes(self) -> None:
        """With nothing chosen yet, take the scene's first two volumes: then Apply suffices."""
        own = {run.get(role) for run in runs(slicer.mrmlScene) for role in OWNED}
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        plain = [v for v in volumes if v.GetClassName() == "vtkMRMLScalarVolumeNode"]  # no labels, no vectors
        volumes = [v for v in plain if v not in own and not v.GetHideFromEditors()]
        for name, other in (("fixed", "moving"), ("moving", "fixed")):
            free = [volume for volume in volumes if volume is not getattr(self.parameters, other)]
            if getattr(self.parameters, name) is None and free:
                setattr(self.parameters, name, free[0])

    def choice(self) -> Choice:
        """What is chosen now."""
        p = self.parameters
        return Choice(
            fixed=p.fixed,
            moving=p.moving,
            fixed_mask=p.fixedMask,
            moving_mask=p.movingMask,
            fixed_segmentation=p.fixedSegmentation,
            moving_segmentation=p.movingSegmentation,
            fixed_points=p.fixedPoints,
            moving_points=p.movingPoints,
            initial=p.initial,
            method=p.method,
            linear=p.linear,
            preset=p.preset,
            similarity=p.similarity,
            device=p.device,
            uncertainty_runs=p.uncertainty_runs,
            settings=_read_settings(p.settings),
        )

    # ------------------------------------------------------------------ what the controls do

    def _fill_menus(self) -> None:
        for combo, choices in (
            (self.ui.presetCombo, PRESETS),
            (self.ui.linearCombo, LINEAR),
            (self.ui.similarityCombo, SIMILARITIES),
            (self.ui.modeCombo, MODES),
        ):
            for value, title in choices:
                combo.addItem(title, value)
        self._fill_methods()
        self._fill_devices()
        self.ui.logText.setMaximumHeight(160)
        # The picture must not keep the panel as wide as it was drawn.
        self.ui.curveLabel.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)

    def _fill_methods(self) -> None:
        _fill(self.ui.methodCombo, [(name, _(card.title)) for name, card in cards().items()])

    def look_for_models(self) -> None:
        """Offer the models that are there now: a user may have added one since."""
        before = list(cards())
        refresh()
        if list(cards()) != before:
            self._fill_methods()
            self.update()

    def _connect(self) -> None:
        ui = self.ui
        ui.methodCombo.connect("currentIndexChanged(int)", lambda index=0: self._method_chosen())
        ui.variantCombo.connect("currentIndexChanged(int)", lambda index=0: self._method_chosen(ui.variantCombo))
        for combo, name in (
            (ui.presetCombo, "preset"),
            (ui.deviceCombo, "device"),
            (ui.linearCombo, "linear"),
            (ui.similarityCombo, "similarity"),
            (ui.modeCombo, "reviewMode"),
        ):
            combo.connect("currentIndexChanged(int)", self._menu(combo, name))
        ui.applyButton.connect("clicked(bool)", self.on_apply)
        ui.defaultsButton.connect("clicked(bool)", lambda checked=False: self._settings_changed({}))

    def _menu(self, combo, name: str):
        def chosen(index: int = 0) -> None:
            value = combo.itemData(combo.currentIndex)
            if self.parameters is not None and not self._filling and value is not None:
                setattr(self.parameters, name, value)

        return chosen

    def _method_chosen(self, variants=None) -> None:
        """A method was chosen, or with ``variants`` one of its variants: the parameter is NAME or NAME:VARIANT."""
        ui = self.ui
        value = ui.methodCombo.itemData(ui.methodCombo.currentIndex)
        if self.parameters is None or self._filling or value is None:
            return
        if variants is not None:
            value += variants.itemData(variants.currentIndex) or ""
        if value != self.parameters.method:
            self.parameters.settings = "{}"  # another method has other numbers
            self.parameters.method = value

    def _settings_changed(self, values: Dict[str, Any]) -> None:
        if self.parameters is not None and not self._filling:
            self.parameters.settings = json.dumps(values)

    # ------------------------------------------------------------------ keeping the controls true

    def update(self, caller=None, event=None) -> None:
        """Make every control show the parameter node, the runs and the job."""
        if self.parameters is None or self._filling:
            return
        self._filling = True
        try:
            self._update_menus()
            self.results.update()
            self._update_apply()
            self.several.update()
            self.teaching.update()
        finally:
            self._filling = False
        self.results.look()

    def _update_menus(self) -> None:
        p, ui = self.parameters, self.ui
        for combo, value in (
            (ui.methodCombo, p.method.partition(":")[0]),
            (ui.presetCombo, p.preset),
            (ui.deviceCombo, p.device),
            (ui.linearCombo, p.linear),
            (ui.similarityCombo, p.similarity),
            (ui.modeCombo, p.reviewMode),
        ):
            combo.setCurrentIndex(max(0, combo.findData(value)))
        self._update_variants(p.method)
        try:
            card = card_of(p.method)
        except InputError:  # a scene of another version, or a model that was taken away
            card = next(iter(cards().values()))
        trained = "" if card.trained_on is None else _("Trained on: {data}.").format(data=card.trained_on) + " "
        ui.methodLabel.text = f"{_(card.summary)} {trained}{_('License')}: {card.license}."
        self._settings.show(card.module, p.preset, _read_settings(p.settings), card.settings)

    def _update_variants(self, method: str) -> None:
        """The variants of the method, where it has some."""
        ui, (base, _colon, variant) = self.ui, method.partition(":")
        found = cards()[base].variants if base in cards() else {}
        offered = [("", _("Default")), *[(f":{name}", _(one["title"])) for name, one in found.items()]]
        if [ui.variantCombo.itemData(n) for n in range(ui.variantCombo.count)] != [value for value, _title in offered]:
            _fill(ui.variantCombo, offered)
        ui.variantCombo.setCurrentIndex(max(0, ui.variantCombo.findData(f":{variant}" if variant else "")))
        for widget in (ui.variantLabel, ui.variantCombo):
            widget.visible = bool(found)

    def _fill_devices(self) -> None:
        combo = self.ui.deviceCombo
        chosen = combo.itemData(combo.currentIndex) if combo.count else "auto"
        entries = [("auto", _("Automatic: the GPU where there is one"))]
        self._devices = self.session.client.devices
        known = self._devices or [{"name": "cpu", "title": "CPU"}]
        for device in known:
            free = device.get("free_bytes")
            title = device["title"] + (f", {free / 1e9:.0f} GB {_('free')}" if free else "")
            entries.append((device["name"], title))
        _fill(combo, entries)
        blocked = combo.blockSignals(True)
        combo.setCurrentIndex(max(0, combo.findData(chosen)))
        combo.blockSignals(blocked)
        notes = [_(device["note"]) for device in known if device.get("note")]
        combo.toolTip = " ".join([_("Where to compute, with the memory that is free there."), *notes])

    def found(self, choice: Optional[Choice] = None) -> List[Finding]:
        """What is to be said about a choice, the present one when left out."""
        from ..checks import free_memory_bytes

        return findings(choice or self.choice(), self.session.client.devices, free_memory_bytes())

    def _update_apply(self) -> None:
        ui = self.ui
        if self.session.busy:
            ui.applyButton.text = _("Cancel")
            ui.applyButton.enabled = True
            ui.applyButton.toolTip = _("End the registration. The scene stays as it is.")
            return
        found = self.found()
        ui.findingsLabel.text = "<br>".join(f"{SIGNS[f.level]} {_escaped(_(f.text))}" for f in found)
        ui.findingsLabel.visible = bool(found)
        errors = [_(finding.text) for finding in found if finding.level == "error"]
        ui.applyButton.text = _("Apply")
        ui.applyButton.enabled = not errors and not self._installing
        ui.applyButton.toolTip = errors[0] if errors else _("Register the moving volume to the fixed one.")

    # ------------------------------------------------------------------ Apply and Cancel

    def on_apply(self, checked: bool = False) -> None:
        """Apply, or Cancel while a registration runs."""
        if self.session.busy:
            self.ui.applyButton.enabled = False
            self.ui.stageLabel.text = _("Canceling...")
            self.session.cancel()
            return
        self.begin(self.choice())

    def begin(self, choice: Choice, name: str = "") -> bool:
        """Start a registration; False where it was not started, which has been said then."""
        warnings = [_(finding.text) for finding in self.found(choice) if finding.level == "warning"]
        if warnings and not self.confirm("\n\n".join(warnings) + "\n\n" + _("Register all the same?")):
            self.several.stop()
            return False
        if not self._installed():
            self.several.stop()
            return False
        try:
            self._job = self.session.start(choice, name)
        except InputError as error:
            if self.several.running:  # said at the end, with what else went wrong
                self.ui.stageLabel.text = str(error)
            else:
                self._tell_error(str(error))
            return False
        self._drawn, self._logged = (0, 0.0), 0
        self.ui.logText.clear()
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = True
        self.ui.curveLabel.visible = False
        self.timer.interval = BUSY_MS
        self._update_apply()
        self.several.update()
        self._show_progress()
        return True

    def _installed(self) -> bool:
        """Whether everything is there, installed now if the user agrees."""
        packages = install.missing()
        if not packages:
            return True
        if self._installing:  # pip lets Qt work between its lines, and Apply could be pressed again
            return False
        question = _(
            "DeepReg needs packages that are not installed yet:\n\n{packages}\n\nInstall them now? PyTorch is large: "
            "this can take several minutes and gigabytes of disk space."
        ).format(packages="\n".join(packages))
        if not self.confirm(question):
            self.ui.stageLabel.text = _("Nothing was installed. Press Apply when you want to install and register.")
            return False

        def say(text: str) -> None:
            self.ui.stageLabel.text = _(text)
            slicer.util.showStatusMessage(text)
            slicer.app.processEvents()

        self._installing = True
        self._update_apply()
        try:
            install.install(packages, say)
        except RuntimeError as error:
            self._tell_error(str(error))
            return False
        finally:
            self._installing = False
            self._update_apply()
        return True

    def poll(self) -> None:
        """Listen to the worker; called by the timer."""
        changed = self.session.poll()
        if self.session.client.devices != self._devices:
            self._fill_devices()
        job = self._job
        if job is None:
            self._notice_changed_inputs()
            return
        if changed or not job.over:
            self._show_progress()
        if job.over:
            self._job = None
            self._finish(job)

    def _notice_changed_inputs(self) -> None:
        """A volume that was chosen got its voxels, or was moved: nobody tells the parameter node of that."""
        if self.parameters is None or self.session.busy:
            return
        ages = []
        for node in self.choice().nodes():
            ages += [node.GetMTime(), node.GetParentTransformNode() and node.GetParentTransformNode().GetMTime()]
            if node.IsA("vtkMRMLVolumeNode") and node.GetImageData() is not None:
                ages.append(node.GetImageData().GetMTime())
        if ages != self._ages:
            self._ages = ages
            self._update_apply()

    def _show_progress(self) -> None:
        job, ui = self._job, self.ui
        ui.progressBar.value = int(1000 * job.fraction)
        left = job.seconds_left()
        text = _(job.stage)
        if left is not None:
            text += ", " + (f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min") + " " + _("left")
        ui.stageLabel.text = text
        for line in job.log[self._logged :]:
            ui.logText.appendPlainText(line)
        self._logged = len(job.log)
        count, when = self._drawn
        if len(job.losses) > max(1, count) and (time.monotonic() - when > 0.25 or job.over):
            ui.curveLabel.visible = True
            ui.curveLabel.pixmap = draw(job.losses, max(260, ui.applyButton.width), 90, ui.applyButton.palette)
            self._drawn = (len(job.losses), time.monotonic())

    def _finish(self, job: Job) -> None:
        ui = self.ui
        self.timer.interval = IDLE_MS
        ui.progressBar.visible = False
        if job.state == "done":
            ui.stageLabel.text = _("Done in {seconds:.1f} s.").format(seconds=time.monotonic() - job.started)
            self.update()
            self.results.select(job.run)
            if not (self.several.running or self.teaching.running):
                self.results.show_selected()
            self.several.finished(job)
            self.teaching.finished(job)
            return
        ui.stageLabel.text = job.text
        self.update()
        self.teaching.finished(job)
        if self.several.running:
            self.several.finished(job)
            return
        if job.state != "failed":
            return
        if job.reason in ("gpu_memory", "device") and self.parameters is not None:
            question = job.text + "\n\n" + _("Register on the CPU instead? It takes longer.")
            if self.confirm(question):
                self.parameters.device = "cpu"
                self.on_apply()
            return
        self._tell_error(job.text, "\n".join(job.log))

    def _tell_error(self, text: str, detail: str = "") -> None:
        self.ui.stageLabel.text = text
        more = {"detailedText": detail} if detail else {}
        slicer.util.errorDisplay(text, windowTitle=_("DeepReg"), **more)

    @staticmethod
    def confirm(question: str) -> bool:
        """Ask; tests put their own answer in its place. (With --testing Slicer's dialog always answers no.)"""
        return slicer.util.confirmOkCancelDisplay(question, windowTitle=_("DeepReg"))

    def _checks_changed(self) -> None:
        self.several.update_beside()
        self.judging.update()

    def about_to_remove(self, run: Run) -> None:
        """Put away what shows a run, before it goes."""
        self.several.beside.forget(run)
        self.teaching.forget(run)
        self.judging.forget(run)

    # ------------------------------------------------------------------ the scene

    def node_removed(self, node) -> None:
        """A node left the scene: a run that needs it cannot go on."""
        job = self._job
        if job is not None and not job.over and node in job.choice.nodes():
            self.session.drop(
                _("{name} was removed from the scene, so the registration was ended.").format(name=node.GetName())
            )
            self._job = None
            self._finish(job)

    def scene_closing(self) -> None:
        """Everything is about to go."""
        job, self._job = self._job, None
        self.several.stop()
        self.teaching.close()
        if self.several.beside.shown:
            self.several.beside.restore()
        self.judging.close()
        self.results.close()
        if job is not None:
            self.session.drop(_("The scene was closed, so the registration was ended."))
            self.ui.progressBar.visible = False
            self.ui.stageLabel.text = job.text
            self.timer.interval = IDLE_MS
        self.review.restore()
        self.parameters = self.results.parameters = None

    def close(self) -> None:
        """Stop listening."""
        self.timer.stop()
        self.results.close()
        self.parameters = self.results.parameters = None


def _read_settings(text: str) -> Dict[str, Any]:
    try:
        values = json.loads(text or "{}")
    except ValueError:  # a scene that was edited by hand
        return {}
    return values if isinstance(values, dict) else {}


def _fill(combo, entries) -> None:
    """Other entries, (value, title), without telling anybody."""
    blocked = combo.blockSignals(True)
    combo.clear()
    for value, title in entries:
        combo.addItem(title, value)
    combo.blockSignals(blocked)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
