"""What the user changes while a result is looked at stays; what we changed goes, from a scene saved then, too."""

import json

import pytest
import slicer
import slicer.util
from helpers.panel import finish, layers
from SlicerDeepRegLib.mrml.layouts import SIDE_BY_SIDE
from SlicerDeepRegLib.mrml.nodes import layout_node
from SlicerDeepRegLib.mrml.outlines import BEFORE
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.mrml.segments import segments_of


def displays(run):
    return [run.get(role).GetDisplayNode() for role in ("fixed_segmentation", "moving_segmentation", "segmentation")]


def reopened(desktop, widget, tmp_path):
    """Save the scene, load it again, and return its run."""
    desktop.host.save(tmp_path / "scene.mrb")
    desktop.close_scene()
    desktop.host.load(tmp_path / "scene.mrb")
    (run,) = runs(desktop.host.scene)
    return run


def test_a_segmentation_that_is_hidden_meanwhile_stays_hidden(done):
    widget, run = done
    fixed, _moving, warped = displays(run)
    fixed.SetVisibility2D(False)
    first = segments_of(run.get("segmentation"))[0][0]
    warped.SetSegmentVisibility(first, False)
    widget.panel.parameters.fade = 0.3
    widget.panel.update()
    widget.ui.beforeButton.click()
    widget.ui.beforeButton.click()
    assert not fixed.GetVisibility2D() and warped.GetVisibility2D() and not warped.GetSegmentVisibility(first)
    widget.ui.restoreViewsButton.click()
    assert not fixed.GetVisibility2D() and fixed.GetVisibility2DFill() and not warped.GetSegmentVisibility(first)


def test_a_scene_saved_during_a_look_has_its_segmentations_as_they_were(desktop, done, tmp_path):
    widget, run = done
    fixed, moving, _warped = displays(run)
    assert not fixed.GetVisibility2DFill() and not moving.GetVisibility2D()
    run = reopened(desktop, widget, tmp_path)
    fixed, moving, warped = displays(run)
    assert all(one.GetVisibility2D() and one.GetVisibility2DFill() for one in (fixed, moving, warped))
    assert all(one.GetAttribute(BEFORE) is None for one in (fixed, moving, warped))


@pytest.mark.parametrize("mode", ["fade", "swipe"])
def test_a_scene_saved_during_a_look_shows_what_there_was_or_what_there_is(desktop, done, tmp_path, mode):
    """The volume that only swipes is not saved: its views would be blank."""
    widget, run = done
    widget.ui.restoreViewsButton.click()
    for view in desktop.host.views.values():
        view.show(run.get("fixed"))
    widget.panel.parameters.reviewMode = mode
    widget.ui.showButton.click()
    assert {first for first, _second in layers(desktop)} != {None}
    run = reopened(desktop, widget, tmp_path)
    widget.initializeParameterNode()
    assert {first for first, _second in layers(desktop)} == {run.get("fixed").GetID()}
    assert widget.panel.context.runs.selected == run and widget.ui.showButton.enabled
    for view in desktop.host.views.values():
        assert view.composite.GetAttribute(BEFORE) is None


def test_what_was_kept_and_edited_by_hand_does_no_harm(done):
    widget, run = done
    display = displays(run)[0]
    widget.ui.restoreViewsButton.click()
    for kept in ("", "[1]", '{"visible": 1}', "no JSON", json.dumps({"width": "x"})):
        display.SetAttribute(BEFORE, kept)
        widget.panel.review.outlines.recover()
        assert display.GetVisibility2D() and display.GetVisibility2DFill()


def test_names_and_layout_of_a_scene_saved_during_a_blinded_reading(desktop, widget, done, tmp_path):
    _widget, run = done
    views, scene, own = widget.panel.sections["side_by_side"].views, desktop.host.scene, run.get("warped").GetName()
    before = layout_node(scene).GetViewArrangement()
    views.show([run], ["A"])
    assert run.get("warped").GetName() == "A: warped" and layout_node(scene).GetViewArrangement() == SIDE_BY_SIDE
    run = reopened(desktop, widget, tmp_path)
    assert run.get("warped").GetName() == own
    assert layout_node(desktop.host.scene).GetViewArrangement() == before


def test_names_under_letters_stay_while_another_scene_is_added(widget, done):
    _widget, run = done
    section = widget.panel.sections["side_by_side"]
    section.views.show([run], ["A"])
    section.bind(widget.panel.parameters)  # as after an import
    assert run.get("warped").GetName() == "A: warped"
    section.restore()
    assert run.get("warped").GetName() != "A: warped"


def test_a_layout_chosen_during_side_by_side_is_kept(desktop, widget, done):
    _widget, run = done
    section, node = widget.panel.sections["side_by_side"], layout_node(desktop.host.scene)
    section.views.show([run])
    node.SetViewArrangement(node.SlicerLayoutOneUpRedSliceView)
    section.restore()
    assert node.GetViewArrangement() == node.SlicerLayoutOneUpRedSliceView
    section.views.show([run])
    section.restore()
    assert node.GetViewArrangement() == node.SlicerLayoutOneUpRedSliceView


def test_what_was_seen_of_a_pair_goes_when_the_pair_changes(pair, widget, pretended):
    context, choice = widget.panel.context, widget.panel.choice
    looker = context.session.looker
    looker.start(choice())
    pretended.say("done", look={"text": "Two people."})
    widget.panel.poll()
    assert looker.text_for(choice()) == "Two people."
    pair[1].SetName("another name")
    pair[1].GetDisplayNode().SetWindowLevelMinMax(0, 10)
    assert looker.text_for(choice()) == "Two people."
    slicer.util.arrayFromVolume(pair[1])[:] += 3
    slicer.util.arrayFromVolumeModified(pair[1])
    context.notice_changed_inputs()
    assert looker.text_for(choice()) == widget.ui.pairLabel.text == ""
    looker.start(choice())
    pretended.say("done", look={"text": "One person."})
    widget.panel.poll()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    pair[0].SetAndObserveTransformNodeID(node.GetID())
    assert looker.text_for(choice()) == ""


def test_two_quick_clicks_on_apply_start_and_do_not_cancel(widget, pretended, monkeypatch):
    from SlicerDeepRegLib.panel.sections import apply

    monkeypatch.setattr(apply, "DOUBLE_CLICK_S", 30.0)
    widget.ui.applyButton.click()
    widget.ui.applyButton.click()
    assert len(pretended.requests) == 1 and not pretended.canceled
    monkeypatch.setattr(apply, "DOUBLE_CLICK_S", 0.0)
    widget.ui.applyButton.click()
    assert pretended.canceled == ["job1"]


def test_a_name_that_the_user_gave_is_none_of_a_blinded_reading(widget, done):
    _widget, run = done
    run.get("warped").SetName("Visit 2: warped")
    widget.panel.context.bind(widget.panel.parameters)
    assert run.get("warped").GetName() == "Visit 2: warped"


def test_side_by_side_left_through_slicers_menu_gives_the_crosshair_back(desktop, widget, done):
    _widget, run = done
    section, node = widget.panel.sections["side_by_side"], layout_node(desktop.host.scene)
    crosshair = widget.panel.review.crosshair
    before = crosshair.GetCrosshairMode()
    section.views.show([run])
    node.SetViewArrangement(node.SlicerLayoutOneUpRedSliceView)
    widget.panel.update()
    assert not section.views.shown and crosshair.GetCrosshairMode() == before
    section.views.show([run])
    section.restore()
    assert node.GetViewArrangement() == node.SlicerLayoutOneUpRedSliceView


def test_what_is_made_for_a_look_is_made_again_and_other_segmentations_are_hidden(desktop, widget, done):
    _widget, run = done
    scene = desktop.host.scene
    widget.panel.parameters.reviewMode = "difference"
    scene.RemoveNode(run.get("difference"))
    widget.panel.update()
    view = next(iter(desktop.host.views.values()))
    assert run.get("difference") is not None
    assert view.composite.GetBackgroundVolumeID() == run.get("difference").GetID()
    desktop.answers.append(True)
    widget.panel.parameters.method = "rigid"
    widget.panel.context.begin(widget.panel.choice(), "another", attended=False)
    assert finish(desktop, widget).state == "done"
    other = next(one for one in runs(scene) if one != run)
    shown = widget.panel.review.shown
    hidden = other if shown == run else run
    assert not hidden.get("segmentation").GetDisplayNode().GetVisibility2D()


def test_colors_that_are_shared_stay_when_a_result_goes(desktop, widget, done):
    _widget, run = done
    shared = desktop.host.scene.AddNewNodeByClass("vtkMRMLProceduralColorNode", "shared")
    widget.panel.parameters.showGrid = True
    own = run.get("shown_grid").GetDisplayNode().GetColorNode()
    assert own is not None and own.GetHideFromEditors()
    transform = run.get("transform")
    transform.CreateDefaultDisplayNodes()
    transform.GetDisplayNode().SetAndObserveColorNodeID(shared.GetID())
    desktop.answers.append(True)
    widget.ui.deleteButton.click()
    assert desktop.host.scene.IsNodePresent(shared) and not desktop.host.scene.IsNodePresent(own)
