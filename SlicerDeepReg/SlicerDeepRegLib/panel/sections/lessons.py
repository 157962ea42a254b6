"""Lessons: one click makes a pair, registers it as the lesson asks, and shows the results step by step. Qt."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from ...metrics import METRICS
from ...mrml.runs import Run, remove_node, runs
from ...teaching.lessons import LESSONS, SHOWN, Lesson, Step
from ...teaching.pairs import PAIRS
from ...types import PEOPLE, InputError
from ..choice import Choice
from ..controls import choose, chosen, fill, signals_blocked
from ..display import DISPLAY_PARAMETERS
from ..samples import add_labeled_pair
from ..section import BaseSection
from ..session import Job
from ..text import escaped
from .review import WITH_AMOUNT

#: Points of the text for a projector.
LARGE_TEXT = 16


class LessonsSection(BaseSection):
    """Plays lessons in the views.

    Attributes:
        lesson: the one that is open, or None.
        running: whether its registrations are running.
        runs: its results so far.
    """

    name = "lessons"
    ui = "Lessons.ui"
    order = 10
    container = "lessonsPage"

    def __init__(self, context: Any, root: Any) -> None:
        super().__init__(context, root)
        self.lesson: Lesson | None = None
        self.running = False
        self.runs: list[Run] = []
        self._step = 0
        self._nodes: dict[str, Any] = {}  # of the pair, named as in Choice
        self._display_before: dict[str, Any] = {}
        self._trouble = ""  # why the lesson cannot go on
        widgets = self.widgets
        titles = [(name, f"{number}. {_(one.title)}") for number, (name, one) in enumerate(LESSONS.items(), start=1)]
        fill(widgets.lessonCombo, titles)
        widgets.lessonStartButton.connect("clicked(bool)", lambda checked=False: self.start())
        widgets.largeTextCheck.connect("toggled(bool)", self._set_large)
        widgets.lessonAmountSlider.connect("valueChanged(double)", lambda value=0.0: self._set_amount(value))
        widgets.lessonTimeSlider.connect("valueChanged(double)", lambda value=0.0: self._set_time(value))
        widgets.lessonBackButton.connect("clicked(bool)", lambda checked=False: self.go(self._step - 1))
        widgets.lessonNextButton.connect("clicked(bool)", lambda checked=False: self.go(self._step + 1))
        widgets.lessonResetButton.connect("clicked(bool)", lambda checked=False: self.go(self._step))
        widgets.lessonEndButton.connect("clicked(bool)", lambda checked=False: self.end())
        widgets.lessonSlider.connect("valueChanged(double)", lambda value=0.0: self._show_run(round(value)))
        self.update()

    # ------------------------------------------------------------------ its course

    def start(self) -> None:
        """Begin the lesson that is chosen, or cancel its registrations."""
        if self.running:
            self.context.launcher.cancel()
            return
        name = chosen(self.widgets.lessonCombo)
        if name is not None:
            self.open(LESSONS[name])

    def open(self, lesson: Lesson) -> None:
        """Begin a lesson: add its pair to the scene and start its registrations."""
        if self.context.session.busy or self.parameters is None:
            return
        self.end()
        choose(self.widgets.lessonCombo, lesson.name)
        self.lesson, self._step, self.runs, self._trouble = lesson, 0, [], ""
        self._display_before = {name: getattr(self.parameters, name) for name in DISPLAY_PARAMETERS}
        self._nodes = add_labeled_pair(PAIRS[lesson.pair]())
        self.running = True
        self._next()

    def _next(self) -> None:
        """Start the next registration, or show the first step after the last of them."""
        number = len(self.runs)
        if number == len(self.lesson.tries):
            self.running = False
            self.context.update()
            self.go(0)
            self.context.review.fit(self.runs[0])
            return
        attempt = self.lesson.tries[number]
        choice = Choice(
            **self._nodes,
            method=attempt.method,
            settings=attempt.settings,
            preset=attempt.preset,
            linear=attempt.linear,
            guide_points_mm=0.5 if attempt.guide else None,
            held_points=attempt.held_out(self._nodes["fixed_points"].GetNumberOfControlPoints())
            if attempt.guide
            else (),
            pair=PEOPLE,
            device="cpu",
        )
        try:
            begun = self.context.begin(choice, attempt.title, attended=False)
        except InputError as error:
            self.context.error(str(error))
            begun = False
        if begun:
            self.update()
        else:
            self._stop(_("The lesson was not started."))

    def finished(self, job: Job) -> None:
        if not self.running:
            return
        if job.state == "done":
            self.runs.append(job.run)
            if self.context.launcher.stopped:
                self._stop(_("The lesson was stopped."))
            elif any(run.node.GetScene() is None for run in self.runs):
                self._stop(_("A result of the lesson was deleted. Open the lesson again."))
            else:
                self._next()
            return
        self._stop(job.text)
        if job.state == "failed":
            self.context.error(job.text, "\n".join(job.log))

    def _stop(self, text: str) -> None:
        self.running = False
        self._trouble = text
        self.update()

    def end(self) -> None:
        """Remove what the lesson made, but results that the user locked, and the volumes of those and of his own."""
        if self.lesson is None:
            return
        context = self.context
        if self.running:
            self.running = False
            context.session.cancel()
        context.display.show_before(False)
        for run in list(self.runs):
            if run.node.GetScene() is not None and not run.permanent:
                context.remove(run)
        context.display.restore_views()
        made = set(self._nodes.values())
        # A locked result needs its volumes, and so does one that the user made of them, or brought back.
        kept = any(made & {run.get("fixed"), run.get("moving")} for run in runs(slicer.mrmlScene))
        for node in self._nodes.values() if not kept else ():
            if node.GetScene() is not None:
                remove_node(slicer.mrmlScene, node)
        for name, value in self._display_before.items():
            setattr(self.parameters, name, value)
        self.close()
        context.update()

    def close(self) -> None:
        self.lesson, self.running = None, False
        self._nodes, self.runs, self._display_before = {}, [], {}
        self.update()

    def run_about_to_be_removed(self, run: Run) -> None:
        """Without one of its results a lesson cannot go on."""
        if run in self.runs and self.lesson is not None and not self.running:
            self.runs.remove(run)
            self._trouble = _("A result of the lesson was deleted. Open the lesson again.")
            self.update()

    # ------------------------------------------------------------------ its steps

    @property
    def ready(self) -> bool:
        """Whether there is something to look at."""
        return self.lesson is not None and not self.running and len(self.runs) == len(self.lesson.tries)

    def go(self, number: int) -> None:
        """Show a step, counted from 0; the one after the last is the summary."""
        if not self.ready or not 0 <= number <= len(self.lesson.steps):
            return
        self._step = number
        if number < len(self.lesson.steps):
            step = self.lesson.steps[number]
            self._show(step, step.shows)
        self.update()

    def _show_run(self, number: int) -> None:
        """Show another registration in the way of the present step."""
        if self.ready and number != self._shown_number():
            self._show(self.lesson.steps[min(self._step, len(self.lesson.steps) - 1)], number)
            self.update()

    def _show(self, step: Step, number: int) -> None:
        display, parameters, run = self.context.display, self.parameters, self.runs[number]
        display.end_motion()
        display.arrange("")  # the steps speak of what is seen there
        self.context.select(run)
        parameters.reviewMode, parameters.reviewAmount = step.mode, step.amount
        parameters.showGrid, parameters.showArrows = step.grid, step.arrows
        display.show_before(step.before)
        display.look(run)
        try:
            if step.time is not None:
                display.show_time(step.time)
            elif step.stage and number == step.shows:
                names = display.stage_names()
                display.show_stage(len(names) - 1 if step.stage == "last" else names.index(step.stage))
        except ValueError as error:  # the user removed a volume
            display.say_of_motion(_(str(error)))

    def _set_amount(self, amount: float) -> None:
        if self.ready and self._shown_number() is not None:
            self.parameters.reviewAmount = amount

    def _set_time(self, time: float) -> None:
        if self.ready and self._asks_for_time():
            try:
                self.context.display.show_time(time)
            except ValueError as error:  # the user removed a volume
                self.context.display.say_of_motion(_(str(error)))

    def _asks_for_time(self) -> bool:
        return self.lesson.steps[min(self._step, len(self.lesson.steps) - 1)].time is not None

    def _set_large(self, large: bool) -> None:
        """Show text that can be read from the back of a room."""
        size = f"font-size: {LARGE_TEXT}pt;" if large else ""
        for label in (self.widgets.lessonLabel, self.widgets.lessonMetricsLabel):
            label.setStyleSheet(size)

    def _shown_number(self) -> int | None:
        """Return which of the lesson's results is selected; None where another one is."""
        selected = self.context.runs.selected
        return self.runs.index(selected) if selected in self.runs else None

    # ------------------------------------------------------------------ the controls

    def selection_changed(self) -> None:
        self.update()

    def view_changed(self) -> None:
        self.update()

    def started(self, job: Job) -> None:
        self.update()

    def update(self) -> None:
        widgets, ready, lesson = self.widgets, self.ready, self.lesson
        widgets.lessonStartButton.enabled = self.running or not self.context.session.busy
        widgets.lessonStartButton.text = _("Cancel") if self.running else _("Start")
        widgets.lessonCombo.enabled = not self.running
        ours = ready and self._shown_number() is not None  # the sliders change what is selected
        asks_for_time = ours and self._asks_for_time()
        for widget in (widgets.lessonTimeTitle, widgets.lessonTimeSlider):
            widget.visible = asks_for_time
        for widget in (widgets.lessonAmountTitle, widgets.lessonAmountSlider):
            widget.visible = ours and not asks_for_time and self.parameters.reviewMode in WITH_AMOUNT
        if ready:
            with signals_blocked(widgets.lessonTimeSlider, widgets.lessonAmountSlider):
                widgets.lessonTimeSlider.value = self.context.display.time
                widgets.lessonAmountSlider.value = self.parameters.reviewAmount
        for widget in (
            widgets.lessonLabel,
            widgets.lessonBackButton,
            widgets.lessonNextButton,
            widgets.lessonResetButton,
            widgets.lessonEndButton,
        ):
            widget.visible = lesson is not None
        for widget in (widgets.lessonRunTitle, widgets.lessonSlider):
            widget.visible = ready and bool(lesson.slider)
        widgets.lessonMetricsLabel.visible = ready
        widgets.lessonBackButton.enabled = ready and self._step > 0
        widgets.lessonNextButton.enabled = ready and self._step < len(lesson.steps)
        widgets.lessonResetButton.enabled = ready and self._step < len(lesson.steps)  # the summary shows nothing anew
        if lesson is None:
            return
        widgets.lessonLabel.text = self._text(lesson)
        if not ready:
            return
        number = self._shown_number()
        if number is None:
            text = _("Another result is selected. Reset step shows that of the lesson.")
            widgets.lessonMetricsLabel.text = escaped(text)
            return
        if lesson.slider:
            widgets.lessonRunTitle.text = f"{_(lesson.slider)}:"
            with signals_blocked(widgets.lessonSlider):
                widgets.lessonSlider.maximum = len(self.runs) - 1
                widgets.lessonSlider.value = number
        run, display = self.runs[number], self.context.display
        before = display.shows_before
        title = _("Before registration") if before else _(lesson.tries[number].title)
        measured = _metrics_before(run) if before else _metrics_text(run)
        text = display.motion_text or measured  # of a stage that is shown
        widgets.lessonMetricsLabel.text = f"<b>{title}</b><br>{escaped(text)}"

    def _text(self, lesson: Lesson) -> str:
        title = f"<b>{_(lesson.title)}</b><br>"
        if self._trouble:
            return title + escaped(_(self._trouble))
        if not self.ready:
            number, count = len(self.runs) + 1, len(lesson.tries)
            progress = _("Registering {number} of {count}...").format(number=number, count=count)
            return f"{title}{_(lesson.question)}<br><br>{progress}"
        if self._step == len(lesson.steps):
            return title + _("Summary: ") + _(lesson.learned)
        return f"{title}{self._step + 1}/{len(lesson.steps)}: {_(lesson.steps[self._step].text)}"


def _metrics_text(run: Run) -> str:
    values = run.facts.get("metrics", {})
    known = [(METRICS[name], values.get(name)) for name in SHOWN]
    lines = [f"{metric.title}: {value:.3g} {metric.unit}".strip() for metric, value in known if value is not None]
    return "; ".join(lines)


def _metrics_before(run: Run) -> str:
    """Return the metrics of the pair as it was given."""
    table = {heading: values[0] for heading, values in run.facts.get("table", [])}
    known = [(METRICS[name], table.get(METRICS[name].heading, "-")) for name in SHOWN]
    return "; ".join(f"{metric.title}: {value} {metric.unit}".strip() for metric, value in known if value != "-")
