"""Changes of points, segments, voxels and transforms are noticed; the times of Slicer's nodes miss most of them."""

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.geometry import make_grid
from SlicerDeepRegLib.mrml.ages import age_of
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.nodes import add_volume, image_from_node
from SlicerDeepRegLib.mrml.outputs import put_transform, put_volume
from SlicerDeepRegLib.mrml.review_volumes import ReviewVolumes
from SlicerDeepRegLib.mrml.runs import Run
from SlicerDeepRegLib.mrml.segments import add_segment
from SlicerDeepRegLib.types import Image

LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
GRID = make_grid((6, 5, 4), (2.0, 2.0, 2.0), np.eye(3))
IMAGE = Image(np.arange(120, dtype=np.float32).reshape(4, 5, 6), GRID, "image")


@pytest.fixture
def scene():
    with Host() as opened:
        yield opened.scene


def steps_of(node, *steps):
    """The ages of a node, as it is given and after each step."""
    ages = [age_of(node)]
    for step in steps:
        step()
        ages.append(age_of(node))
    return ages


def test_points_that_are_placed_named_moved_and_removed_are_noticed(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    ages = steps_of(
        node,
        lambda: node.AddControlPoint(1, 2, 3),
        lambda: node.AddControlPoint(4, 5, 6),
        lambda: node.SetNthControlPointLabel(0, "tip"),
        lambda: node.SetNthControlPointPosition(1, 4, 5, 7),
        lambda: node.UnsetNthControlPointPosition(1),
        lambda: node.RemoveNthControlPoint(1),
    )
    assert len(set(ages)) == len(ages) and age_of(node) == ages[-1]


def test_segments_that_are_drawn_named_and_removed_are_noticed(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    inside = IMAGE.values > 60
    ages = steps_of(
        node,
        lambda: add_segment(node, "a", (1, 0, 0), inside, np.diag([-2.0, -2, 2, 1])),
        lambda: node.GetSegmentation().GetNthSegment(0).SetName("b"),
        lambda: node.GetSegmentation().GetNthSegment(0).GetRepresentation(LABELMAP).Modified(),  # as a brush does
        lambda: node.GetSegmentation().RemoveAllSegments(),
    )
    assert all(first != second for first, second in zip(ages, ages[1:]))


def test_voxels_and_transforms_are_noticed(scene):
    node, parent = add_volume(scene, IMAGE, "volume"), scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "parent")
    matrix = np.diag([1.0, 1, 1, 1])
    matrix[0, 3] = 4
    ages = steps_of(
        node,
        lambda: slicer.util.updateVolumeFromArray(node, IMAGE.values + 1),
        lambda: node.SetAndObserveTransformNodeID(parent.GetID()),
        lambda: parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix)),
    )
    assert len(set(ages)) == len(ages) and age_of(None) == ()


# ------------------------------------------------------------------ nodes of the user's that take a result


def run_of(scene, **nodes):
    marker = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "run")
    run = Run(marker)
    for role, node in nodes.items():
        run.set(role, node)
    return run


def test_a_volume_that_takes_the_result_is_no_dicom_series_any_more(scene):
    run, node = run_of(scene, warped=add_volume(scene, IMAGE, "warped")), add_volume(scene, IMAGE, "mine")
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    node.SetAttribute("Study.Rater", "AB")
    put_volume(run, node)
    assert list(node.GetAttributeNames()) == ["Study.Rater"]


def test_a_transform_that_takes_the_result_keeps_what_the_user_wrote_about_it(scene):
    found = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "found")
    found.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, -1, -1, 1])))
    found.SetAttribute("DeepReg", "ours")
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "mine")
    node.SetAttribute("Study.Rater", "AB")
    node.SetDescription("planned 3 May")
    put_transform(run_of(scene, transform=found), node)
    assert (node.GetName(), node.GetDescription()) == ("mine", "planned 3 May")
    assert list(node.GetAttributeNames()) == ["Study.Rater"]
    assert slicer.util.arrayFromTransformMatrix(node)[1, 1] == -1


@pytest.mark.parametrize("spoiled", ["infinite", "64 bits"])
def test_windows_that_show_nothing_do_not_hide_a_difference(scene, spoiled):
    """Slicer's automatic window is not a number, or upside down, in such volumes."""
    fixed = add_volume(scene, IMAGE, "fixed")
    values = IMAGE.values[::-1].copy()
    moving = add_volume(scene, Image(values, GRID, "moving"), "moving")
    if spoiled == "infinite":
        voxels = slicer.util.arrayFromVolume(moving)
        voxels[0, 0, 0] = np.inf
        slicer.util.arrayFromVolumeModified(moving)
        moving.GetDisplayNode().SetWindowLevelMinMax(np.nan, np.nan)
    else:
        moving.GetDisplayNode().SetAutoWindowLevel(False)
        moving.GetDisplayNode().SetWindowLevelMinMax(255, 0)
    run = run_of(scene, fixed=fixed, moving=moving, warped=add_volume(scene, Image(values, GRID, "warped"), "warped"))
    shown = image_from_node(ReviewVolumes(scene).difference(run, after=True)).values
    assert np.abs(shown).max() > 0.7 and np.abs(shown).mean() > 0.2


def test_integers_of_64_bits_are_added_in_types_that_slicer_shows(scene):
    small = add_volume(scene, Image(np.full((4, 5, 6), 7, np.int64), GRID), "small")
    large = add_volume(scene, Image(np.full((4, 5, 6), 2**40, np.uint64), GRID), "large")
    assert image_from_node(small).values.dtype == np.int32 and image_from_node(large).values.dtype == np.float64
    assert (image_from_node(large).values == 2**40).all()
