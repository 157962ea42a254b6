"""Faults and bad inputs in the panel, most of them with a pretended worker: said in words, the scene as it was."""

import ast
import html
import importlib.metadata
import json
import shutil
import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import vtk
from helpers.geometry import make_grid
from helpers.images import texture
from helpers.panel import MODULE, finish, scene_state
from slicer_stand_in import slicer_names
from slicer_stand_in.ui_files import check_ui
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.methods import method
from SlicerDeepRegLib.mrml.nodes import add_volume, flipped
from SlicerDeepRegLib.mrml.runs import runs
from SlicerDeepRegLib.mrml.segments import segment_array, segments_of
from SlicerDeepRegLib.panel.choice import Choice, findings, prepare
from SlicerDeepRegLib.panel.sections import section_classes
from SlicerDeepRegLib.settings import numbers_of
from SlicerDeepRegLib.types import Grid, Image, InputError, Request

PANEL = MODULE.parent / "SlicerDeepRegLib" / "panel"
UI = MODULE.parent / "Resources" / "UI"


def volume(desktop, values=None, size=(20, 22, 24), name="other", center=(0.0, 0.0, 0.0), spacing=(2.0, 2.0, 2.0)):
    grid = make_grid(size, spacing, np.eye(3), center)
    values = texture(voxel_centers_lps(grid)).astype(np.float32) if values is None else values
    return add_volume(desktop.host.scene, Image(values, grid), name)


def points(desktop, number, name):
    node = desktop.host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for n in range(number):
        node.AddControlPoint(float(n), 0.0, 0.0)
    return node


# ------------------------------------------------------------------ said before Apply


def cases(desktop, pair):
    """(what is chosen, level, part of the text)."""
    flat = volume(desktop, size=(20, 22, 1), name="flat")
    constant = volume(desktop, np.full((24, 22, 20), 3.0, np.float32), name="constant")
    noise = np.random.default_rng(0).uniform(0, 100, (24, 22, 20)).astype(np.float32)
    far = volume(desktop, noise, name="far", center=(0.0, 0.0, 900.0))
    small = volume(desktop, noise[:4], size=(20, 22, 4), name="small")
    thick = volume(desktop, size=(40, 40, 12), spacing=(1.0, 1.0, 6.0), name="thick")
    ct = volume(desktop, np.linspace(-1000, 900, 24 * 22 * 20, dtype=np.float32).reshape(24, 22, 20), name="ct")
    empty = desktop.host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    blank = desktop.host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "blank")
    box = desktop.host.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    fixed, moving = pair
    return [
        (dict(), "error", "Choose a fixed and a moving volume"),
        (dict(fixed=fixed), "error", "Choose a moving volume"),
        (dict(fixed=fixed, moving=fixed), "error", "same volume"),
        (dict(fixed=fixed, moving=empty), "error", "no voxels"),
        (dict(fixed=fixed, moving=flat), "error", "single slice"),
        (dict(fixed=fixed, moving=small), "error", "at least 8"),
        (dict(fixed=flat, moving=volume(desktop, size=(20, 22, 1), name="flat2")), "note", "plane"),
        (dict(fixed=fixed, moving=constant), "error", "constant) is constant"),
        (dict(fixed=fixed, moving=far, linear="none"), "error", "do not overlap"),
        (dict(fixed=fixed, moving=far), "note", "centers are matched"),
        (dict(fixed=fixed, moving=thick), "note", "thick slices"),
        (dict(fixed=fixed, moving=ct, similarity="lncc"), "warning", "looks like CT"),
        (dict(fixed=fixed, moving=moving, fixed_points=points(desktop, 3, "a")), "error", "needed in both"),
        (
            dict(
                fixed=fixed, moving=moving, fixed_points=points(desktop, 3, "b"), moving_points=points(desktop, 2, "c")
            ),
            "error",
            "3 fixed and 2 moving",
        ),
        (
            dict(fixed=fixed, moving=moving, fixed_points=points(desktop, 3, "d"), moving_points=box),
            "error",
            "point list",
        ),
        (
            dict(
                fixed=fixed, moving=moving, fixed_points=points(desktop, 3, "e"), moving_points=points(desktop, 3, "f")
            ),
            "note",
            "by their order, because the lists have no label in common",
        ),
        (dict(fixed=fixed, moving=moving, fixed_mask=blank), "error", "has no segment"),
        (dict(fixed=fixed, moving=label_map(desktop)), "error", "numbers is a label map"),
        # A scene of another version may hold what this one does not have.
        (dict(fixed=fixed, moving=moving, preset="best"), "error", "preset must be one of"),
        (dict(fixed=fixed, moving=moving, similarity="cc"), "error", "'cc'"),
        (dict(fixed=fixed, moving=moving, linear="perspective"), "error", "linear must be one of"),
    ]


def label_map(desktop):
    return add_volume(
        desktop.host.scene, Image(np.ones((9, 9, 9), np.int16), Grid((9, 9, 9), np.eye(4))), "numbers", True
    )


def test_everything_that_can_be_known_is_said_before_apply(desktop, pair):
    for chosen, severity, text in cases(desktop, pair):
        listed = findings(Choice(**chosen))
        assert any(f.severity == severity and text in f.sentence for f in listed), (text, listed)
        severities = [f.severity for f in listed]
        assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert findings(Choice(fixed=pair[0], moving=pair[1])) == []


def test_landmarks_are_paired_by_label_and_the_run_says_so(desktop, pair):
    lists = {}
    for role, labels in (("fixed_points", "abcd"), ("moving_points", "dxba")):
        lists[role] = points(desktop, 0, role)
        for label in labels:
            lists[role].AddControlPoint(vtk.vtkVector3d(ord(label), 0.0, 0.0), label)
    lists["moving_points"].UnsetNthControlPointPosition(0)
    prepared = prepare(Choice(fixed=pair[0], moving=pair[1], **lists))
    assert prepared.request.fixed_points.tolist() == prepared.request.moving_points.tolist()
    assert prepared.request.fixed_points[:, 0].tolist() == [-ord("a"), -ord("b")]
    assert "by their labels" in prepared.notes[0] and prepared.notes[-1].endswith("left out: d.")


def test_a_segmentation_is_compared_with_a_label_map_by_number_which_is_said(desktop, pair):
    scene = desktop.host.scene
    named = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "lobes")
    for name in ("upper", "lower"):
        named.GetSegmentation().AddEmptySegment("", name, (1, 0, 0))
    numbers = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "numbers")
    chosen = Choice(fixed=pair[0], moving=pair[1], fixed_segmentation=named, moving_segmentation=numbers)
    (said,) = [finding for finding in findings(chosen) if "same number" in finding.text]
    assert said.severity == "note" and "lobes" in said.text and "1 is upper, 2 is lower" in said.text
    assert not any("number" in f.text for f in findings(Choice(pair[0], pair[1], fixed_segmentation=named)))


def test_names_that_differ_are_said_before_apply(desktop, pair):
    scene = desktop.host.scene
    nodes = []
    for name in ("Liver", "liver"):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.GetSegmentation().AddEmptySegment("", name)
        nodes.append(node)
    chosen = Choice(*pair, fixed_segmentation=nodes[0], moving_segmentation=nodes[1])
    assert any(
        "no structure in common: the fixed one has Liver, the moving one liver" in f.text for f in findings(chosen)
    )
    assert not any("in common" in f.text for f in findings(Choice(*pair, fixed_segmentation=nodes[0])))


def test_a_closed_surface_is_a_segment_too(desktop, pair, synthetic_case):
    """As of an STL or an RT structure set: drawn on the volume's voxels, and the node left as it is."""
    volume, grid = pair[0], synthetic_case.fixed.grid
    node = desktop.host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "structures")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    ball = vtk.vtkSphereSource()
    ball.SetCenter(*flipped(grid.center_lps_mm))
    ball.SetRadius(15)
    ball.SetThetaResolution(60)
    ball.SetPhiResolution(60)
    ball.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", [1, 0, 0])
    ((identifier, name),) = segments_of(node)
    inside = segment_array(node, identifier, volume)
    away = np.linalg.norm(voxel_centers_lps(grid) - grid.center_lps_mm, axis=-1)
    assert name == "ball" and inside[away < 14].all() and not inside[away > 15.1].any()
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_a_disabled_apply_says_why_beside_the_control_and_a_corrected_choice_enables_it(desktop, widget, pair):
    widget.panel.parameters.moving = pair[0]
    assert not widget.ui.applyButton.enabled
    assert "same volume" in widget.ui.applyButton.toolTip and "same volume" in widget.ui.findingsLabel.text
    assert widget.ui.movingTitle.text.startswith("\u26d4") and "same volume" in widget.ui.movingTitle.toolTip
    widget.panel.parameters.moving = pair[1]
    assert widget.ui.applyButton.enabled and not widget.ui.findingsLabel.visible
    assert widget.ui.movingTitle.text.startswith("M") and "same volume" not in widget.ui.movingTitle.toolTip
    widget.panel.parameters.method, widget.panel.parameters.similarity = "demons", "mind"
    assert widget.ui.similarityTitle.text.startswith("\u26d4") and not widget.ui.methodTitle.text.startswith("\u26d4")


def test_little_memory_is_a_warning_that_can_be_passed_over(desktop, widget, pretended, monkeypatch):
    monkeypatch.setattr("SlicerDeepRegLib.processes.memory.free_memory_bytes", lambda: 1_000_000)
    widget.panel.update()
    assert "GB of memory" in widget.ui.findingsLabel.text and widget.ui.applyButton.enabled
    desktop.answers.append(False)
    widget.ui.applyButton.click()
    assert pretended.requests == [] and "anyway" in desktop.messages[-1]
    desktop.answers.append(True)
    widget.ui.applyButton.click()
    assert len(pretended.requests) == 1
    tight = [{"name": "cuda", "title": "GPU", "free_bytes": 1000}]
    parameters = widget.panel.parameters
    listed = findings(Choice(fixed=parameters.fixed, moving=parameters.moving), tight)
    assert any("a faster preset will be tried" in f.sentence and f.severity == "warning" for f in listed)


# ------------------------------------------------------------------ said by the worker


def test_what_only_the_voxels_show_is_said_and_nothing_is_left(desktop, widget, pair, synthetic_case):
    values = synthetic_case.moving.values
    values = np.where(values > 50, np.nan, values).astype(np.float32)
    image = Image(values, synthetic_case.moving.grid)
    widget.panel.parameters.moving = add_volume(desktop.host.scene, image, "nan")
    before = scene_state(desktop.host.scene)
    widget.ui.applyButton.click()
    job = finish(desktop, widget)
    assert job.state == "failed" and job.reason == "input" and "NaN or infinite" in desktop.messages[-1]
    assert scene_state(desktop.host.scene) == before and not runs(desktop.host.scene)


def test_a_singular_geometry_is_said_at_once(desktop, widget, pair):
    flat = vtk.vtkMatrix4x4()
    flat.SetElement(2, 2, 0.0)
    pair[1].SetIJKToRASMatrix(flat)
    desktop.wait(lambda: not widget.ui.applyButton.enabled, 5)
    # MRML makes NaN of such a matrix.
    said = f"The moving volume ({pair[1].GetName()}) cannot be used: its origin, spacing or axis directions are missing"
    assert said in widget.ui.applyButton.toolTip


def test_an_empty_mask_and_points_outside_are_said_by_the_worker(desktop, widget, pair, synthetic_case):
    p = widget.panel.parameters
    nothing = np.zeros(synthetic_case.fixed.values.shape, np.uint8)
    p.fixedMask = add_volume(desktop.host.scene, Image(nothing, synthetic_case.fixed.grid), "blank", labels=True)
    widget.ui.applyButton.click()
    assert finish(desktop, widget).reason == "input" and "empty" in desktop.messages[-1]
    p.fixedMask = None
    for name in ("fixedPoints", "movingPoints"):
        node = desktop.host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        node.AddControlPoint(500.0, 0.0, 0.0)
        setattr(p, name, node)
    widget.ui.applyButton.click()
    assert finish(desktop, widget).reason == "input" and "outside the fixed image" in desktop.messages[-1]
    assert not runs(desktop.host.scene)


@pytest.mark.parametrize(
    "error", [KeyError("field"), OSError("gone"), TypeError("odd")], ids=lambda e: type(e).__name__
)
def test_a_result_that_cannot_be_put_into_the_scene_ends_the_job(desktop, widget, pair, monkeypatch, error):
    from SlicerDeepRegLib.panel import session

    def fails(*arguments):
        raise error

    before = scene_state(desktop.host.scene)
    with monkeypatch.context() as patched:
        patched.setattr(session, "keep_motion", fails)
        widget.ui.applyButton.click()
        job = finish(desktop, widget)
    assert job.reason == "error" and "could not be added to the scene" in desktop.messages[-1]
    assert "Traceback" in "".join(job.log)
    assert not runs(desktop.host.scene) and scene_state(desktop.host.scene) == before


def test_a_device_that_is_not_there(desktop, widget, pair):
    widget.panel.parameters.device = "mps"
    widget.ui.applyButton.click()
    assert finish(desktop, widget).reason == "input" and "MPS" in desktop.messages[-1]


def test_a_full_gpu_offers_the_cpu(desktop, widget, pretended):
    widget.panel.parameters.device = "auto"
    desktop.answers.append(True)
    widget.ui.applyButton.click()
    pretended.say("failed", reason="gpu_memory", text="The GPU ran out of memory.")
    desktop.wait(lambda: len(pretended.requests) == 2, 5)
    assert "CPU instead" in desktop.messages[-1] and pretended.requests[1].device == "cpu"


def test_a_worker_without_torch_is_said_and_tried_again(desktop, widget, pretended):
    widget.ui.applyButton.click()
    pretended.events.append({"kind": "no_torch", "text": "PyTorch 1.8 is too old; 2.2 or newer is needed."})
    job = finish(desktop, widget, 5)
    assert job.reason == "torch" and "too old" in desktop.messages[-1]
    widget.ui.applyButton.click()
    assert pretended.stopped == 1 and len(pretended.requests) == 2


def test_devices_with_their_memory_fill_the_menu(desktop, widget, pretended):
    pretended.devices = [
        {"name": "cuda", "title": "NVIDIA H200", "free_bytes": 139e9},
        {"name": "cpu", "title": "CPU", "free_bytes": 20e9},
    ]
    desktop.wait(lambda: widget.ui.deviceCombo.count == 3, 5)
    assert [widget.ui.deviceCombo.itemText(n) for n in (1, 2)] == ["NVIDIA H200, 139 GB free", "CPU, 20 GB free"]
    widget.ui.deviceCombo.setCurrentIndex(1)
    assert widget.panel.parameters.device == "cuda"


def test_a_device_of_the_scene_that_is_not_here_gives_way_to_the_usual_one(desktop, widget, pretended):
    widget.panel.parameters.device = "cuda"
    assert widget.panel.parameters.device == "cuda"  # the worker has not said yet what there is
    pretended.devices = [{"name": "cpu", "title": "CPU", "free_bytes": 20e9}]
    desktop.wait(lambda: widget.panel.parameters.device != "cuda", 5)
    assert widget.panel.parameters.device == "auto" and "device cuda of this scene" in widget.ui.stageLabel.text


@pytest.mark.parametrize("name", ["linear", "similarity", "start", "preset", "pair", "method"])
def test_a_choice_of_the_scene_that_is_not_known_here_gives_way_to_the_usual_one(widget, name):
    parameters = widget.panel.parameters
    parameters.parameterNode.SetParameter(name, "gone")
    widget.panel.set_parameters(parameters)
    assert getattr(parameters, name) == ("" if name == "start" else getattr(Request, name))
    assert "gone of this scene is not known here" in widget.ui.stageLabel.text


def test_settings_that_were_edited_by_hand_are_refused_and_shown_as_the_usual_ones(widget, pair):
    parameters, controls = widget.panel.parameters, widget.panel.sections["method"].controls
    parameters.method = "demons"
    usual = controls["iterations"].value
    for value in ("many", None, [3], 1e400):
        parameters.settings = json.dumps({"iterations": value})
        assert controls["iterations"].value == usual
        assert any("iterations must be" in finding.text for finding in widget.panel.context.findings)
    controls["iterations"].value = usual + 1
    assert json.loads(parameters.settings) == {"iterations": usual + 1}


def test_a_full_disk_is_said_before_any_work(desktop, widget, pair, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    widget.ui.applyButton.click()
    assert "Free some space" in desktop.messages[-1] and not widget.logic.session.busy
    assert widget.ui.applyButton.text == "Apply"


@pytest.mark.parametrize("button", ["applyButton", "runMethodsButton"])
def test_memory_that_runs_out_while_volumes_are_read_is_said(desktop, widget, pretended, monkeypatch, button):
    def full(choice):
        raise MemoryError

    monkeypatch.setattr("SlicerDeepRegLib.panel.session.prepare", full)
    widget.panel.parameters.methods = '["svf", "demons"]'
    getattr(widget.ui, button).click()
    text = desktop.messages[-1] if button == "applyButton" else widget.ui.severalLabel.text
    assert "memory does not suffice to read the volumes" in text
    assert not widget.logic.session.busy and not widget.panel.sections["several_methods"].running
    assert (widget.ui.applyButton.text, widget.ui.runMethodsButton.text) == ("Apply", "Run selected")


def test_a_table_for_spreadsheets_holds_no_formulas(desktop, tmp_path):
    from SlicerDeepRegLib.panel.reporting import write_table

    write_table(tmp_path / "table.csv", [["Result", "Dice"], ["=1+1", "0.5"], ["-x", "-0.5"], ["a", "+2"]])
    assert (tmp_path / "table.csv").read_text("utf-8").split() == ["Result,Dice", "'=1+1,0.5", "'-x,-0.5", "a,+2"]


def test_a_result_that_cannot_be_shown_leaves_nothing(desktop, widget, pair, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("no such luck")

    monkeypatch.setattr("SlicerDeepRegLib.mrml.add_run.group_nodes", broken)
    before = scene_state(desktop.host.scene)
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "failed"
    assert "no such luck" in desktop.messages[-1] and scene_state(desktop.host.scene) == before


def test_losses_that_come_late_belong_to_their_stage(desktop, widget, pretended):
    widget.ui.applyButton.click()
    pretended.say("progress", fraction=0.4, stage="scale 1/4", losses=[["scale 1/8", 0.5], ["scale 1/4", 0.9]])
    desktop.wait(lambda: widget.logic.session.job.losses, 5)
    from SlicerDeepRegLib.panel.curve import segments

    drawn = segments([("a", 3.0), ("a", 1.0), ("b", 5.0), ("b", 4.0), ("b", 2.0)], 101, 51)
    assert drawn == [("a", [(0, 0), (25, 50)]), ("b", [(50, 0), (75, 17), (100, 50)])]
    assert widget.logic.session.job.losses == [("scale 1/8", 0.5), ("scale 1/4", 0.9)]


# ------------------------------------------------------------------ installing


@pytest.fixture
def nothing_installed(monkeypatch):
    """torch and scipy pretend not to be there until they are taken out of what is returned: package and version."""
    pretended = {"torch": "", "scipy": ""}
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: pretended[name] if name in pretended else real(name)
    )
    return pretended


def torch_extension(absent, calls, works=True):
    def install_torch(self, askConfirmation=True, torchVersionRequirement=None):
        calls.append(("torch", askConfirmation, torchVersionRequirement))
        absent.pop("torch", None)
        return object() if works else None

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (), {"installTorch": install_torch})
    return module


def shown(desktop):
    """The last message as people read it: text with a "<" is escaped on its way to Qt."""
    return html.unescape(desktop.messages[-1]).replace("<br>", "\n")


def test_refusing_to_install_keeps_the_panel_open(desktop, widget, pretended, nothing_installed):
    desktop.answers.append(False)
    widget.ui.applyButton.click()
    assert "torch>=2.2,<3\nscipy>=1.9,<2" in shown(desktop)
    assert pretended.requests == [] and widget.ui.applyButton.enabled
    assert "Nothing was installed" in widget.ui.stageLabel.text


def test_installing_goes_through_slicer_and_a_failure_resumes(
    desktop, widget, pretended, nothing_installed, monkeypatch
):
    calls = []
    monkeypatch.setitem(sys.modules, "PyTorchUtils", torch_extension(nothing_installed, calls))

    def no_network(requirements):
        raise RuntimeError("no network")

    desktop.pip = no_network
    desktop.answers += [True, True, True, True]
    widget.ui.applyButton.click()
    assert "scipy>=1.9,<2 could not be installed" in shown(desktop) and pretended.requests == []
    assert calls == [("torch", False, ">=2.2,<3")]
    desktop.pip = lambda requirements: nothing_installed.pop("scipy")
    widget.ui.applyButton.click()
    assert len(calls) == 1 and len(pretended.requests) == 1  # torch was kept, the rest went on
    assert any("Installing scipy" in text for text in desktop.status)


def test_apply_is_closed_while_something_is_installed(desktop, widget, pretended, nothing_installed, monkeypatch):
    """pip lets Qt work between its lines: a second press must not begin a second installation."""
    seen = []

    def slow(packages, say):
        seen.append(widget.ui.applyButton.enabled)
        widget.panel.sections["apply"].apply()
        nothing_installed.clear()

    monkeypatch.setattr("SlicerDeepRegLib.panel.install.install", slow)
    widget.ui.applyButton.click()
    assert seen == [False] and len(pretended.requests) == 1


def test_without_the_pytorch_extension_it_is_named(desktop, widget, pretended, nothing_installed, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    desktop.answers.append(True)
    widget.ui.applyButton.click()
    assert "PyTorch extension is not installed" in desktop.messages[-1]


def test_newer_slicer_installs_by_its_packaging(desktop, monkeypatch):
    from SlicerDeepRegLib.panel import install

    calls = []
    packaging = types.ModuleType("slicer.packaging")
    packaging.pip_ensure = lambda requirements, **options: calls.append((requirements, options))
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    install.install(["scipy>=1.9,<2", "safetensors>=0.4"], lambda text: None)
    # As installed when Slicer tests, too: there pip_ensure would return without a word.
    options = {"prompt_install": False, "requester": "DeepReg", "skip_in_testing": False}
    assert calls == [(["scipy>=1.9,<2", "safetensors>=0.4"], options)] and desktop.installed == []


def test_a_package_in_another_version_is_named_and_replaced_on_request(desktop, widget, pretended, nothing_installed):
    nothing_installed.update(torch="2.2.0", scipy="1.5.4")
    desktop.pip = lambda requirements: nothing_installed.pop("scipy")
    desktop.answers += [False, True]
    widget.ui.applyButton.click()
    assert "scipy>=1.9,<2 (1.5.4 is installed)\n" in shown(desktop) and "torch>" not in shown(desktop)
    assert desktop.installed == [] and pretended.requests == []
    widget.ui.applyButton.click()
    assert desktop.installed == [["scipy>=1.9,<2"]] and len(pretended.requests) == 1


def test_an_installation_that_changed_nothing_is_said(desktop, widget, pretended, nothing_installed):
    nothing_installed.update(torch="2.2.0", scipy="1.5.4")
    desktop.pip = lambda requirements: None
    desktop.answers.append(True)
    widget.ui.applyButton.click()
    assert "still needed: scipy>=1.9,<2 (1.5.4 is installed)" in shown(desktop) and pretended.requests == []


def test_opening_needs_no_torch_and_starts_nothing_without_it(desktop, pair, nothing_installed):
    widget = desktop.open_module(MODULE)
    assert not widget.logic.session.client.running
    assert widget.ui.applyButton.enabled


# ------------------------------------------------------------------ settings, samples, names


def test_advanced_numbers_are_those_of_the_dataclass(desktop, widget, pretended):
    controls = widget.panel.sections["method"].controls
    assert list(controls) == [number.name for number in numbers_of(method("svf").presets["fast"])]
    controls["step"].value = 0.5
    assert json.loads(widget.panel.parameters.settings) == {"step": pytest.approx(0.5)}
    widget.ui.applyButton.click()
    assert pretended.requests[0].settings == {"step": pytest.approx(0.5)}
    widget.ui.advancedGroup.collapsed = False
    widget.ui.restoreDefaultsButton.click()
    assert widget.panel.parameters.settings == "{}" and controls["step"].value == pytest.approx(0.3)
    widget.panel.parameters.preset = "thorough"
    assert controls["step_sigma"].value == pytest.approx(1.2)


def test_a_file_of_a_method_is_chosen_among_its_numbers(desktop, widget, tmp_path):
    parameters = widget.panel.parameters
    parameters.method = "unigradicon"
    control = widget.panel.sections["method"].controls["weights"]
    assert control.currentPath == "" and "authors publish" in control.toolTip
    widget.ui.advancedGroup.collapsed = False
    control.currentPath = str(tmp_path / "weights.trch")
    assert json.loads(parameters.settings) == {"weights": str(tmp_path / "weights.trch")}
    widget.ui.restoreDefaultsButton.click()
    assert parameters.settings == "{}" and control.currentPath == ""
    rate = widget.panel.sections["method"].controls["learning_rate"]
    assert rate.value == pytest.approx(2e-5)  # as many decimals as it takes
    rate.value = 3e-5
    assert json.loads(parameters.settings) == {"learning_rate": pytest.approx(3e-5)}
    parameters.method = "svf"
    assert "weights" not in widget.panel.sections["method"].controls


def test_sample_data_is_registered_with_checksums(desktop):
    desktop.open_module(MODULE)
    desktop.start()
    names = [sample["sampleName"] for sample in desktop.samples]
    assert names == ["DeepRegBrainTumor", "DeepRegTwoBrains", "DeepRegSyntheticPair"]
    for uri, checksum in zip(desktop.samples[0]["uris"], desktop.samples[0]["checksums"]):
        algorithm, digest = checksum.split(":")
        assert algorithm == "SHA256" and len(digest) == 64 and uri.endswith(digest)
    nodes = desktop.samples[2]["customDownloader"](None)
    assert [node.GetName() for node in nodes] == ["Synthetic fixed", "Synthetic moving"]


def test_the_real_pair_of_the_samples_needs_no_network(desktop, widget):
    from SlicerDeepRegLib.mrml.segments import segments_of

    desktop.start()
    fixed, moving = desktop.samples[1]["customDownloader"](None)
    assert [fixed.GetName(), moving.GetName()] == ["Brain A", "Brain B"] and fixed.GetSpacing()[0] == pytest.approx(1)
    for name in ("Brain A", "Brain B"):
        segmentation = desktop.host.scene.GetFirstNodeByName(f"{name} structures")
        assert len(segments_of(segmentation)) == 8 and not segmentation.GetDisplayNode().GetVisibility()
    widget.panel.parameters.fixed, widget.panel.parameters.moving = fixed, moving
    assert widget.ui.applyButton.enabled


def test_every_control_has_a_tooltip_and_the_panel_is_narrow_enough(desktop, widget):
    tipped = 0
    for name, control in vars(widget.ui).items():
        if name[0].islower() and name.endswith(
            ("Selector", "Combo", "Button", "Check", "Slider", "Table", "Label", "Text", "Bar")
        ):
            assert control.toolTip, name
            tipped += 1
    assert tipped > 30
    assert widget.parent.minimumSizeHint.width() <= 420  # of the 1280 pixels of a 13-inch screen


def attributes(tree, *roots):
    """What follows ``roots`` in every dotted name of a file that begins with them."""
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            dotted = [node.id, *parts[::-1]]
            if dotted[: len(roots)] == list(roots) and len(dotted) > len(roots):
                yield dotted[len(roots) :]


def test_the_panel_uses_only_names_that_slicer_has(desktop):
    """What the stand-in refuses when it runs is also looked for where no test comes by."""
    files = [MODULE, *PANEL.rglob("*.py")]
    used = {"qt": set(), "slicer": set()}
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for parts in attributes(tree, "qt"):
            used["qt"].add(parts[0])
            slicer_names.require(f"qt.{parts[0]}", parts[1]) if len(parts) > 1 else slicer_names.allowed(
                f"qt.{parts[0]}"
            )
        for parts in attributes(tree, "slicer"):
            used["slicer"].add(".".join(parts))
            if parts[0] == "util" and len(parts) > 1:
                assert f"slicer.util.{parts[1]}" in slicer_names.FUNCTIONS, parts
            elif parts[0] == "app" and len(parts) > 1:
                assert parts[1] in slicer_names.INSTANCES["app"] | slicer_names.allowed("qt.QObject"), parts
    assert {"QTimer", "QPixmap", "QTableWidgetItem"} <= used["qt"] and len(used["slicer"]) > 15
    with pytest.raises(AttributeError):
        slicer_names.require("qt.QTimer", "sleepWell")


def test_the_ui_file_and_the_code_agree(desktop, widget):
    names = []
    for section in section_classes():
        text = (UI / section.ui).read_text(encoding="utf-8")
        names += [element.get("name") for element in check_ui(UI / section.ui).iter("widget")]
        tree = ast.parse(Path(sys.modules[section.__module__].__file__).read_text(encoding="utf-8"))
        used = {parts[0] for parts in [*attributes(tree, "widgets"), *attributes(tree, "self", "widgets")]}
        bound = [element for element in ElementTree.fromstring(text).iter("property") if element.get("stdset") == "0"]
        assert used or bound
        for name in used:
            assert f'name="{name}"' in text, name
    assert len(names) == len(set(names)), "a name is given in two .ui files"
    path = UI / "Apply.ui"
    text = path.read_text(encoding="utf-8")
    bad = text.replace('class="QProgressBar"', 'class="QProgressWheel"', 1)
    wrong = Path(desktop.folder) / "wrong.ui"
    wrong.write_text(bad, encoding="utf-8")
    with pytest.raises(Exception, match="QProgressWheel"):
        check_ui(wrong)


def test_every_text_for_people_is_translatable():
    """Texts of the .ui are translated by Slicer; those in the code go through _()."""
    for path in (MODULE, *PANEL.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
                continue
            if node.targets[0].attr not in ("text", "toolTip", "title", "helpText", "windowTitle"):
                continue
            plain = isinstance(node.value, ast.Constant) and node.value.value
            assert not plain, f"{path.name}:{node.lineno}"


def test_a_volume_of_vectors_is_refused(desktop, widget, pair):
    picture = vtk.vtkImageData()
    picture.SetDimensions(10, 10, 10)
    picture.AllocateScalars(vtk.VTK_FLOAT, 3)
    node = desktop.host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "vectors")
    node.SetAndObserveImageData(picture)
    vtk_array = picture.GetPointData().GetScalars()
    for n in range(vtk_array.GetNumberOfTuples()):
        vtk_array.SetTuple3(n, n, 0, 1)
    widget.panel.parameters.moving = node
    assert not widget.ui.applyButton.enabled and "3 values for each voxel" in widget.ui.applyButton.toolTip
    with pytest.raises(InputError, match="3 values"):
        prepare(widget.panel.choice())
