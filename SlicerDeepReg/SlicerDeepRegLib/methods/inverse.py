"""Displacements on the device: from an engine's vectors, and their inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.grids import padded
from ..preparation.working import WorkingPair
from ..types import Field, Grid
from ..warping.inverse import inverted


def padding_for_inverse(pair: WorkingPair, displacement: torch.Tensor, grid: Grid) -> tuple[list[int], Grid]:
    """Return how far an inverse must be known beyond its grid so that it holds every x + u(x).

    Args:
        displacement: (1, n, ...) voxels of ``grid``, order i, j(, k).

    Returns:
        The padding for ``torch.nn.functional.pad``, and the grid padded so.
    """
    margin = [0, 0, 0]
    for c, axis in enumerate(pair.axes_ijk):
        margin[axis] = math.ceil(float(displacement[:, c].abs().max())) + 1
    return [margin[axis] for axis in pair.axes_ijk for _ in (0, 1)], padded(grid, (margin[0], margin[1], margin[2]))


def inverse_of(
    pair: WorkingPair, displacement: torch.Tensor, start: torch.Tensor | None = None, grid: Grid | None = None
) -> Field:
    """Invert by fixed-point iteration, on a grid wide enough for every x + u(x).

    Args:
        displacement: (1, n, ...) voxels of the grid, order i, j(, k).
        start: the inverse as far as it is known, of the same shape.
        grid: where they are known; the working grid when left out.
    """
    padding, grid = padding_for_inverse(pair, displacement, grid or pair.grid)
    wide = F.pad(displacement, padding, mode="replicate")
    start = F.pad(start, padding, mode="replicate") if start is not None else None
    return pair.field_from_voxels(inverted(wide, start=start)[0].cpu().numpy(), grid)


def in_voxels(vectors_mm: np.ndarray, spacing_mm: Sequence[float], device: torch.device) -> torch.Tensor:
    """Return (..., n) millimeters along the axes as (1, n, ...) voxels."""
    voxels = np.moveaxis(np.asarray(vectors_mm, np.float32) / np.array(spacing_mm, np.float32), -1, 0)
    return torch.from_numpy(np.ascontiguousarray(voxels))[None].to(device)
