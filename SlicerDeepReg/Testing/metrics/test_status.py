"""Where to look first, and the traffic statuses: against fields and metrics whose answer is known."""

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.geometry.jacobian import (
    jacobian_of_field,
    non_diffeomorphic_volume,
    smallest_digital_determinant,
)
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving
from SlicerDeepRegLib.metrics.labels import center_by_label, voxels_by_label
from SlicerDeepRegLib.metrics.locations import APART_MM, MOST, worst_locations
from SlicerDeepRegLib.metrics.status import AMBER, GRAY, GREEN, RED, overall, statuses
from SlicerDeepRegLib.types import Field, Grid, Transform
from SlicerDeepRegLib.warping.path import PARTS, path_of

SHAPE = (30, 32, 34)


def oblique_grid(shape=SHAPE):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    matrix = np.eye(4)
    matrix[:3, :3] = turn * [1.0, 1.5, 2.0]
    matrix[:3, 3] = [5, -7, 9]
    return Grid(shape[::-1], matrix)


def bump(grid, center_ijk, strength, width=3.0):
    """A displacement towards (negative) or away from a voxel, in voxels made mm."""
    ijk = np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1) - np.array(center_ijk, float)
    weight = np.exp(-(ijk**2).sum(-1, keepdims=True) / (2 * width**2))
    return Field(((strength * weight * ijk) @ grid.ijk_to_lps[:3, :3].T).astype(np.float32), grid)


def places_of(field, fixed=None, warped=None):
    empty = np.zeros(field.grid.shape_kji, np.float32)
    fixed, warped = (empty if one is None else one for one in (fixed, warped))
    folded = bool((smallest_digital_determinant(field) <= 0).any())
    return worst_locations(field, jacobian_of_field(field), fixed, warped, np.ones(field.grid.shape_kji, bool), folded)


def test_the_digital_determinant_agrees_with_the_criterion():
    field = bump(oblique_grid(), (16, 15, 14), -1.3)
    worst = smallest_digital_determinant(field)
    failing = non_diffeomorphic_volume(field)[1]
    inner = worst[1:-1, 1:-1, 1:-1]
    assert failing > 0 and 100 * (inner <= 0).mean() == pytest.approx(failing)
    assert (worst[0] == 1).all() and (worst[:, :, -1] == 1).all()


@pytest.mark.parametrize("strength, kind", [(-1.3, "fold"), (-0.5, "shrinks"), (0.6, "grows")])
def test_extreme_jacobians_are_found_where_they_were_made(strength, kind):
    grid = oblique_grid()
    center = (16, 15, 14)
    place = next(one for one in places_of(bump(grid, center, strength)) if one.kind == kind)
    there = apply_matrix(grid.ijk_to_lps, np.array([center], float))[0]
    assert np.linalg.norm(np.array(place.position_lps_mm) - there) < 4.0
    assert {"fold": place.value <= 0, "shrinks": 0 < place.value < 0.3, "grows": place.value > 3}[kind]


def test_a_difference_that_is_left_is_found_and_noise_is_not():
    grid = oblique_grid()
    still = Field(np.zeros((*grid.shape_kji, 3), np.float32), grid)
    noise = np.random.default_rng(0).normal(0, 0.05, grid.shape_kji).astype(np.float32)
    assert places_of(still, warped=noise) == ()
    noise[10:16, 10:16, 20:26] += 0.6
    found = places_of(still, warped=noise)
    assert {one.kind for one in found} == {"differs"} and found[0].value > 0.3
    there = apply_matrix(grid.ijk_to_lps, np.array([[22.5, 12.5, 12.5]]))[0]
    assert np.linalg.norm(np.array(found[0].position_lps_mm) - there) < 4.0


def test_locations_are_apart_and_few():
    field = bump(oblique_grid(), (16, 15, 14), -0.5, width=9.0)
    found = [one for one in places_of(field) if one.kind == "shrinks"]
    assert 1 < len(found) <= MOST
    spots = np.array([one.position_lps_mm for one in found])
    distances = np.linalg.norm(spots[:, None] - spots[None], axis=-1)[np.triu_indices(len(spots), 1)]
    assert distances.min() >= APART_MM and [one.value for one in found] == sorted(one.value for one in found)


def test_the_location_of_a_label_is_inside_it():
    values = np.zeros((9, 20, 20), np.int16)
    yy, xx = np.indices((20, 20)) - 9.5
    ring = (np.hypot(yy, xx) < 9) & (np.hypot(yy, xx) > 4)
    values[2:7, ring] = 3  # its center of mass is not in it
    i, j, k = (int(n) for n in center_by_label(values)[3])
    assert values[k, j, i] == 3 and 2 < k < 6
    flat = values[4:5]
    i, j, k = (int(n) for n in center_by_label(flat)[3])
    assert flat[k, j, i] == 3 and k == 0
    assert voxels_by_label(values) == {3: int((values == 3).sum())}


# ------------------------------------------------------------------ statuses

GOOD = {
    "tre_mm": 1.2,
    "tre_max_mm": 3.0,
    "dice": 0.9,
    "dice_by_label": {"1": 0.88, "2": 0.92},
    "hd95_mm": 1.5,
    "hd95_by_label_mm": {"1": 2.0, "2": 1.0},
    "jacobian_min": 0.5,
    "jacobian_max": 1.8,
    "digital_folds_percent": 0.0,
    "folds_percent": 0.0,
    "inverse_error_mm": 0.1,
    "inverse_error_max_mm": 0.9,
}


def colors(metrics, spacing=(1, 1, 1), names=None):
    found = statuses(metrics, spacing, names)
    return [light.color for light in found], found


def test_all_good_is_green_and_nothing_unmeasured_is():
    found, _ = colors(GOOD)
    assert found == [GREEN] * 5 and overall(statuses(GOOD, (1, 1, 1))).color == GREEN
    found, described = colors({})
    assert found == [GRAY] * 5 and all("not measured" in light.value for light in described)
    assert overall(described).color == GRAY


def test_a_smooth_field_alone_is_not_within_tolerance():
    """No folds and a good inverse say nothing of whether anything was brought together."""
    only = {name: GOOD[name] for name in GOOD if name.startswith(("jacobian", "inverse", "digital", "folds"))}
    found = statuses(only, (1, 1, 1))
    assert overall(found).color == GRAY and "landmarks" in overall(found).value
    folded = statuses({"digital_folds_percent": 5.0, "jacobian_min": -1.0, "jacobian_max": 3.0}, (1, 1, 1))
    assert overall(folded).color == RED and overall(folded).value.endswith("Alignment was not measured.")


@pytest.mark.parametrize(
    "changed, light, color",
    [
        ({"tre_mm": 2.5}, 0, AMBER),
        ({"tre_mm": 4.5}, 0, RED),
        ({"tre_max_mm": 29.9}, 0, AMBER),
        ({"dice_by_label": {"1": 0.75, "2": 0.9}}, 1, AMBER),
        ({"dice_by_label": {"1": 0.5, "2": 0.9}}, 1, RED),
        ({"hd95_by_label_mm": {"1": 5.0}}, 2, AMBER),
        ({"hd95_by_label_mm": {"1": 9.0}}, 2, RED),
        ({"jacobian_max": 4.0}, 3, AMBER),
        ({"jacobian_min": -0.1, "folds_percent": 0.2}, 3, RED),
        ({"digital_folds_percent": 0.01}, 3, RED),
        ({"inverse_error_max_mm": 5.0}, 4, AMBER),
        ({"inverse_error_mm": 2.5, "inverse_error_max_mm": 5.0}, 4, RED),
        ({"both_ways_mm": 2.5, "both_ways_max_mm": 9.0}, 4, RED),
    ],
)
def test_each_status_follows_its_metric(changed, light, color):
    metrics = {**GOOD, **changed}
    found, described = colors(metrics)
    expected = [GREEN] * 5
    expected[light] = color
    assert found == expected
    assert overall(described).color == color and described[light].name in overall(described).value


def test_what_is_said_lies_on_the_side_of_the_limit_that_the_color_means():
    close = {**GOOD, "tre_mm": 2.004, "dice_by_label": {"1": 0.796}, "jacobian_min": 0.332}
    found, described = colors(close)
    assert found[0] == found[1] == found[3] == AMBER
    assert "mean 2.004 mm" in described[0].value and "lowest 0.796" in described[1].value
    assert described[3].value.startswith("0.33 to 1.80") and "J from 1/3 to 3" in described[3].rule
    assert colors({**GOOD, "jacobian_min": 0.3334})[1][3].value.startswith("0.3334 to")
    assert colors({**GOOD, "jacobian_min": 0.004})[1][3].value.startswith("0.004 to")


def test_a_linear_part_that_mirrors_is_no_folding():
    found, described = colors({**GOOD, "jacobian_min": -1.26, "jacobian_max": -0.86})
    assert found[3] == RED and described[3].value == "-1.26 to -0.86: the linear part mirrors the image"


def test_a_lost_structure_is_not_green():
    volumes = {"fixed_volume_by_label_ml": {1: 5.0, 2: 3.0, 7: 1.0}, "warped_volume_by_label_ml": {"1": 5.0, "2": 3.0}}
    found, described = colors({**GOOD, **volumes}, names={7: "lesion"})
    assert found[1:3] == [AMBER, AMBER] and "lesion" in described[1].value and overall(described).color == AMBER
    assert colors({**GOOD, **volumes, "dice_by_label": {"1": 0.4}})[0][1] == RED


def test_folds_elsewhere_and_folds_that_were_not_counted_are_not_green():
    assert colors({**GOOD, "jacobian_min_anywhere": -0.2})[0][3] == AMBER
    assert colors({**GOOD, "digital_folds_percent": None})[0][3] == AMBER


def test_voxels_set_the_tolerance_up_to_three_mm_and_the_worst_structure_is_named():
    assert colors({**GOOD, "tre_mm": 2.5}, spacing=(1, 1, 2.6))[0][0] == GREEN
    assert colors({**GOOD, "tre_mm": 3.5}, spacing=(1, 1, 6))[0][0] == AMBER
    assert "left kidney" in colors(GOOD, names={1: "left kidney"})[1][1].value


def test_landmarks_are_counted_and_structures_without_a_counterpart_named():
    (landmarks, *_rest) = statuses({**GOOD, "tre_by_point_mm": [1, 3, 0.1], "guided_points": [2]}, (1, 1, 1))
    assert landmarks.value.endswith("of 2 landmarks")
    apart = {"fixed_volume_by_label_ml": {1: 5.0}, "warped_volume_by_label_ml": {2: 5.0}}
    for status in statuses(apart, (1, 1, 1), {1: "Liver", 2: "liver"})[1:3]:
        assert status.color == GRAY and status.value.endswith("in one image only: Liver, liver")


def test_what_was_not_measured_to_its_end_is_not_green_and_may_be_red():
    lines = statuses({name: GOOD[name] for name in ("tre_mm", "tre_max_mm")}, (1, 1, 1))
    assert overall(lines).color == GREEN
    assert overall(lines, is_whole=False).color == GRAY and "did not end" in overall(lines, is_whole=False).value
    assert overall(statuses({**GOOD, "tre_mm": 9.0}, (1, 1, 1)), is_whole=False).color == RED


# ------------------------------------------------------------------ the path


def test_a_path_is_a_flow_and_ends_at_the_field():
    grid = oblique_grid()
    field = bump(grid, (16, 15, 14), -0.35, width=5.0)
    path = path_of(field, torch.device("cpu"))
    assert len(path) == PARTS
    points = apply_matrix(grid.ijk_to_lps, np.random.default_rng(0).uniform(6, 24, (300, 3)))

    def moved(one, start):
        return fixed_to_moving(Transform(np.eye(4), one), start)

    whole = moved(field, points)
    size = np.linalg.norm(whole - points, axis=1)
    assert np.abs(moved(path[-1], points) - whole).max() < 0.02
    half = moved(path[PARTS // 2 - 1], points)
    twice = np.linalg.norm(moved(path[PARTS // 2 - 1], half) - whole, axis=1)
    straight = np.linalg.norm(points + (whole - points) / 2 - half, axis=1)
    assert size.max() > 1.5 and twice.mean() < 0.05 * size.mean() and straight.max() > 2 * twice.max()


def test_a_folded_field_has_no_path():
    assert path_of(bump(oblique_grid(), (16, 15, 14), -2.5), torch.device("cpu")) == ()


def test_a_path_in_two_dimensions():
    grid = Grid((40, 36, 1), np.diag([1.5, 1.5, 3.0, 1.0]))
    field = bump(grid, (20, 18, 0), -0.3, width=5.0)
    path = path_of(field, torch.device("cpu"))
    assert len(path) == PARTS and path[-1].displacement_lps_mm.shape == (1, 36, 40, 3)
    assert np.abs(path[-1].displacement_lps_mm - field.displacement_lps_mm).max() < 1e-4
