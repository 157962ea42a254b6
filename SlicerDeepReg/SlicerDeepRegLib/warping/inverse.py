"""Invert displacements, and correct an inverse that one field cannot represent."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.fields import existing_axes, to_lps, to_voxels
from ..geometry.grids import padded
from ..types import Field, Grid
from .sample import warp


@torch.no_grad()
def correction_of_inverse(field: Field, inverse: Field, device: torch.device, rounds: int = 2) -> Field:
    """Compute ``c`` on the field's grid such that ``(id + c) o (id + w) o (id + u)`` is the identity at voxel centers.

    Where a deformation compresses strongly, its inverse changes by several voxels from one voxel to the next, and a
    linearly interpolated field cannot represent it. The inverse consistency error ``e = (id + w) o (id + u) - id`` is
    as smooth in the fixed image as the compression was strong, so it can be sampled there and subtracted:
    ``c(x + e(x)) = -e(x)``, by fixed-point iteration.

    Args:
        field: ``u``.
        inverse: ``w``, on a grid of the same directions that covers the image of ``u``.
        device: where to compute.
        rounds: iterations; more than two brought no improvement on two pairs of brains.
    """
    grid = field.grid
    axes = existing_axes(grid)
    forward, backward = (torch.from_numpy(to_voxels(f, grid, axes))[None].to(device) for f in (field, inverse))
    scale_ijk, offset_ijk = _index_relation(grid, inverse.grid, axes)
    error = warp(backward, forward, scale_ijk, offset_ijk).add_(forward)
    correction = -error
    for _ in range(rounds):
        correction = warp(error, correction).neg_()
    return to_lps(correction[0].cpu().numpy(), grid, axes)


@torch.no_grad()
def inverse_of_field(field: Field, device: torch.device, careful: bool = False) -> Field:
    """Invert ``id + u`` by fixed-point iteration, on a grid padded until it holds every x + u(x).

    Args:
        careful: whether steps are shortened where they overshoot, for fields that expand strongly; takes twice as long.
    """
    grid, axes = field.grid, existing_axes(field.grid)
    displacement = torch.from_numpy(to_voxels(field, grid, axes))[None].to(device)
    margin = [0, 0, 0]
    for c, axis in enumerate(axes):
        margin[axis] = math.ceil(float(displacement[:, c].abs().max())) + 1
    wide = F.pad(displacement, [margin[axis] for axis in axes for _ in (0, 1)], mode="replicate")
    return to_lps(
        (damped(wide) if careful else inverted(wide))[0].cpu().numpy(),
        padded(grid, (margin[0], margin[1], margin[2])),
        axes,
    )


@torch.no_grad()
def inverted(displacement: torch.Tensor, rounds: int = 30, start: torch.Tensor | None = None) -> torch.Tensor:
    """Compute ``w`` with ``w(y) = -u(y + w(y))`` by fixed-point iteration (Chen et al., Med Phys 2008).

    It converges where ``u`` changes by less than a voxel from one voxel to the next; where ``u`` folds there is no
    inverse.

    Args:
        displacement: ``u``, (B, n, ...) voxels.
        rounds: iterations.
        start: an approximate inverse to start from; ``-u`` when left out.
    """
    inverse = -displacement if start is None else start
    for _ in range(rounds):
        inverse = warp(displacement, inverse).neg_()
    return inverse


@torch.no_grad()
def damped(displacement: torch.Tensor, rounds: int = 60) -> torch.Tensor:
    """Compute what ``inverted`` does with steps that are halved, voxel by voxel, where the error grew.

    It also converges where ``u`` grows by more than a voxel from one voxel to the next.

    Args:
        displacement: ``u``, (B, n, ...) voxels.
        rounds: iterations.
    """
    inverse, before = -displacement, None
    length = torch.ones_like(displacement[:, :1])
    for _ in range(rounds):
        error = warp(displacement, inverse).add_(inverse)
        size = torch.linalg.vector_norm(error, dim=1, keepdim=True)
        if before is not None:
            length = torch.where(size > before, length * 0.5, (length * 1.1).clamp_(max=1))
        inverse, before = inverse - length * error, size
    return inverse


def _index_relation(grid: Grid, other: Grid, axes: list[int]) -> tuple[list[float], list[float]]:
    """Return scale and offset, per axis, from indices of one grid to indices of another of the same directions."""
    relation = other.lps_to_ijk @ grid.ijk_to_lps
    return np.diag(relation)[axes].tolist(), relation[axes, 3].tolist()
