"""Memberships of structures as channels."""

import numpy as np
import pytest
from SlicerDeepRegLib.anatomy import STRUCTURES
from SlicerDeepRegLib.preparation.structures import structure_codes
from SlicerDeepRegLib.types import InputError


def codes_of_classes():
    """(33, channels): the code of each class where it is certain."""
    return structure_codes(np.eye(33, dtype=np.float32).reshape(33, 33, 1, 1))[:, :, 0, 0].T


def test_every_two_structures_lie_apart_but_the_two_sides_of_one():
    codes = codes_of_classes()
    assert codes.dtype == np.float32 and not codes[0].any()
    for place, structure in enumerate(STRUCTURES, 1):
        assert np.linalg.norm(codes[place]) == 1
        for other_place, other in enumerate(STRUCTURES, 1):
            distance = np.linalg.norm(codes[place] - codes[other_place])
            same = other.number in (structure.number, structure.mirror)
            assert distance == 0 if same else distance > 1.4


def test_a_voxel_between_two_structures_lies_between_their_codes():
    half = np.zeros((33, 1, 1, 1), np.float32)
    half[0], half[9] = 0.25, 0.75
    assert np.allclose(structure_codes(half)[:, 0, 0, 0], 0.75 * codes_of_classes()[9])


@pytest.mark.parametrize("shape", [(32, 2, 2, 2), (33, 2, 2)])
def test_other_memberships_are_refused(shape):
    with pytest.raises(InputError, match="33"):
        structure_codes(np.zeros(shape, np.float32))
