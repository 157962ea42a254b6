"""Similarity is measured where the moving image is."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import Case
from helpers.geometry import make_grid
from helpers.images import texture
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.metrics.coverage import covered
from SlicerDeepRegLib.metrics.measure import Measurer
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.preparation.resample import warp_image
from SlicerDeepRegLib.types import Field, Grid, Image, Request, Transform

GRID = make_grid((30, 28, 26), (2.0, 2.0, 2.0), np.eye(3))


def bent(grid):
    field = np.zeros((*grid.shape_kji, 3), np.float32)
    field[..., 2] = 3 * np.sin(np.linspace(0, 3, grid.shape_kji[2]))
    return Transform(np.eye(4), Field(field, grid))


def upper_half(grid):
    moved = grid.ijk_to_lps.copy()
    moved[:3, 3] += grid.ijk_to_lps[:3, 2] * (grid.size_ijk[2] // 2)
    return Grid((*grid.size_ijk[:2], grid.size_ijk[2] - grid.size_ijk[2] // 2), moved)


def inside(transform, grid, moving):
    """Every voxel followed."""
    ijk = apply_matrix(moving.lps_to_ijk, fixed_to_moving(transform, voxel_centers_lps(grid).reshape(-1, 3)))
    return ((ijk > -0.5) & (ijk < np.array(moving.size_ijk) - 0.5)).all(1).reshape(grid.shape_kji)


def test_what_is_covered_is_found_by_following_the_transform():
    assert covered(bent(GRID), GRID, make_grid((60, 60, 60), (2.0, 2.0, 2.0), np.eye(3))) is None
    moving = upper_half(GRID)
    np.testing.assert_array_equal(covered(bent(GRID), GRID, moving), inside(bent(GRID), GRID, moving))


def test_of_a_large_image_it_is_hardly_ever_too_much():
    grid = make_grid((61, 55, 50), (1.0, 1.0, 1.0), np.eye(3))
    moving = upper_half(grid)
    found, true = covered(bent(grid), grid, moving), inside(bent(grid), grid, moving)
    assert (found & ~true).mean() < 0.005 and found.sum() > 0.85 * true.sum()


@pytest.mark.parametrize("size", [61, 62, 63, 64])
@pytest.mark.parametrize("shift_voxels", [-3.0, -0.7, 0.7, 3.0])
def test_a_shift_of_a_few_voxels_is_seen_at_either_border(size, shift_voxels):
    """The last voxels of a large image lie beyond the last one that every n-th would follow."""
    grid = make_grid((size, size, size), (1.0, 1.0, 1.0), np.eye(3))
    for axis in range(3):
        shift = np.eye(4)
        shift[axis, 3] = shift_voxels
        found, true = covered(Transform(shift), grid, grid), inside(Transform(shift), grid, grid)
        assert not (found & ~true).any() and (~found & true).sum() <= 3 * size**2


def test_a_slice_is_covered_by_one_in_another_plane():
    flat = make_grid((30, 28, 1), (2.0, 2.0, 3.0), np.eye(3))
    lifted = Grid(flat.size_ijk, flat.ijk_to_lps + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9], [0, 0, 0, 0]]))
    assert covered(Transform(np.eye(4)), flat, lifted) is None


@pytest.mark.parametrize("inverted", [False, True])
def test_a_part_of_an_image_is_as_similar_as_it_is(inverted):
    """A crop of the fixed image itself, on its grid: where it is, it is the same."""
    values = texture(voxel_centers_lps(GRID)).astype(np.float32)
    fixed = Image(values.max() - values if inverted else values, GRID, "fixed")
    half = upper_half(GRID)
    moving = Image(np.ascontiguousarray(fixed.values[GRID.size_ijk[2] // 2 :]), half, "moving")
    measurer = Measurer(fixed, moving)
    still = Transform(np.eye(4))
    metrics = measurer.metrics(warp_image(moving, fixed, still), None, still)
    assert metrics["ncc"] > 0.999 and metrics["mse"] < 1e-3 and 0.4 < measurer.reached(still) < 0.6
    whole = Measurer(fixed, fixed)
    assert whole.metrics(fixed, None, still)["ncc"] == pytest.approx(1) and whole.reached(still) == 1


def test_it_is_said_that_the_moving_image_is_smaller():
    case = Case("oblique-LPS")
    half = upper_half(case.moving.grid)
    values = np.ascontiguousarray(case.moving.values[-half.size_ijk[2] :])
    asked = Request(case.fixed, Image(values, half, "half"), preset="fast", linear="rigid", pair="people", device="cpu")
    result = register(asked)
    (note,) = [note for note in result.notes if "does not reach" in note]
    percent = float(note.partition("reach ")[2].partition("%")[0])
    assert 35 < percent < 70 and "similarity was measured in the rest" in note
    whole = register(dataclasses.replace(asked, moving=case.fixed, linear="none"))
    assert not [note for note in whole.notes if "does not reach" in note]
