"""A result is in the scene and the views before it is measured, and stays there whatever becomes of the measuring."""

import dataclasses
import time

import pytest
from SlicerDeepRegLib.mrml.runs import remove, runs
from SlicerDeepRegLib.panel.choice import Choice
from SlicerDeepRegLib.panel.session import Job
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Request


@pytest.fixture(scope="module")
def found(synthetic_case):
    """The result before and after it was measured."""
    shown = []
    request = Request(synthetic_case.fixed, synthetic_case.moving, preset="fast", device="cpu", uncertainty_runs=1)
    result = register(request, show=shown.append)
    return shown[0], result


@pytest.fixture
def shown(widget, pretended, found):
    """The run of a registration that is being measured."""
    widget.ui.applyButton.click()
    pretended.say("shown", result=found[0])
    widget.panel.poll()
    (run,) = runs(widget.panel.job.run.node.GetScene())
    return run


def test_the_pipeline_shows_what_it_returns_but_for_what_is_measured(found):
    first, result = found
    assert first.transform is result.transform and first.warped is result.warped and first.jacobian is result.jacobian
    assert (
        first.metrics == {} and first.locations == () and first.uncertainty is None and result.uncertainty is not None
    )
    assert result.metrics["after"] and set(first.notes) <= set(result.notes) and "measure" not in first.seconds


def test_it_is_seen_at_once_and_completed_later(desktop, widget, pretended, shown, found):
    panel, ui = widget.panel, widget.ui
    assert panel.job is not None and panel.review.shown == shown and panel.context.runs.selected == shown
    assert shown.get("warped") is not None and shown.get("table") is None and shown.get("uncertainty") is None
    assert not shown.facts["is_measured"] and ui.applyButton.text == "Cancel" and "kept" in ui.applyButton.toolTip
    assert ui.runsTable.rowCount == 1
    panel.context.display.show(shown)
    panel.parameters.reviewMode = "checkerboard"
    pretended.say("done", result=found[1], is_shown=True)
    panel.poll()
    assert runs(desktop.host.scene) == [shown] and panel.job is None and ui.applyButton.text == "Apply"
    assert shown.facts["is_measured"] and shown.facts["metrics"]["ncc"] == found[1].metrics["after"]["ncc"]
    assert shown.facts["worst_jacobian"] == found[1].metrics["after"]["jacobian_min"]  # that of the verdict
    assert shown.get("table").GetName() == f"{shown.name}: metrics" and shown.get("uncertainty") is not None
    assert shown.get("path") is not None and pretended.released == ["job1"]
    assert shown.facts["seconds_until_shown"] < 60 and panel.parameters.reviewMode == "checkerboard"
    assert any(word != "Not measured" for _measure, word, _value in panel.sections["verdict"].shown)
    remove(desktop.host.scene, shown)
    left = [desktop.host.scene.GetNthNode(n).GetName() or "" for n in range(desktop.host.scene.GetNumberOfNodes())]
    assert not [name for name in left if "metrics" in name or "uncertainty" in name or "path" in name]


def test_measures_are_seen_one_by_one(widget, pretended, shown, found):
    after = found[1].metrics["after"]

    def words():
        return {measure: word for measure, word, _value in widget.panel.sections["verdict"].shown}

    assert set(words().values()) == {"Measuring..."}
    pretended.say("measured", metrics={name: after[name] for name in ("inverse_error_mm", "inverse_error_max_mm")})
    widget.panel.poll()
    assert words()["Inverse consistency"] == "Within tolerance" and words()["Jacobian"] == "Measuring..."
    assert "MEASURING" in widget.ui.summaryLabel.text and "Jacobian: Measuring..." in widget.ui.measuresLabel.text
    pretended.say("measured", metrics=after)
    widget.panel.poll()
    assert words()["Jacobian"] != "Measuring..." and not shown.facts["is_measured"]
    pretended.say("done", result=found[1], is_shown=True)
    widget.panel.poll()
    assert words()["Landmarks (TRE)"] == "Not measured" and "MEASURING" not in widget.ui.summaryLabel.text


def test_what_is_still_being_measured_is_no_verdict_and_no_report(
    desktop, widget, pretended, shown, found, monkeypatch, tmp_path
):
    from SlicerDeepRegLib.panel.sections import export

    pretended.say("measured", metrics={"tre_mm": 0.4, "tre_max_mm": 0.6})
    widget.panel.poll()
    assert "MEASURING" in widget.ui.summaryLabel.text and "WITHIN" not in widget.ui.summaryLabel.text
    monkeypatch.setattr(export, "ask_folder", lambda text: tmp_path)
    widget.ui.reportButton.click()
    assert "still being measured" in desktop.messages[-1] and not list(tmp_path.glob("report*"))


def test_canceling_keeps_it(desktop, widget, pretended, shown):
    widget.ui.applyButton.click()
    widget.panel.poll()
    assert pretended.canceled == ["job1"] and widget.panel.job is None and runs(desktop.host.scene) == [shown]
    assert widget.logic.session.job.state == "done" and "result is kept" in widget.ui.stageLabel.text
    assert any("canceled" in note for note in shown.facts["notes"]) and not shown.facts["is_measured"]


@pytest.mark.parametrize("kind", ["failed", "died"])
def test_a_failure_keeps_it_and_says_why(desktop, widget, pretended, shown, kind):
    pretended.say(kind, reason="memory", text="Memory ran out.")
    widget.panel.poll()
    assert runs(desktop.host.scene) == [shown] and "Memory ran out" in widget.ui.stageLabel.text
    assert widget.ui.applyButton.text == "Apply"


def test_an_input_that_goes_keeps_it(desktop, widget, pretended, shown):
    desktop.host.scene.RemoveNode(widget.panel.parameters.moving)
    widget.panel.poll()
    assert runs(desktop.host.scene) == [shown] and widget.panel.job is None


def test_a_result_that_is_deleted_meanwhile_stays_deleted(desktop, widget, pretended, shown, found):
    desktop.answers.append(True)
    widget.ui.deleteButton.click()
    assert runs(desktop.host.scene) == []
    pretended.say("done", result=found[1], is_shown=True)
    widget.panel.poll()
    assert runs(desktop.host.scene) == [] and "deleted before it was measured" in widget.ui.stageLabel.text
    assert pretended.released == ["job1"]


def test_what_was_found_anew_takes_its_place(desktop, widget, pretended, shown, found):
    """A GPU was full while it measured, and a faster preset found something else."""
    other = dataclasses.replace(found[1], request=dataclasses.replace(found[1].request, preset="standard"))
    pretended.say("done", result=other, is_shown=False)
    widget.panel.poll()
    (run,) = runs(desktop.host.scene)
    assert run.facts["preset"] == "standard" and run.facts["is_measured"] and widget.panel.review.shown == run


def test_a_scene_that_closes_takes_it_along(desktop, widget, pretended, shown, found):
    widget.panel.scene_closing()
    desktop.host.scene.Clear(0)
    pretended.say("done", result=found[1], is_shown=True)
    widget.panel.poll()
    assert runs(desktop.host.scene) == [] and widget.panel.job is None


def test_the_time_left_runs_down_while_a_stage_reports_nothing(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    job = Job(Choice(), None, "one", "job1", started=now[0])
    now[0] += 10
    job.went_on(0.01)
    assert job.seconds_left() is None  # too little is done
    job.went_on(0.25)
    assert job.seconds_left() == pytest.approx(30)
    now[0] += 12
    job.went_on(0.25)
    assert job.seconds_left() == pytest.approx(18)
    now[0] += 20
    assert job.seconds_left() is None  # longer than was estimated
    job.went_on(0.5)
    assert job.seconds_left() == pytest.approx(42)
    job.state = "done"
    assert job.seconds_left() is None
