"""Similarity of a warped image to the fixed one.

Each class takes the fixed image once, keeps what depends on it alone, and is then called with warped
images. Values are means over the voxels of the mask. All are differentiable in the warped image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import torch

from ..warping.filters import WindowMeans, box_sum, gaussian


class LNCC:
    """Negative squared local normalized cross-correlation (LNCC), in -1..0.

    ``-mean((cov + e)^2 / ((var_fixed + e) (var_warped + e)))`` over windows of 2 r + 1 voxels along each
    axis. At the border the window holds only the voxels that exist. The sign of the correlation does not
    count. With e in all three locations two flat windows agree and the best is where the images are equal;
    with e in the variances alone it would be where the warped image has more contrast.

    Args:
        fixed: (B, 1, ...), intensities of about 0..1.
        radius_ijk: voxels along i, j(, k).
        mask: (B, 1, ...) weights of the windows by their center, or None.
        epsilon: e, in squared intensities.
        stride_ijk: windows are centered on every so many voxels along each axis; every voxel when left out. Windows
            that overlap by most of their width say nearly the same. Every voxel where the mask lies between centers.

    Source: Avants et al. 2008 (symmetric diffeomorphic registration with cross-correlation);
    the squared form is VoxelMorph's. The gradient is written out below: the means of three images forward
    and of three backward, where differentiating the forward pass would take ten.
    """

    def __init__(
        self,
        fixed: torch.Tensor,
        radius_ijk: Sequence[int],
        mask: torch.Tensor | None = None,
        epsilon: float = 1e-5,
        stride_ijk: Sequence[int] | None = None,
    ) -> None:
        self.fixed, self.epsilon = fixed, epsilon
        stride_ijk = stride_ijk or [1] * len(radius_ijk)
        self.windows = WindowMeans(fixed.shape[2:], radius_ijk, stride_ijk)
        if mask is not None and 4 * self.windows.centers(mask).mean() < mask.mean():  # a thin one, between the centers
            self.windows = WindowMeans(fixed.shape[2:], radius_ijk, [1] * len(radius_ijk))
        means = self.windows(torch.cat([fixed, fixed * fixed], 1))
        self.mean = means[:, :1].contiguous()
        self.variance = (means[:, 1:] - self.mean**2).clamp_(min=0) + epsilon
        weight = torch.ones_like(self.mean) if mask is None else self.windows.centers(mask)
        self.weight = weight / weight.sum()

    def __call__(self, warped: torch.Tensor) -> torch.Tensor:
        return _LNCCFunction.apply(warped, self)


class _LNCCFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, warped: torch.Tensor, loss: LNCC) -> torch.Tensor:
        means = loss.windows(torch.cat([warped, warped * warped, warped * loss.fixed], 1))
        mean, square, product = means[:, :1], means[:, 1:2], means[:, 2:]
        variance = square.addcmul_(mean, mean, value=-1).clamp_(min=0).add_(loss.epsilon)
        covariance = product.addcmul_(mean, loss.mean, value=-1).add_(loss.epsilon)
        # With r^2 = cov^2 / (var_f var_w): d r^2 / d cov = a, d r^2 / d var_w = -b / 2.
        a = covariance / (loss.variance * variance) * loss.weight
        a.mul_(2)
        value = -0.5 * (a * covariance).sum()
        b = a * covariance / variance
        ctx.save_for_backward(warped, mean, a, b)
        ctx.loss = loss
        return value

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        warped, mean, a, b = ctx.saved_tensors
        loss = ctx.loss
        spread = loss.windows.adjoint(torch.cat([a, b, a * loss.mean - b * mean], 1))
        gradient = spread[:, 2:] + warped * spread[:, 1:2] - loss.fixed * spread[:, :1]
        return gradient * upstream, None


class MSE:
    """Mean squared difference, divided by the squared ``scale``: 0 is perfect.

    Half of it, with ``scale`` the standard deviation of the noise, is a Gaussian negative log-likelihood.

    Args:
        fixed: (B, C, ...).
        scale: in intensities.
        mask: (B, 1, ...) weights, or None.
    """

    def __init__(self, fixed: torch.Tensor, scale: float = 1.0, mask: torch.Tensor | None = None) -> None:
        self.fixed = fixed
        weight = torch.ones_like(fixed[:, :1]) if mask is None else mask
        self.weight = weight / weight.sum() / scale**2

    def __call__(self, warped: torch.Tensor) -> torch.Tensor:
        return ((warped - self.fixed) ** 2 * self.weight).sum()


class SSIM:
    """SSIM, 1 where the images are equal: Gaussian windows of 11 voxels (sigma 1.5), C1 = 0.01^2, C2 = 0.03^2.

    Args:
        fixed: (B, 1, ...), intensities of 0..1.
        mask: (B, 1, ...) weights of the windows by their center, or None.

    Source: Wang et al., IEEE Trans Image Process 2004. At the border of the image its last voxel is repeated.
    """

    SIGMA, C1, C2 = 1.5, 0.01**2, 0.03**2

    def __init__(self, fixed: torch.Tensor, mask: torch.Tensor | None = None) -> None:
        self.fixed, self.mean = fixed, self._smooth(fixed)
        self.variance = self._smooth(fixed * fixed) - self.mean**2
        weight = torch.ones_like(fixed) if mask is None else mask
        self.weight = weight / weight.sum()

    def _smooth(self, image: torch.Tensor) -> torch.Tensor:
        return gaussian(image, [self.SIGMA] * (image.ndim - 2))

    def __call__(self, warped: torch.Tensor) -> torch.Tensor:
        mean = self._smooth(warped)
        variance = self._smooth(warped * warped) - mean**2
        covariance = self._smooth(warped * self.fixed) - mean * self.mean
        light = (2 * mean * self.mean + self.C1) / (mean**2 + self.mean**2 + self.C1)
        return (light * (2 * covariance + self.C2) / (variance + self.variance + self.C2) * self.weight).sum()


class WeightedSum:
    """The sum of losses, each with its weight."""

    def __init__(self, *weighted: tuple[float, Callable[[torch.Tensor], torch.Tensor]]) -> None:
        self.weighted = weighted

    def __call__(self, warped: torch.Tensor) -> torch.Tensor:
        terms = [weight * loss(warped) for weight, loss in self.weighted]
        return sum(terms[1:], terms[0])


def mind_ssc(image: torch.Tensor, radius: int = 1, dilation: int = 2) -> torch.Tensor:
    """Compute the modality-independent descriptor with self-similarity context (MIND-SSC).

    Args:
        image: (B, 1, K, J, I) or (B, 1, J, I).
        radius: of the patch, voxels.
        dilation: distance of the neighbors, voxels.

    Returns:
        (B, C, ...) in 0..1, C = 12 in 3D (pairs of the six neighbors that are sqrt 2 apart), 4 in 2D.

    Source: Heinrich et al., MICCAI 2013. exp(-(d - min d) / v), v the mean over channels, clamped to
    0.001..1000 of its mean over the image.
    """
    axes = range(2, image.ndim)
    neighbors = [(axis, sign * dilation) for axis in axes for sign in (-1, 1)]
    shifted = [_shifted(image, axis, step) for axis, step in neighbors]
    radius_ijk = [radius] * (image.ndim - 2)
    distances = [
        box_sum((shifted[m] - shifted[n]) ** 2, radius_ijk)
        for m in range(len(neighbors))
        for n in range(m)
        if neighbors[m][0] != neighbors[n][0]
    ]
    distance = torch.cat(distances, 1)
    distance = distance - distance.amin(1, keepdim=True)
    variance = distance.mean(1, keepdim=True)
    middle = variance.mean(tuple(range(1, image.ndim)), keepdim=True).clamp(min=1e-12).detach()
    variance = variance.clamp(middle * 1e-3, middle * 1e3)
    return torch.exp(-distance / variance)


def _shifted(image: torch.Tensor, axis: int, step: int) -> torch.Tensor:
    """Return the image moved by ``step`` voxels along an axis, border repeated."""
    length = image.shape[axis]
    index = (torch.arange(length, device=image.device) + step).clamp(0, length - 1)
    return image.index_select(axis, index)
