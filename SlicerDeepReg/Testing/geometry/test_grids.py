import re

import numpy as np
import pytest
from helpers.geometry import LPS, OBLIQUE, make_grid
from helpers.images import smooth_field
from helpers.paths import PROJECT
from SlicerDeepRegLib.geometry.grids import (
    covering,
    level_size,
    on_grid,
    orientation_of,
    oriented,
    overlap_fraction,
    padded,
    reached_by,
    resized,
    with_axes_of,
)
from SlicerDeepRegLib.geometry.points import apply_matrix, displacement_at, voxel_centers_lps
from SlicerDeepRegLib.preparation.resample import resample
from SlicerDeepRegLib.types import Field, Grid, Image, InputError

GRID = make_grid((20, 30, 16), (1.0, 1.5, 3.0), OBLIQUE, (10, 20, 30))


def faces(grid):
    """The two opposite outer corners of the box, LPS mm."""
    return apply_matrix(grid.ijk_to_lps, np.array([[-0.5] * 3, np.array(grid.size_ijk) - 0.5]))


def test_resized_keeps_the_box():
    assert np.allclose(faces(resized(GRID, (10, 7, 16))), faces(GRID))


def test_padded_keeps_the_voxels():
    wide = padded(GRID, (2, 0, 1))
    assert wide.size_ijk == (24, 30, 18)
    assert np.allclose(apply_matrix(wide.ijk_to_lps, np.array([[2, 0, 1]])), GRID.origin_lps_mm)


def test_level_size_goes_towards_isotropic_voxels():
    assert level_size(GRID, 1) == GRID.size_ijk
    assert level_size(GRID, 3) == (8, 15, 16)  # 3 mm: k keeps its size, i stops at the least


def test_covering_grows_by_whole_voxels_only_where_needed():
    inner = Grid((10, 10, 10), GRID.ijk_to_lps)
    assert covering(GRID, inner).same_as(GRID)
    outer = padded(GRID, (3, 0, 0))
    assert covering(GRID, outer).same_as(outer)


@pytest.mark.parametrize("size", [(12, 10, 8), (12, 10, 1), (1, 10, 8)])
def test_the_grid_that_a_field_reaches_holds_every_place_it_leads_to(size):
    """A program that reads the inverse takes it for zero outside its grid."""
    grid = make_grid(size, (2.0, 1.5, 3.0), OBLIQUE)
    field = smooth_field(grid, 6.0)
    ijk = apply_matrix(grid.lps_to_ijk, (voxel_centers_lps(grid) + field.displacement_lps_mm).reshape(-1, 3))
    axes = [c for c in range(3) if size[c] > 1]
    assert ijk[:, axes].min() < -0.5, "nothing leaves the grid"
    wide = reached_by(field)
    places = apply_matrix(wide.lps_to_ijk @ grid.ijk_to_lps, ijk)[:, axes]
    assert (places > -0.01).all() and (places < np.array(wide.size_ijk)[axes] - 0.99).all()
    assert reached_by(Field(np.zeros((*grid.shape_kji, 3), np.float32), grid)).same_as(grid)
    far = Field(np.full((*grid.shape_kji, 3), 1e6, np.float32), grid)
    assert all(n <= 3 * before for n, before in zip(reached_by(far).size_ijk, size))


def test_on_grid_interpolates_as_the_field_does_at_points():
    field = smooth_field(GRID)
    for other in (resized(GRID, (13, 41, 16)), padded(GRID, (3, 2, 1)), GRID):
        moved = on_grid(field, other)
        points = voxel_centers_lps(other).reshape(-1, 3)
        assert np.abs(moved.displacement_lps_mm.reshape(-1, 3) - displacement_at(field, points)).max() < 1e-4


def test_overlap_of_grids():
    assert overlap_fraction(GRID, GRID) == 1
    far = Grid(GRID.size_ijk, np.vstack([np.c_[GRID.ijk_to_lps[:3, :3], [500, 0, 0]], [0, 0, 0, 1]]))
    assert overlap_fraction(GRID, far) == 0


def test_a_singular_matrix_is_refused():
    matrix = np.eye(4)
    matrix[:3, 1] = matrix[:3, 0]
    with pytest.raises(InputError, match="two axes are parallel"):
        Grid((4, 4, 4), matrix)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LIA", "SPR", "AIL"])
def test_oriented_grids_have_the_same_voxels_in_another_order(orientation):
    turned = oriented(GRID, orientation)
    assert orientation_of(turned) == orientation
    assert np.allclose(turned.direction, oriented(turned, orientation).direction)
    ours, theirs = (np.sort(voxel_centers_lps(grid).reshape(-1, 3).round(6), axis=0) for grid in (GRID, turned))
    assert np.allclose(ours, theirs)


@pytest.mark.parametrize("orientation", ["RAS", "LIA", "SPR"])
def test_a_field_with_other_axes_is_the_same_field(orientation):
    turned = oriented(GRID, orientation)
    field = Field(voxel_centers_lps(turned).astype(np.float32), turned)  # each vector is its own place
    back = with_axes_of(field, GRID)
    assert back.grid.same_as(GRID)
    assert np.allclose(back.displacement_lps_mm, voxel_centers_lps(GRID), atol=1e-3)


@pytest.mark.parametrize("reverse", [False, True], ids=["as read", "reversed"])
def test_the_documented_orientation_of_a_training_is_the_right_one(reverse):
    """The page's example: code passes an array with the axes of its file on as it is, or with its axes reversed."""
    page = (PROJECT / "docs" / "models.md").read_text(encoding="utf-8")
    text = " ".join(page[page.index("The letters of an orientation") :].split())
    stored, as_read = re.search(
        r"stored as `(\w+)` \(nibabel's `aff2axcodes`\), that is `--orientation (\w+)`", text
    ).groups()
    (reversed_first,) = re.search(r"reverses the axes first,.*?that is `--orientation (\w+)`", text).groups()
    grid = oriented(make_grid((4, 5, 6), (1.0, 1.0, 1.0), LPS), stored)
    array = np.random.default_rng(0).random(grid.size_ijk).astype(np.float32)  # [i, j, k], as nibabel gives it
    tensor = array.transpose(2, 1, 0) if reverse else array
    wanted = oriented(grid, reversed_first if reverse else as_read)
    seen = resample(Image(array.transpose(2, 1, 0).copy(), grid), wanted)
    assert np.allclose(seen, tensor, atol=1e-6)  # [k, j, i], as a network gets it


def test_an_orientation_says_where_indices_grow():
    """RAS: i to the right, j to the front, k to the top; LIA: to the left, down, to the front. In LPS mm."""
    grid = make_grid((4, 5, 6), (1.0, 1.0, 1.0), LPS)
    assert np.allclose(oriented(grid, "RAS").direction, np.diag([-1.0, -1.0, 1.0]))
    assert np.allclose(oriented(grid, "LIA").direction, np.transpose([[1, 0, 0], [0, 0, -1], [0, -1, 0]]))


def test_an_orientation_is_three_letters():
    assert oriented(GRID, "ras").size_ijk == oriented(GRID, "RAS").size_ijk
    for wrong in ("RA", "RLS", "XYZ", "RRS"):
        with pytest.raises(InputError, match="three letters"):
            oriented(GRID, wrong)
