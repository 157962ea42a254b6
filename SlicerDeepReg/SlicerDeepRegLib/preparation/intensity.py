"""Intensities as methods want them: robustly scaled to 0..1, or matched between two images."""

from __future__ import annotations

import math

import numpy as np

from ..metrics.content import background_level

#: Values this far outside the robust range, as a part of its width, are outliers.
OUTLIER = 0.5
#: About so many voxels tell that range.
SAMPLED = 500_000


def robust_range(values: np.ndarray, mask: np.ndarray | None = None) -> tuple:
    """Return the 0.1 and 99.9 percentiles of the voxels (of the mask); widened to min and max if they coincide."""
    chosen = values[mask] if mask is not None and mask.any() else values
    low, high = np.percentile(chosen[:: max(1, chosen.size // 2_000_000)] if chosen.ndim == 1 else chosen, [0.1, 99.9])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return float(low), float(high)


def without_outliers(values: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Return values cut off far outside their robust range, where there are such: else the values themselves.

    A few very bright voxels (metal, a defect of the detector) would be smeared over many, when an image is smoothed for
    a coarser grid, and these would be too many to be left out of the range of what is compared. Inside a mask nothing
    that is usual there is one: a tooth, a hot spot.
    """
    if values.dtype.kind == "b":
        return values
    some = values.ravel()[:: max(1, values.size // SAMPLED)]
    background = background_level(some)
    shown = some[some > background]
    low, high = robust_range(shown if shown.size else some)
    low = min(low, background) if np.isfinite(background) else low
    if mask is not None and mask.any():
        ends = robust_range(values[mask])
        low, high = min(low, ends[0]), max(high, ends[1])
    reach = OUTLIER * (high - low)
    if not high > low or (values.min() >= low - reach and values.max() <= high + reach):
        return values
    first, last = low - reach, high + reach
    if values.dtype.kind in "iu":  # its own type, which takes less memory
        limits = np.iinfo(values.dtype)
        first, last = max(limits.min, math.floor(first)), min(limits.max, math.ceil(last))
    return np.clip(values, first, last)


def fits_divisor(low: float, high: float, divisor: float) -> bool:
    """Return whether values from ``low`` to ``high`` can be meant to be divided by ``divisor``.

    They cannot where they are negative (CT), larger than it (12-bit images), or all below a quarter of it (an image
    that was divided before). A fiftieth of it is allowed beyond both ends, for what interpolation overshoots.
    """
    slack = divisor / 50
    return low >= -slack and divisor / 4 <= high <= divisor + slack


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """float32, ``low`` to 0, ``high`` to 1, cut at both ends."""
    result = (values.astype(np.float32) - np.float32(low)) * np.float32(1 / (high - low))
    return np.clip(result, 0, 1, out=result)


def match_quantiles(moving: np.ndarray, fixed: np.ndarray, inside: np.ndarray, bins: int = 64) -> np.ndarray:
    """Return the moving intensities mapped so that their distribution equals the fixed one's inside a mask.

    Args:
        moving, fixed: arrays of one shape, 0..1.
        inside: bool, the voxels whose distributions are compared.
        bins: number of quantiles; between them the map is linear.

    Returns:
        float32, 0..1. The map is monotone: it changes contrast, not order. Zero stays zero.
    """
    if inside.sum() < 10 * bins:
        return moving
    quantiles = np.linspace(0, 1, bins + 1)
    source = np.concatenate([[0], np.quantile(moving[inside], quantiles), [1]])
    target = np.concatenate([[0], np.quantile(fixed[inside], quantiles), [1]])
    source, first = np.unique(source, return_index=True)
    return np.interp(moving, source, target[first]).astype(np.float32)
