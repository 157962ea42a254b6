"""Fill what an image shows and the other one lacks, so that no window that touches it compares it.

The values around go on into it, more smoothly the deeper (normalized convolution: Knutsson and Westin, CVPR 1993,
doi:10.1109/CVPR.1993.341081). Only what methods compare is filled; what people see is not.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..types import Image

#: Deviations of the Gaussians in voxels, one after the other, and from which part of known voxels on a value is taken.
SIGMAS, LEAST_KNOWN = (1.5, 3.0, 6.0, 12.0, 24.0), 0.05
#: Voxels around what is filled that are looked at.
MARGIN = 24


def filled(image: Image, excluded: np.ndarray | None) -> Image:
    """Return an image whose excluded voxels are filled from around them.

    Args:
        excluded: (K, J, I) bool on its grid, or None.
    """
    if excluded is None or not excluded.any() or excluded.all():
        return image
    where = np.argwhere(excluded)
    low, high = np.maximum(where.min(0) - MARGIN, 0), np.minimum(where.max(0) + 1 + MARGIN, excluded.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high))
    values, open_ = image.values[box].astype(np.float32), excluded[box].copy()
    known = (~open_).astype(np.float32)
    masked = values * known
    for sigma in SIGMAS:
        weight = _smooth(known, sigma)
        take = open_ & (weight > (LEAST_KNOWN if sigma < SIGMAS[-1] else 0))
        values[take] = (_smooth(masked, sigma)[take] / weight[take]).astype(np.float32)
        open_ &= ~take
    values[open_] = float(np.median(image.values[~excluded]))
    whole = image.values.astype(np.float32)
    whole[box] = values
    return Image(whole, image.grid, image.name, image.dimensions, image.notes, image.files)


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    kji = [n for n in values.shape if n > 1]
    image = sitk.GetImageFromArray(values.reshape(kji))
    smooth: np.ndarray = sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, sigma**2, int(6 * sigma) + 1, 0.01, False))
    return smooth.reshape(values.shape)
