"""A result that is worse than its linear alignment says so."""

from types import SimpleNamespace

import numpy as np
import pytest
from SlicerDeepRegLib.pipeline.assess import worse_than_linear
from SlicerDeepRegLib.pipeline.decide import Decision
from SlicerDeepRegLib.types import Field, Grid, Transform

FIELD = Field(np.zeros((2, 2, 2, 3), np.float32), Grid((2, 2, 2), np.eye(4)))
GOOD = {"ncc": 0.9, "nmi": 1.2, "dice": 0.7, "tre_mm": 1.5}


def notes(field=FIELD, modality="same", **after):
    found = SimpleNamespace(transform=Transform(np.eye(4), field), decision=Decision("people", "lncc", modality))
    return worse_than_linear({"linear": GOOD, "after": {**GOOD, **after}}, found)


def test_nothing_is_said_of_what_is_no_worse():
    assert notes() == [] == notes(ncc=0.95, dice=0.8, tre_mm=1.0) == notes(dice=0.698, tre_mm=1.55)
    assert notes(dice=None) == []
    assert notes(field=None, dice=0.1) == []  # nothing was deformed


@pytest.mark.parametrize(
    "after, text",
    [
        ({"dice": 0.65}, "the structures overlap less, mean Dice (0.700, then 0.650)"),
        ({"tre_mm": 2.25}, "the landmarks lie further apart (1.50 mm, then 2.25 mm)"),
        ({"ncc": 0.8}, "image similarity is lower (0.900, then 0.800)"),
    ],
)
def test_what_is_worse_is_named_with_its_numbers(after, text):
    (note,) = notes(**after)
    assert note.startswith("The deformation made it worse than the linear alignment: ") and text in note
    assert "Use the linear alignment" in note


def test_images_of_two_modalities_are_compared_by_what_they_share():
    assert notes(modality="different", ncc=0.1) == []
    assert len(notes(modality="different", nmi=1.1)) == 1 and len(notes(dice=0.5, tre_mm=9.0)) == 1
