"""A deformation is taken back where nothing but its own metric supports it, and kept as it is elsewhere."""

import dataclasses

import numpy as np
import pytest
from helpers.geometry import make_grid
from helpers.images import texture
from helpers.requests import request
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_field
from SlicerDeepRegLib.geometry.points import fixed_to_moving, moving_to_fixed, voxel_centers_lps
from SlicerDeepRegLib.methods.base import OWN_MEASURE, Outcome
from SlicerDeepRegLib.methods.support import STAGE, supported
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Field, Image, ImagePair, Transform

GRID = make_grid((48, 52, 44), (1.4, 1.4, 1.5), np.eye(3))
POINTS = voxel_centers_lps(GRID)
BUMP = np.exp(-(POINTS**2).sum(-1) / (2 * 12.0**2))[..., None] * np.array([5.0, -4.0, 3.0])
AWAY = np.exp(-((POINTS - [0, 14, 0]) ** 2).sum(-1) / (2 * 7.0**2))[..., None] * np.array([7.0, 0.0, 7.0])


def seen(displacement=0.0, seed=0):
    values = texture(POINTS + displacement) + np.random.default_rng(seed).normal(size=GRID.shape_kji) * 0.3
    return Image(values.astype(np.float32), GRID, f"scan {seed}")


def outcome(displacement, metric="lncc"):
    return Outcome(np.eye(4), displacement=Field(displacement.astype(np.float32), GRID), similarity=metric)


@pytest.mark.parametrize("metric", ["lncc", "ngf"])
def test_what_the_images_support_is_kept_as_it_is(metric):
    given = outcome(BUMP, metric)
    assert supported(ImagePair(seen(BUMP), seen(seed=1)), given, "cpu") is given


@pytest.mark.parametrize("metric", ["lncc", "mind", "ngf"])
def test_what_they_contradict_is_taken_back_there_and_only_there(metric):
    found = supported(ImagePair(seen(BUMP), seen(seed=1)), outcome(BUMP + AWAY, metric), "cpu")
    error = np.linalg.norm(found.displacement.displacement_lps_mm - BUMP, axis=-1)
    wrong = np.linalg.norm(AWAY, axis=-1)
    assert error[wrong > 3].mean() < wrong[wrong > 3].mean()
    far = (wrong < 0.05) & (np.linalg.norm(POINTS - [0, 14, 0], axis=-1) > 30)
    assert error[far].mean() < 0.1
    assert [stage.name for stage in found.stages] == [STAGE] and "was taken back" in found.notes[-1]
    assert jacobian_of_field(found.displacement).min() > 0


def test_its_inverse_is_that_of_what_is_left():
    found = supported(ImagePair(seen(BUMP), seen(seed=1)), outcome(BUMP + AWAY), "cpu")
    points = POINTS[10:-10:4, 10:-10:4, 10:-10:4].reshape(-1, 3)
    whole = Transform(np.eye(4), found.displacement, (found.inverse,))
    assert np.abs(moving_to_fixed(whole, fixed_to_moving(whole, points)) - points).max() < 0.4


def test_a_metric_that_does_not_fit_does_little_harm():
    """Local correlation with matched intensities, on two contrasts that lie on one another."""
    other = seen(seed=1)
    other = dataclasses.replace(other, values=np.where(other.values < 45, other.values, 90 - other.values))
    result = register(request(seen(), other, similarity="lncc", preset="fast", linear="none", measure=False))
    before = next(stage for stage in result.stages[::-1] if stage.name != STAGE)
    head = seen().values > 30
    harm = [
        np.linalg.norm(
            fixed_to_moving(dataclasses.replace(result.transform, field=field), POINTS[head]) - POINTS[head], axis=1
        )
        for field in (before.field, result.transform.field)
    ]
    assert result.stages[-1].name == STAGE and harm[1].mean() < 0.7 * harm[0].mean()


def test_a_linear_outcome_has_nothing_to_take_back():
    given = Outcome(np.eye(4))
    assert supported(ImagePair(seen(), seen(seed=1)), given, "cpu") is given


def test_a_method_with_a_measure_of_its_own_is_left_as_it_is():
    given = outcome(BUMP + AWAY, OWN_MEASURE)
    assert supported(ImagePair(seen(BUMP), seen(seed=1)), given, "cpu") is given
