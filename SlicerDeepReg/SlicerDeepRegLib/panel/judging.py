"""The sections that judge the selected run: arrangements of the views, statuses, locations, structures, motion. Qt."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import qt
import slicer
from slicer.i18n import tr as _

from ..metrics.status import AMBER, CONSISTENCY, GRAY, GREEN, RED, Status, overall, statuses
from ..mrml.error_maps import consistency, disagreement, residuals, way_back
from ..mrml.layouts import Layouts
from ..mrml.motion import Morph, Stages, stage_names
from ..mrml.nodes import flipped
from ..mrml.runs import Run, runs
from . import bars
from .curve import draw
from .reporting import ask_film, film

LAYOUTS = (
    ("", _("Mine")),
    ("review", _("Review in three planes")),
    ("before_after", _("Before and after")),
    ("deformation", _("Deformation")),
)
#: What is said of a light, so that nobody needs to tell colors apart, and its color.
SAID = {
    GREEN: (_("within"), "#2e9e4f"),
    AMBER: (_("look"), "#e09a1a"),
    RED: (_("stop"), "#d43a3a"),
    GRAY: (_("not measured"), "#8a8f98"),
}
KINDS = {
    "fold": (_("fold"), _("smallest determinant {value:.2f}")),
    "shrinks": (_("shrinks most"), _("to {value:.2f} of its volume, fixed to moving")),
    "grows": (_("grows most"), _("to {value:.2f} times its volume, fixed to moving")),
    "differs": (_("differs most"), _("{value:.0%} of the window")),
}


#: How much narrower a section is than the buttons above it, on each side, pixels.
MARGIN = 12


class Judging:
    """What the panel says of the selected run, and the views that show why.

    Args:
        ui: the widgets of the .ui by name.
        layouts: arranges the views.
        selected: gives the selected run, or None. ticked: gives those that are ticked.
    """

    def __init__(
        self, ui, layouts: Layouts, selected: Callable[[], Optional[Run]], ticked: Callable[[], List[Run]]
    ) -> None:
        self.ui, self.layouts, self.selected, self.ticked = ui, layouts, selected, ticked
        self._filled: Tuple[Any, ...] = ()
        self._morph: Optional[Morph] = None
        self._stages: Optional[Stages] = None
        self._locations: List[Sequence[float]] = []
        self._structures: List[Optional[Sequence[float]]] = []
        for value, title in LAYOUTS:
            ui.layoutCombo.addItem(title, value)
        _columns(ui.statusTable, (_("Judged"), "", _("Found")), 130)
        _columns(ui.locationsTable, (_("Place"), _("There")), 110)
        _columns(ui.structuresTable, (_("Structure"), _("Dice"), _("HD95 (mm)"), _("Volume (ml)")), 130)
        ui.layoutCombo.connect("currentIndexChanged(int)", lambda index=0: self._arrange())
        ui.locationsTable.connect(
            "itemSelectionChanged()", lambda: self._go(self._locations, ui.locationsTable.currentRow())
        )
        ui.structuresTable.connect(
            "itemSelectionChanged()", lambda: self._go(self._structures, ui.structuresTable.currentRow())
        )
        ui.locationsTable.connect("cellClicked(int,int)", lambda row=0, column=0: self._go(self._locations, row))
        ui.structuresTable.connect("cellClicked(int,int)", lambda row=0, column=0: self._go(self._structures, row))
        ui.residualsButton.connect("clicked(bool)", lambda checked=False: self._try(self._residuals))
        ui.backButton.connect("clicked(bool)", lambda checked=False: self._try(self._there_and_back))
        ui.spreadButton.connect("clicked(bool)", lambda checked=False: self._try(self._spread))
        ui.uncertaintyButton.connect("clicked(bool)", lambda checked=False: self._try(self._uncertainty))
        ui.barsLabel.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # not as wide as it was drawn
        ui.timeSlider.connect("valueChanged(double)", lambda value=0.0: self._try(self._move))
        ui.filmButton.connect("clicked(bool)", lambda checked=False: self._try(self._film))
        ui.stageCombo.connect("currentIndexChanged(int)", lambda index=0: self._try(self._stage))

    # ------------------------------------------------------------------ what is said

    def update(self) -> None:
        """Make the sections show the selected run."""
        run = self.selected()
        complete = run is not None and run.get("fixed") is not None and run.get("warped") is not None
        ui = self.ui
        arranged = self.layouts.shown
        if arranged is None and ui.layoutCombo.currentIndex > 0:
            self._choose_layout("")  # side by side, or Slicer's own menu, took its place
        ui.layoutCombo.enabled = complete or arranged is not None
        for one in (ui.judgeButton, ui.motionButton):
            one.enabled = complete
        ui.spreadButton.enabled = len(self.ticked()) >= 2
        theme = ui.applyButton.palette.color(qt.QPalette.Base).name()  # what is drawn is drawn in its colors
        state = (run, complete, str(run.facts.get("both_ways")) if complete else "", theme)
        if state == self._filled:
            return
        if not self._filled or self._filled[0] != run:
            self.end_motion()
        self._filled = state
        facts = run.facts if complete else {}
        found = self.statuses(run) if complete else []
        self._fill_statuses(found)
        self._fill_locations(facts.get("locations", []))
        self._fill_structures(facts.get("structures", []))
        ui.residualsButton.enabled = bool(facts.get("points"))
        ui.uncertaintyButton.enabled = complete and run.get("uncertainty") is not None
        ui.backButton.enabled = complete and way_back(run, runs(slicer.mrmlScene)) is not None
        ui.judgeLabel.text = ""
        blocked = ui.stageCombo.blockSignals(True)
        ui.stageCombo.clear()
        for name in [_("Choose a stage"), *(stage_names(run) if complete and run.get("stages") else [])]:
            ui.stageCombo.addItem(name)
        ui.stageCombo.blockSignals(blocked)
        if complete and self.layouts.shown is not None and self.layouts.shown[1] != run:
            self._try(self._arrange)

    def statuses(self, run: Run) -> List[Status]:
        """The statuses of a run, with what was measured since."""
        facts = run.facts
        found, both = [Status(**one) for one in facts.get("statuses", [])], facts.get("both_ways")
        if both is None:
            return found
        spacing = facts["spacing_mm"]
        again = {one.name: one for one in statuses(both, spacing)}
        return [one if one.name != CONSISTENCY else again[one.name] for one in found]

    def facts(self, run: Run) -> Dict[str, Any]:
        """Everything about a run, its statuses as they are shown."""
        return {**run.facts, "statuses": [dataclasses.asdict(light) for light in self.statuses(run)]}

    def _fill_statuses(self, found: List[Status]) -> None:
        table = self.ui.statusTable
        table.setRowCount(len(found))
        for row, light in enumerate(found):
            said, color = SAID[light.color]
            for column, text in enumerate((_(light.name), said, light.value)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{light.value}\n{_('Within tolerance')}: {light.rule}")
                if column == 1:
                    item.setForeground(qt.QBrush(qt.QColor(color)))
                table.setItem(row, column, item)
        summary = overall(found) if found else None
        self.ui.summaryLabel.visible = summary is not None
        if summary is not None:
            said, color = SAID[summary.color]
            self.ui.summaryLabel.text = f'<b style="color:{color}">\u25cf {said}</b> {summary.value}'

    def _fill_locations(self, locations: List[Dict[str, Any]]) -> None:
        table = self.ui.locationsTable
        blocked = table.blockSignals(True)
        table.clearSelection()
        self._locations = [flipped(one["position_lps_mm"]) for one in locations]
        table.setRowCount(len(locations))
        for row, place in enumerate(locations):
            title, form = KINDS[place["kind"]]
            for column, text in enumerate((title, form.format(value=place["value"]))):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.blockSignals(blocked)

    def _fill_structures(self, rows: List[Dict[str, Any]]) -> None:
        table = self.ui.structuresTable
        blocked = table.blockSignals(True)
        table.clearSelection()
        self._structures = [None if row["lps_mm"] is None else flipped(row["lps_mm"]) for row in rows]
        table.visible = bool(rows)
        table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            texts = (row["name"], _both(row["dice"], "{:.2f}"), _both(row["hd95_mm"], "{:.1f}"), _volumes(row))
            for column, text in enumerate(texts):
                table.setItem(number, column, qt.QTableWidgetItem(text))
        table.blockSignals(blocked)
        width = max(260, self.ui.applyButton.width - 2 * MARGIN)
        picture = bars.draw(rows, width, self.ui.applyButton.palette)
        self.ui.barsLabel.visible = picture is not None
        if picture is not None:
            self.ui.barsLabel.pixmap = picture

    # ------------------------------------------------------------------ the views

    def _arrange(self) -> None:
        layout = self.ui.layoutCombo.itemData(self.ui.layoutCombo.currentIndex)
        run = self.selected()
        if not layout or run is None:
            if self.layouts.shown is not None:
                self.layouts.restore()
            return
        try:
            self.layouts.show(layout, run)
        except ValueError as error:
            self.ui.judgeLabel.text = self.ui.legendLabel.text = _(str(error))
            if self.layouts.shown is not None:
                self.layouts.restore()
            self._choose_layout("")

    def _choose_layout(self, layout: str) -> None:
        blocked = self.ui.layoutCombo.blockSignals(True)
        self.ui.layoutCombo.setCurrentIndex(max(0, self.ui.layoutCombo.findData(layout)))
        self.ui.layoutCombo.blockSignals(blocked)

    def _go(self, locations: List[Optional[Sequence[float]]], row: int) -> None:
        if 0 <= row < len(locations) and locations[row] is not None:
            self.layouts.review.jump(locations[row])

    def forget(self, run: Run) -> None:
        """Before a run is removed."""
        if self._filled and self._filled[0] == run:
            self.end_motion()
            self._filled = ()
        if self.layouts.shown is not None and self.layouts.shown[1] == run:
            self.layouts.restore()
            self._choose_layout("")

    def close(self) -> None:
        """Before the scene goes."""
        self._morph = self._stages = None
        self._filled = ()
        if self.layouts.shown is not None:
            self.layouts.restore()
        self._choose_layout("")

    # ------------------------------------------------------------------ trust

    def _try(self, act: Callable[[], None]) -> None:
        """Do it; what the run lacks for it is said beneath."""
        self.ui.flickerButton.checked = False  # it would take the views away again
        try:
            act()
        except ValueError as error:
            self.ui.judgeLabel.text = self.ui.motionLabel.text = _(str(error))

    def _residuals(self) -> None:
        run = self.selected()
        node, rows = residuals(slicer.mrmlScene, run)
        node.GetDisplayNode().SetVisibility(True)
        worst = "; ".join(f"{row['name']}: {row['mm']:.1f} mm" for row in rows[:5])
        self.ui.judgeLabel.text = _("Landmarks, the largest errors first: {worst}").format(worst=worst)
        self.layouts.review.jump(rows[0]["ras"])

    def _there_and_back(self) -> None:
        run = self.selected()
        back = way_back(run, runs(slicer.mrmlScene))
        if back is None:
            raise ValueError(_("Register the two volumes the other way round first."))
        node, metrics = consistency(slicer.mrmlScene, run, back)
        run.add_facts(both_ways=metrics)
        self.update()
        self.layouts.review.show_over(run, node)
        self.ui.judgeLabel.text = _("Inverse consistency with {name}: mean {mean:.2f} mm, largest {most:.2f} mm.").format(
            name=back.name, mean=metrics["both_ways_mm"], most=metrics["both_ways_max_mm"]
        )

    def _spread(self) -> None:
        chosen = self.ticked()
        node, metrics = disagreement(slicer.mrmlScene, chosen)
        self.layouts.review.show_over(chosen[0], node)
        self.ui.judgeLabel.text = _("Disagreement of {count} runs: mean {mean:.2f} mm, largest {most:.2f} mm.").format(
            count=len(chosen), mean=metrics["disagreement_mm"], most=metrics["disagreement_max_mm"]
        )

    def _uncertainty(self) -> None:
        run = self.selected()
        run.need("uncertainty")
        self.layouts.review.show_over(run, run.get("uncertainty"))
        metrics = run.facts["metrics"]
        self.ui.judgeLabel.text = _(
            "Results of perturbed inputs: mean {mean:.2f} mm from each other, 95 % below {most:.2f} mm."
        ).format(mean=metrics["uncertainty_mm"], most=metrics["uncertainty_p95_mm"])

    # ------------------------------------------------------------------ motion

    def _move(self) -> None:
        run = self.selected()
        if run is None:
            return
        if self._morph is None:
            self._morph = Morph(slicer.mrmlScene, run)
        self._morph.show(self.ui.timeSlider.value)
        self._stages = None
        blocked = self.ui.stageCombo.blockSignals(True)
        self.ui.stageCombo.setCurrentIndex(0)
        self.ui.stageCombo.blockSignals(blocked)
        self.layouts.review.show_alone(run, self._morph.node)
        self.ui.motionLabel.text = _("Time {time:.2f}: {how}.").format(
            time=self.ui.timeSlider.value, how=_(self._morph.how)
        )

    def _stage(self) -> None:
        run, number = self.selected(), self.ui.stageCombo.currentIndex - 1
        if run is None or number < 0:
            return
        if self._stages is None or self._stages.run != run:
            self._stages = Stages(slicer.mrmlScene, run)
        self._stages.show(number)
        self.layouts.review.show_alone(run, self._stages.node)
        facts = run.facts["stages"][number - 1] if number else None
        self.ui.motionLabel.text = _("As given.") if facts is None else _stage_text(facts)
        curve = [(facts["name"], value) for value in facts["curve"]] if facts else []
        if len(curve) > 1:
            self.ui.curveLabel.visible = True
            self.ui.curveLabel.pixmap = draw(
                curve, max(260, self.ui.applyButton.width), 90, self.ui.applyButton.palette
            )

    def _film(self) -> None:
        """The way to warped and back as a film; the stages, where one is chosen."""
        run = self.selected()
        path = ask_film() if run is not None else None
        if path is None:
            return
        if self.ui.stageCombo.currentIndex > 0:
            steps, seconds, set_to = list(range(1, self.ui.stageCombo.count)), 1.0, self._set_stage
        else:
            forth = [step / 16 for step in range(17)]
            steps, seconds, set_to = [*forth, *reversed(forth)], 0.08, self._set_time
        try:
            film(path, steps, set_to, seconds)
        except OSError as error:
            raise ValueError(
                _("The film could not be written to {path}: {error}").format(path=path, error=error)
            ) from error
        self.ui.motionLabel.text = _("The film is {path}").format(path=path)

    def _set_stage(self, number: int) -> None:
        self.ui.stageCombo.setCurrentIndex(number)
        self._stage()  # also where it was chosen already

    def _set_time(self, time: float) -> None:
        self.ui.timeSlider.value = time
        self._move()  # also where the slider was there already

    def end_motion(self) -> None:
        """Put away what moves."""
        if self._morph is not None and self._morph.run.node.GetScene() is not None:
            self._morph.remove()
        self._morph = self._stages = None
        blocked = self.ui.timeSlider.blockSignals(True)
        self.ui.timeSlider.value = 0
        self.ui.timeSlider.blockSignals(blocked)
        self.ui.motionLabel.text = ""


def _columns(table, titles: Sequence[str], height: int) -> None:
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    for column in range(len(titles)):
        last = column == len(titles) - 1
        table.horizontalHeader().setSectionResizeMode(
            column, qt.QHeaderView.Stretch if last else qt.QHeaderView.ResizeToContents
        )
    table.verticalHeader().hide()
    table.setMaximumHeight(height)


def _both(states: Dict[str, Optional[float]], form: str) -> str:
    before, after = (states.get(name) for name in ("before", "after"))
    return f"{'-' if before is None else form.format(before)} \u2192 {'-' if after is None else form.format(after)}"


def _volumes(row: Dict[str, Any]) -> str:
    """The fixed structure's volume, and how much larger or smaller the warped one is."""
    fixed, warped = row["fixed_ml"], row["warped_ml"]
    if not fixed or warped is None:
        return "-" if not fixed else f"{fixed:.1f}"
    return f"{fixed:.1f}, {_('warped')} {100 * (warped / fixed - 1):+.0f} %"


def _stage_text(facts: Dict[str, Any]) -> str:
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in facts["metrics"].items() if _number(value))
    text = f"{facts['name']}: {facts['seconds']:.1f} s"
    return ". ".join(part for part in (text, metrics, facts["note"]) if part)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
