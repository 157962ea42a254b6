"""Centers of structures: the motion between two sets of them, and what a brain looks like."""

import numpy as np
import pytest
from helpers.geometry import AFFINE, rotation
from SlicerDeepRegLib.anatomy import MEAN_CENTERS_MM, STRUCTURE_BY_NUMBER, VOLUMES_ML
from SlicerDeepRegLib.geometry.points import apply_matrix
from SlicerDeepRegLib.geometry.structures import brain_evidence, cut_cm2, distance_between, motion_between

MEAN = {number: np.array(center) for number, center in MEAN_CENTERS_MM.items()}
VOLUMES = {number: float(np.sqrt(least * most)) for number, (least, most) in VOLUMES_ML.items()}


def moved(matrix, centers=MEAN, noise_mm=0.0):
    random = np.random.default_rng(0)
    return {n: apply_matrix(matrix, c[None])[0] + noise_mm * random.standard_normal(3) for n, c in centers.items()}


def rigid_matrix():
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation([40, -70, 150]), [10, -50, 3]
    return matrix


@pytest.mark.parametrize("matrix, affine", [(AFFINE, True), (rigid_matrix(), False)])
def test_a_motion_is_found_though_structures_are_missing_or_mistaken(matrix, affine):
    seen = moved(matrix)
    del seen[10], seen[16], seen[51]
    seen[17] = seen[17] + 60  # mistaken for something far away
    seen[8] = seen[8] - [0, 25, 0]
    found, residual_mm = motion_between(MEAN, seen, affine)
    corners = np.array([[x, y, z] for x in (-70, 70) for y in (-90, 90) for z in (-60, 80)], float)
    assert np.linalg.norm(apply_matrix(found, corners) - apply_matrix(matrix, corners), axis=1).max() < 1.0
    assert residual_mm > 5  # what lies off is not hidden
    if not affine:
        assert np.allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3)) and np.linalg.det(found[:3, :3]) > 0


def test_few_structures_give_no_motion():
    assert motion_between(MEAN, {n: MEAN[n] for n in (10, 49, 16, 17, 53)}) is None


def test_a_brain_of_another_size_and_pose_is_one():
    matrix = rigid_matrix()
    matrix[:3, :3] *= 0.85
    smaller = {n: v * 0.85**3 for n, v in VOLUMES.items()}
    centers = moved(matrix, noise_mm=1.5)
    evidence = brain_evidence(centers, distance_between(centers, moved(matrix, noise_mm=1.0)), smaller, 0.9)
    assert evidence.is_brain and evidence.scale == pytest.approx(0.85, abs=0.03) and evidence.plausible == 1


def test_what_lies_on_a_side_of_an_image_is_measured_there():
    shown = np.zeros((6, 5, 4), bool)
    shown[1:, 1:4, 1:3] = True  # on the last of the six slices: 3 x 2 voxels
    turned = np.eye(4)
    turned[:3, :3] = rotation([10, 20, 30]) @ np.diag([10.0, 20.0, 5.0])
    assert cut_cm2(shown, turned) == pytest.approx(3 * 2 * 2.0) and cut_cm2(shown[:5], np.eye(4)) == pytest.approx(0.06)
    shown[-1] = False
    assert cut_cm2(shown, turned) == 0


@pytest.mark.parametrize(
    "fault", ["sides", "places", "volumes", "confidence", "size", "few", "moves", "information", "cut"]
)
def test_what_speaks_against_a_brain(fault):
    centers, volumes, confidence, again, information, cut = dict(MEAN), dict(VOLUMES), 0.9, None, 0.3, 0.0
    if fault == "sides":
        centers = {n: MEAN[STRUCTURE_BY_NUMBER[n].mirror] for n in MEAN}
    elif fault == "places":
        centers = moved(np.eye(4), noise_mm=15.0)
    elif fault == "volumes":
        volumes = {n: v * (8 if n % 2 else 0.1) for n, v in VOLUMES.items()}
    elif fault == "confidence":
        confidence = 0.2
    elif fault == "size":
        centers = moved(np.diag([0.5, 0.5, 0.5, 1]))
    elif fault == "information":
        information = 0.03
    elif fault == "cut":
        cut = 100.0
    elif fault == "moves":
        again = {n: center + [12, 12, 12] for n, center in MEAN.items()}
    else:
        centers = {n: MEAN[n] for n in (10, 49, 16)}
    moved_mm = distance_between(centers, again or centers)
    assert not brain_evidence(centers, moved_mm, volumes, confidence, information, cut).is_brain
    assert brain_evidence(MEAN, 0.0, VOLUMES, 0.9, 0.3).is_brain
