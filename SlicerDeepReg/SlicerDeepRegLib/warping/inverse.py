"""A second factor of an inverse, where one field cannot follow it."""

from __future__ import annotations

from typing import Dict, List, Optional

import numpy as np
import torch

from ..types import Field, Grid
from .sample import warp


@torch.no_grad()
def correction_of_inverse(field: Field, inverse: Field, device: torch.device, rounds: int = 2) -> Field:
    """``c`` on the field's grid, so that ``(id + c) o (id + w) o (id + u)`` is the identity at its voxel centers.

    Where a deformation compresses strongly, its inverse changes by several voxels from one voxel to the
    next, and a field that is interpolated linearly cannot follow. The error of the way there and back,
    ``e = (id + w) o (id + u) - id``, is as smooth in the fixed image as the compression was strong, so it
    can be sampled there and taken away: ``c(x + e(x)) = -e(x)``, by fixed-point iteration.

    Args:
        field: ``u``.
        inverse: ``w``, on a grid that covers where u leads.
        device: where to compute.
        rounds: of the iteration; more brought nothing on two brains.
    """
    grid = field.grid
    axes = [c for c in range(3) if grid.size_ijk[c] > 1]
    there, back = (_voxels(one, grid, axes, device) for one in (field, inverse))
    error = warp(back, there, **_relation(grid, inverse.grid, axes)).add_(there)
    correction = -error
    for _ in range(rounds):
        correction = warp(error, correction).neg_()
    columns = grid.ijk_to_lps[:3, axes].astype(np.float32)  # a step of one voxel along each axis, LPS mm
    vectors = np.moveaxis(correction[0].cpu().numpy(), 0, -1) @ columns.T
    return Field(np.ascontiguousarray(vectors.reshape(*grid.shape_kji, 3)), grid)


@torch.no_grad()
def inverted(displacement: torch.Tensor, rounds: int = 30, start: Optional[torch.Tensor] = None) -> torch.Tensor:
    """``w`` with ``w(y) = -u(y + w(y))``, by fixed-point iteration (Chen et al., Med Phys 2008).

    It converges where u changes by less than a voxel from one voxel to the next; where it folds there is none.

    Args:
        displacement: u, (B, n, ...) voxels.
        start: where to begin, where an inverse is nearly known.
    """
    inverse = -displacement if start is None else start
    for _ in range(rounds):
        inverse = warp(displacement, inverse).neg_()
    return inverse


def _relation(grid: Grid, other: Grid, axes: List[int]) -> Dict[str, List[float]]:
    """Scale and offset for ``warp``, from indices of one grid to those of another of the same directions."""
    relation = other.lps_to_ijk @ grid.ijk_to_lps
    return {"scale_ijk": np.diag(relation)[axes].tolist(), "offset_ijk": relation[axes, 3].tolist()}


def _voxels(field: Field, grid: Grid, axes: List[int], device: torch.device) -> torch.Tensor:
    """(1, n, ...) the displacement in voxels of ``grid``, without the axes that do not exist."""
    rows = grid.lps_to_ijk[axes, :3].astype(np.float32)
    shape = [n for c, n in enumerate(field.grid.size_ijk) if c in axes][::-1]
    values = np.moveaxis(field.displacement_lps_mm @ rows.T, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(values).reshape(1, len(axes), *shape)).to(device)
