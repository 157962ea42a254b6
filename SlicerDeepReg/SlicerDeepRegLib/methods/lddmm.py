"""LDDMM: large deformations along the shortest path of velocities that change in time.

Beg MF, Miller MI, Trouve A, Younes L. Computing large deformation metric mappings via geodesic flows of
diffeomorphisms. International Journal of Computer Vision 2005, 61: 139-157, doi:10.1023/B:VISI.0000043755.93987.aa.

Energy: ``int_0^1 |L v_t|^2 dt + 1/sigma^2 |I0 o phi_{1,0} - I1|^2``, I0 the moving and I1 the fixed image. Its
gradient in the space of velocities is ``2 v_t - K (2/sigma^2 |D phi_{t,1}| (J0_t - J1_t) grad J0_t)`` with ``J0_t`` for
``I0 o phi_{t,0}``, ``J1_t = I1 o phi_{t,1}`` and ``K = (L* L)^-1``: of ``L = gamma - alpha laplace`` (a Sobolev
kernel), or Gaussian. ``phi_{1,0}`` is the registration and ``phi_{0,1}`` its inverse, both from the same velocities.

Chosen here, where the paper leaves it open: maps are integrated by steps of 1/T backwards along the velocities (semi-
Lagrangian), K is applied by a fast Fourier transform of the volume mirrored at its borders, steps are halved when the
energy grows, and scales go from coarse to fine with the velocities carried over.
"""

from __future__ import annotations

import math
from typing import List, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F

from ..catalog import Card
from ..geometry.grids import level_size
from ..types import Progress
from ..warping.filters import central_difference
from ..warping.sample import compose, resize, warp
from .engine import Engine, arrays

#: Reductions and parts of the iterations by preset, coarsest first.
LEVELS = {
    "fast": ((8, 1.0), (4, 1.0), (2, 0.5)),
    "standard": ((8, 1.0), (4, 1.0), (2, 1.0)),
    "thorough": ((8, 1.0), (4, 1.0), (2, 1.0), (1, 0.5)),
}


class Lddmm(Engine):
    """The card's configuration names the kernel: "sobolev" or "gaussian"."""

    bytes_per_voxel = 900
    on_device = True

    @torch.no_grad()
    def find(self, pair, device: torch.device, report, settings):
        fixed, moving, inside, _ = arrays(pair)
        images = [torch.from_numpy(one)[None, None].to(device) for one in (moving, fixed, inside.astype(np.float32))]
        whole = images[1].shape[2:]
        kernel = self.card.configuration.get("kernel", "sobolev")
        velocities, curve = None, []
        plan = LEVELS[pair.preset]
        for number, (reduction, part) in enumerate(plan):
            shape = _shape(pair.grid, reduction, whole)
            small = [F.interpolate(one, size=shape, mode="area") for one in images]
            if velocities is None:
                velocities = [torch.zeros((1, len(shape), *shape), device=device) for _ in range(settings.times)]
            else:
                velocities = [resize(v, shape) for v in velocities]
            smoother = Smoother(shape, kernel, settings, device)

            def tell(fraction: float, loss: float, number=number, reduction=reduction) -> None:
                report(Progress(0.95 * (number + fraction) / len(plan), f"scale 1/{reduction}", loss))

            iterations = max(1, round(settings.iterations * part))
            velocities = descend(small, velocities, smoother, iterations, settings, tell, curve)
        forth, back = flows([resize(v, whole) for v in velocities])
        return forth, back, {"energy": curve[-1] if curve else 0.0, "steps": len(curve)}, curve


def _shape(grid, reduction: int, whole: Sequence[int]) -> Tuple[int, ...]:
    size = [n for n in level_size(grid, reduction)[::-1] if n > 1]
    return tuple(size) if len(size) == len(whole) else tuple(max(2, math.ceil(n / reduction)) for n in whole)


class Smoother:
    """K, and the energy of a velocity, on one grid; in voxels."""

    def __init__(self, shape: Sequence[int], kernel: str, settings, device: torch.device) -> None:
        self.shape = tuple(shape)
        frequencies = []
        for axis, size in enumerate(shape):
            wide = 2 * size  # mirrored
            count = wide // 2 + 1 if axis == len(shape) - 1 else wide
            step = torch.arange(count, dtype=torch.float32, device=device) * (2 * math.pi / wide)
            along = [1] * len(shape)
            along[axis] = count
            frequencies.append((2 - 2 * torch.cos(step)).view(along))
        squared = sum(frequencies)  # minus the Laplacian
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


def flows(velocities: List[torch.Tensor]) -> Tuple[torch.Tensor, torch.Tensor]:
    """Displacements of phi_{1,0} (fixed to moving) and of phi_{0,1}, from velocities of equal steps in time."""
    return backwards(velocities)[-1], forwards(velocities)[0]


def backwards(velocities: List[torch.Tensor]) -> List[torch.Tensor]:
    """Displacements of phi_{t,0} for t = 0, 1/T, ..., 1: where what is at x at time t was at time 0."""
    found = [torch.zeros_like(velocities[0])]
    for velocity in velocities:
        found.append(compose(found[-1], -velocity / len(velocities)))
    return found


def forwards(velocities: List[torch.Tensor]) -> List[torch.Tensor]:
    """Displacements of phi_{t,1} for t = 0, 1/T, ..., 1: where what is at x at time t will be at time 1."""
    found = [torch.zeros_like(velocities[0])]
    for velocity in reversed(velocities):
        found.append(compose(found[-1], velocity / len(velocities)))
    return found[::-1]


def descend(images, velocities, smoother: Smoother, iterations: int, settings, tell, curve: List[float]):
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


def _energy(images, velocities, momenta, settings) -> float:
    """<v, K^-1 v> and the squared difference, each a mean over voxels."""
    moving, fixed, inside = images
    difference = (warp(moving, backwards(velocities)[-1]) - fixed).square().mul(inside).sum() / inside.sum().clamp_min(
        1
    )
    length = sum((v * m).sum() for v, m in zip(velocities, momenta)) / (len(velocities) * fixed.numel())
    return float(length + difference / settings.sigma**2)


def _pulls(images, velocities, settings) -> List[torch.Tensor]:
    """``2/sigma^2 |D phi_{t,1}| (J0_t - J1_t) grad J0_t`` for each time, negative where the energy falls."""
    moving, fixed, inside = images
    back, forth = backwards(velocities), forwards(velocities)
    found = []
    for t in range(len(velocities)):
        there, here = warp(moving, back[t + 1]), warp(fixed, forth[t + 1])
        weight = warp(inside, forth[t + 1])
        gradient = torch.cat([central_difference(there, there.ndim - 1 - c) for c in range(there.ndim - 2)], 1)
        scale = 2 / settings.sigma**2 * determinant(forth[t + 1]) * (there - here) * weight
        found.append(scale * gradient)
    return found


def determinant(displacement: torch.Tensor) -> torch.Tensor:
    """(B, 1, ...) the Jacobian of id + u by central differences."""
    n = displacement.shape[1]
    rows = [central_difference(displacement, displacement.ndim - 1 - c) for c in range(n)]  # d u / d x_c
    matrix = [[rows[c][:, r] + (1.0 if r == c else 0.0) for c in range(n)] for r in range(n)]
    if n == 2:
        return (matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0])[:, None]
    a, b, c = matrix
    found = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    return found[:, None]


def for_card(card: Card) -> Lddmm:
    """The method of that card."""
    return Lddmm(card)
