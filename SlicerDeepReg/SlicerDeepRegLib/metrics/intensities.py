"""How alike two images of one grid are."""

from __future__ import annotations

import numpy as np
from skimage.metrics import normalized_mutual_information, structural_similarity


def similarity_metrics(fixed: np.ndarray, warped: np.ndarray, mask: np.ndarray) -> dict[str, float | None]:
    """NCC, NMI, SSIM and MSE inside the mask.

    Args:
        fixed, warped: arrays of one shape, each scaled to 0..1.
        mask: bool of that shape.

    Returns:
        None for a figure that cannot be computed: fewer than two voxels, a constant image, or (SSIM) an
        image smaller than the window of 11 voxels.
    """
    first, second = fixed[mask].astype(np.float64), warped[mask].astype(np.float64)
    if first.size < 2 or first.std() == 0 or second.std() == 0:
        return {"ncc": None, "nmi": None, "ssim": None, "mse": None}
    ssim = None
    flat_fixed, flat_warped = np.squeeze(fixed), np.squeeze(warped)
    if min(flat_fixed.shape) >= 11:
        _, image = structural_similarity(
            flat_fixed,
            flat_warped,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            full=True,
        )
        ssim = float(image.reshape(mask.shape)[mask].mean())
    return {
        "ncc": float(np.corrcoef(first, second)[0, 1]),
        "nmi": float(normalized_mutual_information(first, second, bins=64)),
        "ssim": ssim,
        "mse": float(np.mean((first - second) ** 2)),
    }
