"""The path of a deformation from the identity to its end, for display: the flow of a stationary velocity field."""

from __future__ import annotations

import torch

from ..geometry.fields import existing_axes, to_lps, to_voxels
from ..geometry.grids import on_grid, sampled
from ..types import Field
from .filters import gaussian
from .velocity import integrate

#: Number of time steps, and the most voxels of the coarse grid.
PARTS, VOXELS = 8, 120_000
#: The flow is accepted if its end is this close to the field, in voxels of the coarse grid (99th percentile).
NEAR = 0.35
#: Fixed-point iterations for the velocity.
ROUNDS = 10


@torch.no_grad()
def path_of(field: Field, device: torch.device) -> tuple[Field, ...]:
    """Compute ``exp(v t)`` at t = 1/8, ..., 1 for the stationary velocity v whose ``exp(v)`` is nearest to ``id + u``.

    v is found on a coarse grid by fixed-point iteration (a first-order form of Bossa and Olmos, 2008).

    Returns:
        Displacements in LPS mm on the coarse grid, the last one the field itself; empty if no velocity comes near,
        because the field folds or rotates too far.
    """
    coarse = sampled(field.grid, VOXELS)
    axes = existing_axes(field.grid)
    target = torch.from_numpy(to_voxels(on_grid(field, coarse), coarse, axes))[None].float().to(device)
    velocity = target.clone()
    for _ in range(ROUNDS):
        velocity += 0.7 * gaussian(target - integrate(velocity), [0.5] * len(axes))
    error = (integrate(velocity) - target).norm(dim=1)
    if not bool(torch.isfinite(error).all()) or float(error.flatten().quantile(0.99)) > NEAR:
        return ()
    fields = []
    for part in range(1, PARTS + 1):
        displacement = target if part == PARTS else integrate(velocity * (part / PARTS))
        fields.append(to_lps(displacement[0].cpu().numpy(), coarse, axes))
    return tuple(fields)
