"""Nodes that the user moves, changes or deletes after, or while, they are registered."""

import dataclasses

import numpy as np
import pytest
import slicer
import slicer.util
from SlicerDeepRegLib.mrml.corrections import lines_of
from SlicerDeepRegLib.mrml.error_maps import disagreement, way_back
from SlicerDeepRegLib.mrml.nodes import FLIP, add_volume, flipped, image_from_node
from SlicerDeepRegLib.mrml.runs import is_where_it_was, moving_is_where_it_was, runs
from SlicerDeepRegLib.mrml.segments import add_segment
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Request


@pytest.fixture(scope="module")
def found(synthetic_case):
    return register(Request(synthetic_case.fixed, synthetic_case.moving, preset="fast", device="cpu"))


@pytest.fixture
def registered(widget, pretended, found):
    """Registers what is chosen, as often as it is called; returns the newest run."""

    def once(result=found):
        widget.panel.context.begin_chosen()
        pretended.say("done", result=result, is_shown=False)
        widget.panel.poll()
        return runs(slicer.mrmlScene)[-1]

    return once


POINTS = ("fixed_points", "moving_points")


def shift(scene, x_mm):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    matrix = np.eye(4)
    matrix[0, 3] = x_mm
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def segmentation(scene, name, image, segment="a"):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    add_segment(node, segment, (1, 0, 0), image.values > 40, FLIP @ image.grid.ijk_to_lps)
    return node


def listed(tree):
    return [tree.topLevelItem(n).text(0) for n in range(tree.topLevelItemCount)]


def foreground(desktop):
    node = next(iter(desktop.host.views.values())).composite.GetForegroundVolumeID()
    return desktop.host.scene.GetNodeByID(node) if node else None


# ------------------------------------------------------------------ where volumes lie


def test_a_hardened_moving_volume_is_not_where_it_was(registered):
    run = registered()
    moving = run.get("moving")
    assert moving_is_where_it_was(run)
    moving.SetAndObserveTransformNodeID(run.get("transform").GetID())
    assert not moving_is_where_it_was(run)
    moving.HardenTransform()
    assert not moving_is_where_it_was(run)


def test_the_same_place_through_another_transform_is_the_same_place(desktop, pair, registered):
    parent = shift(desktop.host.scene, 5)
    pair[1].SetAndObserveTransformNodeID(parent.GetID())
    run = registered()
    assert moving_is_where_it_was(run)
    pair[1].HardenTransform()  # its matrix goes into the volume, which stays where it was in the world
    assert moving_is_where_it_was(run) and pair[1].GetParentTransformNode() is None


def test_the_place_is_that_when_it_was_begun(desktop, widget, pretended, pair, found):
    widget.panel.context.begin_chosen()
    pair[1].SetAndObserveTransformNodeID(shift(desktop.host.scene, 25).GetID())
    pretended.say("done", result=found, is_shown=False)
    widget.panel.poll()
    (run,) = runs(desktop.host.scene)
    assert not moving_is_where_it_was(run) and is_where_it_was(run, "fixed")
    pair[1].SetAndObserveTransformNodeID(None)
    assert moving_is_where_it_was(run)


def test_a_result_is_not_shown_over_a_fixed_volume_that_was_moved(desktop, widget, pretended, pair, registered):
    run, ui = registered(), widget.ui
    moved_by = shift(desktop.host.scene, 30)
    pair[0].SetAndObserveTransformNodeID(moved_by.GetID())
    for mode in ("difference", "fade"):
        widget.panel.parameters.reviewMode = mode
        assert "fixed is not where it was when moving to fixed was registered" in ui.legendLabel.text
    ui.addCorrectionButton.click()
    (line,) = lines_of(desktop.host.scene, run)
    for point in flipped([[1.0, 2, 3], [4, 5, 6]]):
        line.AddControlPoint(*point)
    widget.panel.update()
    asked = len(pretended.requests)
    ui.updateButton.click()
    assert len(pretended.requests) == asked and "not where it was" in desktop.messages[-1]
    run.get("warped").SetAndObserveTransformNodeID(moved_by.GetID())  # alike: maps and places were not moved along
    widget.panel.parameters.reviewMode = "difference"
    assert "not where it was" in ui.legendLabel.text
    pair[0].SetAndObserveTransformNodeID(None)
    widget.panel.parameters.reviewMode = "fade"
    assert "moving to fixed: warped is not where it was" in ui.legendLabel.text
    pair[0].SetAndObserveTransformNodeID(None)
    run.get("warped").SetAndObserveTransformNodeID(None)
    widget.panel.parameters.reviewMode = "difference"
    assert "not where" not in ui.legendLabel.text


@pytest.mark.parametrize("act", ["arrange", "beside", "time", "flicker", "report"])
def test_nothing_is_shown_over_a_fixed_volume_that_was_moved(
    desktop, widget, pair, registered, monkeypatch, tmp_path, act
):
    run, ui, context = registered(), widget.ui, widget.panel.context
    if act == "flicker":
        ui.flickerButton.checked = True
    pair[0].SetAndObserveTransformNodeID(shift(desktop.host.scene, 30).GetID())
    said = "fixed is not where it was when moving to fixed was registered"
    if act == "arrange":
        context.display.arrange("review")
        assert said in ui.legendLabel.text and not context.display.layout
    elif act == "beside":
        context.compare([run])
        assert said in desktop.messages[-1]
    elif act == "time":
        ui.timeSlider.value = 0.4
        assert said in ui.animationLabel.text
    elif act == "flicker":
        widget.panel.sections["review"]._flick()
        assert said in ui.legendLabel.text and not ui.flickerButton.checked
    else:
        ui.restoreViewsButton.click()
        monkeypatch.setattr("SlicerDeepRegLib.panel.sections.export.ask_folder", lambda title: tmp_path)
        ui.reportButton.click()
        assert said in desktop.messages[-1] and context.review.shown is None
        assert not list(tmp_path.glob("report*"))


def test_what_the_user_shows_between_two_looks_stays(desktop, widget, pair, registered):
    run, ui, scene = registered(), widget.ui, desktop.host.scene
    other = add_volume(scene, image_from_node(pair[0]), "another patient")
    view = next(iter(desktop.host.views.values()))
    view.composite.SetBackgroundVolumeID(other.GetID())
    view.composite.SetForegroundVolumeID(None)
    widget.panel.parameters.preset = "thorough"  # nothing of this asks for another look
    widget.panel.left()
    widget.panel.entered()
    assert view.composite.GetBackgroundVolumeID() == other.GetID()
    ui.restoreViewsButton.click()
    assert view.composite.GetBackgroundVolumeID() == other.GetID()
    ui.showButton.click()
    assert foreground(desktop) is run.get("warped")
    ui.restoreViewsButton.click()
    assert view.composite.GetBackgroundVolumeID() == other.GetID()


def test_controls_act_only_while_the_result_is_shown(widget, registered):
    registered()
    ui = widget.ui
    controls = [ui.modeCombo, ui.beforeButton, ui.flickerButton, ui.gridCheck]
    assert all(one.enabled for one in controls)
    ui.beforeButton.click()
    ui.restoreViewsButton.click()
    assert not any(one.enabled for one in controls) and not ui.beforeButton.checked
    assert "Press Show" in ui.legendLabel.text
    ui.showButton.click()
    assert all(one.enabled for one in controls)


def test_a_deleted_result_comes_back_with_its_own_nodes_after_an_import(desktop, widget, registered):
    """An import gives the identifiers of what was deleted to nodes of its own."""
    run, scene = registered(), desktop.host.scene
    values = slicer.util.arrayFromVolume(run.get("warped")).copy()
    widget.panel.context.check([])
    desktop.answers.append(True)
    widget.ui.deleteButton.click()
    imposters = [scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(4)]
    imposters += [scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode") for _ in range(6)]
    widget.ui.undoDeleteButton.click()
    (back,) = runs(scene)
    assert back.get("warped") not in imposters and back.get("warped").GetDisplayNode() not in imposters
    assert np.array_equal(slicer.util.arrayFromVolume(back.get("warped")), values)
    assert back.get("jacobian") not in [*imposters, back.get("warped")]
    assert back.get("transform") is not None and back.get("fixed") is not None


def test_a_round_of_methods_is_about_the_pair_that_was_chosen_when_it_began(
    widget, pretended, found, pair, synthetic_case
):
    other = add_volume(slicer.mrmlScene, synthetic_case.fixed, "other")
    widget.panel.parameters.methods = '["svf", "demons"]'
    widget.ui.runMethodsButton.click()
    widget.panel.parameters.moving = other
    pretended.say("done", result=found, is_shown=False)
    widget.panel.poll()
    assert len(pretended.requests) == 2 and pretended.requests[1].method == "demons"
    assert [request.moving.name for request in pretended.requests] == ["moving", "moving"]


def test_landmark_errors_are_called_by_their_labels(desktop, widget, pretended, found, synthetic_case):
    scene, lists = desktop.host.scene, []
    for name, labels in (("fixed", ("apex", "valve", "rim")), ("moving", ("valve", "rim"))):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", f"{name} points")
        for label in labels:
            node.AddControlPoint(*{"apex": (9, 9, 9), "valve": (1, 2, 3), "rim": (-4, 5, 2)}[label], label)
        lists.append(node)
    widget.panel.parameters.fixedPoints, widget.panel.parameters.movingPoints = lists
    widget.panel.context.begin_chosen()
    request = dataclasses.replace(found.request, **{n: getattr(pretended.requests[-1], n) for n in POINTS})
    pretended.say("done", result=dataclasses.replace(found, request=request), is_shown=False)
    widget.panel.poll()
    widget.ui.landmarkErrorsButton.click()
    said = widget.ui.qualityLabel.text
    assert "rim: " in said and "valve: " in said and "apex" not in said and "number" not in said


def test_results_of_other_places_are_not_compared(desktop, pair, registered, found):
    first = registered()
    pair[1].SetAndObserveTransformNodeID(shift(desktop.host.scene, 25).GetID())
    second = registered()
    with pytest.raises(ValueError, match="A volume was moved or changed between"):
        disagreement(desktop.host.scene, [first, second])
    third = registered()
    _node, metrics = disagreement(desktop.host.scene, [second, third])
    assert metrics["disagreement_max_mm"] == pytest.approx(0, abs=1e-4)


def test_the_way_back_is_of_the_same_places(desktop, widget, pair, registered, found):
    there = registered()
    parameters = widget.panel.parameters
    parameters.fixed, parameters.moving = None, None
    parameters.fixed, parameters.moving = pair[1], pair[0]
    back = registered()
    assert way_back(there, runs(desktop.host.scene)) == back
    pair[1].SetAndObserveTransformNodeID(shift(desktop.host.scene, 25).GetID())
    moved = registered()
    assert way_back(there, [there, moved]) is None


def test_apply_to_lists_what_lies_with_the_volume(desktop, widget, pair, registered, synthetic_case):
    scene, tree = desktop.host.scene, widget.ui.applyToTree
    with_moving = segmentation(scene, "with moving", synthetic_case.moving)
    run = registered()
    widget.panel.update()
    assert "with moving" in listed(tree)
    pair[1].SetAndObserveTransformNodeID(run.get("transform").GetID())
    widget.panel.update()
    assert "with moving" in listed(tree)  # it lies where the volume lay
    pair[1].SetAndObserveTransformNodeID(shift(scene, 40).GetID())
    with_moving.SetAndObserveTransformNodeID(pair[1].GetTransformNodeID())
    elsewhere = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "in the world")
    elsewhere.AddControlPoint(1, 2, 3)
    registered()
    widget.panel.update()
    assert "with moving" in listed(tree) and "in the world" not in listed(tree)


def test_a_hardened_volume_is_not_its_dicom_series(desktop, widget, registered, monkeypatch, tmp_path, synthetic_case):
    from helpers.dicom import write_series
    from SlicerDeepRegLib.panel.sections import export

    known = {}
    run = registered()
    for role, image in (("fixed", synthetic_case.fixed), ("moving", synthetic_case.moving)):
        for file in sorted(write_series(tmp_path / role, image).iterdir()):
            known[f"{role}.{file.stem}"] = str(file)
        run.get(role).SetAttribute("DICOM.instanceUIDs", " ".join(uid for uid in known if uid.startswith(role)))

    class Database:
        def fileForInstance(self, uid):
            return known.get(uid, "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    asked = []
    monkeypatch.setattr(export, "ask_dicom", lambda: asked.append(1))
    widget.ui.dicomButton.click()
    assert asked == [1]
    run.get("fixed").SetAndObserveTransformNodeID(shift(desktop.host.scene, 3).GetID())
    run.get("fixed").HardenTransform()
    widget.ui.dicomButton.click()
    assert asked == [1] and "not where it was, when" in desktop.messages[-1]


# ------------------------------------------------------------------ what is shown


def test_before_acts_where_it_can_be_released_and_ends_with_the_next_result(desktop, widget, registered):
    run, ui, parameters = registered(), widget.ui, widget.panel.parameters
    ui.beforeButton.click()
    assert foreground(desktop) is run.get("moving") and ui.beforeButton.checked
    parameters.reviewMode = "jacobian"
    assert not ui.beforeButton.checked and not ui.beforeButton.enabled
    parameters.reviewMode = "fade"
    assert ui.beforeButton.checked and foreground(desktop) is run.get("moving")
    second = registered()
    assert not ui.beforeButton.checked and foreground(desktop) is second.get("warped")
    ui.beforeButton.click()
    desktop.host.scene.Clear(0)
    assert not widget.panel.context.display.before


def test_comparisons_follow_the_windows(desktop, widget, pair, registered):
    run = registered()
    for mode in ("difference", "checkerboard", "swipe"):
        pair[0].GetDisplayNode().SetAutoWindowLevel(0)
        pair[0].GetDisplayNode().SetWindowLevelMinMax(0, 100)
        widget.panel.parameters.reviewMode = mode
        before = slicer.util.arrayFromVolume(run.get(mode)).copy()
        pair[0].GetDisplayNode().SetWindowLevelMinMax(0, 200)
        widget.panel.context.display.look()
        after = slicer.util.arrayFromVolume(run.get(mode))
        assert np.abs(after - before).max() > 0.05, mode


def test_a_volume_without_a_display_is_compared_too(desktop, widget, pair, registered):
    display = pair[0].GetDisplayNode()
    pair[0].SetAndObserveDisplayNodeID(None)
    desktop.host.scene.RemoveNode(display)
    widget.panel.parameters.reviewMode = "difference"
    run = registered()
    values = slicer.util.arrayFromVolume(run.get("difference"))
    assert 0.05 < np.abs(values).max() <= 1 and widget.panel.job is None


def test_flicker_ends_when_the_module_is_left_or_a_layout_comes(desktop, widget, registered):
    registered()
    button, timer = widget.ui.flickerButton, widget.panel.sections["review"]._flicker
    for leave in (widget.exit, lambda: widget.ui.layoutCombo.setCurrentIndex(1)):
        button.click()
        assert button.checked and timer.active
        leave()
        assert not button.checked and not timer.active


def test_a_result_that_lost_a_volume_is_not_shown(desktop, widget, registered):
    run, ui = registered(), widget.ui
    assert ui.showButton.enabled
    widget.panel.context.display.restore_views()
    desktop.host.scene.RemoveNode(run.get("warped"))
    desktop.wait(lambda: not ui.showButton.enabled, 5)
    widget.panel.context.display.show(run)
    assert widget.panel.review.shown is None
    desktop.host.scene.RemoveNode(run.get("moving"))
    widget.panel.update()
    with pytest.raises(ValueError, match="The moving volume of moving to fixed, on whose grid"):
        from SlicerDeepRegLib.mrml.moved_along import TO_MOVING, moved_copies

        moved_copies(desktop.host.scene, run, [run.get("fixed")], TO_MOVING)


# ------------------------------------------------------------------ what is registered


def test_a_volume_of_a_result_is_not_chosen(desktop, widget, pair, registered, synthetic_case):
    registered()
    parameters = widget.panel.parameters
    desktop.host.scene.RemoveNode(pair[1])
    assert parameters.moving is None
    parameters.reviewMode = "checkerboard"
    other = add_volume(desktop.host.scene, synthetic_case.moving, "another")
    desktop.wait(lambda: parameters.moving is not None, 5)
    assert parameters.moving is other


def test_another_result_is_no_output(widget, registered):
    run, parameters = registered(), widget.panel.parameters
    for name, role in (("outputVolume", "jacobian"), ("outputTransform", "transform")):
        setattr(parameters, name, run.get(role))
        widget.panel.update()
        assert "belongs to the result moving to fixed" in widget.ui.findingsLabel.text
        assert not widget.ui.applyButton.enabled
        setattr(parameters, name, None)
    widget.panel.update()
    assert widget.ui.applyButton.enabled


def test_what_is_not_offered_does_not_guide(desktop, widget, pretended, synthetic_case):
    scene, parameters = desktop.host.scene, widget.panel.parameters
    parameters.fixedSegmentation = segmentation(scene, "F", synthetic_case.fixed)
    parameters.movingSegmentation = segmentation(scene, "M", synthetic_case.moving)
    parameters.guideStructures = '["a"]'
    assert widget.panel.context.choice().guide_structures == ("a",)
    parameters.movingSegmentation = segmentation(scene, "M2", synthetic_case.moving, "b")
    assert widget.panel.context.choice().guide_structures == ()
    parameters.fixedSegmentation = parameters.movingSegmentation = None
    parameters.heldPoints = "1"
    widget.panel.update()
    assert widget.ui.applyButton.enabled and widget.panel.context.choice().held_points == ()


def test_a_drawn_correction_enables_update_without_more_ado(desktop, widget, registered):
    run, ui = registered(), widget.ui
    widget.panel.poll()
    ui.addCorrectionButton.click()
    (line,) = lines_of(desktop.host.scene, run)
    line.AddControlPoint(1, 2, 3)
    line.AddControlPoint(1, 2, 7)
    widget.panel.poll()
    assert ui.updateButton.enabled and ui.correctionsTable.item(0, 1).text() == "4.0"
    line.SetNthControlPointPosition(1, 1, 2, 9)
    widget.panel.poll()
    assert ui.correctionsTable.item(0, 1).text() == "6.0"


def test_undoing_a_correction_keeps_a_locked_result(desktop, widget, pretended, registered, found):
    run, ui = registered(), widget.ui
    ui.addCorrectionButton.click()
    (line,) = lines_of(desktop.host.scene, run)
    line.AddControlPoint(1, 2, 3)
    line.AddControlPoint(1, 2, 7)
    widget.panel.update()
    ui.updateButton.click()
    pretended.say("done", result=found, is_shown=False)
    widget.panel.poll()
    corrected = runs(desktop.host.scene)[-1]
    corrected.set_permanent(True)
    widget.panel.context.select(corrected)
    ui.undoCorrectionButton.click()
    assert corrected in runs(desktop.host.scene) and len(lines_of(desktop.host.scene, run)) == 1
    assert "is locked. Unlock it" in ui.stageLabel.text
    corrected.set_permanent(False)
    ui.undoCorrectionButton.click()
    assert runs(desktop.host.scene) == [run]


def test_the_cpu_registers_what_the_gpu_could_not(desktop, widget, pretended, registered, pair):
    context = widget.panel.context
    context.begin(dataclasses.replace(context.choice(), preset="thorough", device="cuda"), "the one that failed")
    widget.panel.parameters.preset = "fast"
    desktop.answers.append(True)
    pretended.say("failed", reason="gpu_memory", text="The GPU has too little memory.")
    widget.panel.poll()
    assert pretended.requests[-1].preset == "thorough" and pretended.requests[-1].device == "cpu"
    assert widget.panel.job.name == "the one that failed"


def test_cancel_ends_a_lesson_whose_first_result_is_there(desktop, widget, pretended, found):
    section = widget.panel.sections["lessons"]
    widget.panel.open_page("lessons")
    widget.ui.lessonCombo.setCurrentIndex(1)  # five registrations
    section.start()
    asked = len(pretended.requests)
    pretended.say("shown", result=dataclasses.replace(found, metrics={}))
    widget.panel.poll()
    widget.panel.context.launcher.cancel()
    widget.panel.poll()
    assert not section.running and len(pretended.requests) == asked and widget.panel.job is None


def test_names_of_an_older_scene_are_replaced(widget):
    parameters = widget.panel.parameters
    parameters.preset, parameters.method, parameters.pair = "best", "optimise", "nobody"
    widget.panel.context.bind(parameters)
    assert (parameters.preset, parameters.method, parameters.pair) == ("standard", "svf", "auto")
    assert "optimise of this scene is not known" in widget.ui.stageLabel.text


def test_a_result_says_which_of_its_volumes_is_gone(desktop, widget, pair, registered):
    run = registered()
    desktop.host.scene.RemoveNode(run.get("warped"))
    widget.panel.update()
    assert f"{run.name} has lost its warped volume. Register again." in widget.ui.summaryLabel.text
