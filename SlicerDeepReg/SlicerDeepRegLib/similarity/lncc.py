"""Local normalized cross-correlation (LNCC) with the squared difference of matched intensities, for one modality.

``-LNCC^2 + 1/2 MSE / s^2`` with ``s`` the deviation of the difference from which a resolution starts. The squared
difference tells tissues apart beyond the window: without it the same overlap cost more spread of volume change. A bias
field, by which one image is brighter than the other, is taken out of it (docs/decisions/0037).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import number
from ..types import Memory
from .base import Comparison, State
from .matching import gain, matched

if TYPE_CHECKING:
    import torch

#: From how many voxels on windows are centered on every second one: fewer cost nothing.
STRIDED_FROM = 100_000
#: Bytes a voxel of the finest resolution with a field as fine as the images, and with a coarser one, measured by
#: benchmarks/memory.py (benchmarks/RESULTS.md); of the computer's memory, and of a GPU's.
HOST_BYTES, DEVICE_BYTES = (540, 210), (380, 140)


@dataclass(frozen=True)
class LNCCSettings:
    """The numbers of LNCC."""

    regularity: float = number(
        1.3, 0.05, 20.0, "Regularity (LNCC)", "Weight of the diffusion energy per voxel. More is smoother."
    )
    window_radius: float = number(
        2.5, 1.0, 12.0, "Window radius (voxels)", "Of the local correlation. Smaller follows finer detail and noise."
    )
    min_intensity_std: float = number(
        0.12,
        0.01,
        1.0,
        "Minimum intensity deviation",
        "Smallest deviation assumed between matched intensities, 0 to 1.",
    )


class LNCCSimilarity:
    """LNCC; see the head of the file."""

    name = "lncc"
    title = "LNCC (same modality)"
    modality = "same"
    automatic = True
    matches_intensities = True
    #: Chosen on the brains and the lung of benchmarks/RESULTS.md: changes volumes about as much as a field at full
    #: size.
    stiffness_on_coarse_field = 0.6
    presets = {
        "fast": LNCCSettings(),
        "standard": LNCCSettings(),
        "thorough": LNCCSettings(regularity=0.75, min_intensity_std=0.08),
    }

    def prepare(self, fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, how: Comparison) -> State:
        """See :class:`Similarity`."""
        from ..losses.similarity import LNCC, MSE, WeightedSum

        settings, warped = how.settings, how.warp_initial(moving)
        shape_ijk = fixed.shape[:1:-1]
        radius = [
            min(max(1, round(settings.window_radius / length)), (n - 1) // 2)
            for length, n in zip(how.voxel_ijk, shape_ijk)
        ]
        alike = matched(moving, fixed, warped, mask * ((fixed > 0) & (warped > 0)))
        if alike is not moving:
            moving, warped = alike, how.warp_initial(alike)
        content = mask * ((fixed > 0) | (warped > 0))
        difference = ((fixed - warped) ** 2 * content).sum() / content.sum().clamp(min=1)
        scale = max(float(difference) ** 0.5, settings.min_intensity_std)
        strided = fixed[0, 0].numel() > STRIDED_FROM
        stride = [2 if strided and r >= 2 else 1 for r in radius]
        even = fixed / gain(fixed, warped, content, how.bias_ijk)  # a bias field is no reason to move anything
        term = WeightedSum((1.0, LNCC(fixed, radius, mask, stride_ijk=stride)), (0.5, MSE(even, scale, mask)))
        return State(moving, term)

    def memory(self, voxels: int, coarse_field: bool) -> Memory:
        """See :class:`Similarity`."""
        return Memory(voxels * HOST_BYTES[coarse_field], voxels * DEVICE_BYTES[coarse_field])


SIMILARITIES = (LNCCSimilarity(),)
