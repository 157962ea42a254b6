"""Where a pair is compared: what the masks have in common, however thin, and never where they have nothing."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import Case
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Image, InputError, Request


@pytest.fixture(scope="module")
def pair():
    case = Case("oblique-LPS")
    return Request(case.fixed, case.fixed, preset="fast", linear="none", pair="people", device="cpu")


def part(image, where):
    values = np.zeros(image.grid.shape_kji, np.uint8)
    values[where] = 1
    return Image(values, image.grid, "part")


def test_masks_without_a_voxel_in_common_are_refused(pair):
    low, high = (part(pair.fixed, np.s_[:, :, where]) for where in (slice(2, 9), slice(-9, -2)))
    with pytest.raises(InputError, match="masks of the two images have no voxel in common"):
        register(dataclasses.replace(pair, fixed_mask=low, moving_mask=high))


def test_a_mask_of_one_layer_is_compared_there(pair):
    """Its voxels may lie between the centers of the coarse ones that are compared at first."""
    layer = part(pair.fixed, np.s_[11:12])
    other = dataclasses.replace(pair.moving, values=pair.moving.values[::-1].copy())
    both = register(dataclasses.replace(pair, moving=other, fixed_mask=layer))
    assert np.abs(both.transform.field.displacement_lps_mm).max() > 0.5
