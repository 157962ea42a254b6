"""The lessons in the panel: one click, steps, a slider, and nothing left behind."""

import pytest
import slicer
from helpers.panel import layers, scene_state
from SlicerDeepRegLib.methods import method, settings_of
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.teaching.lessons import LESSONS
from SlicerDeepRegLib.types import Request


@pytest.fixture
def taught(desktop, widget):
    widget.panel.open_page("lessons")
    return widget


def begin(widget, number):
    """Choose a lesson and start it."""
    widget.ui.lessonCombo.setCurrentIndex(number)
    widget.ui.lessonStartButton.click()


def open_lesson(desktop, widget, number):
    teaching = widget.panel.sections["lessons"]
    begin(widget, number)
    assert teaching.running and "Registering 1 of" in widget.ui.lessonLabel.text
    assert widget.ui.lessonStartButton.text == "Cancel" and not widget.ui.lessonCombo.enabled
    desktop.wait(lambda: not teaching.running, 120)
    return teaching


def test_a_lesson_is_opened_by_one_click_and_leaves_nothing_behind(desktop, taught):
    ui, scene, parameters = taught.ui, desktop.host.scene, taught.panel.parameters
    parameters.showGrid, parameters.reviewMode = True, "checkerboard"
    before, shown, chosen = scene_state(scene), layers(desktop), (parameters.fixed, parameters.moving)
    names = {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}
    teaching = open_lesson(desktop, taught, 0)
    lesson = LESSONS["field"]
    assert teaching.ready and len(runs(scene)) == 1 and ui.lessonSlider.isHidden()
    assert (parameters.fixed, parameters.moving) == chosen
    texts = []
    for number, step in enumerate(lesson.steps):
        assert ui.lessonLabel.text.startswith(f"<b>{lesson.title}</b><br>{number + 1}/{len(lesson.steps)}: ")
        said = ui.lessonMetricsLabel.text
        assert ("<b>Before registration</b><br>TRE: 7." if step.before else "TRE: 1.") in said or step.time is not None
        assert (parameters.reviewMode, parameters.showGrid, parameters.showArrows) == (
            step.mode,
            step.grid,
            step.arrows,
        )
        assert ui.beforeButton.checked == step.before
        assert ui.lessonTimeSlider.isHidden() == (step.time is None)
        assert ui.lessonAmountSlider.isHidden() == (step.time is not None or step.mode == "difference")
        texts.append(ui.lessonLabel.text)
        parameters.reviewMode, parameters.showGrid = "checkerboard", not step.grid  # somebody asks what that would be
        ui.lessonResetButton.click()
        assert (parameters.reviewMode, parameters.showGrid) == (step.mode, step.grid)
        ui.lessonNextButton.click()
    assert len(set(texts)) == len(lesson.steps) and lesson.learned in ui.lessonLabel.text
    assert not ui.lessonNextButton.enabled and not ui.lessonResetButton.enabled
    ui.lessonBackButton.click()
    assert ui.lessonLabel.text == texts[-1]
    ui.lessonEndButton.click()
    assert not runs(scene) and ui.lessonLabel.isHidden() and scene_state(scene) == before
    assert layers(desktop) == shown and (parameters.showGrid, parameters.reviewMode) == (True, "checkerboard")
    left = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    left = [node for node in left if node.GetID() not in names and not node.IsA("vtkMRMLColorNode")]
    assert not [node.GetClassName() for node in left if not node.IsA("vtkMRMLStorageNode")]


def test_stages_are_steps_and_the_slider_goes_through_the_registrations(desktop, taught, monkeypatch):
    """The registrations come from a worker that pretends: what is tested is the course of the lesson."""
    from helpers.panel import PretendedClient

    session = taught.logic.session
    session.client.close()
    client = session.client = PretendedClient()
    teaching, ui = taught.panel.sections["lessons"], taught.ui
    begin(taught, 3)
    lesson, result = LESSONS["stages"], None
    for number, one in enumerate(lesson.tries):
        assert f"Registering {number + 1} of 3" in ui.lessonLabel.text
        request = client.requests[-1]
        assert (request.method, dict(request.settings), request.device) == (one.method, dict(one.settings), "cpu")
        assert request.fixed_points is not None and request.fixed_labels is not None
        if result is None:
            result = register(Request(request.fixed, request.moving, linear="rigid", device="cpu"))
        client.say("done", result=result)
        desktop.wait(lambda count=number + 1: len(teaching.runs) == count, 20)
    assert teaching.ready and not ui.lessonSlider.isHidden() and ui.lessonSlider.maximum == 2
    assert ui.stagesTable.currentRow() == 0 and ui.lessonRunTitle.text == "Method:"
    ui.lessonNextButton.click()
    assert ui.stagesTable.currentRow() == 1 and "linear" in ui.lessonMetricsLabel.text
    ui.lessonNextButton.click()
    ui.lessonNextButton.click()
    assert ui.stagesTable.currentRow() == ui.stagesTable.rowCount - 1
    ui.lessonNextButton.click()
    assert taught.panel.context.runs.selected == teaching.runs[1] and ui.lessonSlider.value == 1
    ui.lessonSlider.value = 2
    assert taught.panel.context.runs.selected == teaching.runs[2]
    assert lesson.tries[2].title in ui.lessonMetricsLabel.text
    desktop.answers.append(True)
    ui.deleteButton.click()
    assert not teaching.ready and "deleted" in ui.lessonLabel.text and not ui.lessonNextButton.enabled
    ui.lessonEndButton.click()
    assert not runs(desktop.host.scene)


def test_a_lesson_that_fails_or_is_canceled_says_so_and_goes(desktop, taught, pretended):
    ui, teaching, scene = taught.ui, taught.panel.sections["lessons"], desktop.host.scene
    before = scene_state(scene)
    begin(taught, 2)
    ui.lessonStartButton.click()  # Cancel
    desktop.wait(lambda: not teaching.running, 10)
    assert "Canceled" in ui.lessonLabel.text and not ui.lessonNextButton.enabled
    ui.lessonEndButton.click()
    assert scene_state(scene) == before
    begin(taught, 2)
    pretended.say("failed", reason="memory", text="Memory ran out.")
    desktop.wait(lambda: not teaching.running, 10)
    assert "Memory ran out." in ui.lessonLabel.text
    begin(taught, 0)  # another one takes its place
    assert teaching.lesson is LESSONS["field"] and teaching.running
    ui.lessonEndButton.click()  # while it runs
    desktop.wait(lambda: not taught.logic.session.busy, 10)
    assert teaching.lesson is None and scene_state(scene) == before and not runs(scene)
    begin(taught, 0)
    slicer.mrmlScene.Clear()
    assert teaching.lesson is None and not teaching.running


def test_a_lesson_beside_the_results_and_layouts_of_the_user(desktop, taught, pretended):
    """Its text is about what it shows; volumes that a result of the user's needs stay; so do those that come back."""
    ui, teaching, scene = taught.ui, taught.panel.sections["lessons"], desktop.host.scene
    begin(taught, 0)
    request = pretended.requests[-1]
    result = register(Request(request.fixed, request.moving, preset="fast", linear="rigid", device="cpu"))
    pretended.say("done", result=result, is_shown=False)
    desktop.wait(lambda: teaching.ready, 20)
    taught.panel.context.display.arrange("review")
    assert taught.panel.context.layouts.is_ours
    ui.lessonResetButton.click()
    assert not taught.panel.context.layouts.is_ours  # the steps speak of the user's own views
    parameters = taught.panel.parameters
    parameters.fixed, parameters.moving = teaching._nodes["fixed"], teaching._nodes["moving"]
    taught.panel.context.begin_chosen()
    pretended.say("done", result=result, is_shown=False)
    taught.panel.poll()
    mine = runs(scene)[-1]
    taught.panel.context.select(mine)
    assert "Another result is selected" in ui.lessonMetricsLabel.text and ui.lessonAmountSlider.isHidden()
    ui.lessonResetButton.click()
    assert "Another result" not in ui.lessonMetricsLabel.text
    ui.lessonEndButton.click()
    assert runs(scene) == [mine] and mine.get("fixed") is not None and mine.get("moving") is not None


def test_the_settings_of_every_lesson_are_those_of_its_method():
    for lesson in LESSONS.values():
        for attempt in lesson.tries:
            settings_of(method(attempt.method), attempt.preset, attempt.settings)  # raises for an unknown one
