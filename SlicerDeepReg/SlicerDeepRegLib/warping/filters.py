"""Separable filters and stencils on (B, C, K, J, I) or (B, C, J, I) tensors.

All are sums of shifted views along one axis at a time. On a CPU this is several times faster than a
convolution or a pooling layer, and on every device it is the same arithmetic.
"""

from __future__ import annotations

import math
from typing import List, Sequence

import torch


def box_sum(x: torch.Tensor, radius_ijk: Sequence[int]) -> torch.Tensor:
    """The sum over a window of 2 r + 1 voxels along each axis; voxels outside count as zero.

    A window of n is summed from windows of 1, 2, 4, ...: about 2 log2(n) additions, not n.
    """
    for axis, radius in _per_axis(x, radius_ijk):
        if radius:
            x = _box_sum_along(x, axis, radius)
    return x


def _box_sum_along(x: torch.Tensor, axis: int, radius: int) -> torch.Tensor:
    length = x.shape[axis]
    margin_shape = list(x.shape)
    margin_shape[axis] = radius
    margin = x.new_zeros(margin_shape)
    window = torch.cat([margin, x, margin], axis)  # sums over `width` voxels, from each position on
    total, done, width, left = None, 0, 1, 2 * radius + 1
    while left:
        if left & 1:
            part = window.narrow(axis, done, length)
            total = part.clone() if total is None else total.add_(part)
            done += width
        left >>= 1
        if left:
            window = window.narrow(axis, 0, window.shape[axis] - width) + window.narrow(
                axis, width, window.shape[axis] - width
            )
            width *= 2
    return total


def gaussian(x: torch.Tensor, sigma_ijk: Sequence[float]) -> torch.Tensor:
    """Gaussian smoothing, sigma in voxels along each axis (0 leaves it), cut at 3 sigma, border repeated."""
    for axis, sigma in _per_axis(x, sigma_ijk):
        if sigma < 0.2 or x.shape[axis] == 1:
            continue
        radius = max(1, math.ceil(3 * sigma))
        weights = [math.exp(-0.5 * (n / sigma) ** 2) for n in range(radius + 1)]
        norm = weights[0] + 2 * sum(weights[1:])
        length = x.shape[axis]
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, length - 1, 1)
        wide = torch.cat([first] * radius + [x] + [last] * radius, axis)
        result = wide.narrow(axis, radius, length) * (weights[0] / norm)
        for n in range(1, radius + 1):
            pair = wide.narrow(axis, radius - n, length) + wide.narrow(axis, radius + n, length)
            result.add_(pair, alpha=weights[n] / norm)
        x = result
    return x


def central_difference(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Half the difference of the two neighbours along ``axis``; zero at the two borders."""
    result = torch.zeros_like(x)
    length = x.shape[axis]
    if length > 2:
        inner = result.narrow(axis, 1, length - 2)
        torch.sub(x.narrow(axis, 2, length - 2), x.narrow(axis, 0, length - 2), out=inner)
        inner.mul_(0.5)
    return result


def laplacian(x: torch.Tensor, weight_ijk: Sequence[float]) -> torch.Tensor:
    """Sum over the axes of weight times the second difference; nothing flows through the border.

    It is minus the gradient of half the sum of weighted squared forward differences.
    """
    result = torch.zeros_like(x)
    for axis, weight in _per_axis(x, weight_ijk):
        length = x.shape[axis]
        if length < 2:
            continue
        step = x.narrow(axis, 1, length - 1) - x.narrow(axis, 0, length - 1)
        result.narrow(axis, 0, length - 1).add_(step, alpha=weight)
        result.narrow(axis, 1, length - 1).sub_(step, alpha=weight)
    return result


def _per_axis(x: torch.Tensor, values_ijk: Sequence[float]) -> List:
    """(tensor axis, value) for i, j(, k)."""
    return [(x.ndim - 1 - c, values_ijk[c]) for c in range(x.ndim - 2)]
