"""The button that segments the structures of brains: what it asks the worker, and what becomes of the answer."""

import dataclasses
import os

import numpy as np
import pytest
import slicer.util
from helpers.geometry import AFFINE, make_grid
from helpers.images import noise_image
from helpers.structures import write_model
from helpers.waiting import wait_for_event
from SlicerDeepRegLib import catalog
from SlicerDeepRegLib.anatomy import STRUCTURE_BY_NUMBER
from SlicerDeepRegLib.mrml.automatic import is_automatic
from SlicerDeepRegLib.mrml.nodes import FLIP, add_transform, ijk_to_ras
from SlicerDeepRegLib.mrml.segments import add_segmentation, segment_array, segments_of
from SlicerDeepRegLib.panel.choice import prepare
from SlicerDeepRegLib.types import Image, Transform
from SlicerDeepRegLib.worker.client import WorkerClient
from SlicerDeepRegLib.worker.protocol import SeenStructures


@pytest.fixture
def button(widget, pretended, tmp_path, monkeypatch):
    """The button, with a model in its place."""
    monkeypatch.setattr(catalog, "BRAIN_FOLDERS", (write_model(tmp_path / "shipped"),))
    return widget.ui.segmentButton


def seen(image, is_brain=True):
    labels = np.zeros(image.values.shape, np.int32)
    labels[4:10, 5:12, 6:14], labels[10:14, 5:12, 6:14] = 10, 17
    return SeenStructures(Image(labels, image.grid), {10: 0.9, 17: 0.8}, is_brain)


def say(pretended, number, **values):
    pretended.events.append({"kind": "done", "job": f"job{number}", **values})


def test_both_volumes_get_a_segmentation_that_is_marked(widget, pretended, button, synthetic_case):
    panel, parameters = widget.panel, widget.panel.parameters
    button.click()
    (fixed, device), (moving, _) = pretended.requests
    assert device == "cpu" and fixed.grid.same_as(synthetic_case.fixed.grid, 1e-4)
    assert not button.enabled and "Segmenting the structures of fixed and moving" in widget.ui.stageLabel.text
    say(pretended, 1, structures=seen(fixed))
    say(pretended, 2, structures=seen(moving))
    panel.poll()
    node = parameters.fixedSegmentation
    assert node.GetName() == "fixed structures (automatic)" and is_automatic(node) and button.enabled
    assert parameters.movingSegmentation.GetName() == "moving structures (automatic)"
    names = {name: identifier for identifier, name in segments_of(node)}
    assert set(names) == {STRUCTURE_BY_NUMBER[10].name, STRUCTURE_BY_NUMBER[17].name}
    inside = segment_array(node, names[STRUCTURE_BY_NUMBER[17].name], parameters.fixed)
    assert (inside == (seen(fixed).labels.values == 17)).all()
    assert not node.GetDisplayNode().GetVisibility() and pretended.released == ["job1", "job2"]
    assert any("not checked by anyone" in note for note in prepare(panel.choice()).notes)


def test_a_volume_under_a_transform_takes_its_segmentation_along(desktop, widget, pretended, button):
    parameters = widget.panel.parameters
    transform = add_transform(desktop.host.scene, Transform(AFFINE, None), "pose")
    parameters.fixed.SetAndObserveTransformNodeID(transform.GetID())
    button.click()
    image = pretended.requests[0][0]
    assert not np.allclose(image.grid.ijk_to_lps, FLIP @ ijk_to_ras(parameters.fixed))  # it lies in the world
    say(pretended, 1, structures=seen(image))
    widget.panel.poll()
    node = parameters.fixedSegmentation
    assert node.GetParentTransformNode() is transform
    inside = segment_array(node, segments_of(node)[0][0], parameters.fixed)  # both in their own coordinates
    assert (inside == (seen(image).labels.values == 10)).all()


def test_after_a_worker_that_could_not_compute_a_new_one_is_asked(widget, pretended, button):
    widget.panel.session.trouble = "PyTorch is missing."
    button.click()
    assert pretended.stopped == 1 and widget.panel.session.trouble == "" and len(pretended.requests) == 2


def test_what_is_no_brain_or_fails_is_said_and_nothing_is_added(desktop, widget, pretended, button):
    button.click()
    say(pretended, 1, structures=seen(pretended.requests[0][0], is_brain=False))
    pretended.events.append({"kind": "failed", "job": "job2", "reason": "memory", "text": "Memory ran out."})
    widget.panel.poll()
    assert widget.panel.parameters.fixedSegmentation is None and widget.panel.parameters.movingSegmentation is None
    said = " ".join(str(message) for message in desktop.messages)
    assert "fixed does not look like a whole human brain" in said and "Memory ran out" in said
    assert button.enabled and slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_a_segmentation_of_the_user_is_not_replaced(desktop, widget, pretended, button, synthetic_case):
    own = add_segmentation(desktop.host.scene, dataclasses.replace(seen(synthetic_case.fixed).labels), "mine")
    widget.panel.parameters.fixedSegmentation = own
    button.click()
    assert len(pretended.requests) == 1  # the moving volume alone
    widget.panel.parameters.movingSegmentation = own
    say(pretended, 1, structures=seen(pretended.requests[0][0]))
    widget.panel.parameters.moving = None
    widget.panel.poll()
    assert widget.panel.parameters.movingSegmentation is own  # another volume is chosen now
    button.click()
    assert len(pretended.requests) == 1
    assert any("There is no volume to segment" in str(message) for message in desktop.messages)


def test_without_the_model_the_button_says_so(desktop, widget, pretended, monkeypatch, tmp_path):
    monkeypatch.setattr(catalog, "BRAIN_FOLDERS", (tmp_path,))
    widget.ui.segmentButton.click()
    assert pretended.requests == []
    assert any("is not part of this installation" in str(message) for message in desktop.messages)


def test_a_scene_that_closes_forgets_what_waits(desktop, widget, pretended, button):
    button.click()
    image = pretended.requests[0][0]
    widget.panel.scene_closing()
    assert pretended.canceled == ["job1", "job2"]
    say(pretended, 1, structures=seen(image))
    widget.panel.poll()
    assert "job1" in pretended.released and slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


@pytest.mark.skipif(os.name != "posix", reason="as the other tests of the worker")
def test_the_worker_segments():
    """With the model that comes with the product."""
    client = WorkerClient()
    try:
        image = noise_image(make_grid((24, 26, 28), (6, 6, 6), np.eye(3)), "noise")
        job = client.segment(image, "cpu")
        done = wait_for_event(client, "done", job=job)[-1]["structures"]
        assert done.labels.grid.same_as(image.grid) and not done.is_brain
        assert set(np.unique(done.labels.values)) - {0} == set(done.confidences)
        folder = client.folder / job
        assert folder.is_dir()
        del done
        client.release(job)
        assert not folder.exists()
        flat = noise_image(make_grid((24, 26, 1), (6, 6, 6), np.eye(3)), "flat")
        failed = wait_for_event(client, "failed", job=client.segment(flat, "cpu"))[-1]
        assert failed["reason"] == "input" and "is a single slice" in failed["text"]
    finally:
        client.close()
