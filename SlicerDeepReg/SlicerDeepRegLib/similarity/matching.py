"""Intensities of the moving image brought to those of the fixed one, by what lies on one another.

Matching the distributions of two images takes one tissue for another where they hold different amounts of them: a
person whose ventricles are large has more fluid. Where the images are about aligned, most voxels of a tissue lie on
the same tissue, so the median of the fixed intensities at the voxels of each moving intensity is that tissue's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: Intensities that are told apart, of 0..1.
BINS = 64
#: An intensity of fewer voxels than this, and than this part of all, is not looked at.
FEWEST_VOXELS, LEAST_PART = 5, 1e-4
#: From fewer intensities no curve is made.
FEWEST_BINS = 3
#: Root mean square, over voxels, of what the curve changes, below which intensities are alike already. Two copies of
#: one image reach 0.8 bins where a scale resamples them at other places; images of two people have 1.6 to 6.6.
ALIKE = 1 / BINS
#: Of the bias field: how bright a voxel has to be, the largest logarithm of the ratio that is not taken for another
#: tissue, how often that is decided, and the least part of a place that must be seen.
LEAST_BRIGHT, LARGEST_RATIO, ROUNDS, LEAST_SEEN = 0.1, 0.25, 3, 1e-3
#: An image is as many deviations of that smoothing long, at least. On images of 20 voxels a texture that had moved was
#: taken for a bias field, and both directions of a registration disagreed by 0.76 mm for 0.43.
FEWEST_SIGMA = 4.0


def matched(moving: torch.Tensor, fixed: torch.Tensor, aligned: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return the moving image with the intensities of the fixed one.

    Args:
        moving: any shape, 0..1.
        fixed, aligned: the fixed image, and the moving one as it lies on it; one shape, 0..1.
        counts: the same shape, above 0.5 where both are to be compared.

    Returns:
        As ``moving``. The map is monotone, keeps zero, and goes on with slope 1 beyond what was seen; the image itself
        where too little was, or where the intensities are alike.
    """
    import torch

    chosen = counts > 0.5
    bins = [(image[chosen] * BINS).long().clamp_(0, BINS - 1) for image in (aligned, fixed)]
    joint = torch.bincount(bins[0] * BINS + bins[1], minlength=BINS * BINS).reshape(BINS, BINS)
    known, medians, voxels = _curve(joint.cpu().numpy())
    if len(known) < FEWEST_BINS or np.average((medians - known) ** 2, weights=voxels) < ALIKE**2:
        return moving
    x = moving.new_tensor([0.0, *known, known[-1] + 1])
    y = moving.new_tensor([0.0, *medians, medians[-1] + 1])
    after = torch.bucketize(moving, x).clamp_(1, len(x) - 1)
    before = after - 1
    part = (moving - x[before]) / (x[after] - x[before])
    return y[before] + part * (y[after] - y[before])


def gain(fixed: torch.Tensor, aligned: torch.Tensor, counts: torch.Tensor, sigma_ijk: Sequence[float]) -> torch.Tensor:
    """Return by what smooth factor the fixed image is brighter than the moving one: their bias fields.

    The mean logarithm of the ratio around each place, of voxels that are about as bright in both: those where one
    tissue lies on another say nothing of a bias field, and are left out.

    Args:
        fixed, aligned: the fixed image, and the matched moving one as it lies on it; (1, 1, ...), 0..1.
        counts: the same shape, above 0.5 where both are to be compared.
        sigma_ijk: deviation in voxels along i, j(, k), over which a bias field is smooth.

    Returns:
        The same shape, 1 where too little was seen, and all over an image that is too small to tell a bias field from
        what moved.
    """
    import torch

    from ..warping.filters import gaussian

    if any(size < FEWEST_SIGMA * sigma for size, sigma in zip(fixed.shape[:1:-1], sigma_ijk)):
        return torch.ones_like(fixed)
    bright = ((counts > 0.5) & (fixed > LEAST_BRIGHT) & (aligned > LEAST_BRIGHT)).to(fixed.dtype)
    ratio = torch.log(fixed.clamp(min=LEAST_BRIGHT) / aligned.clamp(min=LEAST_BRIGHT))
    found = torch.zeros_like(ratio)
    for _ in range(ROUNDS):
        weight = bright * ((ratio - found).abs() < LARGEST_RATIO)
        found = gaussian(ratio * weight, sigma_ijk) / gaussian(weight, sigma_ijk).clamp(min=LEAST_SEEN)
    return torch.exp(found)


def _curve(joint: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the moving intensities seen, the rising curve nearest to the medians of the fixed ones, and the voxels.

    Args:
        joint: (BINS, BINS) voxels of each moving and each fixed intensity.
    """
    voxels = joint.sum(1)
    seen = np.flatnonzero(voxels > max(FEWEST_VOXELS, LEAST_PART * voxels.sum()))
    if not len(seen):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    cumulated = joint[seen].cumsum(1)
    half = voxels[seen] / 2
    place = (cumulated < half[:, None]).sum(1)
    rows = np.arange(len(seen))
    below = np.where(place > 0, cumulated[rows, place - 1], 0)
    medians = (place + (half - below) / joint[seen][rows, place]) / BINS
    return (seen + 0.5) / BINS, _rising(medians, voxels[seen]), voxels[seen]


def _rising(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rising values nearest to some (weighted least squares), by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many
    for mean, weight in zip(values.tolist(), weights.tolist()):
        block = (mean, float(weight), 1)
        while blocks and blocks[-1][0] > block[0]:
            last = blocks.pop()
            both = last[1] + block[1]
            block = ((last[0] * last[1] + block[0] * block[1]) / both, both, last[2] + block[2])
        blocks.append(block)
    return np.repeat([mean for mean, _, _ in blocks], [count for _, _, count in blocks])
