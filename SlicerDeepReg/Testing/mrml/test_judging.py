"""Judging a run in the scene: layouts, maps, motion and trust, on Slicer's own nodes and views, without Qt."""

import dataclasses
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.cases import Case
from helpers.geometry import AFFINE
from SlicerDeepRegLib.geometry.grids import on_grid
from SlicerDeepRegLib.geometry.points import fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.mrml.add_run import add_run
from SlicerDeepRegLib.mrml.error_maps import consistency, disagreement, in_world, moved, residuals, way_back
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.layouts import LAYOUTS, PLANES, Layouts, cells_of
from SlicerDeepRegLib.mrml.maps import FOLD, TOP, magnitude, show_jacobian
from SlicerDeepRegLib.mrml.motion import Morph, Stages, keep_motion, stage_names
from SlicerDeepRegLib.mrml.nodes import FLIP, add_volume, resampled
from SlicerDeepRegLib.mrml.review import Review
from SlicerDeepRegLib.mrml.review_volumes import fixed_side
from SlicerDeepRegLib.mrml.runs import MARK, remove, runs
from SlicerDeepRegLib.mrml.world import placed_volume
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Grid, Image, Request, Transform

#: Moves a volume away.
SHIFTED = np.eye(4)
SHIFTED[:3, 3] = [300.0, 200.0, -250.0]


@pytest.fixture(scope="module")
def case():
    return Case("oblique-LPS")


@pytest.fixture(scope="module")
def points(case):
    fixed = case.fixed.grid.center_lps_mm + np.random.default_rng(0).uniform(-8, 8, (5, 3))
    return fixed, fixed_to_moving(case.transform, fixed) + [0, 0, 2.0]


@pytest.fixture(scope="module")
def result(case, points):
    labels = [Image((one.values > 50).astype(np.int16) * 2, one.grid, "labels") for one in (case.fixed, case.moving)]
    given = {
        "fixed_labels": labels[0],
        "moving_labels": labels[1],
        "fixed_points": points[0],
        "moving_points": points[1],
    }
    return register(Request(case.fixed, case.moving, preset="fast", device="cpu", **given))


@pytest.fixture(scope="module")
def backwards(case):
    return register(Request(case.moving, case.fixed, preset="fast", device="cpu"))


@pytest.fixture
def opened(case, result):
    with Host() as host:
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        fixed, moving = add_volume(host.scene, case.fixed, "fixed"), add_volume(host.scene, case.moving, "moving")
        run = add_run(host.scene, result, "run", {"method": "svf"}, fixed, moving)
        keep_motion(host.scene, run, result)
        review = Review(host.scene, host.application.GetSliceLogics())

        def arranged(cells):
            for cell in cells:
                if cell.name not in host.views:
                    host.add_view(cell.name, cell.plane, (240, 240))

        yield host, run, Layouts(host.scene, review, arranged)


def values_of(node):
    return slicer.util.arrayFromVolume(node).astype(np.float64)


# ------------------------------------------------------------------ layouts


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_shows_what_it_says_in_three_planes_and_goes_again(opened, name):
    host, run, layouts = opened
    node = host.scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    layouts.show(name, run)
    assert layouts.shown == (name, run) and node.GetViewArrangement() == LAYOUTS[name][0]
    described = ElementTree.fromstring(node.GetLayoutDescription(LAYOUTS[name][0]))
    rows = cells_of(name)
    assert [one.get("singletontag") for one in described.iter("view")] == [cell.name for row in rows for cell in row]
    assert [row[0].plane for row in rows] == list(PLANES)
    pictures = {cell.name: host.views[cell.name].picture().astype(int) for row in rows for cell in row}
    for row in rows:
        for first, second in zip(row, row[1:]):
            # A good registration's blend is nearly its warped volume: any pixel tells that they are two pictures.
            assert not np.array_equal(pictures[first.name], pictures[second.name]), (first.shows, second.shows)
    place = np.array([3.0, -4.0, 5.0])
    layouts.jump(place)
    for row in rows:
        for cell in row:
            through = np.linalg.inv(slicer.util.arrayFromVTKMatrix(host.views[cell.name].node.GetSliceToRAS()))
            assert abs((through @ [*place, 1])[2]) < 1e-6  # the point is on the slice
    layouts.restore()
    assert layouts.shown is None and node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    grid = run.get("layout_grid")
    assert grid is None or not grid.GetDisplayNode().GetVisibility()


def test_the_grid_is_drawn_in_its_own_views_only_and_maps_have_legends(opened):
    host, run, layouts = opened
    layouts.show("review", run)
    layouts.show("deformation", run)  # views that are newer than legends
    host.crosshair.SetCrosshairMode(host.crosshair.NoCrosshair)  # it is yellow too
    yellow = {}
    for row in cells_of("deformation"):
        for cell in row:
            picture = host.views[cell.name].picture().astype(int)
            yellow.setdefault(cell.shows, []).append(int(((picture[..., 0] > 200) & (picture[..., 2] < 80)).sum()))
    assert min(yellow["grid"]) > 500 and max(yellow["jacobian"]) < 100
    views = {cell.shows: host.views[cell.name] for cell in cells_of("deformation")[0]}
    for shows in ("jacobian", "magnitude"):
        corner = views[shows].picture()[130:, 190:]
        assert len(np.unique(corner.reshape(-1, 3), axis=0)) > 60, "no legend"


def test_a_run_that_lost_a_volume_is_refused_and_nothing_is_changed(opened):
    host, run, layouts = opened
    node = host.scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    host.scene.RemoveNode(run.get("moving"))
    with pytest.raises(ValueError, match="its moving .*was removed from the scene"):
        layouts.show("before_after", run)
    assert node.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView and layouts.shown is None


def test_swipe_has_fixed_on_the_patients_right(opened, case, result):
    _, run, layouts = opened
    review = layouts.review
    review.show(run, "swipe", 1.0)
    fixed = slicer.util.arrayFromVolume(run.get("swipe")).copy()
    review.show(run, "swipe", 0.0)
    warped = slicer.util.arrayFromVolume(run.get("swipe")).copy()
    review.show(run, "swipe", 0.5)
    half = slicer.util.arrayFromVolume(run.get("swipe"))
    grid = result.fixed.grid
    axis = grid.direction[:, np.argmax(np.abs(grid.direction[0]))]  # the border is across a voxel axis
    left = (voxel_centers_lps(grid) - grid.center_lps_mm) @ (axis * np.sign(axis[0]))
    differ = fixed != warped
    assert differ.mean() > 0.2
    side = 3.0
    assert (half == fixed)[differ & (left < -side)].all() and (half == warped)[differ & (left > side)].all()
    scale = np.corrcoef(fixed.ravel(), case.fixed.values.ravel())[0, 1]
    assert scale > 0.999


def test_the_side_of_the_fixed_volume_is_named():
    turned = np.diag([2.0, 1, 1, 1])
    sagittal = np.eye(4)[:, [1, 2, 0, 3]]  # the voxel axes go back, up and left
    assert fixed_side(Grid((9, 9, 9), np.eye(4))) == fixed_side(Grid((9, 9, 1), turned)) == "right"
    assert fixed_side(Grid((9, 9, 9), np.diag([-1.0, 1, 1, 1]))) == "right"
    assert fixed_side(Grid((20, 9, 1), sagittal)) == "anterior"
    assert fixed_side(Grid((9, 20, 1), sagittal)) == "inferior"


# ------------------------------------------------------------------ maps


def test_magnitude_is_the_length_of_the_displacement(opened, result):
    host, run, _ = opened
    expected = np.linalg.norm(on_grid(result.transform.field, result.fixed.grid).displacement_lps_mm, axis=-1)
    assert np.allclose(values_of(magnitude(host.scene, run)), expected, atol=1e-4)


def test_the_logarithmic_jacobian_marks_folds_and_no_change(opened):
    host, run, _ = opened
    show_jacobian(run.get("jacobian"))
    display = run.get("jacobian").GetDisplayNode()
    assert not display.GetInterpolate()
    table = display.GetColorNode().GetLookupTable()

    def color(value):
        last = table.GetNumberOfTableValues() - 1
        return np.array(table.GetTableValue(int(np.clip(value / TOP * (last + 1), 0, last)))[:3])

    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, TOP)
    assert np.allclose(color(-0.5), FOLD) and color(1.0).min() > 0.98
    assert color(0.25)[2] > 0.9 > 0.3 > color(0.25)[0] and color(4.0)[0] > 0.9 > 0.3 > color(4.0)[2]
    assert np.allclose(color(0.5)[0], color(2.0)[2], atol=0.05)  # half and twice are as strong


# ------------------------------------------------------------------ motion


def test_the_slider_goes_from_moving_to_warped(opened, result):
    host, run, _ = opened
    morph = Morph(host.scene, run)
    assert "flow" in morph.how
    fixed, moving = run.get("warped"), run.get("moving")
    warped = values_of(fixed)

    def shown(time):
        morph.show(time)
        node = resampled(morph.node, fixed, run.get("morph_transform"), "x")
        found = values_of(node)
        host.scene.RemoveNode(node)
        return found

    given = resampled(moving, fixed, None, "as given")
    assert np.abs(shown(0.0) - values_of(given)).max() < 1e-3
    assert np.abs(shown(1.0) - warped).max() < 1e-2
    distances = [np.abs(shown(time) - warped).mean() for time in (0.0, 0.25, 0.5, 0.75, 0.99)]
    assert all(a > b for a, b in zip(distances, distances[1:])) and distances[-1] < 0.05 * distances[0]
    assert moving.GetTransformNodeID() is None  # the user's volume is not touched
    morph.remove()
    assert run.get("morphing") is None and run.get("morph_transform") is None


def test_half_the_way_is_half_the_flow(opened, result):
    """exp(v/2) applied twice is exp(v); half the displacement applied twice is not."""
    host, run, _ = opened
    half, whole = result.path[len(result.path) // 2 - 1], result.path[-1]
    center = whole.grid.center_lps_mm + np.random.default_rng(1).uniform(-10, 10, (200, 3))
    step = Transform(np.eye(4), half)
    twice = fixed_to_moving(step, fixed_to_moving(step, center))
    once = fixed_to_moving(Transform(np.eye(4), whole), center)
    moved_by = np.linalg.norm(once - center, axis=1)
    assert moved_by.max() > 0.4
    assert np.linalg.norm(twice - once, axis=1).mean() < 0.05 * moved_by.mean()


def test_stages_are_played_by_a_sequence_browser_and_saved_with_the_scene(opened, result, tmp_path):
    host, run, _ = opened
    assert stage_names(run) == ["as given", *(stage.name for stage in result.stages)]
    stages = Stages(host.scene, run)
    warped = values_of(run.get("warped"))
    differences = []
    for number in range(len(stages.names)):
        stages.show(number)
        differences.append(np.abs(values_of(stages.node) - warped).mean())
    assert differences[-1] < 0.01 < 0.2 < differences[1] < differences[0]
    assert stages.browser.GetNumberOfItems() == len(stages.names)
    host.save(str(tmp_path / "scene.mrb"))
    with Host() as again:
        again.load(str(tmp_path / "scene.mrb"))
        loaded = runs(again.scene)[0]
        assert stage_names(loaded) == stage_names(run) and loaded.facts == run.facts
        assert "flow" in Morph(again.scene, loaded).how
        before = again.scene.GetNumberOfNodes()
        Stages(again.scene, loaded)
        remove(again.scene, loaded)
        left = [again.scene.GetNthNode(n).GetName() for n in range(again.scene.GetNumberOfNodes())]
        assert not [name for name in left if name and name.startswith("run")] and len(left) < before


def test_a_moving_volume_under_a_transform_moves_from_where_that_put_it(host_with_parent):
    host, run, parent_matrix = host_with_parent
    morph = Morph(host.scene, run)
    morph.show(0.0)
    moving, transform = run.get("moving"), run.get("morph_transform")
    given = values_of(resampled(moving, run.get("warped"), moving.GetParentTransformNode(), "given"))
    shown = values_of(resampled(morph.node, run.get("warped"), transform, "shown"))
    assert given.max() > 50 and np.abs(given - shown).max() < 0.5
    morph.show(1.0)
    shown = values_of(resampled(morph.node, run.get("warped"), transform, "shown"))
    assert np.abs(shown - values_of(run.get("warped"))).mean() < 0.05


@pytest.fixture
def host_with_parent(case):
    """A run whose moving volume is under a linear transform, as the panel makes it."""
    with Host() as host:
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.scene)
        fixed, moving = add_volume(host.scene, case.fixed, "fixed"), add_volume(host.scene, case.moving, "moving")
        parent = host.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "parent")
        parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(FLIP @ AFFINE @ FLIP))
        moving.SetAndObserveTransformNodeID(parent.GetID())
        placed = placed_volume(moving)
        found = register(Request(case.fixed, placed.image, preset="fast", device="cpu"))
        run = add_run(host.scene, found, "under", {}, fixed, moving, placed.world_to_local)
        keep_motion(host.scene, run, found)
        yield host, run, AFFINE


# ------------------------------------------------------------------ trust


def test_transforms_in_the_world_are_those_of_the_result(opened, result, points):
    _, run, _ = opened
    ras = points[0] * [-1, -1, 1]
    expected = fixed_to_moving(result.transform, points[0]) * [-1, -1, 1]
    assert np.abs(moved(in_world(run), ras) - expected).max() < 1e-3


def test_landmark_errors_are_arrows_and_a_table(opened, result, points):
    host, run, _ = opened
    node, rows = residuals(host.scene, run)
    errors = sorted(result.metrics["after"]["tre_by_point_mm"], reverse=True)
    assert np.allclose([row["mm"] for row in rows], errors, atol=1e-3)
    bounds = np.array(node.GetPolyData().GetBounds()).reshape(3, 2)
    fixed = points[0] * [-1, -1, 1]
    assert (bounds[:, 0] <= fixed.min(0) + 0.5).all() and (bounds[:, 1] >= fixed.max(0) - 0.5).all()
    assert residuals(host.scene, run)[0] is node  # not a second one


def test_transform_and_inverse_return_near_the_start(opened, case, backwards):
    host, run, _ = opened
    assert way_back(run, runs(host.scene)) is None
    back = add_run(host.scene, backwards, "back", {"method": "svf"}, run.get("moving"), run.get("fixed"))
    assert way_back(run, runs(host.scene)) == back
    node, metrics = consistency(host.scene, run, back)
    assert 0 < metrics["both_ways_mm"] < 1.0 < 40 and metrics["both_ways_mm"] <= metrics["both_ways_max_mm"]
    assert values_of(node).min() >= 0 and node.GetDisplayNode().GetWindowLevelMax() >= 1


def test_disagreement_is_the_distance_between_runs(opened, result, case):
    host, run, _ = opened
    with pytest.raises(ValueError, match="two or more"):
        disagreement(host.scene, [run])
    shift = np.eye(4)
    shift[0, 3] = 3.0
    other = add_run(
        host.scene,
        register(Request(case.fixed, case.moving, linear="none", preset="fast", device="cpu", measure=False)),
        "other",
        {},
        run.get("fixed"),
        run.get("moving"),
    )
    facts = other.facts
    facts["linear_ras"] = (shift @ np.array(run.facts["linear_ras"])).tolist()
    other.node.SetAttribute(MARK, json.dumps(facts))
    other.set("transform", run.get("transform"))  # the same field, then 3 mm further
    _, metrics = disagreement(host.scene, [run, other])
    assert metrics["disagreement_mm"] == pytest.approx(1.5, abs=1e-3)  # each is 1.5 mm from their mean
    with pytest.raises(ValueError, match="different volumes"):
        disagreement(host.scene, [run, add_run(host.scene, result, "third", {}, run.get("moving"), run.get("fixed"))])


def test_the_crosshair_follows_jumps_in_a_layout_and_is_given_back(opened):
    host, run, layouts = opened
    node = host.crosshair
    node.SetCrosshairMode(node.ShowHashmarks)
    node.SetCrosshairBehavior(node.NoAction)
    host.scene.AddNewNodeByClass("vtkMRMLLayoutNode").SetViewArrangement(2)
    layouts.show("review", run)
    assert (node.GetCrosshairMode(), node.GetCrosshairBehavior()) == (node.ShowIntersection, node.OffsetJumpSlice)
    view = host.views[cells_of("review")[0][0].name]
    layouts.jump([0.0, 0.0, 0.0])
    before = view.picture().astype(int)
    layouts.jump([3.0, -4.0, 5.0])
    assert np.allclose(node.GetCrosshairRAS(), [3.0, -4.0, 5.0])
    node.SetCrosshairMode(node.NoCrosshair)
    assert np.abs(view.picture().astype(int) - before).max() > 60  # it was drawn
    layouts.review.jump([1.0, 2.0, 3.0])  # a click on a place of the list
    assert np.allclose(node.GetCrosshairRAS(), [1.0, 2.0, 3.0])
    layouts.show("deformation", run)
    layouts.restore()
    assert (node.GetCrosshairMode(), node.GetCrosshairBehavior()) == (node.ShowHashmarks, node.NoAction)


def test_the_field_of_a_run_is_read_back_as_it_was_given(opened, result):
    from SlicerDeepRegLib.mrml.runs import transform_of

    _, run, _ = opened
    again = transform_of(run)
    assert np.allclose(again.linear_lps, result.transform.linear_lps, atol=1e-9)
    assert again.field.grid.same_as(result.transform.field.grid)
    assert np.abs(again.field.displacement_lps_mm - result.transform.field.displacement_lps_mm).max() < 1e-5


def test_a_layout_keeps_the_users_position_but_not_that_of_another_pair(opened, result):
    host, run, layouts = opened
    layouts.show("review", run)
    view = host.views[cells_of("review")[0][0].name]
    fitted = view.node.GetFieldOfView()
    layouts.jump([5.0, 6.0, 7.0])
    layouts.restore()
    layouts.show("review", run)
    there = slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())
    assert abs((np.linalg.inv(there) @ [5.0, 6.0, 7.0, 1])[2]) < 1e-6
    far = Image(
        result.fixed.values, dataclasses.replace(result.fixed.grid, ijk_to_lps=SHIFTED @ result.fixed.grid.ijk_to_lps)
    )
    other = add_volume(host.scene, far, "far")
    moved = dataclasses.replace(result, fixed=far, warped=Image(result.warped.values, far.grid))
    second = add_run(host.scene, moved, "second", {"method": "svf"}, other, run.get("moving"))
    for one, middle in ((second, far.grid.center_lps_mm), (run, result.fixed.grid.center_lps_mm)):
        layouts.show("review", one)
        there = slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())
        assert abs((np.linalg.inv(there) @ [*(middle * [-1, -1, 1]), 1])[2]) < 5
        assert np.allclose(view.node.GetFieldOfView()[:2], fitted[:2], rtol=0.05)
