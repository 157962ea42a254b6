"""Where the structures of a brain lie: centers, the motion between two brains, and whether it is a brain at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..anatomy import COMPACT, MEAN_CENTERS_MM, SPREAD_MM, STRUCTURES, VOLUMES_ML

#: Fewest structures in common from which a motion follows: an affine one has 12 numbers, and one may be missed.
LEAST_COMMON = 6
#: Rounds in which structures that lie off are given less weight, and the residual (mm) that halves a weight at least.
ROUNDS, TOLERATED_MM = 10, 3.0


@dataclass(frozen=True)
class BrainEvidence:
    """What speaks for a brain, or against it.

    Attributes:
        plausible: of the structures whose volumes vary little, the part with a plausible one after scaling to the mean
            person's size.
        residual_mm: root mean square distance of the centers from the mean person's after an affine alignment,
            weighted; infinite where too few were found.
        scale: how many times longer than the mean person's it is, the mean over all directions.
        moved_mm: root mean square distance between the centers and those seen in a shifted window; a network that has
            learned where structures mostly lie sees a brain in the middle of anything, and that one moves along.
        confidence: mean confidence inside the brain.
        information: how much the structures that were seen explain of the intensities inside the brain (nats for each
            voxel); an atlas can be laid over anything, and where there is no brain it explains nothing. Infinite where
            no atlas was fitted.
        cut_cm2: how much of what was seen lies on a side of the image, where it would go on: at the end of a head that
            has no cerebellum a network sees one.
    """

    plausible: float
    residual_mm: float
    scale: float
    moved_mm: float
    confidence: float
    information: float = np.inf
    cut_cm2: float = 0.0

    @property
    def is_brain(self) -> bool:
        """Tell whether it is a human brain, whole or nearly so. The limits were measured, see docs/structures.md."""
        return (
            self.plausible >= LEAST_PLAUSIBLE
            and self.residual_mm <= MOST_RESIDUAL_MM
            and LEAST_SCALE <= self.scale <= 1 / LEAST_SCALE
            and self.moved_mm <= MOST_MOVED_MM
            and self.confidence >= LEAST_CONFIDENCE
            and self.information >= LEAST_INFORMATION
            and self.cut_cm2 <= MOST_CUT_CM2
        )


LEAST_PLAUSIBLE = 0.7
MOST_RESIDUAL_MM = 4.5
LEAST_SCALE = 0.7
MOST_MOVED_MM = 4.0
LEAST_CONFIDENCE = 0.3
LEAST_INFORMATION = 0.08
#: A brain stem that leaves the image has some 5 square centimeters, a head that is cut at the ears a hundred.
MOST_CUT_CM2 = 30.0


def centers_of(classes: np.ndarray, ijk_to_lps: np.ndarray, weight: np.ndarray | None = None) -> dict[int, np.ndarray]:
    """Return the center of each compact structure that is there, LPS mm, by FreeSurfer's number.

    Args:
        classes: (K, J, I), 0 or the place of a structure among ``anatomy.STRUCTURES``, from 1; larger ones are none.
        ijk_to_lps: (4, 4).
        weight: (K, J, I) of each voxel; left out, all count alike.
    """
    flat = classes.reshape(-1)
    least = len(STRUCTURES) + 1
    of_each = None if weight is None else weight.reshape(-1)
    count = np.bincount(flat, of_each, least).astype(float)
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in classes.shape), indexing="ij", sparse=True)
    sums = []
    for axis in axes[::-1]:
        index = np.broadcast_to(axis, classes.shape).reshape(-1)
        sums.append(np.bincount(flat, index if of_each is None else index * of_each, least))
    centers = {}
    for k, structure in enumerate(STRUCTURES, start=1):
        if structure.number in COMPACT and count[k] > 0:
            ijk = np.array([total[k] / count[k] for total in sums])
            centers[structure.number] = ijk_to_lps[:3, :3] @ ijk + ijk_to_lps[:3, 3]
    return centers


def motion_between(
    first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray], affine: bool = True
) -> tuple[np.ndarray, float] | None:
    """Return the motion from the first centers to the second, whatever single structures were missed or mistaken.

    Weighted least squares; a structure weighs by how little people differ there, and less in each round the farther it
    lies off (Geman-McClure). Rigid: Kabsch, Acta Crystallographica A 1976.

    Args:
        first, second: centers by number, LPS mm.
        affine: with scaling and shear, or rigid.

    Returns:
        (4, 4), LPS mm, and the weighted root mean square residual (mm) of all common structures, those that lie off
        included; None where fewer than ``LEAST_COMMON`` are common.
    """
    common = sorted(set(first) & set(second))
    if len(common) < LEAST_COMMON:
        return None
    a, b = (np.array([centers[n] for n in common], float) for centers in (first, second))
    given = np.array([1 / SPREAD_MM[n] ** 2 for n in common])
    weight = given
    for _ in range(ROUNDS):
        matrix = _affine(a, b, weight) if affine else _rigid(a, b, weight)
        off_mm = np.linalg.norm(a @ matrix[:3, :3].T + matrix[:3, 3] - b, axis=1)
        tolerated_mm = max(TOLERATED_MM, 1.5 * float(np.median(off_mm)))
        weight = given / (1 + (off_mm / tolerated_mm) ** 2) ** 2
    return matrix, float(np.sqrt(np.average(off_mm**2, weights=given)))


def _affine(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    root = np.sqrt(weight)[:, None]
    solution, *_ = np.linalg.lstsq(np.c_[a, np.ones(len(a))] * root, b * root, rcond=None)
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return matrix


def _rigid(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    middles = [np.average(points, axis=0, weights=weight) for points in (a, b)]
    left, _, right = np.linalg.svd((b - middles[1]).T @ ((a - middles[0]) * weight[:, None]))
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, middles[1] - turn @ middles[0]
    return matrix


def brain_evidence(
    centers: Mapping[int, np.ndarray],
    moved_mm: float,
    volumes_ml: Mapping[int, float],
    confidence: float,
    information: float = np.inf,
    cut_cm2: float = 0.0,
) -> BrainEvidence:
    """Compare what was found with the mean person.

    Args:
        centers: by number, LPS mm.
        moved_mm: see :class:`BrainEvidence`.
        volumes_ml: by number.
        confidence, information, cut_cm2: see :class:`BrainEvidence`.
    """
    found = motion_between({n: np.array(c) for n, c in MEAN_CENTERS_MM.items()}, centers)
    larger = 0.0 if found is None else float(np.linalg.det(found[0][:3, :3]))
    if found is None or larger <= 0:
        return BrainEvidence(0.0, np.inf, 0.0, np.inf, confidence, information, cut_cm2)
    fits = [least <= volumes_ml.get(n, 0.0) / larger <= most for n, (least, most) in VOLUMES_ML.items()]
    return BrainEvidence(
        float(np.mean(fits)), found[1], float(larger ** (1 / 3)), moved_mm, confidence, information, cut_cm2
    )


def cut_cm2(shown: np.ndarray, ijk_to_lps: np.ndarray) -> float:
    """Return how much of something lies on the side of an image where most of it does, cm^2.

    Args:
        shown: (K, J, I) bool.
        ijk_to_lps: (4, 4).
    """
    found = 0.0
    for axis in range(3):
        sides = np.delete(ijk_to_lps[:3, :3], axis, axis=1)
        area = float(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]))) / 100
        for end in (0, -1):
            found = max(found, area * int(np.take(shown, end, axis=2 - axis).sum()))
    return found


def distance_between(first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]) -> float:
    """Return the root mean square distance (mm) of centers by number; infinite where few are common.

    A structure weighs by how little people differ there.
    """
    both = [n for n in first if n in second]
    if len(both) < LEAST_COMMON:
        return np.inf
    away_mm = [np.linalg.norm(first[n] - second[n]) for n in both]
    return float(np.sqrt(np.average(np.square(away_mm), weights=[1 / SPREAD_MM[n] ** 2 for n in both])))
