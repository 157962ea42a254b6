"""The working pair: what a recipe's divisor and orientation do to the values and the axes."""

import numpy as np
import pytest
from helpers.geometry import LAS, LPS, make_grid
from helpers.images import texture
from SlicerDeepRegLib.geometry.grids import orientation_of
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.preparation.working import working_pair
from SlicerDeepRegLib.types import Channels, Grid, Image, ImagePair, InputError

GRID = make_grid((40, 36, 32), (2.0, 2.0, 2.0), LPS)


def pair_of(fixed_factor=1.0, moving_factor=1.0, moving_shift=0.0, grid=GRID):
    """Two images of whole numbers, 0 to about 100; the moving one times a factor plus a shift."""
    points = voxel_centers_lps(grid)
    fixed = np.round(texture(points)) * fixed_factor
    moving = np.round(texture(points + [2.0, 0, 0])) * moving_factor + moving_shift
    return ImagePair(Image(fixed.astype(np.float32), grid, "fixed"), Image(moving.astype(np.float32), grid, "moving"))


def prepared(pair, **recipe):
    return working_pair(pair, np.eye(4), "thorough", "lncc", **recipe)


def on_working_grid(image, work):
    """The image's own voxels where the working grid has its voxels: it is a part of the image's grid."""
    first = np.round((image.grid.lps_to_ijk @ [*work.grid.origin_lps_mm, 1])[:3]).astype(int)
    return image.values[tuple(slice(a, a + n) for a, n in zip(first[::-1], work.grid.shape_kji))]


def test_a_divisor_divides_and_does_nothing_else():
    pair = pair_of(fixed_factor=1.5, moving_factor=2.0)
    work = prepared(pair, divisor=255.0)
    np.testing.assert_allclose(work.fixed, on_working_grid(pair.fixed, work) / 255, atol=1e-7)
    np.testing.assert_allclose(work.moving_inside, on_working_grid(pair.moving, work) / 255, atol=1e-7)
    assert work.fixed.max() < 0.7 and prepared(pair).fixed.max() == 1.0


@pytest.mark.parametrize(
    "moving",
    [{"moving_factor": 20.0, "moving_shift": -1000.0}, {"moving_factor": 30.0}, {"moving_factor": 0.01}],
    ids=["CT", "12 bits", "0..1"],
)
def test_where_values_do_not_fit_both_are_scaled_between_robust_limits(moving):
    pair = pair_of(**moving)
    divided, unit = prepared(pair, divisor=255.0), prepared(pair)
    assert np.array_equal(divided.fixed, unit.fixed) and np.array_equal(divided.moving, unit.moving)
    assert divided.fixed.max() == 1.0


def test_volumes_are_turned_and_slices_are_not():
    turned = prepared(pair_of(grid=make_grid((40, 36, 32), (2.0, 2.0, 2.0), LAS)), orientation="AIL")
    assert orientation_of(turned.grid) == "AIL"
    flat = pair_of(grid=make_grid((40, 36, 1), (2.0, 2.0, 2.0), LAS))
    as_stored, asked = prepared(flat), prepared(flat, orientation="AIL")
    assert asked.grid.same_as(as_stored.grid) and np.array_equal(asked.fixed, as_stored.fixed)


def rotated():
    """A linear transform: a turn of 8 degrees and a shift."""
    matrix, angle = np.eye(4), np.radians(8)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = [3.0, -2.0, 1.0]
    return matrix


def test_channels_lie_where_the_images_do():
    """Channels of other voxels and axes than the images', through the linear transform; zero outside."""
    pair, linear = pair_of(), rotated()
    own = make_grid((30, 28, 26), (3.0, 3.0, 3.0), LAS)
    values = texture(voxel_centers_lps(own)), texture(voxel_centers_lps(own) + [2.0, 0, 0])
    both = [np.stack([v, -v]).astype(np.float32) for v in values]
    work = working_pair(ImagePair(pair.fixed, pair.moving, channels=Channels(*both, own, own)), linear, "fast", "lncc")
    channels = work.channels
    points = voxel_centers_lps(channels.fixed_grid)
    assert np.allclose(channels.fixed_grid.spacing_mm, work.grid.spacing_mm, rtol=0.2)  # 4 mm: coarser than they are
    assert np.abs(channels.fixed[0] - texture(points)).mean() < 2.5
    there = voxel_centers_lps(channels.moving_grid) @ linear[:3, :3].T + linear[:3, 3] + [2.0, 0, 0]
    assert np.abs(channels.moving[0] - texture(there)).mean() < 2.5
    assert np.array_equal(channels.moving[1], -channels.moving[0])
    cut = Channels(both[0][:, :4], both[1], Grid((30, 28, 4), own.ijk_to_lps), own)
    low = working_pair(ImagePair(pair.fixed, pair.moving, channels=cut), linear, "fast", "lncc").channels
    assert not low.fixed[:, -2:].any() and channels.fixed[:, -2:].any()


def test_channels_stay_as_coarse_as_they_came():
    own = make_grid((20, 18, 16), (4.0, 4.0, 4.0), LAS)
    channels = Channels(*np.zeros((2, 1, *own.shape_kji), np.float32), own, own)
    pair = pair_of()
    work = working_pair(ImagePair(pair.fixed, pair.moving, channels=channels), np.eye(4), "thorough", "lncc")
    assert np.allclose(work.channels.fixed_grid.spacing_mm, 4.0, rtol=0.1) and np.allclose(work.grid.spacing_mm, 2.0)
    extent = [g.size_ijk * g.spacing_mm for g in (work.channels.fixed_grid, work.grid)]
    assert np.allclose(*extent)
    assert prepared(pair).channels is None


@pytest.mark.parametrize(
    "fixed, moving, message",
    [
        ((2, 5, 6, 7), (2, 5, 6, 8), "moving image have shape"),
        ((5, 6, 7), (2, 5, 6, 7), "fixed image have shape"),
        ((0, 5, 6, 7), (0, 5, 6, 7), "fixed image have shape"),
        ((2, 5, 6, 7), (3, 5, 6, 7), "has 2 channels and the moving one 3"),
    ],
)
def test_channels_of_wrong_shapes_are_refused(fixed, moving, message):
    grid = make_grid((7, 6, 5), (1.0, 1.0, 1.0), LPS)
    with pytest.raises(InputError, match=message):
        Channels(np.zeros(fixed, np.float32), np.zeros(moving, np.float32), grid, grid)


def test_channels_that_are_not_numbers_are_refused():
    grid = make_grid((7, 6, 5), (1.0, 1.0, 1.0), LPS)
    values = np.zeros((2, *grid.shape_kji), np.float32)
    broken = values.copy()
    broken[1, 2, 2, 2] = np.nan
    with pytest.raises(InputError, match="moving image have values that are not finite"):
        Channels(values, broken, grid, grid)


def test_of_a_large_image_what_the_other_covers_is_worked_on():
    pair = pair_of()
    matrix = GRID.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [10, 8, 6] + [100, 0, 0]
    crop = Image(pair.moving.values[6:20, 8:22, 10:24], Grid((14, 14, 14), matrix), "crop")
    there = np.eye(4)
    there[0, 3] = 100
    work = working_pair(ImagePair(pair.fixed, crop), there, "thorough", "lncc")
    assert max(work.grid.size_ijk) <= 14 + 2 * (4 + 6) and work.grid.voxels < 0.75 * prepared(pair).grid.voxels
    middle_mm = GRID.ijk_to_lps[:3, :3] @ [16.5, 14.5, 12.5] + GRID.origin_lps_mm
    assert np.abs(work.grid.center_lps_mm - middle_mm).max() < 4.1
