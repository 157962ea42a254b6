"""Volumes under transforms of the user's, and what is moved along, drawn, exported and put back there."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from helpers.panel import finish
from SlicerDeepRegLib.geometry.points import apply_matrix
from SlicerDeepRegLib.mrml.figures import images_of
from SlicerDeepRegLib.mrml.motion import Morph, Stages
from SlicerDeepRegLib.mrml.moved_along import TO_FIXED, TO_MOVING, displacement_mm, movable, moved_copies, transform_for
from SlicerDeepRegLib.mrml.nodes import FLIP, add_volume, flipped, image_from_node, in_turn
from SlicerDeepRegLib.mrml.runs import (
    MARK,
    Run,
    check_fixed_place,
    is_where_it_was,
    lay_alike,
    put_under,
    remove,
    runs,
)
from SlicerDeepRegLib.mrml.world import local_to_world, values_on_grid
from vtk.util.numpy_support import numpy_to_vtk


def shift(scene, along, mm, name):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    matrix = np.eye(4)
    matrix[along, 3] = mm
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def warp(scene, amplitude_mm, name):
    """A transform that is not linear."""
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    points = np.indices((9, 9, 9)).astype(float)
    vectors = np.stack([amplitude_mm * np.sin(0.8 * points[1]), *np.zeros((2, 9, 9, 9))], -1)
    image = vtk.vtkImageData()
    image.SetDimensions(9, 9, 9)
    image.SetSpacing(20, 20, 20)
    image.SetOrigin(-80, -80, -80)
    image.GetPointData().SetScalars(numpy_to_vtk(vectors.reshape(-1, 3), deep=True))
    grid = slicer.vtkOrientedGridTransform()
    grid.SetDisplacementGridData(image)
    grid.SetInterpolationModeToLinear()
    node.SetAndObserveTransformToParent(grid)
    return node


def points(scene, name, places_lps_mm, parent=None):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for place in flipped(places_lps_mm):
        node.AddControlPoint(place)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def in_world(node):
    return flipped(slicer.util.arrayFromMarkupsControlPoints(node, world=True))


@pytest.fixture
def under_shifts(desktop, widget, pair):
    """A registration of two volumes that lie under shifts along different axes, its end and the two shifts."""
    scene = desktop.host.scene
    shifts = shift(scene, 0, 15.0, "of fixed"), shift(scene, 1, -12.0, "of moving")
    for node, parent in zip(pair, shifts):
        node.SetAndObserveTransformNodeID(parent.GetID())
    widget.panel.parameters.applyTransform = False
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    return runs(scene)[-1], shifts


def test_what_lies_with_a_volume_under_a_transform_is_moved_onto_the_other(desktop, widget, pair, under_shifts):
    scene = desktop.host.scene
    run, (of_fixed, of_moving) = under_shifts
    local = image_from_node(pair[0]).grid.center_lps_mm + np.random.default_rng(1).uniform(-8, 8, (6, 3))
    in_fixed = points(scene, "in fixed", local, of_fixed)
    leads = run.get("transform").GetTransformFromParent()  # from the world to the moving volume's own coordinates
    there = flipped([leads.TransformPoint(place) for place in flipped(in_world(in_fixed))])
    in_moving = points(scene, "in moving", there, of_moving)
    fixed_there, moving_there = in_world(in_fixed), in_world(in_moving)
    for direction, node, expected in ((TO_FIXED, in_moving, fixed_there), (TO_MOVING, in_fixed, moving_there)):
        begun = in_world(node)
        assert node in movable(scene, run, direction)
        (copy,) = moved_copies(scene, run, [node], direction)
        np.testing.assert_allclose(in_world(copy), expected, atol=0.02)
        lengths = np.linalg.norm(expected - begun, axis=1)
        np.testing.assert_allclose(displacement_mm(run, node, direction), lengths, atol=0.02)
        put_under(run, [node], transform_for(scene, run, direction))
        np.testing.assert_allclose(in_world(node), expected, atol=0.02)
    for direction, role in ((TO_FIXED, "moving"), (TO_MOVING, "fixed")):  # a copy of a volume lies on the other one
        (copy,) = moved_copies(scene, run, [run.get(role)], direction)
        other = run.get("warped") if direction == TO_FIXED else run.get("moving")
        alike = values_on_grid(scene, other, copy) if direction == TO_MOVING else image_from_node(other).values
        assert np.corrcoef(image_from_node(copy).values.ravel(), alike.ravel())[0, 1] > 0.97
    assert in_fixed not in movable(scene, run, TO_FIXED)  # it lies with the moving volume now, by the way back
    remove(scene, run)
    assert in_fixed.GetParentTransformNode() is of_fixed and in_moving.GetParentTransformNode() is of_moving


def test_a_copy_is_no_dicom_series(desktop, widget, pair, under_shifts):
    run, _ = under_shifts
    pair[1].SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    pair[1].SetAttribute("DicomRtImport.DoseVolume", "1")
    (copy,) = moved_copies(desktop.host.scene, run, [pair[1]], TO_FIXED)
    assert copy.GetAttribute("DICOM.instanceUIDs") is None and copy.GetAttribute("DicomRtImport.DoseVolume") == "1"


def test_where_a_transform_was_hardened_since_nothing_is_moved_along_or_played(desktop, pair, under_shifts):
    """The volume lies where it was, but what leads to its own coordinates leads elsewhere."""
    scene = desktop.host.scene
    run, _ = under_shifts
    assert lay_alike(run, run)
    pair[1].HardenTransform()
    assert is_where_it_was(run, "moving")
    for refused in (
        lambda: transform_for(scene, run, TO_FIXED),
        lambda: moved_copies(scene, run, [pair[1]], TO_FIXED),
        lambda: displacement_mm(run, pair[1], TO_FIXED),
        lambda: Stages(scene, run),
        lambda: Morph(scene, run),
    ):
        with pytest.raises(ValueError, match="A transform was hardened on"):
            refused()
    assert transform_for(scene, run, TO_MOVING) is run.get("transform_back")
    pair[0].HardenTransform()
    with pytest.raises(ValueError, match="A transform was hardened on"):
        transform_for(scene, run, TO_MOVING)


def test_other_voxels_are_another_volume_and_an_initial_transform_another_world(desktop, pair, under_shifts):
    scene = desktop.host.scene
    run, _ = under_shifts
    places = run.facts["places"]
    slicer.util.arrayFromVolume(pair[1])[:] += 30
    slicer.util.arrayFromVolumeModified(pair[1])
    with pytest.raises(ValueError, match="has other voxels than when"):
        Stages(scene, run)
    other = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "other")
    other.SetAttribute(MARK, "{}")
    Run(other).add_facts(places=places)
    assert lay_alike(run, Run(other))
    Run(other).add_facts(places={**places, "moving": {**places["moving"], "voxels": 1}})
    assert not lay_alike(run, Run(other))
    Run(other).add_facts(places=places, had_initial=True)
    assert not lay_alike(run, Run(other)) and not lay_alike(Run(other), run)


def test_figures_show_the_moving_volume_where_it_lies(desktop, pair, under_shifts):
    scene = desktop.host.scene
    run, _ = under_shifts
    images, _field = images_of(scene, run)
    there = values_on_grid(scene, pair[1], run.get("warped"))
    np.testing.assert_allclose(images["linear"].values, there)
    grid = images["fixed"].grid
    assert grid.same_as(image_from_node(run.get("warped")).grid)
    # The world's point of a voxel is 12 mm further along y, RAS, in the moving volume's own coordinates.
    k, j, i = (n // 2 for n in grid.shape_kji)
    world = apply_matrix(FLIP @ grid.ijk_to_lps, np.array([[i, j, k]], float))[0]
    to_local = in_turn(local_to_world(pair[1]).GetInverse())
    assert np.allclose(np.array(to_local.TransformPoint(world)) - world, (0, 12, 0), atol=1e-6)


def test_the_transform_takes_along_what_was_chosen_and_gives_it_back(desktop, widget, pair, synthetic_case):
    scene, parameters = desktop.host.scene, widget.panel.parameters
    acquisition = shift(scene, 0, 5.0, "acquisition")
    pair[1].SetAndObserveTransformNodeID(acquisition.GetID())
    for name, image in (("fixedPoints", synthetic_case.fixed), ("movingPoints", synthetic_case.moving)):
        lies_under = acquisition if name == "movingPoints" else None
        setattr(parameters, name, points(scene, name, image.grid.center_lps_mm[None], lies_under))
    parameters.applyTransform = True
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    run = runs(scene)[-1]
    moved = [pair[1], parameters.movingPoints]
    assert [node.GetParentTransformNode() for node in moved] == 2 * [run.get("transform")]
    before = widget.ui.beforeButton
    assert not before.enabled and not before.checked  # the moving volume is not where it was
    remove(scene, run)
    assert [node.GetParentTransformNode() for node in moved] == 2 * [acquisition]


def test_another_transform_that_is_not_linear_is_another_place(desktop, widget, pair):
    scene = desktop.host.scene
    first, second = warp(scene, 4.0, "first"), warp(scene, 14.0, "second")
    pair[0].SetAndObserveTransformNodeID(first.GetID())
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    run = runs(scene)[-1]
    check_fixed_place(run)
    images, _field = images_of(scene, run)  # it was resampled, and so is what is drawn
    assert images["fixed"].grid.same_as(images["warped"].grid)
    assert np.corrcoef(images["fixed"].values.ravel(), images["warped"].values.ravel())[0, 1] > 0.7
    pair[0].SetAndObserveTransformNodeID(second.GetID())
    with pytest.raises(ValueError, match="is not where it was"):
        check_fixed_place(run)


def test_other_voxels_are_another_image(desktop, widget, pair):
    scene = desktop.host.scene
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    run = runs(scene)[-1]
    values = slicer.util.arrayFromVolume(pair[0])
    kept = values.copy()
    values[:] = values[::-1].copy()  # as another frame of a sequence
    slicer.util.arrayFromVolumeModified(pair[0])
    with pytest.raises(ValueError, match="has other voxels than when"):
        check_fixed_place(run)
    values[:] = kept
    slicer.util.arrayFromVolumeModified(pair[0])
    check_fixed_place(run)
    shown = widget.panel.context.review.volumes.difference(run, after=True)
    first = slicer.util.arrayFromVolume(shown).copy()
    values[values > values.mean()] += 50.0
    slicer.util.arrayFromVolumeModified(pair[0])
    again = slicer.util.arrayFromVolume(widget.panel.context.review.volumes.difference(run, after=True))
    assert not np.array_equal(first, again)


def test_the_volume_of_an_earlier_result_is_no_output(desktop, widget, pair, synthetic_case):
    scene, parameters = desktop.host.scene, widget.panel.parameters
    widget.ui.applyButton.click()
    assert finish(desktop, widget).state == "done"
    parameters.fixed = add_volume(scene, synthetic_case.fixed, "another")
    parameters.outputVolume = pair[0]
    widget.panel.update()
    found = widget.panel.context.findings
    assert any("is the fixed volume of the result" in finding.sentence for finding in found)
    assert not widget.ui.applyButton.enabled


def test_a_name_gets_its_ending_and_no_other_file_is_replaced_unasked(desktop, widget, monkeypatch, tmp_path):
    """The dialog asked about the name without the ending."""
    from SlicerDeepRegLib.panel import reporting

    monkeypatch.setattr(reporting, "_ask_file", lambda title, name, kinds: tmp_path / "study v1.2")
    assert reporting.ask_table() == tmp_path / "study v1.2.csv"
    assert reporting.ask_dicom() == tmp_path / "study v1.2.dcm"
    (tmp_path / "study v1.2.csv").write_text("mine")
    asked, answers = [], [True, False]

    def confirm(text, **how):
        asked.append(text)
        return answers.pop()

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    assert reporting.ask_table() is None and reporting.ask_table() == tmp_path / "study v1.2.csv"
    assert "study v1.2.csv is there already" in asked[0]
