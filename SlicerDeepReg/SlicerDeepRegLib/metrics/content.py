"""Which voxels of an image show something: what is looked at and counted, not what is registered."""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage

#: Values up to this part of the range above the lowest value are background. Small, because air in a lung is content.
BACKGROUND = 0.01
#: The part of the voxels that a background of one value has at least, and that may lie below it; about so many are
#: counted.
LEAST_BACKGROUND, MOST_BELOW, SAMPLED = 0.2, 0.1, 500_000
#: Parts smaller than this, compared with the largest, are noise or dirt: not a second leg.
SMALLEST_PART = 0.05
#: Larger images are looked at with so many voxels at most.
MOST_VOXELS = 20_000_000


def background_level(values: np.ndarray) -> float:
    """Return the value that fills the outside of a stripped or padded image.

    That is the minimum, where at least one voxel in a hundred has it; or a value that at least one voxel in five has,
    where hardly one in ten lies below it: an interpolation rings around the background, and a defect may lie there.
    Minus infinity where there is no such value.
    """
    lowest = values.min()
    if np.count_nonzero(values == lowest) >= values.size / 100:
        return float(lowest)
    some = np.sort(values.ravel()[:: max(1, values.size // SAMPLED)])
    usual = some[int(MOST_BELOW * len(some))]
    return float(usual) if np.count_nonzero(some == usual) >= LEAST_BACKGROUND * len(some) else -np.inf


def background_of(values: np.ndarray) -> float:
    """Return the value of the background, see :func:`background_level`; the lowest value where it has none."""
    return max(background_level(values), float(values.min()))


def above_background(values: np.ndarray) -> np.ndarray:
    """Return the voxels that are clearly above the lowest value, bool of the same shape; NaN and infinity are not.

    Clearly is by more than a hundredth of the range from the lowest value to the 99.5th percentile, so that ringing of
    an interpolation around a background of one value is not taken for content.
    """
    finite: np.ndarray = np.isfinite(values)
    known = values[finite]
    if not known.size:
        return finite
    lowest, high = float(known.min()), float(np.percentile(known[:: max(1, known.size // 2_000_000)], 99.5))
    if high <= lowest:  # less than one voxel in two hundred is not background
        high = float(known.max())
    finite &= np.where(finite, values, lowest) > lowest + BACKGROUND * (high - lowest)
    return finite


def content_of(values: np.ndarray) -> np.ndarray:
    """Return the voxels that show something, (K, J, I) bool, without holes and specks; everywhere if nothing does.

    These are the voxels above the background (:func:`above_background`) by the majority of each one's neighborhood of 3
    voxels along each axis, in parts of at least a twentieth of the largest, with everything that a part encloses.
    """
    every = max(1, math.ceil((values.size / MOST_VOXELS) ** (1 / 3)))
    thin = above_background(values[::every, ::every, ::every])
    flat = thin.reshape([n for n in thin.shape if n > 1])  # a hole in a single slice is enclosed in its plane
    most = scipy.ndimage.uniform_filter(flat.astype(np.float32), 3, mode="nearest") > 0.5
    shown: np.ndarray = scipy.ndimage.binary_fill_holes(_large_parts(most))
    if not shown.any():
        shown[:] = True
    shown = shown.reshape(thin.shape)
    for axis, size in enumerate(values.shape):
        shown = np.repeat(shown, every, axis=axis)[(slice(None),) * axis + (slice(size),)]
    return shown


def _large_parts(shown: np.ndarray) -> np.ndarray:
    parts, _ = scipy.ndimage.label(shown)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    large: np.ndarray = (sizes >= max(1, SMALLEST_PART * sizes.max()))[parts]
    return large
