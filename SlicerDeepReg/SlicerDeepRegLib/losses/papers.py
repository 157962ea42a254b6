"""The losses of the networks' papers: each takes a network's output and the pair, and gives one number to lower."""

from __future__ import annotations

from typing import Callable, Dict, Optional

import torch
import torch.nn.functional as F

from ..warping.sample import warp
from .regularity import diffusion
from .similarity import LocalCorrelation


class MultiResolution:
    """MSRD-Net's: LNCC of the final field and of the finest levels, weighted by a half for each, and diffusion.

    The paper says "multi-resolution loss" without numbers. Chosen: windows of 9, 9, 7 and 5 voxels for the scales 1,
    1/2, 1/4 and 1/8, weights 1, 1/2, 1/4, 1/8, and the regularity on the final displacement in voxels. Half of each
    window is the radius given below.

    Args:
        moving, fixed: (B, 1, K, J, I), 0..1.
        inside: (B, 1, ...) where to compare, or None.
        regularity: weight of the diffusion.
    """

    RADII = {"1": 4, "1/2": 4, "1/4": 3, "1/8": 2}

    def __init__(
        self,
        moving: torch.Tensor,
        fixed: torch.Tensor,
        inside: Optional[torch.Tensor] = None,
        regularity: float = 1.0,
    ) -> None:
        self.regularity = regularity
        self.moving: Dict[str, torch.Tensor] = {}
        self.losses: Dict[str, Callable] = {}
        for number, (name, radius) in enumerate(self.RADII.items()):
            factor = 2**number
            small = [_reduced(image, factor) for image in (moving, fixed)]
            mask = _reduced(inside, factor) if inside is not None else None
            self.moving[name] = small[0]
            radii = [min(radius, max(1, (n - 1) // 2)) for n in small[1].shape[:1:-1]]
            self.losses[name] = LocalCorrelation(small[1], radii, mask)

    def __call__(self, output) -> torch.Tensor:
        total = self.losses["1"](warp(self.moving["1"], output.displacement))
        for number, name in enumerate(list(self.RADII)[1:], start=1):
            if name in output.fields and output.fields[name].shape[2:] == self.moving[name].shape[2:]:
                total = total + 0.5**number * self.losses[name](warp(self.moving[name], output.fields[name]))
        return total + self.regularity * diffusion(output.displacement)


def _reduced(image: torch.Tensor, factor: int) -> torch.Tensor:
    """The mean of blocks of ``factor`` voxels; sizes are rounded up, as networks' pyramids of padded images are."""
    if factor == 1:
        return image
    pool = F.avg_pool3d if image.ndim == 5 else F.avg_pool2d
    return pool(image, factor, ceil_mode=True, count_include_pad=False)
