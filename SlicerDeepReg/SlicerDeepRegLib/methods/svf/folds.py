"""Keep a product of flows from folding on its grid."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import torch

from ...types import Grid
from ...warping.filters import box_sum, gaussian
from ...warping.sample import compose
from ...warping.velocity import integrate
from .pyramid import Deformation
from .settings import SVFSettings


def fold_free(
    before: Deformation | None,
    velocity: torch.Tensor,
    grid: Grid,
    settings: SVFSettings,
    rounds: int = 15,
    window: torch.Tensor | None = None,
) -> tuple[Deformation, int]:
    """Compose the factor; where the whole would compress too far, smooth the factor and try again.

    In the continuum a product of flows cannot fold; sampled on a grid it can, where the flow is too
    sharp for the grid. Returns the deformation and the rounds of smoothing that were needed.

    Args:
        window: (1, 1, ...) by which a factor that is smoothed is multiplied, so that it stays none where this is 0.
    """
    for smoothed in range(rounds + 1):
        whole = forward(before, velocity)
        low = min_jacobian(whole) < settings.min_jacobian
        if smoothed == rounds or not bool(low.any()):
            break
        reach = settings.repair_reach * 2 ** (smoothed // 5)
        n = velocity.shape[1]
        around = gaussian(box_sum(low.to(velocity.dtype), [reach] * n).clamp_(max=1), [0.375 * reach] * n)
        velocity = velocity + around * (gaussian(velocity, [0.375 * reach] * n) - velocity)
        if window is not None:
            velocity = velocity * window
    return Deformation(whole, backward(before, velocity), grid), smoothed


def forward(before: Deformation | None, velocity: torch.Tensor) -> torch.Tensor:
    """Return the displacement after one more factor, composed on the right."""
    factor = integrate(velocity, 0.25)
    return factor if before is None else compose(before.displacement, factor)


def backward(before: Deformation | None, velocity: torch.Tensor) -> torch.Tensor:
    """Return its inverse."""
    factor = integrate(-velocity, 0.25)
    return factor if before is None else compose(factor, before.inverse)


def min_jacobian(displacement: torch.Tensor) -> torch.Tensor:
    """Return the smallest of the determinants of one-sided differences around each voxel, (1, 1, ...).

    There are four in 2D and eight in 3D, as in the digital criterion (Liu et al., IJCV 2024); at the border a
    difference that does not exist counts as no change. ``displacement`` is (1, n, ...) voxels.
    """
    return functools.reduce(torch.minimum, _one_sided_determinants(displacement))


def _one_sided_determinants(displacement: torch.Tensor) -> Iterator[torch.Tensor]:
    n = displacement.shape[1]
    edges = [[_one_sided(displacement, c, ahead) for ahead in (True, False)] for c in range(n)]
    for first, second in itertools.product(edges[0], edges[1]):
        if n == 2:
            yield first[:, :1] * second[:, 1:] - first[:, 1:] * second[:, :1]
        else:
            normal = torch.linalg.cross(first, second, dim=1)
            for third in edges[2]:
                yield (normal * third).sum(1, keepdim=True)


def _one_sided(displacement: torch.Tensor, c: int, ahead: bool) -> torch.Tensor:
    """(1, n, ...): where the step of one voxel along axis c leads, to the next voxel or from the one before."""
    axis = displacement.ndim - 1 - c
    length = displacement.shape[axis]
    step = torch.zeros_like(displacement)
    difference = displacement.narrow(axis, 1, length - 1) - displacement.narrow(axis, 0, length - 1)
    step.narrow(axis, 0 if ahead else 1, length - 1).copy_(difference)
    step[:, c] += 1
    return step
