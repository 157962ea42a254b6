"""Mutual information of many transforms at once, and of all translations."""

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import make_grid, rotation
from helpers.images import texture
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.methods.linear.candidates import information
from SlicerDeepRegLib.methods.linear.pair import RIGID, LinearPair, frames_of
from SlicerDeepRegLib.methods.linear.positions import best_positions
from SlicerDeepRegLib.types import Grid, Image, ImagePair


def image_on(grid):
    return Image(texture(voxel_centers_lps(grid)).astype(np.float32), grid)


def pair_of(fixed, moving, fixed_mask=None, moving_mask=None):
    return LinearPair(ImagePair(fixed, moving, fixed_mask, moving_mask), frames_of(fixed, moving, []))


def shifted(shift_mm, dimensions=3):
    transform = RIGID[dimensions]()
    transform.SetTranslation(list(map(float, shift_mm)))
    return transform


SOLID = make_grid((40, 44, 36), (1.6, 1.6, 1.8), rotation([5, 0, 10]))
FLAT = make_grid((60, 64, 1), (1.2, 1.2, 1.0), np.eye(3))


@pytest.mark.parametrize(
    "grid, shifts", [(SOLID, [(0, 0, 0), (6, 0, 0), (0, -12, 9)]), (FLAT, [(0, 0), (5, 0), (0, -9)])]
)
def test_an_image_tells_most_about_itself_where_it_lies(grid, shifts):
    pair = pair_of(image_on(grid), image_on(grid))
    values = information(pair, [shifted(shift, len(shift)) for shift in shifts], 5000)
    assert values[0] > 1.3 * values[1] > 1.3 * values[2] > 0


def test_it_is_that_of_a_histogram():
    """Of an image with itself: the entropy of its bins."""
    image = image_on(make_grid((20, 20, 20), (2, 2, 2), np.eye(3)))
    pair = pair_of(image, image)
    (value,) = information(pair, [shifted((0, 0, 0))], 10**6)
    scaled = sitk.GetArrayFromImage(pair.at(10**6)[0])
    counts = np.bincount(np.clip((scaled * 16).astype(int), 0, 15).ravel()) / scaled.size
    assert value == pytest.approx(-(counts[counts > 0] * np.log(counts[counts > 0])).sum(), abs=0.02)


def test_what_lies_beside_one_another_cannot_be_compared_and_masks_count():
    image = image_on(SOLID)
    far, near = shifted((500, 0, 0)), shifted((0, 0, 0))
    assert information(pair_of(image, image), [far, near], 5000)[0] == -np.inf
    low = np.zeros(SOLID.shape_kji, bool)
    low[:12] = True
    high = Image(np.zeros(SOLID.shape_kji, np.uint8), SOLID)
    high.values[24:] = 1
    assert (information(pair_of(image, image, low, high), [far, near], 5000) == -np.inf).all()
    assert (information(pair_of(image, image, np.zeros_like(low)), [near], 5000) == -np.inf).all()
    assert np.isfinite(information(pair_of(image, image, low), [near], 5000)).all()


def test_masks_of_slices_count_too():
    image = image_on(FLAT)
    left = np.zeros(FLAT.shape_kji, bool)
    left[..., :25] = True
    right = Image((~left).astype(np.uint8), FLAT)
    assert information(pair_of(image, image, left, right), [shifted((0, 0), 2)], 5000)[0] == -np.inf
    assert information(pair_of(image, image, left), [shifted((0, 0), 2)], 5000)[0] > 0.5


@pytest.mark.parametrize("shift_mm", [(0, 0, 0), (70, -40, 55)])
def test_a_crop_is_found_at_its_place(shift_mm):
    whole = image_on(make_grid((56, 60, 52), (1.5, 1.5, 1.5), np.eye(3)))
    matrix = whole.grid.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [14, 30, 20] + shift_mm
    values = whole.values[20:40, 30:52, 14:34]
    crop = Image(values, Grid(values.shape[::-1], matrix))
    (first, *_), as_headers_say = best_positions(pair_of(whole, crop))
    assert np.abs(first - shift_mm).max() < 2 and as_headers_say == (not any(shift_mm))
    (back, *_), _ = best_positions(pair_of(crop, whole))
    assert np.abs(back + shift_mm).max() < 2


def test_where_no_voxel_counts_there_is_no_best_position():
    nothing = np.zeros(SOLID.shape_kji, bool)
    assert best_positions(pair_of(image_on(SOLID), image_on(SOLID), nothing)) == ([], False)


def test_of_a_large_image_what_the_other_covers_is_compared():
    whole = image_on(make_grid((56, 60, 52), (1.5, 1.5, 1.5), np.eye(3)))
    small = image_on(make_grid((20, 20, 20), (1.5, 1.5, 1.5), np.eye(3)))
    pair = pair_of(whole, small)
    near = pair.near(np.eye(4))
    assert near.pair.moving is small and max(near.pair.fixed.grid.size_ijk) < 34
    assert np.allclose(near.pair.fixed.grid.center_lps_mm, small.grid.center_lps_mm, atol=1.5)
    assert pair_of(small, whole).near(np.eye(4)).pair.fixed is small
    same = pair_of(whole, whole)
    assert same.near(np.eye(4)) is same


def test_where_they_hardly_meet_or_show_nothing_all_is_compared():
    whole = image_on(make_grid((56, 60, 52), (1.5, 1.5, 1.5), np.eye(3)))
    small = image_on(make_grid((20, 20, 20), (1.5, 1.5, 1.5), np.eye(3)))
    beside = np.eye(4)
    beside[0, 3] = 90  # the small image lies outside the large one
    pair = pair_of(whole, small)
    assert pair.near(beside) is pair
    hollow = Image(whole.values.copy(), whole.grid)
    hollow.values[10:42, 14:46, 12:44] = 0
    pair = pair_of(hollow, small)
    assert pair.near(np.eye(4)) is pair
