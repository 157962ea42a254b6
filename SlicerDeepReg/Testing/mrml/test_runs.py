"""Volumes in the world, runs in the scene, and looking at them: on Slicer's own nodes and logics, without Qt."""

import dataclasses

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from helpers.cases import Case
from helpers.geometry import AFFINE
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving
from SlicerDeepRegLib.mrml.add_run import add_run
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.nodes import FLIP, add_transform, add_volume, resampled
from SlicerDeepRegLib.mrml.review import MODES, Review
from SlicerDeepRegLib.mrml.review_volumes import ReviewVolumes
from SlicerDeepRegLib.mrml.runs import Run, free_name, remove, rename, runs
from SlicerDeepRegLib.mrml.scene import display_range
from SlicerDeepRegLib.mrml.segments import add_segment, segment_array, segments_of
from SlicerDeepRegLib.mrml.world import grid_in_world, labels_of, mask_of, placed_volume, points_in_world
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Image, InputError, Request


@pytest.fixture
def host():
    with Host() as opened:
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(opened.scene)  # is there on the desktop
        yield opened


@pytest.fixture(scope="module")
def case():
    return Case("oblique-LPS")


@pytest.fixture(scope="module")
def result(case):
    labels = Image((case.moving.values > 50).astype(np.int16) * 2, case.moving.grid, "labels")
    return register(Request(case.fixed, case.moving, moving_labels=labels, preset="fast", device="cpu"))


def linear_node(scene, matrix_lps, name="parent"):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(FLIP @ matrix_lps @ FLIP))
    return node


def content(scene):
    return sorted(scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes()))


def test_a_volume_under_linear_transforms_is_where_they_put_it(host, case):
    node = add_volume(host.scene, case.moving, "moving")
    first, second = linear_node(host.scene, AFFINE), linear_node(host.scene, np.linalg.inv(AFFINE) @ AFFINE @ AFFINE)
    node.SetAndObserveTransformNodeID(first.GetID())
    first.SetAndObserveTransformNodeID(second.GetID())
    placed = placed_volume(node)
    assert (placed.image.values == case.moving.values).all()
    assert np.allclose(placed.image.grid.ijk_to_lps, AFFINE @ AFFINE @ case.moving.grid.ijk_to_lps)
    assert grid_in_world(node).same_as(placed.image.grid)
    assert "parent" in placed.note
    world = placed.image.grid.center_lps_mm * [-1, -1, 1]
    local = np.array(placed.world_to_local.TransformPoint(world)) * [-1, -1, 1]
    assert np.allclose(local, case.moving.grid.center_lps_mm)
    initial = linear_node(host.scene, np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 7, "initial")  # 7 mm along x
    further = placed_volume(node, initial)
    assert np.allclose(further.image.grid.origin_lps_mm - placed.image.grid.origin_lps_mm, [7, 0, 0])


def test_a_volume_under_a_nonlinear_transform_is_resampled_in_the_world(host, case):
    """Against Slicer's own resampling of the same volume under the same node."""
    node = add_volume(host.scene, case.moving, "moving")
    parent = add_transform(host.scene, case.transform, "bent")
    node.SetAndObserveTransformNodeID(parent.GetID())
    placed = placed_volume(node)
    assert "not linear" in placed.note
    assert grid_in_world(node).same_as(placed.image.grid)
    reference = add_volume(host.scene, placed.image, "reference")
    theirs = slicer.util.arrayFromVolume(resampled(node, reference, parent, "theirs"))
    inside = theirs > 20
    assert inside.sum() > 3000
    assert np.abs(placed.image.values - theirs)[inside].mean() < 0.2
    world = placed.image.grid.center_lps_mm * [-1, -1, 1]
    expected = fixed_to_moving(case.transform, placed.image.grid.center_lps_mm[None])[0]
    assert np.allclose(np.array(placed.world_to_local.TransformPoint(world)) * [-1, -1, 1], expected, atol=0.02)


def test_what_is_no_volume_is_refused(host, case):
    empty = host.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError, match="no voxels"):
        placed_volume(empty)
    assert grid_in_world(empty) is None
    color = add_volume(host.scene, case.fixed, "color")
    picture = vtk.vtkImageData()
    picture.SetDimensions(4, 4, 4)
    picture.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    color.SetAndObserveImageData(picture)
    with pytest.raises(InputError, match="3 values"):
        placed_volume(color)


def segmentation_of(host, case, names=("core", "rim")):
    volume = add_volume(host.scene, case.moving, "moving")
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "structures")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for n, name in enumerate(names):
        inside = (case.moving.values > 50 + 15 * n) & (case.moving.values < 65 + 15 * n)
        add_segment(node, name, (0.2 + 0.5 * n, 0.4, 0.1), inside, FLIP @ case.moving.grid.ijk_to_lps)
    return volume, node


def test_segments_go_to_labels_and_back(host, case):
    volume, node = segmentation_of(host, case)
    assert [name for _, name in segments_of(node)] == ["core", "rim"]
    identifier = segments_of(node)[1][0]
    expected = (case.moving.values > 65) & (case.moving.values < 80)
    assert (segment_array(node, identifier, volume) == expected).all()
    labels, names = labels_of(node, volume, placed_volume(volume), {"rim": 9})
    assert names == {1: "core", 9: "rim"}
    assert ((labels.values == 9) == expected).all()
    other = linear_node(host.scene, AFFINE)
    volume.SetAndObserveTransformNodeID(other.GetID())
    with pytest.raises(InputError, match="different transforms"):
        labels_of(node, volume, placed_volume(volume))
    node.SetAndObserveTransformNodeID(other.GetID())
    moved, _ = labels_of(node, volume, placed_volume(volume))
    assert np.allclose(moved.grid.ijk_to_lps, AFFINE @ case.moving.grid.ijk_to_lps)


def test_segments_that_overlap_are_one_mask_and_no_labels(host, case):
    volume, node = segmentation_of(host, case)
    core, rim = (segment_array(node, identifier, volume) for identifier, _ in segments_of(node))
    place = FLIP @ case.moving.grid.ijk_to_lps
    lower = np.arange(len(rim))[:, None, None] < len(rim) // 2
    add_segment(node, "lower", (1, 0, 0), rim & lower, place)
    with pytest.raises(InputError, match="segments rim and lower of structures overlap"):
        labels_of(node, volume, placed_volume(volume))
    mask = mask_of(node, volume, placed_volume(volume))
    assert (mask.values == (core | rim)).all() and mask.values.dtype == np.uint8


def test_a_label_map_is_a_mask_too(host, case):
    volume, node = segmentation_of(host, case, ("core",))
    labels, _ = labels_of(node, volume, placed_volume(volume), {"core": 5})
    label_map = host.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(label_map, labels.values)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    label_map.SetIJKToRASMatrix(matrix)
    mask = mask_of(label_map, volume, placed_volume(volume))
    assert (mask.values == (labels.values > 0)).all() and mask.grid.same_as(case.moving.grid)
    for row in range(3):
        matrix.SetElement(row, 1, matrix.GetElement(row, 0))
    label_map.SetIJKToRASMatrix(matrix)
    with pytest.raises(InputError, match="labels cannot be used: its "):
        mask_of(label_map, volume, placed_volume(volume))


def test_landmarks_in_the_world(host):
    node = host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPoint(vtk.vtkVector3d(1, 2, 3), "nose")
    assert np.allclose(points_in_world(node).positions_lps_mm, [[-1, -2, 3]])
    assert points_in_world(node).labels == ("nose",)
    node.SetAndObserveTransformNodeID(linear_node(host.scene, AFFINE).GetID())
    assert np.allclose(points_in_world(node).positions_lps_mm, apply_matrix(AFFINE, [[-1, -2, 3]]))


def test_landmarks_that_are_not_placed_have_no_position(host):
    node = host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    for n, label in enumerate("abcd"):
        node.AddControlPoint(vtk.vtkVector3d(n, n, n), label)
    node.UnsetNthControlPointPosition(1)
    node.SetNthControlPointPositionMissing(2)
    assert points_in_world(node).placed.tolist() == [True, False, False, True]
    node.SetNthControlPointPosition(3, 1.0, 2.0, 3.0, node.PositionPreview)
    assert points_in_world(node).labels == ("a", "b", "c")


def facts(result):
    return {
        "method": "svf",
        "title": "Velocity-field optimization",
        "seconds": 2.5,
        "metrics": {"ncc": 0.9},
        "notes": [],
    }


def test_a_run_in_the_scene_is_found_renamed_and_removed_without_a_trace(host, case, result):
    fixed = add_volume(host.scene, case.fixed, "fixed")
    moving, segmentation = segmentation_of(host, case, ("core",))
    moving.GetDisplayNode().SetAutoWindowLevel(0)
    moving.GetDisplayNode().SetWindowLevelMinMax(11, 77)
    before = content(host.scene)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
    items = hierarchy.GetNumberOfItems()
    run = add_run(
        host.scene,
        result,
        "Run 1",
        facts(result),
        fixed,
        moving,
        table=[("NCC", ["0.1", "0.5", "0.9"])],
        segmentation=segmentation,
        label_names={2: "core"},
    )
    assert runs(host.scene) == [run] and free_name(host.scene, "Run 1") == "Run 1 2"
    warped = run.get("warped")
    assert (slicer.util.arrayFromVolume(warped) == result.warped.values).all()
    assert warped.GetDisplayNode().GetWindowLevelMax() == 77
    assert run.get("fixed") is fixed and run.get("transform").GetNodeReference("DeepReg.moving") is moving
    inside = segment_array(run.get("segmentation"), segments_of(run.get("segmentation"))[0][0], warped)
    assert (inside == (result.warped_labels.values == 2)).all()
    segment = run.get("segmentation").GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "core" and segment.GetColor() == pytest.approx((0.2, 0.4, 0.1))
    table = run.get("table")
    assert table.GetTable().GetValueByName(0, "result").ToString() == "0.9"
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(warped))
    assert hierarchy.GetItemName(folder) == "Run 1"
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table)) == folder
    assert run.facts["worst_jacobian"] == pytest.approx(
        result.jacobian.values[result.fixed.values > result.fixed.values.min()].min(), abs=0.05
    )

    rename(host.scene, run, "Better")
    assert warped.GetName() == "Better: warped" and hierarchy.GetItemName(folder) == "Better"
    run.set_permanent(True)
    assert not remove(host.scene, run) and runs(host.scene) == [run]
    assert remove(host.scene, run, also_permanent=True)
    left = [host.scene.GetNodeByID(i) for i in set(content(host.scene)) - set(before)]
    assert all(node.IsA("vtkMRMLColorTableNode") for node in left), [node.GetName() for node in left]
    assert hierarchy.GetItemByName("Better") == 0 and hierarchy.GetNumberOfItems() == items
    assert set(before) <= set(content(host.scene))


def test_what_the_user_put_into_the_runs_folder_stays(host, case, result):
    run = add_run(host.scene, result, "Run", facts(result), add_volume(host.scene, case.fixed, "fixed"))
    mine = add_volume(host.scene, case.moving, "mine")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(run.get("warped")))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(mine) or hierarchy.CreateItem(folder, mine), folder)
    remove(host.scene, run)
    assert host.scene.IsNodePresent(mine) and hierarchy.GetItemByName("Run") == 0


def test_a_volume_in_the_folder_of_another_run_does_not_make_that_its_own(host, case, result):
    fixed = add_volume(host.scene, case.fixed, "fixed")
    first, second = (add_run(host.scene, result, name, facts(result), fixed) for name in ("One", "Two"))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)

    def item(run, role):
        return hierarchy.GetItemByDataNode(run.get(role))

    folders = [hierarchy.GetItemParent(item(run, "jacobian")) for run in (first, second)]
    hierarchy.SetItemParent(item(second, "warped"), folders[0])
    rename(host.scene, second, "Better")
    assert [hierarchy.GetItemName(folder) for folder in folders] == ["One", "Better"]
    remove(host.scene, second)
    assert hierarchy.GetItemName(folders[0]) == "One" and hierarchy.GetItemByName("Better") == 0
    assert hierarchy.GetItemParent(item(first, "warped")) == folders[0]


def test_a_run_that_fails_half_way_leaves_nothing(host, case, result, monkeypatch):
    before = content(host.scene)
    monkeypatch.setattr("SlicerDeepRegLib.mrml.add_run.group_nodes", lambda scene, run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add_run(host.scene, result, "Run", facts(result))
    left = [host.scene.GetNodeByID(i) for i in set(content(host.scene)) - set(before)]
    assert all(node.IsA("vtkMRMLColorTableNode") for node in left)


def test_the_transform_shows_a_moving_volume_that_was_under_another_transform(host, case, result):
    """In place of its old parent the run's transform puts the volume where the warped one is, and splits in two."""
    local = np.linalg.inv(AFFINE) @ case.moving.grid.ijk_to_lps
    moving = add_volume(
        host.scene, Image(case.moving.values, type(case.moving.grid)(case.moving.grid.size_ijk, local)), "m"
    )
    moving.SetAndObserveTransformNodeID(linear_node(host.scene, AFFINE).GetID())
    placed = placed_volume(moving)
    run = add_run(host.scene, result, "Run", facts(result), None, moving, placed.world_to_local)
    reference = add_volume(host.scene, case.fixed, "fixed")
    shown = slicer.util.arrayFromVolume(resampled(moving, reference, run.get("transform"), "shown"))
    inside = result.warped.values > 20
    assert np.abs(shown - result.warped.values)[inside].mean() < 0.1
    assert run.get("transform").Split()
    assert len(slicer.util.getNodesByClass("vtkMRMLTransformNode", host.scene)) >= 3


def test_runs_come_back_with_the_scene(host, case, result, tmp_path):
    fixed, moving = add_volume(host.scene, case.fixed, "fixed"), add_volume(host.scene, case.moving, "moving")
    add_run(host.scene, result, "Run", facts(result), fixed, moving)
    host.save(str(tmp_path / "scene.mrb"))
    host.load(str(tmp_path / "scene.mrb"))
    (run,) = runs(host.scene)
    assert run.name == "Run" and run.facts["metrics"] == {"ncc": 0.9}
    assert np.allclose(slicer.util.arrayFromVolume(run.get("warped")), result.warped.values, atol=1e-3)
    assert run.get("fixed").GetName() == "fixed"
    host.add_view("Red", "Axial", (200, 200))
    review = Review(host.scene, host.application.GetSliceLogics())
    review.show(run, "checkerboard")
    review.overlay(run, True, False)
    assert run.get("shown_grid").GetDisplayNode().GetVisibility2D()
    assert remove(host.scene, run) and not runs(host.scene)


@pytest.fixture
def looked_at(host, case, result):
    on_black = Image(np.where(case.fixed.values > 10, case.fixed.values, 0), case.fixed.grid)
    fixed, moving = add_volume(host.scene, on_black, "fixed"), add_volume(host.scene, case.moving, "moving")
    for name, orientation in (("Red", "Axial"), ("Yellow", "Sagittal")):
        host.add_view(name, orientation, (300, 300)).show(background=moving)
    old = add_volume(host.scene, Image((case.fixed.values > 50) * 1, case.fixed.grid), "old labels", labels=True)
    host.views["Red"].composite.SetLabelVolumeID(old.GetID())
    run = add_run(host.scene, result, "Run", facts(result), fixed, moving)
    return Review(host.scene, host.application.GetSliceLogics()), run


def layers(host):
    found = []
    for view in host.views.values():
        ids = view.composite.GetBackgroundVolumeID(), view.composite.GetForegroundVolumeID()
        found.append(tuple(host.scene.GetNodeByID(i).GetName() if i else None for i in ids))
    return found


def test_every_way_to_look_and_the_way_back(host, looked_at):
    review, run = looked_at
    shown = {}
    for mode in MODES:
        review.show(run, mode, 0.7)
        shown[mode] = layers(host)[0]
    assert shown["fade"] == ("fixed", "Run: warped")
    assert shown["jacobian"] == ("fixed", "Run: Jacobian without background")
    masked = slicer.util.arrayFromVolume(run.get("jacobian_shown"))
    low = run.get("jacobian_shown").GetDisplayNode().GetLowerThreshold()
    assert 0.2 < (masked > low).mean() < 0.95
    assert shown["difference"] == ("Run: difference", None)
    assert shown["checkerboard"] == ("Run: checkerboard", None)
    assert shown["magnitude"] == ("fixed", "Run: displacement magnitude")
    review.show(run, "fade", 0.3, after=False)
    assert layers(host) == [("fixed", "moving")] * 2
    assert host.views["Red"].composite.GetForegroundOpacity() == pytest.approx(0.3)
    review.show(run, "difference", after=False)
    before, after = (slicer.util.arrayFromVolume(run.get(n)) for n in ("difference_before", "difference"))
    assert np.abs(after).mean() < 0.6 * np.abs(before).mean()
    board = slicer.util.arrayFromVolume(run.get("checkerboard"))
    assert 0 <= board.min() and board.max() <= 1
    assert host.views["Red"].composite.GetLabelVolumeID() is None
    review.restore()
    assert layers(host) == [("moving", None)] * 2 and review.shown is None
    assert host.views["Red"].composite.GetLabelVolumeID() == host.scene.GetFirstNodeByName("old labels").GetID()
    with pytest.raises(ValueError, match="mode must be"):
        review.show(run, "upside down")


def test_a_volume_with_voxels_that_are_not_finite_is_shown(host, case, result):
    with_gaps = dataclasses.replace(case.fixed, values=case.fixed.values.copy())
    with_gaps.values[:3] = with_gaps.values[8, 8, 8] = np.nan
    fixed, moving = add_volume(host.scene, with_gaps, "fixed"), add_volume(host.scene, case.moving, "moving")
    fixed.GetDisplayNode().SetAutoWindowLevel(0)
    fixed.GetDisplayNode().SetWindowLevelMinMax(*display_range(with_gaps))
    run = add_run(host.scene, dataclasses.replace(result, fixed=with_gaps), "Gaps", facts(result), fixed, moving)
    looked = ReviewVolumes(host.scene)
    for node in (looked.difference(run, True), looked.checkerboard(run), looked.swipe(run, 0.5)):
        assert np.isfinite(slicer.util.arrayFromVolume(node)).all()
    low = looked.jacobian(run).GetDisplayNode().GetLowerThreshold()
    shown = slicer.util.arrayFromVolume(run.get("jacobian_shown")) > low
    assert not shown[0].any() and 0.2 < shown.mean() < 0.95
    assert np.isfinite(run.facts["worst_jacobian"])


def test_removing_the_shown_run_puts_the_views_back(host, looked_at):
    review, run = looked_at
    review.show(run)
    review.overlay(run, False, True)
    review.forget(run)
    remove(host.scene, run)
    assert layers(host) == [("moving", None)] * 2
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLTransformNode", host.scene)]
    assert not [name for name in names if name.startswith("Run:")]


def test_another_run_hides_the_deformation_of_the_one_before(host, looked_at, result):
    review, run = looked_at
    review.show(run)
    review.overlay(run, True, True)
    other = add_run(host.scene, result, "Other", facts(result), run.get("fixed"), run.get("moving"))
    review.show(other)
    assert not any(run.get(role).GetDisplayNode().GetVisibility() for role in ("shown_grid", "shown_arrows"))


def test_jump_to_the_minimum_jacobian(host, looked_at):
    review, run = looked_at
    value = review.jump_to_worst(run)
    place = run.facts["worst_ras"]
    for view in host.views.values():
        matrix = slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())
        distance = np.abs(matrix[:3, 2] @ (np.array(place) - matrix[:3, 3]))
        assert distance < 0.01
    ijk = np.linalg.inv(slicer.util.arrayFromVTKMatrix(_ijk_to_ras(run.get("jacobian")))) @ [*place, 1]
    i, j, k = np.rint(ijk[:3]).astype(int)
    assert slicer.util.arrayFromVolume(run.get("jacobian"))[k, j, i] == pytest.approx(value, abs=1e-5)
    assert isinstance(run, Run)


def _ijk_to_ras(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
