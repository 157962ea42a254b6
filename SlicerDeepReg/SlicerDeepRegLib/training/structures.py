"""Training of the network that sees the structures of a brain, on images painted on label maps.

Loss: cross entropy, each class weighted by one over the square root of how often it occurs in the image, plus 1 minus
the mean soft Dice of the structures that are there. Without those weights the soft Dice alone does not get off the
ground: most structures are a thousandth of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..anatomy import STRUCTURES
from ..metrics.labels import dice_by_label
from ..metrics.surfaces import surface_by_label
from ..networks.structures import StructureNetwork, StructureOutput
from .model import write_structures
from .plan import Plan
from .sources import Batch

CLASSES = len(STRUCTURES) + 1
#: Added to the frequency of a class, so that one of a few voxels does not outweigh all others.
RARE = 1e-4


class StructureTraining(StructureNetwork):
    """The network as a trainer calls it, with two images: the second is not looked at."""

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> StructureOutput:  # type: ignore[override]
        """Return what the network says of the first image."""
        return super().forward(moving)


class StructureObjective:
    """The loss; see the head of the file."""

    def __call__(
        self, batch: Batch, output: StructureOutput, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss, and its terms by name, unweighted."""
        true = batch["moving_labels"][:, 0]
        count = torch.bincount(true.flatten(), minlength=CLASSES).to(output.logits.dtype)
        weight = (count / count.sum() + RARE).rsqrt()
        entropy = F.cross_entropy(output.logits, true, weight)
        overlap = 1 - present_dice(output.logits.softmax(1), true, count)
        return entropy + overlap, {"cross_entropy": entropy.detach(), "labels": overlap.detach()}


def present_dice(members: torch.Tensor, true: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Compute the mean soft Dice of the classes that occur, background left out.

    Args:
        members: (B, classes, ...) probabilities.
        true: (B, ...) classes.
        count: (classes,) voxels of each class in ``true``.
    """
    chosen = members.gather(1, true[:, None])[:, 0]
    both = torch.zeros_like(count).scatter_add(0, true.flatten(), chosen.flatten())
    squares = members.square().sum((0, *range(2, members.ndim)))
    dice = 2 * both / (squares + count).clamp(min=1e-5)
    there = (count > 0).to(dice.dtype)
    there[0] = 0
    return (dice * there).sum() / there.sum().clamp(min=1)


class StructureTask:
    """Judged by the mean Dice of the structures that are in the image; a missed one counts as 0.

    Args:
        plan: of the training.
        atlas: of the mean person, (33, K, J, I), which is written beside the network.
    """

    better = {"dice": max}

    def __init__(self, plan: Plan, atlas: torch.Tensor | None = None) -> None:
        self.plan, self.atlas = plan, atlas

    def measure(
        self,
        network: torch.nn.Module,
        pair: Batch,
        output: StructureOutput,
        spacing_kji_mm: Sequence[float],
        surfaces: bool,
    ) -> dict[str, float]:
        """Measure one held-out image."""
        true = pair["moving_labels"][0, 0].cpu().numpy().astype(np.int32)
        seen = output.logits[0].argmax(0).cpu().numpy().astype(np.int32)
        by_label = dice_by_label(true, seen)
        there = [n for n in np.unique(true).tolist() if n]
        metrics = {"dice": float(np.mean([by_label.get(n, 0.0) for n in there])) if there else float("nan")}
        if surfaces and by_label:
            metrics["hd95_mm"] = float(
                np.mean(list(surface_by_label(true, seen, tuple(spacing_kji_mm))["hd95"].values()))
            )
        return metrics

    def draw(self, network: torch.nn.Module, pair: Batch, output: StructureOutput) -> np.ndarray:
        """Return the middle coronal slice: the image, its structures, and those that are seen."""
        colors = np.array([(0, 0, 0), *(structure.color for structure in STRUCTURES)], np.uint8)
        middle = pair["moving"].shape[3] // 2
        gray = (255 * pair["moving"][0, 0, :, middle].cpu().numpy()).astype(np.uint8)
        planes = [np.repeat(gray[..., None], 3, 2)]
        planes += [
            colors[labels[:, middle].cpu().numpy()]
            for labels in (pair["moving_labels"][0, 0], output.logits[0].argmax(0))
        ]
        return np.concatenate([plane[::-1, ::-1] for plane in planes], 1)  # top up, the patient's left on the right

    def write(
        self,
        weights: Mapping[str, torch.Tensor],
        about: tuple[int, float, str],
        metrics: Mapping[str, float],
        folder: Path,
    ) -> None:
        """Write the model; the arguments are those of ``RegistrationTask.write``."""
        write_structures(self.plan, weights, about, metrics, folder, self.atlas)
