"""A result in Slicer's scene: its nodes, its .mrb, and the pictures that Slicer's own views draw of it."""

import zipfile

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.cases import Case
from SlicerDeepRegLib.commands.slicer_side import write_scene
from SlicerDeepRegLib.files.bundles import replace_in_bundle
from SlicerDeepRegLib.files.transform_files import write_transform
from SlicerDeepRegLib.geometry.points import fixed_to_moving
from SlicerDeepRegLib.mrml.display import draw_glyphs
from SlicerDeepRegLib.mrml.host import NO_OPENGL, Host, opengl_works
from SlicerDeepRegLib.mrml.maps import JACOBIAN_COLORS
from SlicerDeepRegLib.mrml.nodes import add_shown_field, add_volume
from SlicerDeepRegLib.mrml.pictures import HEIGHT, PICTURES, WIDTH, draw
from SlicerDeepRegLib.mrml.scene import add_result
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Image, Request, Transform


@pytest.fixture(scope="module")
def result():
    case = Case("oblique-LPS")
    labels = {
        f"{name}_labels": Image((image.values > 50).astype(np.int16), image.grid)
        for name, image in (("fixed", case.fixed), ("moving", case.moving))
    }
    return register(Request(case.fixed, case.moving, preset="fast", device="cpu", **labels))


@pytest.fixture
def host():
    with Host() as opened:
        yield opened


@pytest.fixture
def needs_opengl():
    if not opengl_works():
        pytest.skip(f"needs OpenGL. {NO_OPENGL}")


def test_nodes_of_a_result(host, result):
    nodes = add_result(host.scene, result)
    assert set(nodes) == {"fixed", "moving", "warped", "jacobian", "transform", "fixed_labels", "warped_labels"}
    assert nodes["moving"].GetTransformNodeID() is None  # the user's volume stays where it was
    display = nodes["jacobian"].GetDisplayNode()
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    assert (low, high) == (0.0, 4.0)
    colors = host.scene.GetFirstNodeByName(JACOBIAN_COLORS)
    assert display.GetColorNodeID() == colors.GetID()
    rgba = [0.0] * 4
    colors.GetColor(colors.GetNumberOfColors() // 4, rgba)  # of no change
    assert rgba[:3] == pytest.approx([1, 1, 1], abs=0.02)
    legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode", host.scene)
    assert [legend.GetTitleText() for legend in legends] == ["Jacobian"]
    assert nodes["fixed_labels"].GetDisplayNode().GetColorNodeID() == (
        nodes["warped_labels"].GetDisplayNode().GetColorNodeID()
    )


def test_scene_file_brings_everything_back(host, result, tmp_path):
    nodes = add_result(host.scene, result)
    names = {key: node.GetName() for key, node in nodes.items()}
    host.save(str(tmp_path / "scene.mrb"))
    host.load(str(tmp_path / "scene.mrb"))
    again = {key: host.scene.GetFirstNodeByName(name) for key, name in names.items()}
    assert all(again.values())
    assert np.allclose(slicer.util.arrayFromVolume(again["warped"]), result.warped.values, atol=1e-3)
    point = result.fixed.grid.center_lps_mm
    there = np.array(again["transform"].GetTransformFromParent().TransformPoint(*(point * [-1, -1, 1])))
    expected = fixed_to_moving(result.transform, point[None])[0]
    assert np.linalg.norm(there * [-1, -1, 1] - expected) < 0.05
    assert again["jacobian"].GetDisplayNode().GetColorNode().GetName() == JACOBIAN_COLORS


def test_an_unwritable_scene_is_an_error(host, tmp_path):
    with pytest.raises(OSError, match="could not be"):
        host.load(str(tmp_path / "none.mrb"))


def test_pictures_show_what_they_say(needs_opengl, host, result, tmp_path):
    nodes = add_result(host.scene, result)
    before = host.scene.GetNumberOfNodes()
    names = draw(host, result, nodes, tmp_path)
    assert set(names) == {f"{name}.png" for name in (*PICTURES, "overview")}
    shown = {name: read_png(tmp_path / f"{name}.png") for name in PICTURES}
    for picture in shown.values():
        assert picture.shape == (HEIGHT, 3 * WIDTH, 3)
    assert brightness(shown["difference_after"]) < 0.6 * brightness(shown["difference_before"])
    assert closeness(shown["warped_after"], shown["fixed"]) > closeness(shown["moving_before"], shown["fixed"]) + 0.02
    yellow = (shown["grid"][..., 0] > 150) & (shown["grid"][..., 2] < 110) & (shown["grid"][..., 1] > 120)
    assert yellow.mean() > 0.01
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", host.scene)
    assert {v.GetName() for v in volumes} == {nodes[n].GetName() for n in nodes if n != "transform"}
    assert host.scene.GetNumberOfNodes() - before < 30  # the views' own nodes, nothing of the pictures'


def test_moving_volume_under_the_node_looks_like_the_warped_one(needs_opengl, host, result):
    nodes = add_result(host.scene, result)
    view = host.add_view("Axial", "Axial", (300, 300))
    view.center(result.fixed.grid.center_lps_mm * [-1, -1, 1], 80)
    pictures = {}
    for name, layer in (("warped", "warped"), ("plain", "moving")):
        view.show(background=nodes[layer])
        pictures[name] = view.picture().astype(float)
    nodes["moving"].SetAndObserveTransformNodeID(nodes["transform"].GetID())
    pictures["under"] = view.picture().astype(float)
    difference = np.abs(pictures["under"] - pictures["warped"]).mean()
    assert difference < 0.3 * np.abs(pictures["plain"] - pictures["warped"]).mean()


def test_glyphs_and_grid_draw_the_field_from_fixed_to_moving(needs_opengl, host):
    """A field that points to the patient's left everywhere: grid lines on the fixed image move to the left."""
    case = Case("LPS-RAS")
    field = case.transform.field
    vectors = np.zeros_like(field.displacement_lps_mm)
    vectors[..., 0] = 8.0  # LPS x: left
    from SlicerDeepRegLib.types import Field

    fixed = add_volume(host.scene, case.fixed, "fixed")
    node = add_shown_field(host.scene, Transform(np.eye(4), Field(vectors, field.grid)), "field")
    moved = np.array(node.GetTransformToParent().TransformPoint(0.0, 0.0, 0.0))
    assert np.allclose(moved, [-8, 0, 0], atol=1e-3)  # RAS: left is negative
    view = host.add_view("Axial", "Axial", (300, 300))
    view.center([0, 0, 0], 90)
    view.show(background=fixed)
    plain = view.picture().astype(int)
    draw_glyphs(node, fixed, 12.0)
    assert (np.abs(view.picture().astype(int) - plain).sum(-1) > 60).mean() > 0.005


def read_png(path):
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def brightness(picture):
    return float(picture[40:-40].mean())


def closeness(first, second):
    return np.corrcoef(first[..., 0].ravel(), second[..., 0].ravel())[0, 1]


@pytest.mark.parametrize("kept", [True, False])
def test_the_scene_of_the_command_is_small_and_moves_points_alike(needs_opengl, host, result, tmp_path, kept):
    if kept:
        write_transform(result.transform, tmp_path / "transform.h5")
    names = write_scene(result, tmp_path)
    assert "scene.mrb" in names and sorted(p.name for p in tmp_path.iterdir() if p.suffix in (".h5", ".mrb")) == (
        ["scene.mrb", "transform.h5"] if kept else ["scene.mrb"]
    )
    with zipfile.ZipFile(tmp_path / "scene.mrb") as bundle:
        (written,) = [item for item in bundle.infolist() if item.filename.endswith(".h5")]
    field = result.transform.field.displacement_lps_mm
    assert written.file_size < field.size * 8 / 4  # Slicer's own are doubles
    host.load(str(tmp_path / "scene.mrb"))
    node = host.scene.GetFirstNodeByName("Transform, fixed to moving").GetTransformFromParent()
    points = result.fixed.grid.center_lps_mm + np.random.default_rng(0).uniform(-8, 8, (20, 3))
    there = np.array([node.TransformPoint(*(point * [-1, -1, 1])) for point in points]) * [-1, -1, 1]
    np.testing.assert_allclose(there, fixed_to_moving(result.transform, points), atol=0.05)


def test_the_scene_of_the_command_holds_what_is_wanted(needs_opengl, result, tmp_path):
    write_scene(result, tmp_path, keep=("warped", "inverse"))
    with Host() as host:
        host.load(str(tmp_path / "scene.mrb"))
        volumes = {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode")}
        assert {name.partition(":")[0] for name in volumes} == {"Fixed", "Moving", "Warped", "Fixed labels"}
        assert not slicer.util.getNodesByClass("vtkMRMLTransformNode")


def test_a_bundle_without_that_file_stays_as_it_is(tmp_path):
    bundle = tmp_path / "scene.mrb"
    with zipfile.ZipFile(bundle, "w") as new:
        new.writestr("scene/scene.mrml", "<MRML/>")
    before = bundle.read_bytes()
    with pytest.raises(ValueError, match="holds 0 files that end with .h5"):
        replace_in_bundle(bundle, ".h5", bundle)
    assert bundle.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["scene.mrb"]
