"""Pairs painted on label maps: their fields are the true ones, and a pair follows from its position alone."""

import dataclasses

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.anatomy import STRUCTURES
from SlicerDeepRegLib.training.inputs import people
from SlicerDeepRegLib.training.label_maps.frame import MIRRORED, SURROUNDINGS
from SlicerDeepRegLib.training.label_maps.paint import Head, PaintSettings, frame_positions
from SlicerDeepRegLib.training.label_maps.source import (
    LabelMapSettings,
    LabelMapSource,
    StructureSource,
    grid_size,
    numbers_of,
    rng_motion,
    structure,
    transformed,
)
from SlicerDeepRegLib.training.rng import Rng, seed_of
from SlicerDeepRegLib.training.sources import HELD_OUT, TRAINING
from SlicerDeepRegLib.types import InputError
from SlicerDeepRegLib.warping.sample import warp

CPU = torch.device("cpu")
SHAPE, VOXEL_MM, SEED = (40, 48, 40), 5.0, 3
#: No part of the head is cut off, and sides are never exchanged.
PLAIN = LabelMapSettings(flip=0.0, paint=PaintSettings(cut=0.0))


def source(heads, stream=TRAINING, **changed):
    settings = dataclasses.replace(PLAIN, **changed)
    return LabelMapSource(heads.maps, heads.relation, SHAPE, VOXEL_MM, SEED, settings, stream)


def pair_at(pairs, position=5):
    return next(pairs.batches([[position]], CPU))


def agreement(batch, displacement):
    """Part of the voxels of both brains whose structure is the same after warping."""
    warped = warp(batch["moving_labels"].float(), displacement, mode="nearest").long()
    fixed = batch["fixed_labels"]
    return float((warped == fixed)[(warped > 0) | (fixed > 0)].float().mean())


def test_the_field_of_one_person_is_exact(heads):
    """Every voxel of the fixed image shows what lies in the person's head where the field says."""
    pairs = source(heads, one_person=1.0)
    batch = pair_at(pairs)
    name = pairs.names([5])[0].split(" to ")[0]
    assert pairs.names([5]) == [f"{name} to {name}"]
    rng = Rng(seed_of(SEED, TRAINING, 5), CPU)
    pose, apart = (rng_motion(rng, largest) for largest in (PLAIN.pose, PLAIN.apart))
    to_lps = torch.tensor([-1.0, -1.0, 1.0]).view(3, 1, 1, 1) * VOXEL_MM
    there = frame_positions(SHAPE, VOXEL_MM, CPU) + batch["displacement"][0] * to_lps
    head = Head.of(next(one for one in heads.maps if one.name == name), CPU)
    assert (structure(head.at(transformed(pose @ apart, there))) == batch["fixed_labels"][0, 0]).float().mean() > 0.9995
    assert float(batch["displacement"].square().sum(1).sqrt().max()) > 1
    nothing = torch.zeros_like(batch["displacement"])
    assert agreement(batch, batch["displacement"]) > max(0.75, agreement(batch, nothing) + 0.1)


def test_the_field_between_people_raises_overlap(heads):
    pairs = source(heads, one_person=0.0)
    for position in range(3):
        batch = pair_at(pairs, position)
        nothing = torch.zeros_like(batch["displacement"])
        assert agreement(batch, batch["displacement"]) > agreement(batch, nothing) + 0.05
        known = batch["inside"] > 0
        assert torch.isfinite(batch["displacement"]).all() and known.any()
        assert (known <= (batch["fixed_labels"] > 0)).all()  # nothing is known of what is around two people's brains
        first, second = pairs.names([position])[0].split(" to ")
        assert first != second


def test_sides_are_exchanged_in_images_structures_and_field_alike(heads):
    plain, turned = (pair_at(source(heads, one_person=1.0, flip=part)) for part in (0.0, 1.0))
    for name in ("moving", "fixed", "inside"):
        assert torch.equal(plain[name].flip(-1), turned[name]), name
    nothing = torch.zeros_like(plain["displacement"])
    before, after = (agreement(turned, u) for u in (nothing, turned["displacement"]))
    assert after == pytest.approx(agreement(plain, plain["displacement"]), abs=0.02) and after > before + 0.1
    for batch in (plain, turned):
        for side in ("moving_labels", "fixed_labels"):
            for left in (1, 2):  # white matter and cortex
                place = [float((batch[side] == n).nonzero()[:, -1].float().mean()) for n in (left, MIRRORED[left])]
                assert place[0] < place[1]  # i grows to the right


def test_a_pair_follows_from_its_position_alone(heads):
    pairs = source(heads, flip=0.5)
    together = next(pairs.batches([[3, 4]], CPU))
    again = source(heads, flip=0.5)
    list(again.batches([[0]], CPU))  # whatever was made before
    for name, tensor in pair_at(again, 4).items():
        assert torch.equal(together[name][1:], tensor), name
    assert not torch.equal(together["fixed"][:1], together["fixed"][1:])
    assert not torch.equal(pair_at(source(heads, HELD_OUT), 4)["fixed"], pair_at(pairs, 4)["fixed"])
    assert {n: (t.shape[0], t.dtype) for n, t in together.items()} == {
        "moving": (2, torch.float32),
        "fixed": (2, torch.float32),
        "moving_labels": (2, torch.int64),
        "fixed_labels": (2, torch.int64),
        "displacement": (2, torch.float32),
        "inside": (2, torch.float32),
        "same_contrast": (2, torch.bool),
    }


def test_parts_are_the_parts_that_were_asked_for(heads):
    names = [name.split(" to ") for name in source(heads, one_person=0.3).names(range(300))]
    alone = np.mean([first == second for first, second in names])
    assert alone == pytest.approx(0.3, abs=0.08)
    assert {name for pair in names for name in pair} == {one.name for one in heads.maps}
    assert not any(pair_at(source(heads, same_contrast=0.0), n)["same_contrast"] for n in range(2))


def test_images_to_segment_have_the_structures_that_they_show(heads):
    images = StructureSource(heads.maps, SHAPE, VOXEL_MM, SEED, twice=True)
    for position in range(3):
        batch = pair_at(images, position)
        assert torch.equal(pair_at(images, position)["moving"], batch["moving"])
        labels = batch["moving_labels"]
        assert 0 <= int(labels.min()) and int(labels.max()) < SURROUNDINGS and len(labels.unique()) > 20
        assert not torch.equal(batch["moving"], batch["fixed"])
        both = (labels > 0) & (batch["fixed_labels"] > 0)
        assert both.any() and torch.equal(labels[both], batch["fixed_labels"][both])
        assert float((batch["moving"] > 0)[labels > 0].float().mean()) > 0.95
    once = pair_at(StructureSource(heads.maps, SHAPE, VOXEL_MM, SEED))
    assert torch.equal(once["moving"], once["fixed"]) and images.names([0])[0] in [one.name for one in heads.maps]


def test_classes_numbers_people_and_sizes():
    assert numbers_of(np.array([0, 1, 32])).tolist() == [0, STRUCTURES[0].number, STRUCTURES[-1].number]
    for count in (2, 5, 6, 21):
        training, held_out = people(count, seed=1)
        assert sorted([*training, *held_out]) == list(range(count)) and len(held_out) == (2 if count >= 6 else 0)
    assert people(21, seed=1) != people(21, seed=2)
    for voxel_mm in (1.0, 2.0, 3.0):
        shape = grid_size(voxel_mm)
        assert all(n % 16 == 0 and n * voxel_mm >= length for n, length in zip(shape, (192, 224, 192)))


def test_what_cannot_be_made_is_refused(heads):
    with pytest.raises(InputError, match="two people or more"):
        LabelMapSource(heads.maps[:1], heads.relation[:1], SHAPE, VOXEL_MM, SEED, PLAIN)
    with pytest.raises(InputError, match="16 voxels or more"):
        LabelMapSource(heads.maps, heads.relation, (8, 40, 40), VOXEL_MM, SEED, PLAIN)
    with pytest.raises(InputError, match="one_person is a part"):
        LabelMapSettings(one_person=-0.1)
