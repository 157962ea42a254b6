"""Compare many rigid transforms at once, by mutual information on few voxels: which are worth a closer look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from .pair import LinearPair

#: Bins of the histogram of each image.
BINS = 16
#: At least this part of the fixed voxels has to fall into the moving image, or of as many as fill that if it is small.
LEAST_INSIDE = 0.1
#: Samples that are taken at once: 40 MB.
AT_ONCE = 1_000_000


def information(pair: LinearPair, candidates: Sequence[sitk.Transform], voxels: int) -> np.ndarray:
    """Return the mutual information (nats) of the images at each of some linear transforms between their frames.

    By histograms of the fixed voxels and the moving intensities there (linear interpolation), of those that fall into
    the moving image.

    Args:
        voxels: about how many of the fixed image are compared.

    Returns:
        (N,), higher is better; -inf where too little of the images lies on one another.
    """
    import torch
    import torch.nn.functional as F

    fixed, moving = pair.at(voxels)
    chosen = _counts(fixed, pair.fixed_mask)
    points, bins = _points(fixed)[chosen.ravel()], _bins(sitk.GetArrayFromImage(fixed)[chosen])
    if not len(points):
        return np.full(len(candidates), -np.inf)
    layers = [sitk.GetArrayFromImage(moving), _counts(moving, pair.moving_mask)]
    volume = torch.from_numpy(np.stack(layers)[None].astype(np.float32))
    size = np.array(moving.GetSize())
    held = np.prod(size * moving.GetSpacing()) / np.prod(fixed.GetSpacing())  # fixed voxels in the moving image
    least = LEAST_INSIDE * min(len(points), float(held))
    found = []
    for some in np.array_split(np.arange(len(candidates)), 1 + len(candidates) * len(points) // AT_ONCE):
        there = np.stack([_indices(moving, candidates[number], points) for number in some])
        inside = ((there >= 0) & (there <= size - 1)).all(-1)
        place = torch.from_numpy((2 * there / np.maximum(size - 1, 1) - 1).astype(np.float32))[None]
        if len(size) == 3:
            place = place[:, :, :, None]
        sampled, counts = F.grid_sample(volume, place, align_corners=True)[0].reshape(2, *inside.shape).numpy()
        found += [_information(bins[c], _bins(s[c]), least) for s, c in zip(sampled, inside & (counts > 0.5))]
    return np.array(found)


def _counts(image: sitk.Image, mask: sitk.Image | None) -> np.ndarray:
    """Return which voxels of an image a mask lets count, slowest axis first."""
    if mask is None:
        return np.ones(image.GetSize()[::-1], bool)
    still = sitk.Transform(image.GetDimension(), sitk.sitkIdentity)
    there = sitk.Resample(mask, image, still, sitk.sitkNearestNeighbor, 0.0)
    counts: np.ndarray = sitk.GetArrayFromImage(there) > 0
    return counts


def _points(image: sitk.Image) -> np.ndarray:
    """Return where the voxels lie in the frame of an image, (N, n) mm, the fastest axis first."""
    indices = np.indices(image.GetSize()[::-1]).reshape(image.GetDimension(), -1)[::-1].T
    return indices @ _axes(image).T + np.array(image.GetOrigin())


def _indices(image: sitk.Image, transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    """Return the continuous voxel indices of an image, (N, n), to which a linear transform takes points."""
    n = points.shape[1]
    matrix, center = np.array(transform.GetMatrix()).reshape(n, n), np.array(transform.GetCenter())
    there = (points - center) @ matrix.T + center + np.array(transform.GetTranslation())
    indices: np.ndarray = (there - np.array(image.GetOrigin())) @ np.linalg.inv(_axes(image)).T
    return indices


def _axes(image: sitk.Image) -> np.ndarray:
    n = image.GetDimension()
    axes: np.ndarray = np.array(image.GetDirection()).reshape(n, n) * np.array(image.GetSpacing())
    return axes


def _bins(values: np.ndarray) -> np.ndarray:
    return np.clip((values * BINS).astype(np.int64), 0, BINS - 1)


def _information(fixed: np.ndarray, moving: np.ndarray, least: float) -> float:
    """Return the mutual information of two lists of bins; -inf where they are too short, or empty."""
    if len(fixed) < max(1.0, least):
        return -np.inf
    joint = np.bincount(fixed * BINS + moving, minlength=BINS * BINS).reshape(BINS, BINS) / len(fixed)
    expected = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    shown = joint > 0
    return float((joint[shown] * np.log(joint[shown] / expected[shown])).sum())
