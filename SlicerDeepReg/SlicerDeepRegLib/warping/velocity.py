"""Stationary velocity fields: integrate one, and invert what came of it.

The flow of a smooth velocity is a diffeomorphism and the flow of its negative is the inverse, so
neither folding nor a search for the inverse arises (Arsigny et al. 2006, a log-Euclidean framework).
"""

from __future__ import annotations

import math

import torch

from .sample import compose


def integrate(
    velocity: torch.Tensor, largest_step: float = 0.5, squarings: int | None = None, outside: str = "border"
) -> torch.Tensor:
    """The displacement of ``exp(velocity)`` by scaling and squaring.

    Args:
        velocity: (B, n, ...) voxels for unit time, order i, j(, k).
        largest_step: voxels; the velocity is halved until no component is longer, then squared back.
        squarings: a fixed number of halvings instead, as networks have it.
        outside: as for ``warp``.

    Returns:
        (B, n, ...) voxels.
    """
    if squarings is None:
        largest = float(velocity.abs().max())
        squarings = max(0, math.ceil(math.log2(largest / largest_step))) if largest > 0 else 0
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = compose(displacement, displacement, outside)
    return displacement


def correct_inverse(displacement: torch.Tensor, inverse: torch.Tensor, rounds: int = 2) -> torch.Tensor:
    """Take the interpolation error out of an inverse that is nearly right.

    With ``(id + u) o (id + w) = id + r``, ``(id + w) o (id - r)`` is the inverse to second order in r:
    two compositions a round, no search.

    Args:
        displacement: u, (B, n, ...) voxels.
        inverse: w, the same.
        rounds: how often to correct.
    """
    for _ in range(rounds):
        residual = compose(displacement, inverse)
        inverse = compose(inverse, residual.neg_())
    return inverse
