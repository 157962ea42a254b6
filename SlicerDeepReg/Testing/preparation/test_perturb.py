"""Looking at a pair again: noise as strong as its own, brightness, and a motion that can be taken out again."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from SlicerDeepRegLib.checks import read_inputs
from SlicerDeepRegLib.metrics.status import AMBER, GREEN, RED, statuses
from SlicerDeepRegLib.pipeline import register, uncertainty
from SlicerDeepRegLib.pipeline.align import Plan
from SlicerDeepRegLib.pipeline.decide import Decision
from SlicerDeepRegLib.preparation.perturb import LEAST_NOISE, noise_of, perturbed_pair
from SlicerDeepRegLib.teaching.pairs import synthetic_slice
from SlicerDeepRegLib.types import Canceled, Channels, Image, InputError, Request, Transform
from SlicerDeepRegLib.worker.protocol import Arrays, read_result, write_result


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_noise_is_estimated_and_the_structure_is_not_taken_for_it(plain_case, sigma):
    image, random = plain_case.fixed, np.random.default_rng(0)
    noisy = Image(image.values + random.normal(scale=sigma, size=image.values.shape), image.grid)
    assert noise_of(noisy) == pytest.approx(sigma, rel=0.25)
    assert noise_of(image) < 0.5


def test_looks_differ_by_seed_alone_and_the_motion_is_small_and_known(plain_case):
    first, again, other = (perturbed_pair(plain_case.fixed, plain_case.moving, seed) for seed in (1, 1, 2))
    for a, b, c in zip(first[:2], again[:2], other[:2]):
        assert np.array_equal(a.values, b.values) and not np.array_equal(a.values, c.values)
    fixed, moving, motion = first
    assert fixed.grid is plain_case.fixed.grid
    assert np.allclose(moving.grid.ijk_to_lps, motion @ plain_case.moving.grid.ijk_to_lps)
    corners = np.array([[0, 0, 0, 1], [*moving.grid.size_ijk, 1]]) @ plain_case.moving.grid.ijk_to_lps.T
    way_mm = np.linalg.norm((corners @ motion.T - corners)[:, :3], axis=1)
    assert 0.05 < way_mm.max() < 4 * moving.grid.spacing_mm.max()
    left = fixed.values - plain_case.fixed.values
    assert (
        LEAST_NOISE * 50 < left.std() < 10
        and np.corrcoef(fixed.values.ravel(), plain_case.fixed.values.ravel())[0, 1] > 0.98
    )


def test_a_slice_stays_in_its_plane():
    pair = synthetic_slice()
    _, moving, motion = perturbed_pair(pair.fixed, pair.moving, seed=3)
    normal = pair.moving.grid.direction[:, 2]
    assert np.allclose(moving.grid.direction[:, 2], normal)
    assert abs((moving.grid.origin_lps_mm - pair.moving.grid.origin_lps_mm) @ normal) < 1e-9
    assert np.linalg.norm(motion[:3, 3]) > 0


@pytest.fixture(scope="module")
def slice_result():
    pair = synthetic_slice()
    return register(Request(**pair.given(), linear="none", uncertainty_runs=3, device="cpu"))


def test_uncertainty_is_large_where_the_images_say_little(slice_result):
    """Structures hold the field; the empty border does not. Motion that was not taken out would be everywhere."""
    uncertainty, metrics = slice_result.uncertainty, slice_result.metrics["after"]
    labels = slice_result.fixed_labels.values
    assert uncertainty.grid.same_as(slice_result.fixed.grid) and np.isfinite(uncertainty.values).all()
    inside, outside = uncertainty.values[labels > 0], uncertainty.values[labels == 0]
    assert np.median(inside) < 0.5 < np.percentile(outside, 95)
    assert metrics["uncertainty_mm"] == pytest.approx(float(inside.mean()), rel=0.05)
    assert metrics["uncertainty_mm"] < metrics["uncertainty_p95_mm"] < 2
    light = {one.name: one for one in statuses(metrics, (1.7, 1.7))}["Uncertainty"]
    assert light.color == GREEN and f"{metrics['uncertainty_p95_mm']:.2f}" in light.value


def test_repeats_change_nothing_of_the_result_itself(slice_result):
    alone = register(Request(**synthetic_slice().given(), linear="none", device="cpu"))
    assert alone.uncertainty is None and "uncertainty_mm" not in alone.metrics["after"]
    assert np.array_equal(alone.transform.field.displacement_lps_mm, slice_result.transform.field.displacement_lps_mm)
    assert [stage.name for stage in alone.stages] == [stage.name for stage in slice_result.stages]


def test_a_motion_is_taken_out_with_the_linear_stage_too(plain_case):
    result = register(Request(plain_case.fixed, plain_case.moving, preset="fast", uncertainty_runs=1, device="cpu"))
    assert result.metrics["after"]["uncertainty_mm"] < 0.5


def test_a_status_exists_only_where_it_was_measured():
    metrics = {"uncertainty_mm": 1.0, "uncertainty_p95_mm": 3.0}
    assert [one.color for one in statuses(metrics, (1, 1, 1)) if one.name == "Uncertainty"] == [AMBER]
    metrics["uncertainty_p95_mm"] = 5.0
    assert [one.color for one in statuses(metrics, (1, 1, 1)) if one.name == "Uncertainty"] == [RED]
    assert not [one for one in statuses({}, (1, 1, 1)) if one.name == "Uncertainty"]


def test_progress_counts_the_repeats_and_a_cancel_ends_them():
    pair, seen = synthetic_slice(), []

    def stop(progress):
        seen.append((progress.fraction, progress.stage))
        if progress.stage == "perturbed 2 of 2":
            raise Canceled

    with pytest.raises(Canceled):
        register(Request(**pair.given(), linear="none", uncertainty_runs=2, measure=False, device="cpu"), stop)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and 0.6 < fractions[-1] < 0.75
    assert {"scale 1", "perturbed 1 of 2"} <= {stage for _, stage in seen}


def test_channels_go_with_their_image(plain_case, monkeypatch):
    """Those of the moving image are moved as it is; otherwise every look would show a motion that is none."""
    seen = []
    monkeypatch.setattr(
        uncertainty, "align", lambda pair, *_: seen.append(pair) or SimpleNamespace(transform=Transform(np.eye(4)))
    )
    grids = [image.grid for image in (plain_case.fixed, plain_case.moving)]
    channels = Channels(*[np.zeros((1, *grid.shape_kji), np.float32) for grid in grids], *grids)
    request = Request(plain_case.fixed, plain_case.moving, linear="none", uncertainty_runs=1, device="cpu")
    inputs = read_inputs(request)
    inputs = dataclasses.replace(inputs, pair=dataclasses.replace(inputs.pair, channels=channels))
    found = SimpleNamespace(transform=Transform(np.eye(4)), decision=Decision("people", "lncc", "same"))
    uncertainty.uncertainty_map(inputs, Plan.of(request), found, None, lambda progress: None)
    assert seen[0].channels.fixed_grid.same_as(seen[0].fixed.grid)
    assert seen[0].channels.moving_grid.same_as(seen[0].moving.grid)
    assert not seen[0].moving.grid.same_as(plain_case.moving.grid)


def test_masks_go_with_their_images(plain_case):
    mask = Image((plain_case.moving.values > 20).astype(np.uint8), plain_case.moving.grid)
    fixed_mask = Image((plain_case.fixed.values > 20).astype(np.uint8), plain_case.fixed.grid)
    request = Request(
        plain_case.fixed,
        plain_case.moving,
        fixed_mask=fixed_mask,
        moving_mask=mask,
        preset="fast",
        uncertainty_runs=1,
    )
    result = register(request)
    assert result.metrics["after"]["uncertainty_mm"] < 0.6


@pytest.mark.parametrize("count", [-1, 51, 1.5, "2"])
def test_an_invalid_number_of_uncertainty_runs_is_refused(count):
    with pytest.raises(InputError, match="uncertainty_runs must be a whole number from 0 to 50"):
        Request("a.nii.gz", "b.nii.gz", uncertainty_runs=count)


def test_the_worker_hands_the_map_over(slice_result, tmp_path):
    again = read_result(write_result(slice_result, Arrays(tmp_path)), tmp_path, slice_result.request)
    assert np.array_equal(again.uncertainty.values, slice_result.uncertainty.values)
    assert again.uncertainty.grid.same_as(slice_result.uncertainty.grid)
