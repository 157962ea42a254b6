"""The section that registers the frames of a sequence, and what it adds to the scene."""

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.geometry import make_grid
from helpers.images import texture
from helpers.panel import finish, scene_state
from helpers.paths import LIBRARY
from SlicerDeepRegLib.geometry.points import fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.mrml import series as in_scene
from SlicerDeepRegLib.mrml.nodes import add_transform, add_volume, flipped, layout_node
from SlicerDeepRegLib.mrml.segments import add_segmentation, segment_array, segments_of
from SlicerDeepRegLib.types import Field, FrameResult, Image, Transform

GRID = make_grid((36, 40, 32), (2.0, 2.0, 2.0), np.eye(3))
POINTS = voxel_centers_lps(GRID)
SHIFTS = (0.0, 3.0, 6.0)
COLOR = (10, 90, 200)


def ball(points):
    return (np.linalg.norm(points, axis=-1) < 11).astype(np.int32)


def frame(number):
    values = texture(POINTS - np.array([SHIFTS[number], 0, 0])).astype(np.float32)
    return Image(values, GRID, f"frame {number}")


def to_reference(number):
    """Frame ``number`` to frame 0: what lies at x in the frame lies at x - shift in the reference."""
    field = np.zeros((*GRID.shape_kji, 3), np.float32)
    field[..., 0] = -SHIFTS[number]
    return Transform(np.eye(4), Field(field, GRID))


def add_sequence(scene):
    """Add three frames as Slicer keeps them, in a browser, the first of them shown."""
    node = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
    node.SetIndexName("time")
    node.SetIndexUnit("ms")
    for number in range(3):
        volume = add_volume(scene, frame(number), "frame")
        node.SetDataNodeAtValue(volume, str(40 * number))
        scene.RemoveNode(volume)
    browser = slicer.vtkMRMLSequenceBrowserNode()
    scene.AddNode(browser)
    browser.SetAndObserveMasterSequenceNodeID(node.GetID())
    slicer.vtkSlicerSequencesLogic().UpdateProxyNodesFromSequences(browser)
    return node


@pytest.fixture
def sequence(desktop, widget):
    """A sequence that is chosen in the section; the segmentation is of its first frame."""
    scene = desktop.host.scene
    node = add_sequence(scene)
    segmentation = add_segmentation(
        scene, Image(ball(POINTS), GRID), "chamber", {1: "left ventricle"}, {1: (10, 90, 200)}
    )
    parameters = widget.panel.parameters
    parameters.seriesSequence, parameters.seriesSegmentation = node, segmentation
    widget.panel.update()
    return node


def test_the_frame_on_the_screen_is_no_pair(desktop):
    """What shows a frame of a sequence is chosen by the user alone."""
    opened = desktop.open_module(LIBRARY / "SlicerDeepReg.py")
    parameters, label = opened.panel.parameters, opened.ui.findingsLabel
    sequence = add_sequence(desktop.host.scene)
    opened.panel.update()
    assert parameters.fixed is None and parameters.moving is None
    assert "To register the frames of a sequence, use Series" in label.text
    parameters.fixed = in_scene.shown_volume(sequence)
    opened.panel.update()
    assert "Series" not in label.text and "Choose a moving volume" in label.text
    other = add_volume(desktop.host.scene, frame(1), "another")
    desktop.wait(lambda: parameters.moving is not None, 5)
    assert parameters.moving is other and parameters.fixed is in_scene.shown_volume(sequence)


def found(number):
    moved = ball(POINTS - np.array([SHIFTS[number], 0, 0]))
    measured = {"volume_1_ml": float(moved.sum()) * 0.008, "point_1_mm": SHIFTS[number]}
    if number:
        measured["motion_mm"] = SHIFTS[number]
    transform = to_reference(number) if number else None
    return FrameResult(number, transform, Image(moved, GRID), frame(0), measured)


def said(desktop):
    return " ".join(str(message) for message in desktop.messages)


def test_what_was_found_plays_beside_the_frames(desktop, widget, pretended, sequence):
    scene, panel, parameters = desktop.host.scene, widget.panel, widget.panel.parameters
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "tips")
    points.AddControlPoint(3, 2, 0, "apex")
    parameters.seriesPoints = points
    assert widget.ui.seriesReferenceSpin.maximum == 3
    widget.ui.seriesButton.click()
    (asked,) = pretended.requests
    assert [one.name for one in asked.frames] == ["heart 1", "heart 2", "heart 3"] and asked.reference == 0
    np.testing.assert_allclose(asked.frames[2].values, frame(2).values)
    np.testing.assert_array_equal(asked.labels.values, ball(POINTS))
    np.testing.assert_allclose(asked.points_lps_mm, [[-3, -2, 0]])
    assert asked.request.preset == "fast" and asked.request.pair == "person" and asked.chain == "reference"
    assert widget.ui.seriesButton.text == "Cancel"
    pretended.say("progress", fraction=0.5, stage="heart 3, scale 1/2", losses=[])
    panel.poll()
    assert widget.ui.seriesLabel.text == "50 %, heart 3, 1/2 resolution"
    pretended.say("done", frames=[found(number) for number in range(3)])
    panel.poll()
    assert pretended.released == ["job1"] and widget.ui.seriesButton.text == "Register series"
    assert "heart: segmentation" in widget.ui.seriesLabel.text
    nodes = panel.sections["series"]._nodes
    browser = in_scene.browser_of(sequence)
    assert nodes.browser is browser and nodes.stabilized.GetNthIndexValue(2) == "80"
    assert nodes.transforms.GetIndexUnit() == "ms" and nodes.transforms.GetNumberOfDataNodes() == 3

    browser.SetSelectedItemNumber(2)
    slicer.vtkSlicerSequencesLogic().UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(nodes.segmentations)
    ((identifier, name),) = segments_of(shown)
    assert name == "left ventricle"
    np.testing.assert_allclose(
        shown.GetSegmentation().GetSegment(identifier).GetColor(), [10 / 255, 90 / 255, 200 / 255]
    )
    inside = segment_array(shown, identifier, browser.GetProxyNode(sequence))
    np.testing.assert_array_equal(inside, found(2).labels.values > 0)
    np.testing.assert_allclose(
        slicer.util.arrayFromVolume(browser.GetProxyNode(nodes.stabilized)), frame(0).values, atol=1e-3
    )
    # What is put under the motion goes from the reference to the frame.
    points.SetAndObserveTransformNodeID(browser.GetProxyNode(nodes.transforms).GetID())
    there = flipped(np.array(slicer.util.arrayFromMarkupsControlPoints(points, world=True)))
    np.testing.assert_allclose(fixed_to_moving(to_reference(2), there), [[-3, -2, 0]], atol=1e-3)


def test_the_motion_is_a_table_and_curves(desktop, widget, pretended, sequence):
    panel = widget.panel
    widget.ui.seriesButton.click()
    pretended.say("done", frames=[found(number) for number in range(3)])
    panel.poll()
    nodes = panel.sections["series"]._nodes
    table = nodes.table.GetTable()
    titles = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert titles == ["Frame", "left ventricle (ml)", "mean motion of the segments (mm)"]
    assert [table.GetValue(row, 2).ToDouble() for row in range(3)] == [0, 3, 6]
    assert [chart.GetTitle() for chart in nodes.charts] == ["heart: volumes", "heart: motion"]
    layout = layout_node(desktop.host.scene)
    view = slicer.vtkMRMLPlotViewNode()  # the desktop makes one with the layout
    desktop.host.scene.AddNode(view)
    before = layout.GetViewArrangement()
    for chart, text in zip(nodes.charts, ("Next curves", "Hide curves")):
        widget.ui.seriesCurvesButton.click()
        assert layout.GetViewArrangement() == layout.SlicerLayoutConventionalPlotView
        assert view.GetPlotChartNodeID() == chart.GetID() and widget.ui.seriesCurvesButton.text == text
    widget.ui.seriesCurvesButton.click()
    assert layout.GetViewArrangement() == before
    widget.ui.seriesPlayButton.click()
    assert nodes.browser.GetPlaybackActive() and widget.ui.seriesPlayButton.text == "Pause"
    widget.ui.seriesPlayButton.click()
    assert not nodes.browser.GetPlaybackActive()


def test_what_is_not_known_is_no_zero_and_names_may_be_the_same(desktop, widget, pretended, sequence):
    points = desktop.host.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "tips")
    for place in ((3, 2, 0), (0, 5, 0)):
        points.AddControlPoint(*place, "apex")
    widget.panel.parameters.seriesPoints = points
    widget.ui.seriesButton.click()
    frames = [found(number) for number in range(3)]
    for one in frames:
        one.measured["point_2_mm"] = 2 * SHIFTS[one.number]
    del frames[1].measured["motion_mm"]  # its segmentation has no voxels there
    pretended.say("done", frames=frames)
    widget.panel.poll()
    table = widget.panel.sections["series"]._nodes.table.GetTable()
    columns = {table.GetColumnName(n): n for n in range(table.GetNumberOfColumns())}
    assert [table.GetValue(2, columns[name]).ToDouble() for name in ("apex (mm)", "apex 2 (mm)")] == [6, 12]
    motion = [table.GetValue(row, columns["mean motion of the segments (mm)"]).ToDouble() for row in range(3)]
    assert motion[0] == 0 and np.isnan(motion[1]) and motion[2] == 6


@pytest.mark.parametrize("part", ["_Making._table", "add_segmentation.add_segment"])
def test_a_result_that_cannot_be_added_leaves_the_scene_as_it_was(
    desktop, widget, pretended, sequence, monkeypatch, part
):
    from SlicerDeepRegLib.mrml import segments

    before = scene_state(desktop.host.scene)
    count = desktop.host.scene.GetNumberOfNodes()
    widget.ui.seriesButton.click()

    def broken(*given):
        raise MemoryError("no room")

    whose = in_scene._Making if part.startswith("_Making") else segments
    monkeypatch.setattr(whose, part.partition(".")[2], broken)
    pretended.say("done", frames=[found(number) for number in range(3)])
    widget.panel.poll()
    assert "could not be added to the scene (no room)" in said(desktop) and pretended.released == ["job1"]
    assert scene_state(desktop.host.scene) == before and desktop.host.scene.GetNumberOfNodes() == count


def test_it_can_be_canceled_and_begun_again(desktop, widget, pretended, sequence):
    widget.ui.seriesButton.click()
    widget.ui.seriesButton.click()
    assert pretended.canceled == ["job1"]
    widget.panel.poll()
    assert widget.ui.seriesLabel.text == "Canceled; the scene is unchanged." and not desktop.messages
    assert widget.ui.seriesButton.text == "Register series"
    widget.ui.seriesButton.click()
    assert len(pretended.requests) == 2


def test_frames_that_changed_meanwhile_take_no_result(desktop, widget, pretended, sequence):
    widget.ui.seriesButton.click()
    slicer.util.arrayFromVolume(sequence.GetNthDataNode(1))[3] += 50
    slicer.util.arrayFromVolumeModified(sequence.GetNthDataNode(1))
    pretended.say("done", frames=[found(number) for number in range(3)])
    widget.panel.poll()
    assert "has other frames than when it was registered" in said(desktop)
    assert widget.panel.sections["series"]._nodes is None


def test_what_is_said_is_of_the_sequence_that_was_registered(desktop, widget, pretended, sequence):
    ui, parameters = widget.ui, widget.panel.parameters
    ui.seriesButton.click()
    parameters.seriesSequence = other = add_sequence(desktop.host.scene)
    pretended.say("done", frames=[found(number) for number in range(3)])
    widget.panel.poll()
    widget.panel.update()
    assert ui.seriesLabel.text == "" and not ui.seriesCurvesButton.enabled
    parameters.seriesSequence = sequence
    widget.panel.update()
    assert "Added: heart" in ui.seriesLabel.text and ui.seriesCurvesButton.enabled
    parameters.seriesSequence = other
    widget.panel.update()
    assert ui.seriesLabel.text == ""


def test_what_fails_is_said(desktop, widget, pretended, sequence):
    widget.ui.seriesButton.click()
    pretended.say("failed", reason="memory", text="Memory ran out.")
    widget.panel.poll()
    assert "Memory ran out" in said(desktop) and widget.ui.seriesLabel.text == "Memory ran out."


def _of_one(scene, parameters):
    for value in ("40", "80"):
        parameters.seriesSequence.RemoveDataNodeAtValue(value)


def _of_transforms(scene, parameters):
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "t")
    parameters.seriesSequence.SetDataNodeAtValue(node, "40")


def _under(scene, parameters):
    pose = add_transform(scene, Transform(np.eye(4), None), "pose")
    in_scene.shown_volume(parameters.seriesSequence).SetAndObserveTransformNodeID(pose.GetID())


def _elsewhere(scene, parameters):
    away = make_grid((8, 8, 8), (1.0, 1.0, 1.0), np.eye(3), (500, 500, 500))
    parameters.seriesSegmentation = add_segmentation(scene, Image(np.ones((8, 8, 8), np.int32), away), "far")


def _constant(scene, parameters):
    volume = add_volume(scene, Image(np.zeros(GRID.shape_kji, np.float32), GRID), "nothing")
    parameters.seriesSequence.SetDataNodeAtValue(volume, "40")
    scene.RemoveNode(volume)


def _landmark_outside(scene, parameters):
    parameters.seriesPoints = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "tips")
    parameters.seriesPoints.AddControlPoint(500, 0, 0, "nowhere")


def _smaller(scene, parameters):
    small = make_grid((8, 8, 8), (2.0, 2.0, 2.0), np.eye(3))
    volume = add_volume(scene, Image(np.ones((8, 8, 8), np.float32), small), "small")
    parameters.seriesSequence.SetDataNodeAtValue(volume, "80")
    scene.RemoveNode(volume)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_of_one, "heart has fewer than two frames"),
        (_of_transforms, "Frame 2 of heart is not a volume"),
        (_under, "heart is under the transform pose. Take it out"),
        (_elsewhere, "far has nothing inside heart 1"),
        (_constant, "heart 2) is constant"),
        (_landmark_outside, "outside the reference, heart 1 (number 1)"),
        (_smaller, "heart 3 has 8 x 8 x 8 voxels and the reference, heart 1, 36 x 40 x 32"),
    ],
)
def test_what_cannot_be_registered_is_refused_before_any_work(desktop, widget, pretended, sequence, spoil, text):
    scene, parameters = desktop.host.scene, widget.panel.parameters
    spoil(scene, parameters)
    widget.panel.update()
    assert widget.ui.seriesButton.enabled == (spoil is not _of_one)
    widget.panel.sections["series"].register_or_cancel()
    assert text in said(desktop) and not pretended.requests


def test_the_scene_may_be_closed_meanwhile(desktop, widget, pretended, sequence):
    widget.ui.seriesButton.click()
    desktop.host.scene.Clear(0)
    assert pretended.canceled == ["job1"] and not widget.logic.session.follower.busy
    pretended.events = [{"kind": "done", "job": "job1", "frames": [found(0)]}]
    widget.panel.poll()
    assert pretended.released == ["job1"] and not desktop.messages


@pytest.mark.slow  # the script for true Slicer registers one with every change
def test_a_series_is_registered_by_the_worker(desktop, widget, sequence):
    panel, parameters = widget.panel, widget.panel.parameters
    parameters.pair, parameters.similarity = "people", "lncc"
    widget.ui.seriesButton.click()
    desktop.wait(lambda: not widget.logic.session.follower.busy, 120)
    panel.poll()
    nodes = panel.sections["series"]._nodes
    assert nodes is not None, widget.ui.seriesLabel.text
    table = nodes.table.GetTable()
    assert [table.GetValue(row, 2).ToDouble() for row in range(3)] == pytest.approx([0, 3, 6], abs=1.2)
    assert not (widget.logic.session.client.folder / "job1").exists()


def test_what_is_begun_right_after_a_cancel_leaves_no_dead_button(desktop, widget, sequence):
    follower, ui = widget.logic.session.follower, widget.ui
    widget.panel.parameters.similarity = "lncc"
    ui.seriesButton.click()
    ui.seriesButton.click()  # cancel
    ui.applyButton.click()  # at once: its job ends the process that the canceled one runs in
    widget.panel.poll()
    assert not follower.busy and ui.seriesButton.text == "Register series" and not desktop.messages
    assert finish(desktop, widget).state == "done"
    ui.applyButton.click()
    ui.applyButton.click()
    ui.seriesButton.click()
    widget.panel.poll()
    assert widget.panel.job is None and widget.logic.session.job.state == "canceled"
    desktop.wait(lambda: not follower.busy, 120)
    assert follower.job.nodes is not None
