"""Changes of a pair that a network should not mind: motion of both, a little of one, contrast, bias, noise, mirrors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..warping.sample import warp
from .rng import Rng, affine_displacement


@dataclass(frozen=True)
class Augmentation:
    """Largest changes; each is sampled uniformly. Lengths are in voxels, intensities 0 to 1.

    Attributes:
        both_degrees, both_scaling, both_shift: of both images alike.
        one_degrees, one_scaling, one_shift: of the moving image beside the fixed one.
        gamma: standard deviation of the logarithm of the exponent. bias: of the logarithm of the bias field. noise: its
            standard deviation. The three are sampled for each image.
    """

    both_degrees: float = 0.0
    both_scaling: float = 0.0
    both_shift: float = 0.0
    one_degrees: float = 0.0
    one_scaling: float = 0.0
    one_shift: float = 0.0
    gamma: float = 0.0
    bias: float = 0.0
    noise: float = 0.0


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "light": Augmentation(5, 0.05, 2, 2, 0.02, 1, gamma=0.1, bias=0.1, noise=0.01),
    # Rotation and scale of both as XMorpher has them.
    "strong": Augmentation(20, 0.25, 5, 5, 0.05, 2, gamma=0.25, bias=0.3, noise=0.03),
}


def augmented(
    batch: dict[str, torch.Tensor], seeds: Sequence[int], kind: str, mirrored_axes: tuple[int, ...] = ()
) -> dict[str, torch.Tensor]:
    """Return the batch changed, each pair by its seed.

    Args:
        batch: moving, fixed (B, 1, ...), and where there are some moving_labels, fixed_labels (whole numbers), inside.
        kind: a name of ``AUGMENTATIONS``.
        mirrored_axes: of i, j(, k) as 0, 1(, 2): each is mirrored half of the time.
    """
    chosen = AUGMENTATIONS[kind]
    if chosen is None and not mirrored_axes:
        return batch
    device = batch["fixed"].device
    changed = [
        _augmented_pair(
            {name: t[number : number + 1] for name, t in batch.items()}, Rng(seed, device), chosen, mirrored_axes
        )
        for number, seed in enumerate(seeds)
    ]
    return {name: torch.cat([pair[name] for pair in changed]) for name in batch}


def _augmented_pair(
    pair: dict[str, torch.Tensor], rng: Rng, chosen: Augmentation | None, mirrored_axes: tuple[int, ...]
) -> dict[str, torch.Tensor]:
    dimensions = pair["fixed"].ndim - 2
    flips = [-1 - axis for axis in mirrored_axes if rng.chance(0.5)]
    if flips:
        pair = {name: t.flip(flips) for name, t in pair.items()}
    if chosen is None:
        return pair
    shape, device = pair["fixed"].shape[2:], pair["fixed"].device
    both = rng.motion(dimensions, chosen.both_degrees, chosen.both_scaling, chosen.both_shift)
    moving_only = rng.motion(dimensions, chosen.one_degrees, chosen.one_scaling, chosen.one_shift)
    whole = (both[0] @ moving_only[0], [a + b for a, b in zip(both[1], moving_only[1])])
    moved = {}
    for name, t in pair.items():
        matrix, shift = whole if name.startswith("moving") else both
        exact = "labels" in name or name == "inside"
        displacement = affine_displacement(matrix, shift, shape, device)
        moved[name] = warp(t.float(), displacement, mode="nearest" if exact else "bilinear").to(t.dtype)
    for name in ("moving", "fixed"):
        image = moved[name] ** math.exp(chosen.gamma * rng.gauss())
        bias = rng.noise(shape, max(8.0, sum(shape) / dimensions / 3), smooth=True) * rng.uniform(0, chosen.bias)
        present = image > 0
        image = image * bias.exp() + rng.normal(1, 1, *shape) * rng.uniform(0, chosen.noise) * present
        moved[name] = image.clamp(0, 1)
    return moved
