"""Similarity of images whose intensities mean different things: mutual information and normalized gradient fields.

As in ``similarity.py`` each class takes the fixed image once and is then called with warped images; both are lower
where the images agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class MutualInformation:
    """Negative normalized mutual information, -2..-1: ``-(H(fixed) + H(warped)) / H(fixed, warped)``.

    The joint histogram is that of Mattes et al.: fixed intensities fall into bins, warped ones are spread over four of
    them by a cubic B-spline, so that the loss is differentiable in them. The gradient is written out below: autograd
    would keep four images of weights and four of indices.

    Args:
        fixed: (1, 1, ...), intensities of 0..1.
        mask: (1, 1, ...) weights of the voxels, or None.
        bins: of each image.

    Source: Studholme, Hill and Hawkes, Pattern Recognition 1999 (normalized); Mattes et al., IEEE TMI 2003 (windows).
    """

    def __init__(self, fixed: torch.Tensor, mask: torch.Tensor | None = None, bins: int = 32) -> None:
        self.bins = bins
        self.columns = bins + 3  # a spline reaches one bin below its own and two above
        weight = torch.ones_like(fixed) if mask is None else mask
        self.weight = (weight / weight.sum().clamp(min=1e-12)).flatten()
        self.row = (fixed.flatten().clamp(0, 1) * (bins - 1)).round_().long() * self.columns

    def __call__(self, warped: torch.Tensor) -> torch.Tensor:
        return _MutualInformationFunction.apply(warped, self)


class _MutualInformationFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, warped: torch.Tensor, loss: MutualInformation) -> torch.Tensor:
        place = warped.flatten().clamp(0, 1) * (loss.bins - 1)
        first = place.floor().clamp_(max=loss.bins - 2)
        part = place - first
        index = loss.row + first.long()
        joint = warped.new_zeros(loss.bins * loss.columns)
        for offset, weights in enumerate(_cubic(part)):
            joint.index_add_(0, index + offset, weights * loss.weight)
        joint = joint.view(loss.bins, loss.columns)
        of_fixed, of_warped = joint.sum(1, keepdim=True), joint.sum(0, keepdim=True)
        both, marginal = _entropy(joint), _entropy(of_fixed) + _entropy(of_warped)
        both = both.clamp(min=1e-12)
        ctx.save_for_backward(warped, index, part, joint, of_warped, both, marginal)
        ctx.loss = loss
        return -marginal / both

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        warped, index, part, joint, of_warped, both, marginal = ctx.saved_tensors
        loss = ctx.loss
        # dH / dp = -log p - 1; the constants cancel, as the weights of a spline always sum to one.
        by_joint = (_log(of_warped) - marginal / both * _log(joint)) / both
        table = by_joint.flatten()
        gradient = torch.zeros_like(part)
        for offset, slopes in enumerate(_cubic_slope(part)):
            gradient.addcmul_(table[index + offset], slopes)
        gradient *= loss.weight * (loss.bins - 1)
        gradient = gradient.view_as(warped)
        return gradient * ((warped >= 0) & (warped <= 1)) * upstream, None


def _log(p: torch.Tensor) -> torch.Tensor:
    return p.clamp(min=1e-9).log()


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * _log(p)).sum()


def _cubic(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the weights of the bins at -1, 0, 1 and 2 for a place ``t`` in 0..1."""
    s = 1 - t
    return s**3 / 6, 2 / 3 - t * t * (2 - t) / 2, 2 / 3 - s * s * (2 - s) / 2, t**3 / 6


def _cubic_slope(t: torch.Tensor) -> tuple[torch.Tensor, ...]:
    s = 1 - t
    return -s * s / 2, t * (1.5 * t - 2), s * (2 - 1.5 * s), t * t / 2


class NormalizedGradientFields:
    """``1 - <g, h>^2 / ((|g|^2 + e^2) (|h|^2 + e^2))`` of the gradients ``g`` and ``h``, mean over the mask; 0..1.

    Edges count by their direction, not by their sign or height, so that images agree in which tissues differ at the
    same places. ``e`` tells edges from noise: it is the mean length of an image's gradient, times a factor; it is taken
    as a constant when this is differentiated.

    Args:
        fixed: (1, 1, ...), intensities of 0..1.
        voxel_ijk: lengths of a voxel along i, j(, k), in any unit.
        mask: (1, 1, ...) weights of the voxels, or None.
        edge: the factor.

    Source: Haber and Modersitzki, MICCAI 2006.
    """

    def __init__(
        self, fixed: torch.Tensor, voxel_ijk: Sequence[float], mask: torch.Tensor | None = None, edge: float = 1.0
    ) -> None:
        self.voxel_ijk, self.edge = voxel_ijk, edge
        weight = torch.ones_like(fixed) if mask is None else mask
        self.weight = weight / weight.sum().clamp(min=1e-12)
        self.fixed = self.direction(fixed)

    def direction(self, image: torch.Tensor) -> torch.Tensor:
        """Return the gradient of an image like the fixed one, (1, n, ...), divided by its length and that of noise."""
        axes = [image.ndim - 1 - c for c in range(image.ndim - 2)]
        gradient = torch.cat(torch.gradient(image, spacing=[float(length) for length in self.voxel_ijk], dim=axes), 1)
        square = (gradient**2).sum(1, keepdim=True)
        return gradient / (square + self.noise(square.detach()) ** 2).sqrt()

    def noise(self, square: torch.Tensor) -> float:
        """Return the length of a gradient that counts half, of an image's squared lengths."""
        return max(self.edge * float((square.sqrt() * self.weight).sum()), 1e-6)

    def __call__(self, warped: torch.Tensor) -> torch.Tensor:
        agreement = (self.fixed * self.direction(warped)).sum(1, keepdim=True)
        return ((1 - agreement**2) * self.weight).sum()
