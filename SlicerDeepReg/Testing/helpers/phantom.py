"""A pair of made brains that is the same on every computer: shipped models are recorded on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

SIZE, SEED = 64, 0
#: Center (k, j, i) and half axes in voxels from the middle, and brightness; later ones lie on earlier ones. They are
#: numbered from 1: cortex, white matter, ventricles, deep nuclei.
PARTS = (
    ((0, 0, 0), (23, 28, 24), 0.55),
    ((0, 0, 0), (19, 24, 20), 0.85),
    ((3, 0, 5), (6, 10, 3), 0.15),
    ((3, 0, -5), (6, 10, 3), 0.15),
    ((-3, 3, 11), (4, 7, 4), 0.6),
    ((-3, 3, -11), (4, 7, 4), 0.6),
)


@dataclass(frozen=True, eq=False)
class Phantom:
    """Images of 0..1, float32, and labels, uint8; ``moving(x + displacement(x)) = fixed(x)``.

    Attributes:
        displacement: (3, K, J, I), voxels, order i, j, k as networks give it.
    """

    moving: np.ndarray
    fixed: np.ndarray
    moving_labels: np.ndarray
    fixed_labels: np.ndarray
    displacement: np.ndarray


@cache
def phantom(size: int = SIZE, seed: int = SEED) -> Phantom:
    """Make the pair; images are formulas of their coordinates, so that nothing is interpolated."""
    random = np.random.RandomState(
        seed
    )  # its numbers are the same in every version of numpy, as those of others are not
    places = np.indices((size, size, size)).astype(np.float64)
    folding = random.uniform(-0.35, 0.35, (6, 3)), random.uniform(0, 2 * np.pi, 6)
    waves, phases = random.uniform(-1.3, 1.3, (3, 2, 3)), random.uniform(0, 2 * np.pi, (3, 2))
    motion = np.zeros_like(places)
    for axis in range(3):
        for wave, phase in zip(waves[axis], phases[axis]):
            motion[axis] += 1.6 * np.sin(2 * np.pi / size * np.tensordot(wave, places, 1) + phase)
    moving, moving_labels = _brain(places, size, folding)
    fixed, fixed_labels = _brain(places + motion, size, folding)
    return Phantom(moving, fixed, moving_labels, fixed_labels, motion[::-1].astype(np.float32))


def _brain(places: np.ndarray, size: int, folding: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    unit = size / SIZE
    middle = (places - (size - 1) / 2) / unit
    folds = sum(np.sin(np.tensordot(wave, middle, 1) + phase) for wave, phase in zip(*folding))
    values, labels = np.zeros(places.shape[1:]), np.zeros(places.shape[1:], np.uint8)
    for number, (center, axes, bright) in enumerate(PARTS, 1):
        shape = (3, 1, 1, 1)
        radius = np.sqrt((((middle - np.reshape(center, shape)) / np.reshape(axes, shape)) ** 2).sum(0))
        radius += 0.015 * folds if number <= 2 else 0
        inside = 1 / (1 + np.exp(np.clip((radius - 1) * min(axes) * 2, -50, 50)))  # a border of a voxel
        values += inside * (bright - values)
        labels[radius < 1] = number
    return values.astype(np.float32), labels


def carried(labels: np.ndarray, displacement: np.ndarray) -> np.ndarray:
    """Return moving labels on the fixed grid, by the nearest voxel; the displacement is that of :class:`Phantom`."""
    places = np.rint(np.indices(labels.shape) + displacement[::-1]).astype(int)
    return labels[tuple(np.clip(at, 0, n - 1) for at, n in zip(places, labels.shape))]
