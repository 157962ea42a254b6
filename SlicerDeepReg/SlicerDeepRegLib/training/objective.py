"""What a training lowers: the loss of the network's paper on the images, overlap of labels, and distance of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..losses.regularity import diffusion
from ..networks import NetworkOutput, network_class
from ..warping.sample import warp
from .rng import Rng, seed_of


@dataclass(frozen=True)
class Weights:
    """Of the terms; a term whose truth a pair does not have is left out for that pair.

    Attributes:
        image: the paper's loss, regularity included. Where the two contrasts differ its regularity alone, and of
            weight 1 where this is 0: nothing else keeps fields smooth then.
        labels: 1 minus the mean soft Dice of structures.
        field: mean distance to the true displacement, voxels.
    """

    image: float = 1.0
    labels: float = 0.0
    field: float = 0.0


class Objective:
    """The mean over the pairs of a batch of the weighted terms of each, so that pairs count alike in any batch.

    Args:
        network: whose paper's loss.
        loss: its arguments.
        labels: those there may be; None looks into each pair, which on a GPU waits for it.
        structures: how many structures, sampled anew for each pair, the overlap is measured on.
    """

    def __init__(
        self,
        network: str,
        loss: Mapping[str, Any],
        weights: Weights,
        labels: Sequence[int] | None = None,
        structures: int = 8,
    ) -> None:
        self.network, self.loss, self.weights = network, dict(loss), weights
        self.labels, self.structures = labels, structures

    def __call__(
        self, batch: dict[str, torch.Tensor], output: NetworkOutput, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss, and its terms by name, unweighted.

        Args:
            batch: see ``sources``.
            output: of the network, for that batch.
            seeds: one for each pair, of the structures that are sampled.
        """
        parts: dict[str, torch.Tensor] = {}
        total = 0.0
        for number, seed in enumerate(seeds):
            pair = {name: t[number : number + 1] for name, t in batch.items()}
            for name, (weight, value) in self._terms(pair, _single(output, number), seed).items():
                total = total + weight * value / len(seeds)
                if name != "regularity":
                    parts[name] = parts.get(name, 0) + value.detach() / len(seeds)
        return total, parts

    def _terms(
        self, pair: dict[str, torch.Tensor], output: NetworkOutput, seed: int
    ) -> dict[str, tuple[float, torch.Tensor]]:
        weights = self.weights
        terms = {}
        regularity = self.loss.get("regularity", 1.0)
        if weights.image and bool(pair.get("same_contrast", torch.ones(1))):
            loss = network_class(self.network).loss(pair["moving"], pair["fixed"], pair.get("inside"), **self.loss)
            terms["image"] = (weights.image, loss(output))
        else:
            # Without an image term nothing but this keeps the field smooth.
            terms["regularity"] = ((weights.image or 1.0) * regularity, diffusion(output.displacement))
        if weights.field and "displacement" in pair:
            terms["field"] = (weights.field, mean_distance(output.displacement, pair["displacement"], pair["inside"]))
        if weights.labels and "moving_labels" in pair:
            overlap = self._overlap(pair, output.displacement, seed)
            if overlap is not None:
                terms["labels"] = (weights.labels, overlap)
        return terms

    def _overlap(self, pair: dict[str, torch.Tensor], displacement: torch.Tensor, seed: int) -> torch.Tensor | None:
        moving, fixed = pair["moving_labels"], pair["fixed_labels"]
        labels = self.labels or [n for n in torch.unique(torch.stack([moving, fixed])).tolist() if n]
        order = Rng(seed_of(seed, 77), torch.device("cpu")).permutation(len(labels))[: self.structures]
        if not order:
            return None
        first = torch.cat([moving == labels[n] for n in order], 1).float()
        second = torch.cat([fixed == labels[n] for n in order], 1).float()
        axes = tuple(range(2, moving.ndim))
        both = (first.amax(axes) * second.amax(axes)).sum(0)  # a structure that one of them lacks says nothing
        return ((1 - dice_of_each(warp(first, displacement), second)).mean(0) * both).sum() / both.sum().clamp(min=1)


def dice_of_each(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Compute ``2 sum(a b) / sum(a^2 + b^2)``, V-Net's form of soft Dice (Milletari et al. 2016).

    Args:
        first, second: (B, C, ...) memberships in 0..1.

    Returns:
        (B, C).
    """
    axes = tuple(range(2, first.ndim))
    both = (first * second).sum(axes)
    return 2 * both / (first.square().sum(axes) + second.square().sum(axes)).clamp(min=1e-5)


def soft_dice(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Compute the mean of :func:`dice_of_each`."""
    return dice_of_each(first, second).mean()


def mean_distance(estimate: torch.Tensor, true: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Compute the endpoint error: the mean length of ``estimate - true`` over the voxels inside, in voxels.

    Args:
        estimate, true: (B, n, ...) displacements, voxels.
        inside: (B, 1, ...) 0 or 1.
    """
    length = (estimate - true).square().sum(1, keepdim=True).add(1e-8).sqrt()
    return (length * inside).sum() / inside.sum().clamp(min=1)


def _single(output: NetworkOutput, number: int) -> NetworkOutput:
    fields = {name: field[number : number + 1] for name, field in output.fields.items()}
    return NetworkOutput(output.displacement[number : number + 1], fields, output.factors)
