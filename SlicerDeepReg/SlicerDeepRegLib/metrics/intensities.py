"""Similarity of two images on one grid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.ndimage
from skimage.metrics import normalized_mutual_information

from ..processes.load import allowed_threads

#: Of SSIM (Wang et al., IEEE TIP 2004): deviation of the window, where it is cut, its size in voxels,
#: and the constants for intensities of 0..1. Values are those of scikit-image; the fixed image's part is computed once.
SIGMA, CUT, WINDOW = 1.5, 3.5, 11
C1, C2 = 0.01**2, 0.03**2


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
        self._means: tuple[np.ndarray, np.ndarray] | None = None  # of the fixed image and of its square

    def metrics(self, warped: np.ndarray) -> dict[str, float | None]:
        """Compute NCC, NMI, SSIM and MSE inside the mask.

        Args:
            warped: of the fixed image's shape, scaled to 0..1.

        Returns:
            None for a metric that cannot be computed: fewer than two voxels, a constant image, or (SSIM) an
            image smaller than the window of 11 voxels.
        """
        warped = warped[self._box]
        first, second = self._inside, warped[self._mask].astype(np.float64)
        if first.size < 2 or first.std() == 0 or second.std() == 0:
            return {"ncc": None, "nmi": None, "ssim": None, "mse": None}
        return {
            "ncc": float(np.corrcoef(first, second)[0, 1]),
            "nmi": float(normalized_mutual_information(first, second, bins=64)),
            "ssim": self._ssim(warped) if self._has_window else None,
            "mse": float(np.mean((first - second) ** 2)),
        }

    def _ssim(self, warped: np.ndarray) -> float:
        fixed, warped = np.squeeze(self._fixed), np.squeeze(warped)
        if self._means is None:
            first, square = _smooth(fixed, fixed * fixed)
            self._means = first, square - first * first
        mean, variance = self._means
        other, square, product = _smooth(warped, warped * warped, fixed * warped)
        covariance, other_variance = product - mean * other, square - other * other
        alike = (2 * mean * other + C1) * (2 * covariance + C2)
        alike /= (mean * mean + other * other + C1) * (variance + other_variance + C2)
        return float(alike.reshape(self._mask.shape)[self._mask].mean(dtype=np.float64))


def similarity_metrics(fixed: np.ndarray, warped: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """Compute NCC, NMI, SSIM and MSE inside the mask; see ``Similarities``."""
    return Similarities(fixed, mask).metrics(warped)


def _smooth(*images: np.ndarray) -> list[np.ndarray]:
    def smooth(image: np.ndarray) -> np.ndarray:
        smoothed: np.ndarray = scipy.ndimage.gaussian_filter(image, SIGMA, truncate=CUT)
        return smoothed

    with ThreadPoolExecutor(allowed_threads()) as threads:  # scipy lets others compute
        return list(threads.map(smooth, images))


def _around(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the box of a mask, wider by a window; all where it is empty."""
    box = []
    for axis in range(mask.ndim):
        inside = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(inside):
            return (slice(None),) * mask.ndim
        box.append(slice(max(0, inside[0] - WINDOW), inside[-1] + WINDOW + 1))
    return tuple(box)
