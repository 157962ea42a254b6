"""A similarity metric over several contrasts of the same images."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...similarity import Comparison, Similarity
from ...similarity.base import State


def prepare(
    metric: Similarity,
    fixed: torch.Tensor,
    moving: torch.Tensor,
    mask: torch.Tensor,
    how: Comparison,
    weights: Sequence[float],
) -> State:
    """Compute what a metric keeps of the images, contrast by contrast; the loss is the weighted mean.

    Args:
        fixed, moving: (1, C, ...), each on a grid of its own.
        mask: (1, 1, ...) weights of the fixed voxels, 0..1.
        weights: of each contrast, of sum 1.
    """
    if fixed.shape[1] == 1:
        return metric.prepare(fixed, moving, mask, how)
    each = [metric.prepare(*images, mask, how) for images in zip(fixed.split(1, 1), moving.split(1, 1))]
    sizes = [state.moving.shape[1] for state in each]

    def term(warped: torch.Tensor) -> torch.Tensor:
        losses = [state.term(part) * weight for state, part, weight in zip(each, warped.split(sizes, 1), weights)]
        return torch.stack(losses).sum()

    return State(torch.cat([state.moving for state in each], 1), term)
