"""Where a pair is compared: what the masks have in common, however thin, and never where they have nothing."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import Case
from helpers.geometry import make_grid
from helpers.images import texture
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.preparation.intensity import without_outliers
from SlicerDeepRegLib.preparation.working import working_pair
from SlicerDeepRegLib.types import Image, ImagePair, InputError, Request


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


@pytest.mark.parametrize("bright", [1e6, -1e6, 4000])
def test_a_few_voxels_far_outside_the_range_change_nothing(pair, bright):
    """Metal, or a defect: smoothed for a coarser grid, a voxel would be many that are too bright."""
    other = dataclasses.replace(pair.moving, values=pair.moving.values[::-1].copy())
    spoiled = dataclasses.replace(other, values=other.values.copy())
    places = np.random.default_rng(0).integers(0, np.array(other.values.shape), (12, 3))
    spoiled.values[tuple(places.T)] = bright
    grid = pair.fixed.grid
    ways = [working_pair(ImagePair(pair.fixed, one), np.eye(4), "fast", "lncc").moving for one in (other, spoiled)]
    assert grid.voxels > 10_000 and np.abs(ways[0] - ways[1]).mean() < 0.01


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.uint16])
def test_a_small_bright_object_is_no_outlier(kind):
    values = np.zeros((200, 100, 100), kind)
    values[30:50, 30:50, 30:50] = np.arange(8000).reshape(20, 20, 20) % 1000 + 100  # four thousandths of the image
    assert without_outliers(values) is values
    values[0, 0, 0] = 30_000
    cut = without_outliers(values)
    assert 1100 < cut.max() < 3000 and np.array_equal(cut[1:], values[1:]) and cut.dtype == values.dtype


def test_what_a_mask_is_about_is_no_outlier():
    """A tooth, a hot spot: less than a thousandth of the image, and all that is compared."""
    values = np.random.default_rng(0).normal(40, 13, (100, 100, 100)).astype(np.float32)
    tooth = np.s_[40:48, 40:48, 40:48]
    values[tooth] = np.random.default_rng(1).normal(2500, 300, (8, 8, 8))
    mask = np.zeros(values.shape, bool)
    mask[tooth] = True
    assert without_outliers(values)[tooth].std() < 1 < 200 < without_outliers(values, mask)[tooth].std()
    assert without_outliers(mask) is mask


def test_a_moving_mask_between_two_slices_of_the_fixed_image_is_compared():
    fixed = make_grid((40, 40, 8), (2.0, 2.0, 8.0), np.eye(3))
    moving = make_grid((80, 80, 64), (1.0, 1.0, 1.0), np.eye(3))
    first, second = (Image(texture(voxel_centers_lps(one)).astype(np.float32), one, "one") for one in (fixed, moving))
    thin = np.zeros(moving.shape_kji, np.uint8)
    middle = int(round(float(moving.lps_to_ijk[2] @ [*fixed.center_lps_mm, 1])))  # between the middle two of eight
    thin[middle - 1 : middle + 2] = 1
    pair = ImagePair(first, second, moving_mask=Image(thin, moving, "mask"))
    assert 0.02 < working_pair(pair, np.eye(4), "standard", "lncc").inside.mean() < 0.5
