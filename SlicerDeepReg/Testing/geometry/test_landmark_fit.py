"""Motions from landmarks, beside a general optimizer that knows nothing of how they are found."""

import numpy as np
import pytest
from helpers.geometry import OBLIQUE, rotation
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation
from SlicerDeepRegLib.geometry.landmark_fit import fit_landmarks
from SlicerDeepRegLib.geometry.points import apply_matrix
from SlicerDeepRegLib.types import InputError

KINDS = ("rigid", "similarity", "affine")
NORMAL = OBLIQUE[:, 2]
IN_PLANE = OBLIQUE[:, :2]
SHEAR = np.array([[1.1, 0.2, -0.1], [0.05, 0.9, 0.15], [-0.1, 0.0, 1.2]])


def cloud(count=9, seed=0):
    return np.random.default_rng(seed).uniform(-60, 60, (count, 3)) + [20, -35, 80]


def flat_cloud(count=9, seed=0):
    return np.random.default_rng(seed).uniform(-60, 60, (count, 2)) @ IN_PLANE.T + [20, -35, 80]


def truth(kind):
    """A motion of the kind in space, with a turn of more than a right angle."""
    turn = rotation([110, -40, 65])
    matrix = np.eye(4)
    matrix[:3, :3] = {"rigid": turn, "similarity": 1.3 * turn, "affine": turn @ SHEAR}[kind]
    matrix[:3, 3] = [12, -7, 150]
    return matrix


def truth_in_plane(kind):
    """A motion of the kind within the plane, and along its normal."""
    turn = rotation([0, 0, 130])[:2, :2]
    inner = np.eye(3)
    inner[:2, :2] = {"rigid": turn, "similarity": 0.8 * turn, "affine": turn @ SHEAR[:2, :2]}[kind]
    matrix = np.eye(4)
    matrix[:3, :3] = OBLIQUE @ inner @ OBLIQUE.T
    matrix[:3, 3] = [12, -7, 150]
    return matrix


def by_optimizer(a, b, kind):
    """The least sum of squares that a general optimizer finds, from several starts; points have 2 or 3 coordinates."""
    n = a.shape[1]
    a, b = a - a.mean(0), b - b.mean(0)

    def linear(numbers):
        if kind == "affine":
            return numbers.reshape(n, n)
        if n == 2:
            cos, sin = np.cos(numbers[0]), np.sin(numbers[0])
            turn = np.array([[cos, -sin], [sin, cos]])
        else:
            turn = Rotation.from_rotvec(numbers[:3]).as_matrix()
        return turn * (np.exp(numbers[-1]) if kind == "similarity" else 1)

    count = {"affine": n * n, "rigid": 2 * n - 3, "similarity": 2 * n - 2}[kind]
    random = np.random.default_rng(1)
    starts = [random.uniform(-2, 2, count) for _ in range(8)]
    found = [least_squares(lambda x: (a @ linear(x).T - b).ravel(), start) for start in starts]
    best = min(found, key=lambda result: result.cost)
    return linear(best.x), 2 * best.cost


@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_motion_is_found(kind):
    matrix, residuals_mm = fit_landmarks(cloud(), apply_matrix(truth(kind), cloud()), kind)
    assert np.allclose(matrix, truth(kind), atol=1e-9)
    assert residuals_mm.shape == (9,) and residuals_mm.max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_noisy_landmarks_are_fitted_by_least_squares(kind):
    fixed = cloud()
    moving = apply_matrix(truth(kind), fixed) + 4 * np.random.default_rng(2).standard_normal((9, 3))
    matrix, residuals_mm = fit_landmarks(fixed, moving, kind)
    linear, least = by_optimizer(fixed, moving, kind)
    assert np.allclose(matrix[:3, :3], linear, atol=1e-5)
    assert np.isclose((residuals_mm**2).sum(), least, rtol=1e-8) and least > 50
    assert np.allclose(residuals_mm, np.linalg.norm(fixed @ matrix[:3, :3].T + matrix[:3, 3] - moving, axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_single_slices_move_within_their_plane(kind):
    fixed = flat_cloud()
    true = truth_in_plane(kind)
    matrix, residuals_mm = fit_landmarks(fixed, apply_matrix(true, fixed), kind, NORMAL)
    assert np.allclose(matrix, true, atol=1e-9) and residuals_mm.max() < 1e-9

    moving = apply_matrix(true, fixed) + 4 * np.random.default_rng(2).standard_normal((9, 3))
    matrix, residuals_mm = fit_landmarks(fixed, moving, kind, NORMAL)
    linear, least = by_optimizer(fixed @ IN_PLANE, moving @ IN_PLANE, kind)
    assert np.allclose(IN_PLANE.T @ matrix[:3, :3] @ IN_PLANE, linear, atol=1e-5)
    assert np.allclose(matrix[:3, :3] @ NORMAL, NORMAL) and np.allclose(NORMAL @ matrix[:3, :3], NORMAL)
    across_mm = (moving - fixed) @ NORMAL
    assert np.isclose(matrix[:3, 3] @ NORMAL, across_mm.mean())
    assert np.isclose((residuals_mm**2).sum(), least + ((across_mm - across_mm.mean()) ** 2).sum(), rtol=1e-8)


@pytest.mark.parametrize("kind, count", [("rigid", 3), ("similarity", 3), ("affine", 4)])
def test_the_fewest_points_are_enough_and_one_less_is_refused(kind, count):
    fixed = cloud(count)
    matrix, _ = fit_landmarks(fixed, apply_matrix(truth(kind), fixed), kind)
    assert np.allclose(matrix, truth(kind), atol=1e-8)
    with pytest.raises(InputError, match=f"{count - 1} pairs of landmarks are too few.*{count} are needed") as caught:
        fit_landmarks(fixed[1:], apply_matrix(truth(kind), fixed[1:]), kind)
    assert caught.value.control == "fixed_points"


@pytest.mark.parametrize("kind, count", [("rigid", 2), ("similarity", 2), ("affine", 3)])
def test_the_fewest_points_of_single_slices_are_enough_and_one_less_is_refused(kind, count):
    fixed = flat_cloud(count)
    matrix, _ = fit_landmarks(fixed, apply_matrix(truth_in_plane(kind), fixed), kind, NORMAL)
    assert np.allclose(matrix, truth_in_plane(kind), atol=1e-8)
    with pytest.raises(InputError, match=f"{count} are needed") as caught:
        fit_landmarks(fixed[1:], fixed[1:], kind, NORMAL)
    assert caught.value.control == "fixed_points"


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", ["rigid", "similarity"])
def test_mirrored_landmarks_give_no_mirror_image(kind, planar):
    fixed = flat_cloud() if planar else cloud()
    mirror = OBLIQUE @ np.diag([-1, 1, 1]) @ OBLIQUE.T
    matrix, residuals_mm = fit_landmarks(fixed, fixed @ mirror.T, kind, NORMAL if planar else None)
    axes = IN_PLANE if planar else np.eye(3)
    inner = axes.T @ matrix[:3, :3] @ axes
    scale = np.linalg.det(inner) ** (1 / len(inner))
    assert scale > 0 and np.allclose(inner @ inner.T, scale**2 * np.eye(len(inner)))
    assert kind == "similarity" or np.isclose(scale, 1)
    assert np.sqrt((residuals_mm**2).mean()) > 10


def test_an_affine_motion_that_mirrors_is_refused():
    with pytest.raises(InputError, match="mirror image.*left and right") as caught:
        fit_landmarks(cloud(), cloud() * [-1, 1, 1], "affine")
    assert caught.value.control == "fixed_points"


LINE = np.outer(np.linspace(0, 90, 6), [0.6, 0.0, 0.8]) + 1e-3 * cloud(6)
HERE = np.tile([4.0, 5.0, 6.0], (6, 1))


@pytest.mark.parametrize(
    "fixed, moving, kind, normal, words",
    [
        (LINE, cloud(6), "rigid", None, "fixed landmarks lie on one line"),
        (cloud(6), LINE, "similarity", None, "moving landmarks lie on one line"),
        (HERE, cloud(6), "rigid", None, "fixed landmarks lie all at one place"),
        (flat_cloud(6), cloud(6), "affine", None, "fixed landmarks lie in one plane"),
        (cloud(6), flat_cloud(6), "affine", None, "moving landmarks lie in one plane"),
        (flat_cloud(6) * 0 + HERE, flat_cloud(6), "rigid", NORMAL, "fixed landmarks lie all at one place"),
        (np.outer(np.arange(6.0), IN_PLANE[:, 0]), flat_cloud(6), "affine", NORMAL, "fixed landmarks lie on one line"),
        (np.where(np.arange(6)[:, None] == 2, np.nan, cloud(6)), cloud(6), "rigid", None, "not finite numbers"),
        (cloud(6), np.where(np.arange(6)[:, None] == 2, np.inf, cloud(6)), "affine", None, "not finite numbers"),
        (cloud(6), cloud(5), "rigid", None, "cannot be paired"),
        (cloud(6)[:, :2], cloud(6)[:, :2], "rigid", None, "each with x, y and z"),
    ],
)
def test_landmarks_that_leave_the_motion_open_are_refused(fixed, moving, kind, normal, words):
    with pytest.raises(InputError, match=words) as caught:
        fit_landmarks(fixed, moving, kind, normal)
    assert caught.value.control == "fixed_points"


def test_points_in_a_plane_are_enough_for_a_rigid_motion():
    matrix, _ = fit_landmarks(flat_cloud(), apply_matrix(truth("rigid"), flat_cloud()), "rigid")
    assert np.allclose(matrix, truth("rigid"), atol=1e-9)


def test_an_unknown_kind_is_an_error_of_the_caller():
    with pytest.raises(ValueError, match="rigid, similarity, affine; it was 'bent'"):
        fit_landmarks(cloud(), cloud(), "bent")
