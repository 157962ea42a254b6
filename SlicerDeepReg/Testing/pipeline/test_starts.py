"""Registrations that start from a transform of the user's or from landmarks."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import make_grid, rotation
from helpers.images import smooth_field, texture
from helpers.requests import request
from SlicerDeepRegLib.files.transforms import to_sitk_transform
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, moving_to_fixed, voxel_centers_lps
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Image, InputError, Transform

GRID = make_grid((44, 48, 40), (1.5, 1.5, 1.6), rotation([0, 0, 8]))
MOVING_GRID = make_grid((70, 70, 66), (1.5, 1.5, 1.5), np.eye(3))
TURN = np.eye(4)
TURN[:3, :3], TURN[:3, 3] = rotation([0, 0, 150]), (5, -4, 2)
FIELD = smooth_field(GRID, 5.0)


def images(transform):
    """The texture, and what it looks like through a transform."""
    points = voxel_centers_lps(GRID).reshape(-1, 3)
    fixed = Image(texture(fixed_to_moving(transform, points)).reshape(GRID.shape_kji).astype(np.float32), GRID, "fixed")
    moving = Image(texture(voxel_centers_lps(MOVING_GRID)).astype(np.float32), MOVING_GRID, "moving")
    return fixed, moving, points[fixed.values.ravel() > 30]


def written(transform, folder):
    path = folder / "start.tfm"
    sitk.WriteTransform(to_sitk_transform(transform), str(path))
    return str(path)


def error(result, truth, points):
    return np.linalg.norm(fixed_to_moving(result.transform, points) - fixed_to_moving(truth, points), axis=1).mean()


def test_a_linear_start_is_kept_without_a_linear_stage_and_improved_with_one(tmp_path):
    truth = Transform(TURN)
    fixed, moving, points = images(truth)
    near = TURN.copy()
    near[:3, 3] += (4, 3, -2)
    start = written(Transform(near), tmp_path)
    kept = register(request(fixed, moving, initial=start, linear="none", preset="fast", pair="visit", measure=False))
    assert np.allclose(kept.transform.linear_lps, near)
    better = register(request(fixed, moving, initial=start, method="rigid", measure=False))
    assert error(better, truth, points) < 0.5 < error(kept, truth, points)
    assert kept.request.describe()["initial"] == "start.tfm"  # without its folder


def test_a_deformation_is_gone_on_from(tmp_path):
    truth = Transform(TURN, FIELD)
    fixed, moving, points = images(truth)
    weaker = Transform(TURN, dataclasses.replace(FIELD, displacement_lps_mm=0.6 * FIELD.displacement_lps_mm))
    start = written(weaker, tmp_path)
    result = register(request(fixed, moving, initial=start, preset="fast"))
    assert (
        error(result, truth, points)
        < 0.6 * np.linalg.norm(fixed_to_moving(weaker, points) - fixed_to_moving(truth, points), axis=1).mean()
    )
    assert result.stages[0].name == "initial" and all(stage.field is not None for stage in result.stages)
    there = fixed_to_moving(result.transform, points)
    assert np.linalg.norm(moving_to_fixed(result.transform, there) - points, axis=1).mean() < 0.05
    still = register(request(fixed, moving, initial=start, preset="fast", pair="visit", measure=False))
    assert error(still, weaker, points) < 0.05  # nothing more is deformed: the start is the answer


def test_a_linear_method_does_not_go_on_from_a_deformation(tmp_path):
    fixed, moving, _ = images(Transform(TURN, FIELD))
    start = written(Transform(TURN, FIELD), tmp_path)
    with pytest.raises(InputError, match="The initial transform is a deformation, and rigid registration cannot") as no:
        register(request(fixed, moving, initial=start, method="rigid"))
    assert no.value.control == "initial"


@pytest.mark.parametrize("kind", ["", ":rigid", ":similarity", ":affine"])
def test_landmarks_are_a_start_and_their_residuals_are_said(kind):
    truth = Transform(TURN)
    fixed, moving, points = images(truth)
    marks = points[:: len(points) // 6][:6]
    given = {"fixed_points": marks, "moving_points": apply_matrix(TURN, marks) + 0.1}
    result = register(
        request(fixed, moving, initial=f"landmarks{kind}", linear="none", pair="visit", preset="fast", **given)
    )
    assert error(result, truth, points) < 0.3
    name = kind[1:] or "rigid"
    assert any(f"a {name} transform fitted to 6 pairs" in n or f"an {name}" in n for n in result.notes)


def test_landmarks_that_are_missing_or_too_few_are_refused():
    fixed, moving, points = images(Transform(TURN))
    with pytest.raises(InputError, match="To start from landmarks, give them in both images"):
        register(request(fixed, moving, initial="landmarks"))
    two = {"fixed_points": points[:2], "moving_points": apply_matrix(TURN, points[:2])}
    with pytest.raises(InputError, match="3|three"):
        register(request(fixed, moving, initial="landmarks", **two))
    with pytest.raises(InputError, match="rigid, similarity, affine; it was 'spline'"):
        register(request(fixed, moving, initial="landmarks:spline", **two))
