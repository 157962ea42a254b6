"""The working pair: what a recipe's divisor and orientation do to the values and the axes."""

import numpy as np
import pytest
from helpers.geometry import LAS, LPS, make_grid
from helpers.images import texture
from SlicerDeepRegLib.geometry.grids import orientation_of
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.preparation.working import working_pair
from SlicerDeepRegLib.types import Image, ImagePair

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
