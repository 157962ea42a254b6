"""Volumes that Slicer loaded from DICOM: what its scene does not say about their slices."""

import numpy as np
import pytest
import slicer
from SlicerDeepRegLib.mrml.dicom_origin import dicom_notes
from SlicerDeepRegLib.mrml.nodes import add_volume
from SlicerDeepRegLib.types import Grid, Image

COUNT, GAP = 12, 3.0


class Database:
    """What slicer.dicomDatabase answers for a series of axial slices at these positions."""

    def __init__(self, positions):
        self.positions = positions

    def instanceValue(self, uid, tag):
        values = {"0020,0032": self.positions[int(uid)], "0020,0037": [1, 0, 0, 0, 1, 0], "0028,0030": [2, 2]}
        return "\\".join(str(value) for value in values[tag])


def positions(kind):
    along = np.arange(COUNT) * GAP
    across = np.zeros(COUNT)
    if kind == "tilted":
        across = along * np.tan(np.radians(15))
    elif kind == "uneven":
        along = np.concatenate([along[:6], along[5] + np.arange(1, 7) * 4.5])
    elif kind == "missing":
        along = np.concatenate([along[:6], along[5] + np.arange(2, 8) * GAP])
    return np.column_stack([np.zeros(COUNT), across, along])


@pytest.fixture
def loaded(desktop, monkeypatch):
    def load(kind, reverse=False):
        """The volume as Slicer shows it: slices on a regular grid from the first one on."""
        matrix = np.diag([2.0, 2.0, GAP, 1.0])
        node = add_volume(
            desktop.host.scene, Image(np.ones((COUNT, 8, 8), np.int16), Grid((8, 8, COUNT), matrix)), "CT"
        )
        uids = [str(n) for n in range(COUNT)]
        node.SetAttribute("DICOM.instanceUIDs", " ".join(uids[::-1] if reverse else uids))
        monkeypatch.setattr(slicer, "dicomDatabase", Database(positions(kind)), raising=False)
        return node

    return load


@pytest.mark.parametrize(
    "kind, words",
    [
        ("regular", []),
        ("tilted", ["up to 8.8 mm from where its slices were scanned (gantry tilt of 15.0 degrees)"]),
        ("uneven", ["up to 9.0 mm from where its slices were scanned (3.0 to 4.5 mm apart)"]),
        ("missing", ["is missing 1 slice", "up to 3.0 mm from where its slices were scanned (slices are missing)"]),
    ],
)
def test_slices_that_are_shown_elsewhere_are_told(loaded, kind, words):
    notes = dicom_notes(loaded(kind), "The fixed volume (CT)")
    assert len(notes) == len(words)
    for note, expected in zip(notes, words):
        assert note.startswith("The fixed volume (CT) ") and expected in note


def test_the_order_of_the_slices_does_not_matter(loaded):
    assert dicom_notes(loaded("regular", reverse=True), "It") == ()


def test_a_volume_under_its_acquisition_transform_is_where_it_belongs(loaded, desktop):
    node = loaded("tilted")
    transform = desktop.host.scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "CT acquisition transform")
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert dicom_notes(node, "It") == ()


def test_without_a_database_or_its_headers_nothing_is_said(loaded, monkeypatch):
    node = loaded("tilted")
    monkeypatch.setattr(Database, "instanceValue", lambda self, uid, tag: "")
    assert dicom_notes(node, "It") == ()
    monkeypatch.setattr(slicer, "dicomDatabase", None, raising=False)
    assert dicom_notes(node, "It") == ()
