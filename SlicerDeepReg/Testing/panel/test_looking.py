"""The button that finds out what the chosen pair is: what it asks the worker, and what becomes of the answer."""

import os

import numpy as np
import pytest
from helpers.geometry import make_grid
from helpers.images import noise_image
from helpers.waiting import wait_for_event
from SlicerDeepRegLib.pipeline.look import CONSEQUENCES
from SlicerDeepRegLib.types import VISIT, Request
from SlicerDeepRegLib.worker.client import WorkerClient

SEEN = {"kind": "person", "modality": "different", "similarity": "ngf", "text": "One person in two states."}


def say(pretended, number, kind="done", **values):
    pretended.events.append({"kind": kind, "job": f"job{number}", **values})


def test_what_was_seen_stands_below_the_menu_until_other_volumes_are_chosen(widget, pretended, synthetic_case):
    ui, panel = widget.ui, widget.panel
    assert ui.pairLabel.isHidden()
    ui.lookButton.click()
    (request,) = pretended.requests
    assert request.fixed.grid.same_as(synthetic_case.fixed.grid, 1e-4) and request.fixed_labels is None
    assert not ui.lookButton.enabled and ui.pairLabel.text == "Looking at the pair..."
    say(pretended, 1, look=SEEN)
    panel.poll()
    assert ui.pairLabel.text == SEEN["text"] and not ui.pairLabel.isHidden() and ui.lookButton.enabled
    fixed, moving = panel.parameters.fixed, panel.parameters.moving
    panel.parameters.fixed, panel.parameters.moving = moving, fixed
    panel.update()
    assert ui.pairLabel.isHidden()
    panel.parameters.fixed, panel.parameters.moving = fixed, moving
    panel.update()
    assert ui.pairLabel.text == SEEN["text"]


def test_a_look_that_fails_is_said_in_its_place(widget, pretended):
    widget.ui.lookButton.click()
    say(pretended, 1, "failed", reason="input", text="One of the volumes has one value.")
    widget.panel.poll()
    assert widget.ui.pairLabel.text == "One of the volumes has one value." and widget.ui.lookButton.enabled


def test_a_pair_that_cannot_be_registered_is_not_looked_at(desktop, widget, pretended):
    widget.panel.parameters.moving = None
    widget.ui.lookButton.click()
    assert pretended.requests == [] and desktop.messages and widget.ui.lookButton.enabled


def test_a_worker_that_cannot_compute_ends_the_look(widget, pretended):
    widget.ui.lookButton.click()
    pretended.events.append({"kind": "no_torch", "text": "PyTorch is missing."})
    widget.panel.poll()
    assert widget.ui.pairLabel.text == "PyTorch is missing."


def test_a_scene_that_closes_forgets_the_look(widget, pretended):
    widget.ui.lookButton.click()
    widget.panel.scene_closing()
    assert pretended.canceled == ["job1"]
    say(pretended, 1, look=SEEN)
    widget.panel.poll()
    assert widget.panel.session.looker.text == "" and not widget.panel.session.looker.busy


@pytest.mark.skipif(os.name != "posix", reason="as the other tests of the worker")
def test_the_worker_looks_and_leaves_no_files():
    client = WorkerClient()
    try:
        image = noise_image(make_grid((30, 32, 34), (4, 4, 4), np.eye(3)), "noise")
        other = noise_image(make_grid((30, 32, 34), (4, 4, 4), np.eye(3)), "same noise")
        job = client.look(Request(image, other, device="cpu"))
        seen = wait_for_event(client, "done", job=job)[-1]["look"]
        assert seen["similarity"] == "lncc" and seen["modality"] == "same"
        assert any(text in seen["text"] for text in CONSEQUENCES.values()) and seen["kind"] in CONSEQUENCES
        assert VISIT in CONSEQUENCES and not (client.folder / job).exists()
    finally:
        client.close()
