"""Brains of balls whose brightness says which structure each is, a network that reads it, models of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from SlicerDeepRegLib.anatomy import MEAN_CENTERS_MM, STRUCTURES, VOLUMES_ML
from SlicerDeepRegLib.files.weights import write_weights
from SlicerDeepRegLib.geometry.points import apply_matrix, voxel_centers_lps
from SlicerDeepRegLib.networks.structures import StructureNetwork, StructureOutput
from SlicerDeepRegLib.types import Grid, Image

CLASSES = [0, *(structure.number for structure in STRUCTURES)]
#: What is around the brain is brighter than any structure.
BRIGHTEST = len(CLASSES)


def write_model(folder: Path, voxel_mm: float = 8.0, **changed: Any) -> Path:
    """Write a model of random weights, the same ones each time; ``changed`` goes to its card."""
    torch.manual_seed(0)
    network = StructureNetwork(len(CLASSES))
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    folder.mkdir(parents=True)
    card = {
        "name": "structures",
        "segmentation": "structures",
        "classes": CLASSES,
        "features": 0,
        "dimensions": 3,
        "recipe": {"intensity": "unit", "voxel_mm": voxel_mm, "orientation": "RAS"},
        "sha256": write_weights(folder / "weights.safetensors", arrays),
        **changed,
    }
    (folder / "segmentation.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


def painted_brain(grid: Grid, brain_to_lps: np.ndarray | None = None) -> Image:
    """Return the mean person's brain inside a skull: each voxel is the class of the structure there, over 33.

    Args:
        brain_to_lps: (4, 4) where that person is.
    """
    points = voxel_centers_lps(grid).reshape(-1, 3)
    points = apply_matrix(np.linalg.inv(np.eye(4) if brain_to_lps is None else brain_to_lps), points)
    away = np.linalg.norm((points - [0, 0, 15]) / [68, 84, 62], axis=1)
    white = np.where(points[:, 0] > 0, CLASSES.index(2), CLASSES.index(41))
    values = np.where(away < 1, white, np.where((away > 1.1) & (away < 1.3), BRIGHTEST, 0))
    inside = np.flatnonzero(away < 1.3)
    milliliters = {number: np.sqrt(np.prod(VOLUMES_ML.get(number, (1, 4)))) for number in MEAN_CENTERS_MM}
    for number, volume_ml in sorted(milliliters.items(), key=lambda item: -item[1]):
        center, radius_mm = MEAN_CENTERS_MM[number], min((3000 * volume_ml / (4 * np.pi)) ** (1 / 3), 18)
        near = np.square(points[inside] - center).sum(1) < radius_mm**2
        values[inside[near]] = CLASSES.index(number)
    return Image((values / BRIGHTEST).reshape(grid.shape_kji).astype(np.float32), grid, "painted brain")


class Reader(torch.nn.Module):
    """Sees the classes of a painted brain where it is uniform, and at borders inside it the highest class beside."""

    def forward(self, image: torch.Tensor) -> StructureOutput:
        high, low = _highest_beside(image), -_highest_beside(-image)
        uniform = high - low < 0.3 / BRIGHTEST
        inside = (low > 0.5 / BRIGHTEST) & (high < 1 - 0.5 / BRIGHTEST)
        classes = (image * BRIGHTEST).round() * (uniform & inside)
        for _ in range(2):
            classes = torch.where(classes > 0, classes, _highest_beside(classes) * inside)
        classes = torch.where(classes > 0, classes, inside.float())
        return StructureOutput(8.0 * F.one_hot(classes[:, 0].long(), BRIGHTEST).movedim(-1, 1).float(), None)


def _highest_beside(image: torch.Tensor) -> torch.Tensor:
    """The highest value of each voxel and its six neighbors."""
    pools = [[1 + 2 * (a == axis) for a in range(3)] for axis in range(3)]
    return torch.stack([F.max_pool3d(image, pool, 1, [n // 2 for n in pool]) for pool in pools]).amax(0)
