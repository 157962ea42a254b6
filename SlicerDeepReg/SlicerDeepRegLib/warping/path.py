"""The way of a deformation from none to all, to be looked at: the flow of a stationary velocity."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import torch

from ..geometry.grids import on_grid, resized
from ..types import Field
from .filters import gaussian
from .velocity import integrate

#: In how many steps of time, on a grid of at most how many voxels, and how far from the field its end may be, in
#: voxels of that grid, for the flow to be called its own.
PARTS, VOXELS, NEAR = 8, 120_000, 0.35
#: Of the fixed-point iteration for the velocity.
ROUNDS = 10


@torch.no_grad()
def path_of(field: Field, device: torch.device) -> Tuple[Field, ...]:
    """``exp(v t)`` at t = 1/8, ..., 1 for the stationary velocity v with ``exp(v)`` nearest to ``id + u``.

    v is found on a coarse grid by fixed-point iteration (after Bossa and Olmos, 2008, a first order form of it).

    Returns:
        Displacements in LPS mm on the coarse grid, the last the field itself; none where no velocity comes
        near: the field folds or turns too far.
    """
    grid = field.grid
    shrink = max(1.0, (grid.voxels / VOXELS) ** (1 / sum(n > 1 for n in grid.size_ijk)))
    coarse = resized(grid, tuple(max(2, round(n / shrink)) if n > 1 else 1 for n in grid.size_ijk))
    axes = [c for c in range(3) if grid.size_ijk[c] > 1]
    columns = coarse.ijk_to_lps[:3, axes]
    vectors = on_grid(field, coarse).displacement_lps_mm @ np.linalg.pinv(columns).T.astype(np.float32)
    shape = [n for n in coarse.shape_kji if n > 1]
    wanted = torch.from_numpy(np.ascontiguousarray(np.moveaxis(vectors.reshape(*shape, len(axes)), -1, 0)))[None]
    wanted = wanted.float().to(device)
    velocity = wanted.clone()
    for _ in range(ROUNDS):
        velocity += 0.7 * gaussian(wanted - integrate(velocity), [0.5] * len(axes))
    error = (integrate(velocity) - wanted).norm(dim=1)
    if not bool(torch.isfinite(error).all()) or float(error.flatten().quantile(0.99)) > NEAR:
        return ()
    found = []
    for part in range(1, PARTS + 1):
        displacement = (wanted if part == PARTS else integrate(velocity * (part / PARTS)))[0].cpu().numpy()
        values = np.moveaxis(displacement, 0, -1) @ columns.T.astype(np.float32)
        found.append(Field(np.ascontiguousarray(values.reshape(*coarse.shape_kji, 3)), coarse))
    return tuple(found)
