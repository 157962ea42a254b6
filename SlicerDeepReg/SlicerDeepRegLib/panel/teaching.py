"""Lessons in the panel: one click makes a pair, registers it as the lesson asks, and shows it step by step. Qt."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import qt
import slicer
from slicer.i18n import tr as _

from ..metrics import METRICS
from ..mrml.nodes import flipped
from ..mrml.runs import Run, remove, remove_node
from ..mrml.segments import add_segmentation
from ..teaching.lessons import LESSONS, SHOWN, Lesson, Step
from ..teaching.pairs import LABEL_NAMES, PAIRS, SyntheticPair
from .choice import Choice
from .samples import add_volumes

#: What a step changes of how the panel looks at runs; put back at the end.
LOOK = ("reviewMode", "reviewAmount", "showGrid", "showArrows", "gridSpacing")


class Teaching:
    """The section with the lessons.

    Args:
        panel: its controls, session and results.
    """

    def __init__(self, panel) -> None:
        self.panel, self.ui = panel, panel.ui
        self.lesson: Optional[Lesson] = None
        self.running = False
        self._step = 0
        self._nodes: Dict[str, Any] = {}
        self._runs: List[Run] = []
        self._look: Dict[str, Any] = {}
        self._said = ""
        self._buttons = []
        for number, lesson in enumerate(LESSONS.values(), start=1):
            button = qt.QPushButton(f"{number}. {_(lesson.title)}")
            button.setToolTip(_(lesson.question))
            button.connect("clicked(bool)", self._opener(lesson))
            self.ui.lessonsWidget.layout().addWidget(button)
            self._buttons.append(button)
        ui = self.ui
        ui.lessonBackButton.connect("clicked(bool)", lambda checked=False: self.go(self._step - 1))
        ui.lessonNextButton.connect("clicked(bool)", lambda checked=False: self.go(self._step + 1))
        ui.lessonEndButton.connect("clicked(bool)", lambda checked=False: self.end())
        ui.lessonSlider.connect("valueChanged(double)", lambda value=0.0: self._slid(round(value)))
        self.update()

    def _opener(self, lesson: Lesson):
        return lambda checked=False: self.open(lesson)

    # ------------------------------------------------------------------ its course

    def open(self, lesson: Lesson) -> None:
        """Begin a lesson: its pair goes into the scene, and its registrations start."""
        if self.panel.session.busy or self.panel.parameters is None:
            return
        self.end()
        self.lesson, self._step, self._runs, self._said = lesson, 0, [], ""
        self._look = {name: getattr(self.panel.parameters, name) for name in LOOK}
        self._nodes = _add_pair(PAIRS[lesson.pair]())
        self.running = True
        self._next()

    def _next(self) -> None:
        """The next registration, or the first step after the last of them."""
        number = len(self._runs)
        if number == len(self.lesson.tries):
            self.running = False
            self.panel.update()
            self.go(0)
            self.panel.review.fit(self._runs[0])
            return
        one = self.lesson.tries[number]
        if not self.panel.begin(Choice(**self._nodes, **one.choices(), device="cpu"), name=one.title):
            self._stop(_("The lesson was not begun."))
            return
        self.update()

    def finished(self, job) -> None:
        """A registration is over: the next one, where it was the lesson's."""
        if not self.running:
            return
        if job.state != "done":
            self._stop(job.text)
            return
        self._runs.append(job.run)
        self._next()

    def _stop(self, text: str) -> None:
        self.running = False
        self._said = text
        self.update()

    def end(self) -> None:
        """Take away what the lesson made; a run that the user made permanent stays."""
        if self.lesson is None:
            return
        if self.running:
            self.running = False
            self.panel.session.cancel()
        panel = self.panel
        panel.ui.beforeButton.checked = False
        for run in list(self._runs):
            if run.node.GetScene() is not None and not run.permanent:
                panel.review.forget(run)
                panel.about_to_remove(run)
                remove(slicer.mrmlScene, run)
        panel.review.restore()
        for node in self._nodes.values():
            if node.GetScene() is not None:
                remove_node(slicer.mrmlScene, node)
        for name, value in self._look.items():
            setattr(panel.parameters, name, value)
        self.close()
        panel.update()

    def close(self) -> None:
        """Forget the lesson, before the scene goes."""
        self.lesson, self.running = None, False
        self._nodes, self._runs, self._look = {}, [], {}
        self.update()

    def forget(self, run: Run) -> None:
        """Before a run is removed: without one of its runs a lesson cannot go on."""
        if run in self._runs and self.lesson is not None and not self.running:
            self._runs.remove(run)
            self._said = _("A run of the lesson was deleted. Open the lesson again.")
            self.update()

    # ------------------------------------------------------------------ its steps

    @property
    def ready(self) -> bool:
        """Whether there is something to look at."""
        return self.lesson is not None and not self.running and len(self._runs) == len(self.lesson.tries)

    def go(self, number: int) -> None:
        """Show a step."""
        if not self.ready or not 0 <= number <= len(self.lesson.steps):
            return
        self._step = number
        if number < len(self.lesson.steps):
            self._show(self.lesson.steps[number], self.lesson.steps[number].shows)
        self.update()

    def _slid(self, number: int) -> None:
        """Another registration, looked at as the step says."""
        if self.ready and number != self._shown_number():
            self._show(self.lesson.steps[min(self._step, len(self.lesson.steps) - 1)], number)
            self.update()

    def _show(self, step: Step, number: int) -> None:
        panel, p, run = self.panel, self.panel.parameters, self._runs[number]
        panel.judging.end_motion()
        panel.results.select(run)
        p.reviewMode, p.reviewAmount, p.showGrid, p.showArrows = step.mode, step.amount, step.grid, step.arrows
        panel.ui.beforeButton.checked = step.before
        panel.results.look(run)
        if step.time is not None:
            panel.ui.timeSlider.value = step.time
        elif step.stage and number == step.shows:
            names = [panel.ui.stageCombo.itemText(row) for row in range(panel.ui.stageCombo.count)]
            panel.ui.stageCombo.setCurrentIndex(len(names) - 1 if step.stage == "last" else names.index(step.stage))

    def _shown_number(self) -> int:
        selected = self.panel.results.selected()
        return self._runs.index(selected) if selected in self._runs else 0

    # ------------------------------------------------------------------ the controls

    def update(self) -> None:
        """Make the section show the lesson."""
        ui, ready = self.ui, self.ready
        for button in self._buttons:
            button.enabled = not self.panel.session.busy
        for widget in (ui.lessonLabel, ui.lessonBackButton, ui.lessonNextButton, ui.lessonEndButton):
            widget.visible = self.lesson is not None
        ui.lessonSlider.visible = ready and bool(self.lesson.slider)
        ui.lessonFiguresLabel.visible = ready
        ui.lessonBackButton.enabled = ready and self._step > 0
        ui.lessonNextButton.enabled = ready and self._step < len(self.lesson.steps)
        if self.lesson is None:
            return
        ui.lessonLabel.text = self._text()
        if ready:
            number = self._shown_number()
            if self.lesson.slider:
                blocked = ui.lessonSlider.blockSignals(True)
                ui.lessonSlider.maximum = len(self._runs) - 1
                ui.lessonSlider.value = number
                ui.lessonSlider.blockSignals(blocked)
            said = ui.motionLabel.text or _metrics(self._runs[number])  # of the stage, where one is shown
            ui.lessonFiguresLabel.text = f"<b>{_(self.lesson.tries[number].title)}</b><br>{said}"

    def _text(self) -> str:
        lesson = self.lesson
        title = f"<b>{_(lesson.title)}</b><br>"
        if self._said:
            return title + _(self._said)
        if not self.ready:
            number, count = len(self._runs) + 1, len(lesson.tries)
            return (
                title
                + _(lesson.question)
                + "<br><br>"
                + _("Registering {number} of {count}...").format(number=number, count=count)
            )
        if self._step == len(lesson.steps):
            return title + _("To take home: ") + _(lesson.learned)
        return f"{title}{self._step + 1}/{len(lesson.steps)}: {_(lesson.steps[self._step].text)}"


def _metrics(run: Run) -> str:
    metrics = run.facts.get("metrics", {})
    known = [(METRICS[name], metrics.get(name)) for name in SHOWN]
    lines = [f"{metric.title}: {value:.3g} {metric.unit}".strip() for metric, value in known if value is not None]
    return "; ".join(lines).replace("<", "&lt;")


def _add_pair(pair: SyntheticPair) -> Dict[str, Any]:
    """The pair in the scene, named as in ``Choice``; structures and landmarks are not drawn over the images."""
    scene = slicer.mrmlScene
    fixed, moving = add_volumes(pair)
    nodes = {"fixed": fixed, "moving": moving}
    for side, labels in (("fixed", pair.fixed_labels), ("moving", pair.moving_labels)):
        node = add_segmentation(scene, labels, labels.name, LABEL_NAMES)
        node.GetDisplayNode().SetVisibility(False)
        nodes[f"{side}_segmentation"] = node
    for side, points in (("fixed", pair.fixed_points), ("moving", pair.moving_points)):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"Made {side} landmarks")
        for place in flipped(points):
            node.AddControlPoint(*place)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility(False)
        nodes[f"{side}_points"] = node
    return nodes
