"""Random numbers, noise and small motions that follow from a seed alone, made on the device that needs them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


class Rng:
    """The random numbers of one sample: the same seed gives the same ones on the same kind of device.

    Single numbers come from a generator on the CPU: to read them back from a GPU would stop it each time.

    Args:
        seed: of both generators.
        device: where tensors are made.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._large = torch.Generator(device).manual_seed(int(seed))
        self._single = torch.Generator().manual_seed(int(seed))

    def uniform(self, low: float, high: float) -> float:
        """Return a number between two limits."""
        return low + (high - low) * float(torch.rand((), generator=self._single))

    def gauss(self) -> float:
        """Return a number of the standard normal distribution."""
        return float(torch.randn((), generator=self._single))

    def chance(self, part: float) -> bool:
        """Return True with that probability."""
        return self.uniform(0, 1) < part

    def permutation(self, count: int) -> list[int]:
        """Return the numbers below ``count`` in random order."""
        return torch.randperm(count, generator=self._single).tolist()

    def normal(self, *size: int) -> torch.Tensor:
        """Return a tensor of the standard normal distribution, on the device."""
        return torch.randn(size, generator=self._large, device=self.device)

    def rand(self, *size: int) -> torch.Tensor:
        """Return a tensor of numbers between 0 and 1, on the device."""
        return torch.rand(size, generator=self._large, device=self.device)

    def noise(self, shape: Sequence[int], cell: float, channels: int = 1, smooth: bool = False) -> torch.Tensor:
        """Return noise of standard deviation 1, interpolated between random values at nodes.

        Args:
            shape: (K, J, I) or (J, I).
            cell: distance of the nodes, voxels; where they lie is random too.
            smooth: by a quadratic B-spline instead of linearly.

        Returns:
            (1, channels, ...).
        """
        reach, spread = (1.5, 0.55) if smooth else (1.0, 2 / 3)  # spread: mean of the squared weights, each axis
        weights = []
        for size in shape:
            place = torch.arange(size, device=self.device) / cell + self.uniform(0, 1) + reach
            nodes = torch.arange(math.ceil((size - 1) / cell + 1 + 2 * reach) + 1, device=self.device)
            t = (place[:, None] - nodes).abs()
            linear = (1 - t).clamp(min=0)
            spline = torch.where(t < 0.5, 0.75 - t.square(), 0.5 * (1.5 - t).clamp(min=0).square())
            weights.append(spline if smooth else linear)
        values = self.normal(1, channels, *(w.shape[1] for w in weights))
        for axis, w in enumerate(weights, start=2):  # a product of small matrices, one axis at a time
            values = (values.movedim(axis, -1) @ w.T).movedim(-1, axis)
        return values.contiguous() / spread ** (len(shape) / 2)

    def motion(self, n: int, degrees: float, scaling: float, shift: float) -> tuple[torch.Tensor, list[float]]:
        """Return a small affine motion, each of its numbers uniform up to the largest.

        Args:
            n: number of axes. degrees: of each rotation. scaling: of each axis, beside 1. shift: voxels.

        Returns:
            (n, n) matrix, double precision, and n shifts.
        """
        matrix = torch.eye(n, dtype=torch.float64)
        for a in range(n):
            for b in range(a):
                angle = math.radians(self.uniform(-degrees, degrees))
                turn = torch.eye(n, dtype=torch.float64)
                turn[a, a] = turn[b, b] = math.cos(angle)
                turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
                matrix = matrix @ turn
        scale = [1 + self.uniform(-scaling, scaling) for _ in range(n)]
        matrix = matrix @ torch.diag(torch.tensor(scale, dtype=torch.float64))
        return matrix, [self.uniform(-shift, shift) for _ in range(n)]


def seed_of(*numbers: int) -> int:
    """Return one seed from several numbers (seed, step, place in the batch), well mixed, in 0..2^62."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = ((mixed ^ (int(number) + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed ^= mixed >> 29
    return mixed % 2**62


def affine_displacement(
    matrix: torch.Tensor, shift: Sequence[float], shape: Sequence[int], device: torch.device
) -> torch.Tensor:
    """Compute the displacement of an affine motion about the middle c of the image: ``M (x - c) + t - (x - c)``.

    Args:
        matrix: M, (n, n), order i, j(, k).
        shift: t, voxels.
        shape: (K, J, I) or (J, I).

    Returns:
        (1, n, ...) voxels, order i, j(, k).
    """
    n = len(shape)
    lines = [torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2 for size in shape]
    centered = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1])  # order i, j(, k)
    change = (matrix - torch.eye(n, dtype=matrix.dtype)).tolist()  # as numbers: a GPU need not wait for them
    moved = [sum(row[b] * centered[b] for b in range(n)) + shift[a] for a, row in enumerate(change)]
    return torch.stack(moved)[None]


def robust_unit(image: torch.Tensor) -> torch.Tensor:
    """Scale each image of a batch so that its 0.1 and 99.9 percentiles are 0 and 1, and clamp it there."""
    flat = image.flatten(1)
    sample = flat[:, :: max(1, flat.shape[1] // 200_000)]
    low, high = torch.quantile(sample, sample.new_tensor([0.001, 0.999]), dim=1)  # one sort for both
    along = (-1, *[1] * (image.ndim - 1))
    return ((image - low.view(along)) / (high - low).clamp(min=1e-6).view(along)).clamp(0, 1)
