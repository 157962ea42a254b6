"""The panel with its real worker: from two volumes and Apply to the displayed result, and every control after it."""

import json
import os
import signal
import time

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.geometry import AFFINE
from helpers.panel import MODULE, finish, layers, scene_state
from helpers.waiting import has_ended, wait_until
from SlicerDeepRegLib.geometry.points import fixed_to_moving
from SlicerDeepRegLib.mrml.nodes import FLIP, add_transform, add_volume
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.types import Image


def names_shown(desktop):
    scene = desktop.host.scene
    return [tuple(scene.GetNodeByID(i).GetName() if i else None for i in pair) for pair in layers(desktop)]


def test_two_volumes_and_apply_suffice(desktop, widget, pair, synthetic_case, tmp_path):
    ui, panel = widget.ui, widget.panel
    assert panel.parameters.fixed is pair[0] and panel.parameters.moving is pair[1]
    assert ui.applyButton.enabled and ui.applyButton.text == "Apply"
    before = scene_state(desktop.host.scene)
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    seen = set()

    def over():
        seen.add(ui.stageLabel.text.split(",")[0])
        return panel.job is None

    desktop.wait(over, 90)
    job = widget.logic.session.job
    assert job.state == "done" and desktop.messages == []
    assert {"linear", "1/4 resolution"} & seen and len(job.losses) > 50
    assert ui.curveLabel.pixmap is not None and not ui.progressBar.visible
    assert "scale 1/2" in ui.logText.plainText

    after = scene_state(desktop.host.scene)
    assert {key: after[key] for key in before} == before  # nothing of the user's was changed
    (run,) = runs(desktop.host.scene)
    assert names_shown(desktop)[0] == ("fixed", "moving to fixed: warped")
    warped = slicer.util.arrayFromVolume(run.get("warped"))
    head = synthetic_case.fixed.values > 20
    error = np.abs(warped - synthetic_case.fixed.values)[head].mean()
    moving_error = np.abs(synthetic_case.fixed.values[head] - synthetic_case.fixed.values[head].mean()).mean()
    assert error < 0.3 * moving_error
    place = synthetic_case.fixed.grid.center_lps_mm
    there = np.array(run.get("transform").GetTransformFromParent().TransformPoint(*(place * [-1, -1, 1])))
    assert np.linalg.norm(there * [-1, -1, 1] - fixed_to_moving(synthetic_case.transform, place[None])[0]) < 1.5
    assert ui.runsTable.rowCount == 1 and ui.runsTable.item(0, 0).text() == "moving to fixed"


@pytest.mark.own_worker
def test_looking_renaming_keeping_and_deleting_a_run(desktop, widget, pair):
    ui, panel = widget.ui, widget.panel
    before = scene_state(desktop.host.scene)
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    (run,) = runs(desktop.host.scene)
    for mode in ("difference", "checkerboard", "jacobian", "fade"):
        ui.modeCombo.setCurrentIndex(ui.modeCombo.findData(mode))
        assert panel.parameters.reviewMode == mode and ui.legendLabel.text
    assert names_shown(desktop)[0] == ("fixed", "moving to fixed: warped")
    ui.amountSlider.value = 0.8
    assert desktop.host.views["Red"].composite.GetForegroundOpacity() == pytest.approx(0.8)
    ui.beforeButton.click()
    assert names_shown(desktop)[0] == ("fixed", "moving")
    ui.beforeButton.click()
    ui.gridCheck.click()
    assert run.get("shown_grid").GetDisplayNode().GetVisibility() and run.get("shown_arrows") is None
    ui.arrowsCheck.click()
    ui.gridCheck.click()
    assert not run.get("shown_grid").GetDisplayNode().GetVisibility()
    assert run.get("shown_arrows").GetDisplayNode().GetVisibility()
    ui.minimumJacobianButton.click()
    assert "Minimum Jacobian" in ui.legendLabel.text
    ui.restoreViewsButton.click()
    assert names_shown(desktop)[0] == (None, None)

    desktop.answers.append("The good one")
    ui.renameButton.click()
    assert runs(desktop.host.scene)[0].name == "The good one" and ui.runsTable.item(0, 0).text() == "The good one"
    ui.lockButton.click()
    assert run.permanent
    desktop.answers.append(False)
    ui.deleteButton.click()
    assert "locked" in desktop.messages[-1] and runs(desktop.host.scene)
    ui.showButton.click()
    desktop.answers.append(True)
    ui.deleteButton.click()
    assert not runs(desktop.host.scene) and ui.runsTable.rowCount == 0
    assert names_shown(desktop)[0] == (None, None)
    left = scene_state(desktop.host.scene)
    assert {i: left[i][0] for i in set(left) - set(before)} == {}

    pid, folder = widget.logic.session.client.pid, widget.logic.session.client.folder
    desktop.close_module(widget)
    assert wait_until(lambda: has_ended(pid), 10) and not folder.exists()


@pytest.mark.parametrize("choice", [{"method": "rigid"}, {"pair": "visit"}])
def test_a_linear_result_is_shown_in_every_way(desktop, widget, pair, choice, tmp_path):
    ui, panel = widget.ui, widget.panel
    for name, value in choice.items():
        setattr(panel.parameters, name, value)
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done" and desktop.messages == []
    (run,) = runs(desktop.host.scene)
    assert run.get("transform").GetTransformFromParent().IsA("vtkTransform")
    for row in range(ui.modeCombo.count):
        ui.modeCombo.setCurrentIndex(row)
        assert ui.legendLabel.text
    assert slicer.util.arrayFromVolume(run.get("magnitude")).max() == 0
    assert np.ptp(slicer.util.arrayFromVolume(run.get("jacobian"))) == 0
    for box in (ui.gridCheck, ui.arrowsCheck):
        box.click()
    assert desktop.messages == []
    assert "linear" in [stage["name"] for stage in run.facts["stages"]]


def test_what_the_volumes_show_is_chosen_in_plain_words(desktop, widget, pair):
    combo = widget.ui.pairCombo
    assert [combo.itemText(row) for row in range(combo.count)] == [
        "Automatic",
        "One person, one visit",
        "One person, another time",
        "Different people, or an atlas",
    ]
    combo.setCurrentIndex(2)
    assert widget.panel.parameters.pair == "person" and widget.panel.context.choice().pair == "person"


def test_landmarks_are_where_it_starts(desktop, widget, pair, synthetic_case):
    ui, parameters = widget.ui, widget.panel.parameters
    ui.startCombo.setCurrentIndex(1)
    assert parameters.start == "landmarks" and not ui.applyButton.enabled
    assert "none are chosen" in ui.findingsLabel.text
    marks = synthetic_case.fixed.grid.center_lps_mm + 8.0 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    for name, places in (("fixedPoints", marks), ("movingPoints", fixed_to_moving(synthetic_case.transform, marks))):
        node = desktop.host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        slicer.util.updateMarkupsControlPointsFromArray(node, places * [-1, -1, 1])
        setattr(parameters, name, node)
    parameters.linear, parameters.pair = "none", "visit"
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done" and desktop.messages == []
    (run,) = runs(desktop.host.scene)
    there = np.array([run.get("transform").GetTransformFromParent().TransformPoint(*p) for p in marks * [-1, -1, 1]])
    expected = fixed_to_moving(synthetic_case.transform, marks)
    assert np.linalg.norm(there * [-1, -1, 1] - expected, axis=1).mean() < 1.5
    assert "4 pairs of landmarks" in " ".join(run.facts["notes"])


def test_cancel_leaves_the_scene_as_it_was(desktop, widget, pair):
    widget.panel.parameters.preset = "thorough"
    before, shown = scene_state(desktop.host.scene), layers(desktop)
    widget.ui.applyButton.click()
    desktop.wait(lambda: widget.logic.session.job.fraction > 0.1, 60)
    start = time.monotonic()
    widget.ui.applyButton.click()
    assert not widget.ui.applyButton.enabled
    job = finish(desktop, widget, 5)
    assert time.monotonic() - start < 1.2 and job.state == "canceled"
    assert widget.ui.applyButton.text == "Apply" and widget.ui.applyButton.enabled
    assert scene_state(desktop.host.scene) == before and layers(desktop) == shown and not runs(desktop.host.scene)
    assert desktop.messages == []


@pytest.mark.own_worker
def test_killed_worker_is_reported_and_the_next_apply_works(desktop, widget, pair):
    before = scene_state(desktop.host.scene)
    widget.ui.applyButton.click()
    desktop.wait(lambda: widget.logic.session.job.fraction > 0.02, 60)
    os.kill(widget.logic.session.client.pid, signal.SIGKILL)
    assert finish(desktop, widget).reason == "died"
    assert "memory" in desktop.messages[-1] and scene_state(desktop.host.scene) == before
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"


def linear_parent(scene, matrix_lps):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "parent")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(FLIP @ matrix_lps @ FLIP))
    return node


@pytest.mark.parametrize("kind", ["linear", "not linear"])
def test_volumes_under_transforms_are_registered_where_they_are(desktop, widget, pair, synthetic_case, kind):
    """The moving volume is stored elsewhere and brought into place by a parent; the answer must not change."""
    fixed, moving = pair
    if kind == "linear":
        grid = synthetic_case.moving.grid
        stored = Image(synthetic_case.moving.values, type(grid)(grid.size_ijk, np.linalg.inv(AFFINE) @ grid.ijk_to_lps))
        again = add_volume(desktop.host.scene, stored, "stored elsewhere")
        parent = linear_parent(desktop.host.scene, AFFINE)
    else:
        again = add_volume(desktop.host.scene, synthetic_case.moving, "bent")
        parent = add_transform(desktop.host.scene, synthetic_case.transform, "parent")
    again.SetAndObserveTransformNodeID(parent.GetID())
    widget.panel.parameters.moving = again
    assert "parent" in widget.ui.findingsLabel.text
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    (run,) = runs(desktop.host.scene)
    assert run.get("warped").GetParentTransformNode() is None
    inside = synthetic_case.fixed.values > 30
    warped = slicer.util.arrayFromVolume(run.get("warped"))
    assert np.corrcoef(warped[inside], synthetic_case.fixed.values[inside])[0, 1] > 0.97
    assert again.GetParentTransformNode() is parent
    # In place of its parent, the run's transform shows the volume where the warped one is.
    from SlicerDeepRegLib.mrml.nodes import resampled

    shown = slicer.util.arrayFromVolume(resampled(again, fixed, run.get("transform"), "shown"))
    assert np.abs(shown - warped)[inside].mean() < (0.2 if kind == "linear" else 2.0)


def test_state_is_saved_with_the_scene_and_follows_closing_and_loading(desktop, widget, pair, tmp_path):
    p = widget.panel.parameters
    p.linear, p.reviewMode, p.settings = "rigid", "difference", json.dumps({"step": 0.2})
    desktop.host.save(str(tmp_path / "scene.mrb"))
    desktop.close_scene()
    assert widget.panel.parameters.fixed is None and widget.panel.parameters.linear == "auto"
    assert not widget.ui.applyButton.enabled and "Choose a fixed" in widget.ui.applyButton.toolTip
    desktop.host.load(str(tmp_path / "scene.mrb"))
    widget.initializeParameterNode()
    p = widget.panel.parameters
    assert p.fixed.GetName() == "fixed" and p.linear == "rigid" and p.reviewMode == "difference"
    assert widget.ui.linearCombo.itemData(widget.ui.linearCombo.currentIndex) == "rigid"
    assert json.loads(p.settings) == {"step": 0.2}
    assert widget.panel.choice().settings == {"step": 0.2}


def test_closing_the_scene_or_removing_a_volume_ends_the_run(desktop, widget, pair):
    widget.panel.parameters.preset = "thorough"
    widget.ui.applyButton.click()
    desktop.wait(lambda: widget.logic.session.job.fraction > 0.02, 60)
    desktop.host.scene.RemoveNode(pair[1])
    job = widget.logic.session.job
    assert job.state == "canceled" and "moving was removed" in widget.ui.stageLabel.text
    assert not widget.ui.applyButton.enabled
    moving = add_volume(desktop.host.scene, Image(*_some(pair[0])), "another")
    desktop.wait(lambda: widget.panel.parameters.moving is moving and widget.ui.applyButton.enabled, 10)
    widget.ui.applyButton.click()
    desktop.wait(lambda: widget.logic.session.job.fraction > 0.02, 60)
    desktop.close_scene()
    assert widget.logic.session.job.state == "canceled"
    time.sleep(1.0)
    widget.panel.poll()
    assert not runs(desktop.host.scene) and desktop.messages == []


def _some(node):
    from SlicerDeepRegLib.mrml.nodes import image_from_node

    image = image_from_node(node)
    return image.values[::-1].copy(), image.grid


def test_segments_landmarks_and_masks(desktop, widget, pair, synthetic_case):
    from SlicerDeepRegLib.mrml.segments import add_segment, segments_of

    scene, p = desktop.host.scene, widget.panel.parameters
    nodes = {}
    for role, image, volume in (("fixed", synthetic_case.fixed, pair[0]), ("moving", synthetic_case.moving, pair[1])):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{role} structures")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        add_segment(node, "core", (0.9, 0.1, 0.3), image.values > 55, FLIP @ image.grid.ijk_to_lps)
        nodes[role] = node
    p.fixedSegmentation, p.movingSegmentation = nodes["fixed"], nodes["moving"]
    p.fixedMask = nodes["fixed"]
    p.pair = "people"  # in so small a mask nothing can be told
    here = np.array([[0.0, 0, 0], [8, -5, 4]])
    there = fixed_to_moving(synthetic_case.transform, here)
    for name, points in (("fixedPoints", here), ("movingPoints", there)):
        markups = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        for point in points * [-1, -1, 1]:
            markups.AddControlPoint(*point)
        setattr(p, name, markups)
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    (run,) = runs(scene)
    metrics = run.facts["metrics"]
    assert metrics["dice"] > 0.9 and metrics["tre_mm"] < 1.5
    (segment,) = segments_of(run.get("segmentation"))
    assert segment[1] == "core"
    assert run.get("segmentation").GetSegmentation().GetNthSegment(0).GetColor() == pytest.approx((0.9, 0.1, 0.3))
    rows = run.get("table").GetTable()
    titles = [rows.GetValueByName(n, "Metric").ToString() for n in range(rows.GetNumberOfRows())]
    assert "Dice" in titles and "TRE (mm)" in titles


def test_leaving_the_module_and_coming_back_keeps_the_choice(desktop, widget, pair, synthetic_case):
    p = widget.panel.parameters
    p.fixedMask = add_volume(
        desktop.host.scene, Image((synthetic_case.fixed.values > 30) * 1, synthetic_case.fixed.grid), "m", True
    )
    p.initial = linear_parent(desktop.host.scene, AFFINE)
    for _ in range(3):
        widget.exit()
        widget.enter()
    p = widget.panel.parameters
    assert p.fixedMask.GetName() == "m" and p.initial.GetName() == "parent"
    assert widget.ui.fixedMaskSelector.currentNode() is p.fixedMask
    widget.ui.fixedMaskSelector.setCurrentNode(None)
    assert p.fixedMask is None and p.initial is not None


def test_only_plain_volumes_are_chosen_by_themselves(desktop, synthetic_case):
    vectors = desktop.host.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "color")
    labels = add_volume(
        desktop.host.scene, Image((synthetic_case.fixed.values > 30) * 1, synthetic_case.fixed.grid), "l", True
    )
    opened = desktop.open_module(MODULE)
    p = opened.panel.parameters
    assert p.fixed is None and p.moving is None and vectors is not None and labels is not None
    first = add_volume(desktop.host.scene, synthetic_case.fixed, "first")
    second = add_volume(desktop.host.scene, synthetic_case.moving, "second")
    desktop.wait(lambda: p.moving is not None, 5)
    assert p.fixed is first and p.moving is second


def test_two_instances_side_by_side(desktop, widget, pair):
    other = desktop.open_module(MODULE)
    assert other.logic.session is not widget.logic.session
    other.ui.applyButton.click()
    assert other.logic.session.busy and not widget.logic.session.busy
    assert finish(desktop, other).state == "done"
    assert widget.panel.parameters.preset == other.panel.parameters.preset == "fast"
    widget.panel.update()
    assert widget.ui.runsTable.rowCount == 1
    desktop.close_module(other)
    assert widget.ui.applyButton.enabled


def test_logic_in_one_line_without_the_panel(desktop, pair):
    import importlib.util

    spec = importlib.util.spec_from_file_location("SlicerDeepReg", MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    logic = module.SlicerDeepRegLogic()
    try:
        run = logic.register(*pair, preset="fast", device="cpu", name="From the console")
        assert run.get("warped").GetName() == "From the console: warped"
        once = module.SlicerDeepRegLogic()
        once.warmUp()
        pid = once.session.client.pid
        del once
        assert wait_until(lambda: has_ended(pid), 10)
        with pytest.raises(ValueError, match="same volume"):
            logic.register(pair[0], pair[0])
        test = module.SlicerDeepRegTest()
        test.delayDisplay = lambda text: None
        test.test_registration_is_seen(logic)
    finally:
        logic.close()


@pytest.mark.own_worker
def test_leaving_slicer_leaves_nothing(desktop, widget, pair):
    widget.panel.parameters.preset = "thorough"
    widget.ui.applyButton.click()
    desktop.wait(lambda: widget.logic.session.job.fraction > 0.02, 60)
    client = widget.logic.session.client
    pid, folder = client.pid, client.folder
    desktop.quit()
    assert wait_until(lambda: has_ended(pid), 10) and not folder.exists()
    assert widget.logic is None


def test_the_script_for_true_slicer_finds_nothing_wrong_here(desktop, pair, tmp_path, monkeypatch):
    """run_in_slicer.py is written for the real program; what can be run of it without one must pass."""
    import importlib.util

    path = MODULE.parent / "Testing" / "slicer" / "run_in_slicer.py"
    spec = importlib.util.spec_from_file_location("run_in_slicer", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "OUTPUT", tmp_path)
    monkeypatch.setattr(script, "picture", lambda name: None)  # the stand-in's main window is empty
    monkeypatch.setattr(slicer.util, "saveScene", lambda name: host_did(desktop.host.save, name))
    monkeypatch.setattr(slicer.util, "loadScene", lambda name: host_did(desktop.host.load, name))
    desktop.close_scene()
    opened = desktop.open_module(MODULE)
    opened.panel.parameters.device = "cpu"
    monkeypatch.setattr(script, "in_sight", lambda control: control.objectName)  # nothing is on a screen here

    def arranged(cells):
        for cell in cells:
            if cell.name not in desktop.host.views:
                desktop.host.add_view(cell.name, cell.plane, (120, 120))

    opened.panel.context.layouts.arranged = arranged
    _, _, run = script.register(opened)
    script.review(opened, run)
    script.export(opened)
    script.correct(opened, run)
    script.compare(opened)
    script.lesson(opened)
    script.series(opened, run)
    script.keep_and_delete(opened, run)
    script.cancel(opened)
    script.leave(opened)
    failed = [one for one in script.CHECKS if not one["passed"]]
    assert not failed and len(script.CHECKS) > 50, (failed, [one["check"] for one in script.CHECKS])


@pytest.mark.slow
@pytest.mark.own_worker
def test_fifty_runs_leave_nothing_behind(desktop, widget, pair):
    """Memory, files, processes, nodes and Python objects (observers hold some) after 50 runs are those after 10."""
    import gc
    from pathlib import Path

    from SlicerDeepRegLib.mrml.runs import remove

    def left():
        gc.collect()
        resident = next(
            line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if "VmRSS" in line
        )
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
        files = sum(1 for _ in widget.logic.session.client.folder.rglob("*"))
        nodes = desktop.host.scene.GetNumberOfNodes()
        return int(resident.split()[1]) / 1024, len(gc.get_objects()), children, files, nodes

    found = {}
    for number in range(1, 51):
        widget.ui.applyButton.click()
        assert finish(desktop, widget).state == "done"
        for run in runs(desktop.host.scene):
            widget.panel.review.forget(run)
            remove(desktop.host.scene, run)
        widget.panel.update()
        if number in (10, 50):
            found[number] = left()
    assert found[50][0] < found[10][0] + 30 and found[50][1] < found[10][1] + 500
    assert found[50][2:] == found[10][2:]


def host_did(function, name):
    function(name)
    return True


def test_instance_optimization_runs_from_the_panel(desktop, widget, pair):
    ui, panel = widget.ui, widget.panel
    panel.parameters.settings = json.dumps({"step": 0.2})
    ui.methodCombo.setCurrentIndex(ui.methodCombo.findData("msrd-net"))
    assert panel.parameters.settings == "{}" and "fitted to the pair" in ui.methodLabel.text
    assert list(panel.sections["method"].controls) == [
        "instance_steps",
        "learning_rate",
        "regularity",
        "instance_seconds",
        "refine",
        "compare_svf",
    ]
    panel.sections["method"].controls["instance_steps"].value = 6
    ui.applyButton.click()
    job = finish(desktop, widget)
    assert job.state == "done" and [stage for stage, _ in job.losses] == ["instance optimization"] * 6
    (run,) = runs(desktop.host.scene)
    assert run.facts["method"] == "msrd-net" and "scale 1/8" in [stage["name"] for stage in run.facts["stages"]]


@pytest.mark.slow
def test_instance_optimization_of_a_variant_is_refined(desktop, widget, pair):
    ui, panel = widget.ui, widget.panel
    p, variants = panel.parameters, ui.variantCombo
    assert variants.count == 1 and not variants.visible  # Optimize has none
    ui.methodCombo.setCurrentIndex(ui.methodCombo.findData("msrd-net"))
    assert variants.count > 5 and p.method == "msrd-net"
    variants.setCurrentIndex(variants.findData(":no-dilformer"))
    assert p.method == "msrd-net:no-dilformer" and "fitted" in ui.methodLabel.text
    assert ui.methodCombo.itemData(ui.methodCombo.currentIndex) == "msrd-net"
    for name, value in (("instance_steps", 4), ("refine", 5)):
        panel.sections["method"].controls[name].value = value
    ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    (run,) = runs(desktop.host.scene)
    assert run.facts["method"] == "msrd-net:no-dilformer" and "no Dilformer" in run.facts["title"]
    names = [stage["name"] for stage in run.facts["stages"]]
    assert names[names.index("instance optimization") + 1 :] == ["refine, scale 1/4", "network refined"]
    assert any("Refined" in note for note in run.facts["notes"])
    ui.methodCombo.setCurrentIndex(ui.methodCombo.findData("svf"))
    assert p.method == "svf" and variants.count == 1


def test_a_model_that_was_added_while_the_panel_was_open(own_models, desktop, widget, pair):
    from SlicerDeepRegLib.catalog import card
    from SlicerDeepRegLib.files.weights import write_weights
    from SlicerDeepRegLib.models.weights import built

    menu, panel = widget.ui.methodCombo, widget.panel
    panel.parameters.settings = json.dumps({"search_radius": 1})
    widget.ui.applyButton.click()  # the worker is up, and has looked for models
    assert finish(desktop, widget).state == "done" and menu.findData("mine") < 0
    folder = own_models / "mine"
    folder.mkdir(parents=True)
    arrays = {name: value.numpy() for name, value in built(card("fmirnet:1")).state_dict().items()}
    values = {"network": "fmirnet", "configuration": {"scales": 1}, "dimensions": [3], "trained_on": "ours"}
    values.update(
        recipe={"intensity": "unit", "voxel_mm": None}, sha256=write_weights(folder / "weights.safetensors", arrays)
    )
    values.update(good_for="brain, T1", limits="lungs", regime="brain", credits=["Scans of ours <2026>"])
    (folder / "card.json").write_text(json.dumps(values))
    widget.enter()
    place = menu.findData("mine")
    assert 0 <= place < menu.findData("svf")  # what has weights comes first
    assert menu.itemText(place) == "mine - brain, T1"
    menu.setCurrentIndex(menu.findData("mine"))
    assert any("trained for the brain only" in finding.text for finding in panel.context.findings)
    assert "Not good for: lungs." in widget.ui.methodLabel.text
    assert "Scans of ours &lt;2026&gt;" in widget.ui.methodLabel.toolTip
    assert panel.parameters.method == "mine" and "Trained on: ours." in widget.ui.methodLabel.text
    controls = panel.sections["method"].controls
    assert controls["instance_steps"].value == 0 and controls["refine"].value == 30  # as its weights are used
    controls["refine"].value = 0
    assert not controls["compare_svf"].checked
    controls["compare_svf"].checked = True
    assert json.loads(panel.parameters.settings) == {"refine": 0, "compare_svf": True}
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    run = next(run for run in runs(desktop.host.scene) if run.facts["method"] == "mine")
    assert [stage["name"] for stage in run.facts["stages"]] == ["linear", "svf alone", "phi1", "network alone"]
    (folder / "card.json").unlink()
    widget.enter()
    assert menu.findData("mine") < 0 and "License" in widget.ui.methodLabel.text  # and the panel goes on


def test_stages_have_titles_at_any_resolution(desktop):
    from SlicerDeepRegLib.panel.titles import stage_title

    assert stage_title("scale 1/2") == "1/2 resolution"
    assert stage_title("refine, scale 1") == "refine, full resolution"
    assert stage_title("scale 1/2.2") == "1/2.2 resolution"  # of an image that is too large for the preset
