"""The solver of LDDMM; see the head of the package."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ...geometry.grids import level_size
from ...types import Grid
from ...warping.filters import central_difference
from ...warping.sample import compose, resize, warp
from ..base import Context
from ..engine import StraightPair
from . import LddmmSettings


@torch.no_grad()
def solve(
    pair: StraightPair,
    grid: Grid,
    plan: Sequence[tuple[int, float]],
    kernel: str,
    settings: LddmmSettings,
    context: Context,
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Find the path of velocities, scale by scale.

    Args:
        grid: the working grid.
        plan: reduction and part of the iterations of each scale, coarsest first.

    Returns:
        phi_{1,0} and phi_{0,1} as displacements, (1, n, ...) voxels, and the energy at each iteration.
    """
    device = torch.device(context.device)
    images = pair.tensors(device)
    whole = images[1].shape[2:]
    velocities: list[torch.Tensor] | None = None
    curve: list[float] = []
    for number, (reduction, part) in enumerate(plan):
        shape = _shape(grid, reduction, whole)
        small = [F.interpolate(image, size=shape, mode="area") for image in images]
        if velocities is None:
            velocities = [torch.zeros((1, len(shape), *shape), device=device) for _ in range(settings.times)]
        else:
            velocities = [resize(v, shape) for v in velocities]
        smoother = Smoother(shape, kernel, settings, device)

        def tell(fraction: float, loss: float, number: int = number, reduction: int = reduction) -> None:
            context.report(0.95 * (number + fraction) / len(plan), f"scale 1/{reduction}", loss)

        iterations = max(1, round(settings.iterations * part))
        velocities = descend(small, velocities, smoother, iterations, settings, tell, curve)
    if velocities is None:
        raise ValueError("a plan needs at least one scale")
    forth, back = flows([resize(v, whole) for v in velocities])
    return forth, back, curve


def _shape(grid: Grid, reduction: int, whole: Sequence[int]) -> tuple[int, ...]:
    size = [n for n in level_size(grid, reduction)[::-1] if n > 1]
    return tuple(size) if len(size) == len(whole) else tuple(max(2, math.ceil(n / reduction)) for n in whole)


class Smoother:
    """K, and the energy of a velocity, on one grid; in voxels."""

    def __init__(self, shape: Sequence[int], kernel: str, settings: LddmmSettings, device: torch.device) -> None:
        self.shape = tuple(shape)
        frequencies = []
        for axis, size in enumerate(shape):
            wide = 2 * size  # mirrored
            count = wide // 2 + 1 if axis == len(shape) - 1 else wide
            step = torch.arange(count, dtype=torch.float32, device=device) * (2 * math.pi / wide)
            along = [1] * len(shape)
            along[axis] = count
            frequencies.append((2 - 2 * torch.cos(step)).view(along))
        squared = sum(frequencies[1:], frequencies[0])  # minus the Laplacian
        if kernel == "gaussian":
            self.transfer = torch.exp(-0.5 * settings.width**2 * squared)
        else:
            self.transfer = 1 / (1 + settings.alpha * squared) ** 2  # gamma is 1: its scale is sigma's

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """K x."""
        axes = tuple(range(2, x.ndim))
        wide = x
        for axis in axes:
            wide = torch.cat([wide, wide.flip(axis)], axis)
        found = torch.fft.irfftn(torch.fft.rfftn(wide, dim=axes) * self.transfer, s=wide.shape[2:], dim=axes)
        for axis in axes:
            found = found.narrow(axis, 0, x.shape[axis])
        return found


def flows(velocities: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return displacements of phi_{1,0} (fixed to moving) and of phi_{0,1}, from velocities of equal steps in time."""
    return backwards(velocities)[-1], forwards(velocities)[0]


def backwards(velocities: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return displacements of phi_{t,0} for t = 0, 1/T, ..., 1: where what is at x at time t was at time 0."""
    found = [torch.zeros_like(velocities[0])]
    for velocity in velocities:
        found.append(compose(found[-1], -velocity / len(velocities)))
    return found


def forwards(velocities: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return displacements of phi_{t,1} for t = 0, 1/T, ..., 1: where what is at x at time t will be at time 1."""
    found = [torch.zeros_like(velocities[0])]
    for velocity in reversed(velocities):
        found.append(compose(found[-1], velocity / len(velocities)))
    return found[::-1]


def descend(
    images: Sequence[torch.Tensor],
    velocities: list[torch.Tensor],
    smoother: Smoother,
    iterations: int,
    settings: LddmmSettings,
    tell: Callable[[float, float], None],
    curve: list[float],
) -> list[torch.Tensor]:
    """Lower the energy by gradient steps of at most ``settings.step`` voxels; halved when it grows."""
    step, momenta = settings.step, [torch.zeros_like(v) for v in velocities]
    energy = _energy(images, velocities, momenta, settings)
    for number in range(iterations):
        pulls = _pulls(images, velocities, settings)
        directions = [2 * m - p for m, p in zip(momenta, pulls)]  # K of it is the gradient
        moves = [smoother(d) for d in directions]
        longest = max(float(move.abs().max()) for move in moves)
        if longest == 0:
            break
        while True:
            size = step / longest
            tried = [v - size * move for v, move in zip(velocities, moves)]
            carried = [m - size * d for m, d in zip(momenta, directions)]
            after = _energy(images, tried, carried, settings)
            if after <= energy or step < 0.002:
                break
            step *= 0.5
        if after > energy:
            break
        velocities, momenta, gain, energy = tried, carried, energy - after, after
        curve.append(energy)
        tell((number + 1) / iterations, energy)
        if gain < 1e-4 * abs(energy):
            break
        step = min(step * 1.2, settings.step)
    return velocities


def _energy(
    images: Sequence[torch.Tensor],
    velocities: list[torch.Tensor],
    momenta: list[torch.Tensor],
    settings: LddmmSettings,
) -> float:
    """<v, K^-1 v> and the squared difference, each a mean over voxels."""
    moving, fixed, inside = images
    difference = (warp(moving, backwards(velocities)[-1]) - fixed).square().mul(inside).sum() / inside.sum().clamp_min(
        1
    )
    length = sum((v * m).sum() for v, m in zip(velocities, momenta)) / (len(velocities) * fixed.numel())
    return float(length + difference / settings.sigma**2)


def _pulls(
    images: Sequence[torch.Tensor], velocities: list[torch.Tensor], settings: LddmmSettings
) -> list[torch.Tensor]:
    """``2/sigma^2 |D phi_{t,1}| (J0_t - J1_t) grad J0_t`` for each time, negative where the energy falls."""
    moving, fixed, inside = images
    back, forth = backwards(velocities), forwards(velocities)
    found = []
    share = fixed.numel() / float(inside.sum().clamp_min(1))  # the difference is a mean over what counts
    for t in range(len(velocities)):
        there, here = warp(moving, back[t + 1]), warp(fixed, forth[t + 1])
        weight = warp(inside, forth[t + 1])
        gradient = torch.cat([central_difference(there, there.ndim - 1 - c) for c in range(there.ndim - 2)], 1)
        scale = 2 * share / settings.sigma**2 * determinant(forth[t + 1]) * (there - here) * weight
        found.append(scale * gradient)
    return found


def determinant(displacement: torch.Tensor) -> torch.Tensor:
    """Return the Jacobian of id + u by central differences, (B, 1, ...); ``displacement`` is (B, n, ...) voxels."""
    n = displacement.shape[1]
    rows = [central_difference(displacement, displacement.ndim - 1 - c) for c in range(n)]  # d u / d x_c
    matrix = [[rows[c][:, r] + (1.0 if r == c else 0.0) for c in range(n)] for r in range(n)]
    if n == 2:
        return (matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0])[:, None]
    a, b, c = matrix
    found = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    return found[:, None]
