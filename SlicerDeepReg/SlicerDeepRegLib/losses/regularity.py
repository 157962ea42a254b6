"""How smooth a displacement field is."""

from __future__ import annotations

import torch


def diffusion(displacement: torch.Tensor) -> torch.Tensor:
    """Compute the mean squared forward difference, over components, axes and voxels: 0 for a translation.

    Args:
        displacement: (B, n, ...) voxels; differences are per voxel.

    Source: the diffusion regularizer with the mean reduction of VoxelMorph (Balakrishnan et al., IEEE TMI 2019).
    """
    terms = []
    for axis in range(2, displacement.ndim):
        length = displacement.shape[axis]
        step = displacement.narrow(axis, 1, length - 1) - displacement.narrow(axis, 0, length - 1)
        terms.append(step.square().mean())
    return sum(terms[1:], terms[0]) / len(terms)
