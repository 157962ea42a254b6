"""The fields between people bring their structures together, and are each other's inverses."""

import numpy as np
import torch
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_field
from SlicerDeepRegLib.training.label_maps.atlas import Relation, prepare_atlas
from SlicerDeepRegLib.training.label_maps.paint import Head, frame_positions
from SlicerDeepRegLib.training.label_maps.source import structure
from SlicerDeepRegLib.training.validation import as_field

CPU = torch.device("cpu")
PAIRS = ((0, 1), (1, 2), (2, 0))


def positions():
    return frame_positions((48, 56, 48), 4.0, CPU)


def agreement(first, second):
    """Part of the voxels of both brains that show one structure."""
    one, other = structure(first), structure(second)
    return float((one == other)[(one > 0) | (other > 0)].float().mean())


def test_fields_bring_the_structures_of_people_together(heads):
    own, relation = positions(), Relation(heads.relation, CPU)
    each = [Head.of(one, CPU) for one in heads.maps]
    for moving, fixed in PAIRS:
        there = relation.between(moving, fixed, own)
        before = agreement(each[moving].at(own), each[fixed].at(own))
        after = agreement(each[moving].at(there), each[fixed].at(own))
        assert after > before + 0.05, (moving, fixed)
        assert 1 < float((there - own).square().sum(0).sqrt().max()) < 40
        voxels = ((there - own) / 4.0 * torch.tensor([-1.0, -1.0, 1.0]).view(3, 1, 1, 1))[None]
        assert jacobian_of_field(as_field(voxels)).min() > 0


def test_there_and_back_is_where_one_began(heads):
    own, relation = positions(), Relation(heads.relation, CPU)
    inner = (own.abs() < 70).all(0)
    for moving, fixed in PAIRS:
        there = relation.between(moving, fixed, own)
        back = relation.between(fixed, moving, there)
        moved = (there - own).square().sum(0).sqrt()[inner]
        assert (back - own).square().sum(0).sqrt()[inner].mean() < 0.15 * moved.mean()
    assert (relation.between(1, 1, own) - own).square().sum(0).sqrt()[inner].mean() < 0.1 * moved.mean()


def test_the_mean_shape_is_that_of_the_people(heads):
    """The velocities add up to nothing, so that no person is what the others are bent to."""
    whole = heads.relation.astype(np.float32)
    assert np.abs(whole.mean(0)).max() < 0.01 < np.abs(whole).max()
    assert heads.relation.dtype == np.float16 and heads.relation.shape == (3, 3, 32, 40, 32)


def test_the_atlas_is_kept(heads):
    said = []
    assert np.array_equal(prepare_atlas(heads.maps, heads.cache, CPU, said.append), heads.relation) and not said
