"""What must hold for any two images, over geometries, sizes, types and contents that nobody chose.

A few of each in every run of the tests; 2,000 with ``-m slow``. DEEPREG_CASES=N takes another number.
"""

import os

import numpy as np
import pytest
from helpers.geometry import make_grid, rotation
from helpers.images import smooth_field, texture
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, moving_to_fixed, voxel_centers_lps
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Grid, Image, InputError, Request

CASES = int(os.environ.get("DEEPREG_CASES", "2000"))
SIDES = (1, 3, 7, 8, 8, 9, 11, 13, 16, 17, 21, 24, 33)
TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64)
CONTENTS = ("texture", "noise", "constant", "point", "nan", "infinite", "huge", "tiny", "negative", "half empty")


def limits(count):
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


@st.composite
def grids(draw, sides=SIDES, anisotropy=10.0):
    size = [
        draw(st.sampled_from(sides if draw(st.integers(0, 3)) == 0 else [n for n in sides if n > 7])) for _ in "ijk"
    ]
    if draw(st.integers(0, 7)) == 0:  # a single slice
        size[draw(st.integers(0, 2))] = 1
    if draw(st.integers(0, 9)) == 0:  # one long side
        size[draw(st.integers(0, 2))] = draw(st.sampled_from((64, 111, 200)))
        size = sorted(size) if draw(st.booleans()) else size
    while np.prod(size) > 40_000:
        size[int(np.argsort(size)[1])] //= 2
    base = 10 ** draw(st.floats(-0.5, 0.8))
    spacing = [base * anisotropy ** draw(st.floats(-0.5, 0.5)) for _ in range(3)]
    axes = np.eye(3)[:, draw(st.permutations([0, 1, 2]))] * [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    turned = rotation([draw(st.floats(-40, 40)) for _ in range(3)]) @ axes
    center = [draw(st.floats(-20, 20)) for _ in range(3)]
    return make_grid([max(1, n) for n in size], spacing, turned, center)


@st.composite
def images(draw, name):
    grid, content, kind = draw(grids()), draw(st.sampled_from(CONTENTS)), draw(st.sampled_from(TYPES))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = texture(voxel_centers_lps(grid))
    if content == "noise":
        values = random.normal(50, 20, values.shape)
    elif content == "constant":
        values = np.full_like(values, 7)
    elif content == "point":
        values = np.zeros_like(values)
        values.flat[random.integers(values.size)] = 100
    elif content in ("nan", "infinite"):
        values.flat[random.integers(0, values.size, max(1, values.size // 50))] = np.nan if content == "nan" else np.inf
    elif content == "huge":
        values = values * 1e30
    elif content == "tiny":
        values = values * 1e-30
    elif content == "negative":
        values = values - 1000
    elif content == "half empty":
        values[values.shape[0] // 2 :] = 0
    if np.issubdtype(kind, np.integer):
        ends = np.iinfo(kind)
        values = np.clip(np.nan_to_num(values), ends.min, min(ends.max, 2**31 - 1))
    return Image(values.astype(kind), grid, name)


METHODS = ("svf", "svf", "svf", "demons")
HOW = {
    "linear": st.sampled_from(("none", "center", "rigid", "affine")),
    "method": st.sampled_from(METHODS),
    "similarity": st.sampled_from(("auto", "lncc", "mind")),
}


def returns_or_refuses(fixed, moving, how):
    """A finite result on the fixed grid, or a refusal in words; the inputs are as they were."""
    before = fixed.values.copy(), moving.values.copy()
    try:
        result = register(Request(fixed, moving, preset="fast", device="cpu", **how))
    except InputError as error:
        assert len(str(error)) > 30 and str(error).rstrip().endswith((".", ")")), error
        event(f"refused: {' '.join(str(error).split()[:9])}")
        return
    finally:
        assert np.array_equal(before[0], fixed.values, equal_nan=fixed.values.dtype.kind == "f")
        assert np.array_equal(before[1], moving.values, equal_nan=moving.values.dtype.kind == "f")
    assert result.warped.grid.same_as(fixed.grid) and np.isfinite(result.warped.values).all()
    assert np.isfinite(result.transform.linear_lps).all() and np.linalg.det(result.transform.linear_lps[:3, :3]) > 0
    for field in (result.transform.field, *result.transform.inverse_fields):
        assert np.isfinite(field.displacement_lps_mm).all()
    assert np.isfinite(result.jacobian.values).all()
    event("registered")


@limits(12)
@given(images("fixed"), images("moving"), st.fixed_dictionaries(HOW))
def test_it_returns_or_refuses_in_words(fixed, moving, how):
    returns_or_refuses(fixed, moving, how)


@pytest.mark.slow
@limits(CASES)
@given(images("fixed"), images("moving"), st.fixed_dictionaries(HOW))
def test_it_returns_or_refuses_in_words_two_thousand_times(fixed, moving, how):
    returns_or_refuses(fixed, moving, how)


GOOD = (20, 24, 27, 30)


def pictured(grid):
    """The texture on a grid, which it must cover for the most part."""
    return Image(texture(voxel_centers_lps(grid)).astype(np.float32), grid, "texture")


@st.composite
def good_grids(draw):
    """A grid that shows the texture well: 2 to 3 mm, a little anisotropic, any orientation."""
    size, spacing = [draw(st.sampled_from(GOOD)) for _ in range(3)], [draw(st.floats(2.0, 3.0)) for _ in range(3)]
    axes = np.eye(3)[:, draw(st.permutations([0, 1, 2]))] * [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    return make_grid(size, spacing, rotation([draw(st.floats(-30, 30)) for _ in range(3)]) @ axes)


def inner_points(count=60):
    return np.random.default_rng(0).uniform(-12, 12, (count, 3))


def found(fixed, moving, linear="none"):
    return register(Request(fixed, moving, linear=linear, preset="fast", device="cpu", measure=False)).transform


@limits(4)
@given(good_grids())
def test_identical_images_are_left_alone(grid):
    image = pictured(grid)
    points = inner_points()
    assert np.abs(fixed_to_moving(found(image, image), points) - points).max() < 0.1


def bent_pair(grid):
    field = smooth_field(grid, 4.0)
    where = voxel_centers_lps(grid) + field.displacement_lps_mm
    return Image(texture(where).astype(np.float32), grid, "fixed"), pictured(grid)


def stored_otherwise(image, order, flips):
    """The same image with its axes in another order and direction."""
    values, matrix = image.values, image.grid.ijk_to_lps.copy()
    for c in range(3):
        if flips[c]:
            matrix[:3, 3] += matrix[:3, c] * (image.grid.size_ijk[c] - 1)
            matrix[:3, c] *= -1
            values = np.flip(values, 2 - c)
    matrix[:3, :3] = matrix[:3, list(order)]
    values = np.transpose(values, [2 - order[2 - a] for a in range(3)])
    return Image(np.ascontiguousarray(values), Grid(values.shape[::-1], matrix), image.name)


@limits(3)
@given(good_grids(), st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_the_way_an_image_is_stored_does_not_matter(grid, order, flips):
    fixed, moving = bent_pair(grid)
    again = stored_otherwise(fixed, order, flips), stored_otherwise(moving, order[::-1], flips[::-1])
    points = inner_points()
    for one, other in zip((fixed, moving), again):  # the same image: else nothing is tested
        at = [apply_matrix(image.grid.lps_to_ijk, points).round().astype(int).T for image in (one, other)]
        assert np.array_equal(*[image.values[k, j, i] for image, (i, j, k) in zip((one, other), at)])
    here, there = (fixed_to_moving(found(*pair), points) for pair in ((fixed, moving), again))
    assert np.linalg.norm(here - there, axis=1).mean() < 0.25


@limits(3)
@given(good_grids(), st.tuples(*[st.floats(-8, 8)] * 3), st.tuples(*[st.floats(-8, 8)] * 3))
def test_a_rigid_motion_of_an_input_is_added_to_the_transform(grid, turn, shift):
    fixed, moving = bent_pair(grid)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation(turn), shift
    moved = Image(moving.values, Grid(moving.grid.size_ijk, motion @ moving.grid.ijk_to_lps), "moved")
    points = inner_points()
    here = fixed_to_moving(found(fixed, moving, "rigid"), points)
    there = fixed_to_moving(found(fixed, moved, "rigid"), points)
    assert np.linalg.norm(apply_matrix(motion, here) - there, axis=1).mean() < 0.6


@limits(3)
@given(good_grids())
def test_inverse_consistency_agrees_with_the_opposite_registration(grid):
    fixed, moving = bent_pair(grid)
    forth, back, points = found(fixed, moving), found(moving, fixed), inner_points()
    there = fixed_to_moving(forth, points)
    assert np.linalg.norm(moving_to_fixed(forth, there) - points, axis=1).max() < 0.1
    assert np.linalg.norm(fixed_to_moving(back, there) - points, axis=1).mean() < 0.6
