"""Slices painted on label maps: the part of the field that lies in the plane brings structures together."""

import dataclasses

import pytest
import torch
from SlicerDeepRegLib.training.label_maps.paint import PaintSettings
from SlicerDeepRegLib.training.label_maps.slices import SliceSource
from SlicerDeepRegLib.training.label_maps.source import LabelMapSettings
from SlicerDeepRegLib.warping.sample import warp

CPU = torch.device("cpu")
PLAIN = LabelMapSettings(one_person=1.0, paint=PaintSettings(cut=0.0))


def slices(heads, **changed):
    return SliceSource(heads.maps, heads.relation, (64, 64), 3.0, 3, dataclasses.replace(PLAIN, **changed))


def test_slices_have_two_axes_and_a_field_in_the_plane(heads):
    batch = next(slices(heads).batches([[0, 1]], CPU))
    assert {name: tuple(t.shape) for name, t in batch.items() if name != "same_contrast"} == {
        **dict.fromkeys(("moving", "fixed", "moving_labels", "fixed_labels", "inside"), (2, 1, 64, 64)),
        "displacement": (2, 2, 64, 64),
    }
    assert all(0 <= float(batch[name].min()) and float(batch[name].max()) <= 1 for name in ("moving", "fixed"))


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_the_field_brings_structures_together_however_a_slice_is_turned(heads, flip):
    source = slices(heads, flip=flip, apart=(8.0, 0.05, 6.0))
    before, after = [], []
    for position in range(8):  # mirrored up and down, and with the axes exchanged, half of the time each
        batch = next(source.batches([[position]], CPU))
        fixed, inside = batch["fixed_labels"], batch["fixed_labels"] > 0
        moved = warp(batch["moving_labels"].float(), batch["displacement"], mode="nearest").long()
        before.append(float((batch["moving_labels"] == fixed)[inside].float().mean()))
        after.append(float((moved == fixed)[inside].float().mean()))
    assert sum(after) / 8 > sum(before) / 8 + 0.1 and min(b - a for a, b in zip(before, after)) > -0.02
