"""The losses of the networks' papers; the class of a network declares which of them is its own.

Displacements are in voxels, and every term is a mean over voxels (and components) unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional, Protocol

import torch
import torch.nn.functional as F

from ..warping.sample import warp
from .regularity import diffusion
from .similarity import LNCC, MSE, SSIM

Mask = Optional[torch.Tensor]


class Estimate(Protocol):
    """What a loss needs of a network's output, see ``networks.NetworkOutput``."""

    displacement: torch.Tensor
    fields: dict[str, torch.Tensor]
    factors: dict[str, int]


class PaperLoss(Protocol):
    """A loss for one pair of images, or for a batch of pairs: built from them, and called with a network's output.

    Args:
        moving, fixed: (B, 1, ...) intensities of 0..1 on one grid.
        inside: (B, 1, ...) weights of the voxels at which the images are compared; None for all alike.
        regularity: weight of the smoothness of the displacement.
    """

    def __init__(
        self, moving: torch.Tensor, fixed: torch.Tensor, inside: Mask = None, regularity: float = 1.0
    ) -> None: ...

    def __call__(self, output: Estimate) -> torch.Tensor:
        """Return the loss, a scalar, differentiable with respect to the fields of the output."""


class LNCCAndDiffusion:
    """Squared local correlation in windows of 9 voxels, and diffusion: TransMorph's protocol, and most others'.

    WaveMorph: its tables follow that protocol. CAML: cross correlation and the squared differences of neighboring
    displacements; its windows and weight are those of XMorpher, its base. Published weights of the diffusion are 1 to 5
    ("training" on the networks' cards); LKU-Net's is for normalized units times S / 2, which are voxels.
    """

    RADIUS = 4

    def __init__(self, moving: torch.Tensor, fixed: torch.Tensor, inside: Mask = None, regularity: float = 1.0) -> None:
        self.moving, self.regularity = moving, regularity
        self.loss = LNCC(fixed, _radii(self.RADIUS, fixed), inside)

    def __call__(self, output: Estimate) -> torch.Tensor:
        value = self.loss(warp(self.moving, output.displacement))
        return value + self.regularity * diffusion(output.displacement)


class MultiResolution:
    """MSRD-Net's: LNCC of the final field and of the finest levels, weighted by a half for each, and diffusion.

    The paper says "multi-resolution loss" without numbers. Chosen: windows of 9, 9, 7 and 5 voxels for the scales 1,
    1/2, 1/4 and 1/8, weights 1, 1/2, 1/4, 1/8, and the regularity on the final displacement in voxels. Half of each
    window is the radius given below. ``levels`` counts them from the finest on; 1 is the loss without this part
    (ablation of the paper).
    """

    RADII = {1: 4, 2: 4, 4: 3, 8: 2}

    def __init__(
        self,
        moving: torch.Tensor,
        fixed: torch.Tensor,
        inside: Mask = None,
        regularity: float = 1.0,
        levels: int = 4,
    ) -> None:
        if not 1 <= levels <= len(self.RADII):
            raise ValueError(f"levels must be 1 to {len(self.RADII)}; it was {levels}")
        self.regularity = regularity
        self.moving: dict[int, torch.Tensor] = {}
        self.losses: dict[int, Callable] = {}
        for factor, radius in list(self.RADII.items())[: int(levels)]:
            self.moving[factor], small = _reduced(moving, factor), _reduced(fixed, factor)
            mask = _reduced(inside, factor) if inside is not None else None
            self.losses[factor] = LNCC(small, _radii(radius, small), mask)

    def __call__(self, output: Estimate) -> torch.Tensor:
        total = self.losses[1](warp(self.moving[1], output.displacement))
        for name, field in output.fields.items():
            factor = output.factors[name]
            if factor in self.losses and factor > 1:
                total = total + self.losses[factor](warp(self.moving[factor], field)) / factor
        return total + self.regularity * diffusion(output.displacement)


class Decoupled:
    """The deep unfolding network's four terms.

    ``l1 MSE(Im o u, If) + (1 - l1) MSE(Im o v, If) + l2 |grad u|^2 + l3 |u - v|^2`` with u and v of the last stage;
    published l1 = 0.8, l2 = 1, l3 = 0.1 (the defaults). The paper gives neither reduction nor units. Here all are
    means and displacements are in voxels; so read, l2 = 1 is large beside the squared difference of intensities of 0..1
    (VoxelMorph's choice for this similarity is 0.01 to 0.02). ``regularity`` is l2;
    l3 keeps its published ratio to it unless it is given.
    """

    def __init__(
        self,
        moving: torch.Tensor,
        fixed: torch.Tensor,
        inside: Mask = None,
        regularity: float = 1.0,
        data_weight: float = 0.8,
        agreement: float | None = None,
    ) -> None:
        self.moving, self.regularity, self.data_weight = moving, regularity, data_weight
        self.agreement = 0.1 * regularity if agreement is None else agreement
        self.loss = MSE(fixed, mask=inside)  # the mean squared difference

    def __call__(self, output: Estimate) -> torch.Tensor:
        u, v = list(output.fields.values())[-2:]
        data = self.data_weight * self.loss(warp(self.moving, u)) + (1 - self.data_weight) * self.loss(
            warp(self.moving, v)
        )
        return data + self.regularity * diffusion(u) + self.agreement * (u - v).square().mean()


class Structural:
    """FMIRNet's: mean squared error, ``beta (1 - SSIM)``, and ``alpha`` times the squared differences of the field.

    Published: alpha 1e-7, beta 0.1 for CT and 1e-5, 1 for ultrasound, of 128 x 128 pixels. So small an alpha is read as
    that of a sum over pixels; here the differences are a mean (:func:`diffusion`) and ``regularity`` is its weight. A
    sum over 128 x 128 pixels, 2 components and 2 axes is 65 536 such means, so that 1e-5 is 0.66 and 1e-7 is 0.007.
    """

    def __init__(
        self,
        moving: torch.Tensor,
        fixed: torch.Tensor,
        inside: Mask = None,
        regularity: float = 1.0,
        structure: float = 1.0,
    ) -> None:
        self.moving, self.regularity, self.structure = moving, regularity, structure
        self.error = MSE(fixed, mask=inside)
        self.similarity = SSIM(fixed, inside)

    def __call__(self, output: Estimate) -> torch.Tensor:
        warped = warp(self.moving, output.displacement)
        value = self.error(warped) + self.structure * (1 - self.similarity(warped))
        return value + self.regularity * diffusion(output.displacement)


class MSEAndDiffusion:
    """ViT-V-Net's and H-SGANet's: mean squared error, and diffusion; published weights 0.02 and 0.002."""

    def __init__(self, moving: torch.Tensor, fixed: torch.Tensor, inside: Mask = None, regularity: float = 1.0) -> None:
        self.moving, self.regularity = moving, regularity
        self.error = MSE(fixed, mask=inside)

    def __call__(self, output: Estimate) -> torch.Tensor:
        return self.error(warp(self.moving, output.displacement)) + self.regularity * diffusion(output.displacement)


class SSIMAndDiffusion:
    """UDRSNet's, as FMIRNet's paper describes it: ``1 - SSIM``; with diffusion, whose weight is not at hand."""

    def __init__(self, moving: torch.Tensor, fixed: torch.Tensor, inside: Mask = None, regularity: float = 1.0) -> None:
        self.moving, self.regularity = moving, regularity
        self.similarity = SSIM(fixed, inside)

    def __call__(self, output: Estimate) -> torch.Tensor:
        value = 1 - self.similarity(warp(self.moving, output.displacement))
        return value + self.regularity * diffusion(output.displacement)


def _radii(radius: int, image: torch.Tensor) -> Sequence[int]:
    return [min(radius, max(1, (n - 1) // 2)) for n in image.shape[:1:-1]]


def _reduced(image: torch.Tensor, factor: int) -> torch.Tensor:
    """Return the mean of blocks of ``factor`` voxels; sizes are rounded up, as in networks' pyramids."""
    if factor == 1:
        return image
    pool = F.avg_pool3d if image.ndim == 5 else F.avg_pool2d
    return pool(image, factor, ceil_mode=True, count_include_pad=False)
