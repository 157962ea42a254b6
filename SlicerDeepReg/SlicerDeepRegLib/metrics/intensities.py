"""Similarity of two images on one grid."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from ..processes.load import in_threads

#: Of SSIM (Wang et al., IEEE TIP 2004): deviation of the window, where it is cut, its size in voxels,
#: and the constants for intensities of 0..1. Values are those of scikit-image; the fixed image's part is computed once.
SIGMA, CUT, WINDOW = 1.5, 3.5, 11
C1, C2 = 0.01**2, 0.03**2
#: Bins of each image for its entropy, as in scikit-image's mutual information.
BINS = 64
#: Layers of SSIM that are computed at once, so that they fit the cache, and how far its window reaches beyond them.
_SLAB, _REACH = 32, WINDOW // 2
#: Values whose bins are counted at once.
_PART = 1 << 20


class Similarities:
    """Compares images with a fixed one, inside a mask.

    Args:
        fixed: (K, J, I), scaled to 0..1.
        mask: bool of that shape.
    """

    def __init__(self, fixed: np.ndarray, mask: np.ndarray) -> None:
        self._box = _around(mask)
        self._mask, self._fixed = mask[self._box], fixed[self._box]
        self._inside = self._fixed[self._mask].astype(np.float64)
        self._has_window = min((n for n in fixed.shape if n > 1), default=0) >= WINDOW
        self._means: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # of slabs of the fixed image: mean and variance

    def metrics(self, warped: np.ndarray, where: np.ndarray | None = None) -> dict[str, float | None]:
        """Compute NCC, NMI (from 1 to 2, and from 0 to 1), SSIM and MSE inside the mask.

        Args:
            warped: of the fixed image's shape, scaled to 0..1.
            where: bool of that shape, what of the mask is compared; None for all.

        Returns:
            None for a metric that cannot be computed: fewer than two voxels, a constant image, or (SSIM) an
            image smaller than the window of 11 voxels.
        """
        warped, mask = warped[self._box], self._mask
        first = self._inside
        if where is not None:
            mask = mask & where[self._box]
            first = self._fixed[mask].astype(np.float64)
        second = warped[mask].astype(np.float64)
        if first.size < 2 or first.std() == 0 or second.std() == 0:
            return {"ncc": None, "nmi": None, "nmi_unit": None, "ssim": None, "mse": None}
        nmi = normalized_mutual_information(first, second)
        return {
            "ncc": float(np.corrcoef(first, second)[0, 1]),
            "nmi": nmi,
            "nmi_unit": 2 * (1 - 1 / nmi),
            "ssim": self._ssim(warped, mask) if self._has_window else None,
            "mse": float(np.mean((first - second) ** 2)),
        }

    def _ssim(self, warped: np.ndarray, mask: np.ndarray) -> float:
        fixed, warped, mask = (np.squeeze(values) for values in (self._fixed, warped, mask))

        def sum_of_slab(start: int) -> float:
            inside = mask[start : start + _SLAB]
            if not inside.any():
                return 0.0
            low = max(0, start - _REACH)
            wide, inner = slice(low, start + _SLAB + _REACH), slice(start - low, start - low + len(inside))
            one, two = fixed[wide], warped[wide]
            if start not in self._means:
                mean = _smooth(one)[inner]
                self._means[start] = mean, _smooth(one * one)[inner] - mean * mean
            mean, variance = self._means[start]
            other = _smooth(two)[inner]
            covariance = _smooth(one * two)[inner] - mean * other
            other_variance = _smooth(two * two)[inner] - other * other
            alike = (2 * mean * other + C1) * (2 * covariance + C2)
            alike /= (mean * mean + other * other + C1) * (variance + other_variance + C2)
            return float(alike[inside].sum(dtype=np.float64))

        return sum(in_threads(sum_of_slab, range(0, len(mask), _SLAB))) / int(mask.sum())


def similarity_metrics(fixed: np.ndarray, warped: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """Compute NCC, NMI, SSIM and MSE inside the mask; see ``Similarities``."""
    return Similarities(fixed, mask).metrics(warped)


def normalized_mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Compute (H(first) + H(second)) / H(first, second), 1 to 2, from histograms of 64 bins (Studholme et al., 1999).

    Args:
        first, second: (n,), neither of them constant.
    """
    ranges = [(float(values.min()), float(values.max())) for values in (first, second)]

    def counts(start: int) -> np.ndarray:
        part = slice(start, start + _PART)
        one, two = (_bins(values[part], *ends) for values, ends in zip((first, second), ranges))
        one *= BINS
        one += two
        return np.bincount(one, minlength=BINS * BINS)

    together = np.sum(in_threads(counts, range(0, len(first), _PART)), axis=0).reshape(BINS, BINS)
    return (_entropy(together.sum(0)) + _entropy(together.sum(1))) / _entropy(together.ravel())


def _bins(values: np.ndarray, low: float, high: float) -> np.ndarray:
    bins = ((values - low) * (BINS / (high - low))).astype(np.int32)
    return np.minimum(bins, BINS - 1, out=bins)


def _entropy(counts: np.ndarray) -> float:
    chances = counts[counts > 0] / counts.sum()
    return float(-(chances * np.log(chances)).sum())


def _smooth(image: np.ndarray) -> np.ndarray:
    smoothed: np.ndarray = scipy.ndimage.gaussian_filter(image, SIGMA, truncate=CUT)
    return smoothed


def _around(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the box of a mask, wider by a window; all where it is empty."""
    box = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(inside):
            return (slice(None),) * mask.ndim
        box.append(slice(max(0, inside[0] - WINDOW), inside[-1] + WINDOW + 1))
    return tuple(box)
