"""FMIRNet: three fields from three scales of a pair, fused by spatial attention; 2D and 3D.

Paper: fast multiscale unsupervised deformable registration for monomodal images, with joint registration and
segmentation; Journal of X-Ray Science and Technology 2024, doi:10.3233/XST-240159. It states: a ResUNet estimates Phi1,
Phi2 and Phi3 from the images at scale 1, 1/2 and 1/4; Phi2 and Phi3 are enlarged by 2 and 4 and combined with Phi1,
each with the same influence; W is the sigmoid of a convolution of the combination and the field is W times the
combination, voxel by voxel. Loss: mean squared error, structural similarity and smoothness. FMIRNet-1 uses Phi1
alone, FMIRNet-2 uses Phi1 and Phi2. Sizes are not published.

Left open by the paper, and chosen here:

* the combination is the sum; enlarged fields are multiplied by 2 and 4, because they are in voxels;
* W has one value for each component (the paper weights "each element"), from a convolution of 3 voxels;
* the ResUNet has four levels of 16, 32, 64 and 128 channels of residual units with normalization and rectifier before
  each convolution, halved by strides and doubled by the nearest neighbor; every scale has its own (``shared`` gives
  one to all: the "fast" variant);
* coarser images are means of blocks of 2 and 4 voxels;
* a weight of a half at the start halves the field that the heads must find; ``attention="residual"`` uses 1 + W;
* instance normalization: the paper names none. ResUNets commonly have batch normalization ("batch"), but then a pair
  gives another field in a batch than alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import Structural
from ..warping.sample import resize
from .base import NetworkOutput, RegistrationNetwork
from .blocks import CONVOLUTION, head, normalization, plain_run

ATTENTIONS = ("sigmoid", "residual", "none")


class FMIRNet(RegistrationNetwork):
    """A ResUNet for each of three scales; their fields are summed and weighted by attention.

    Args:
        dimensions: 2 or 3.
        scales: how many of the scales 1, 1/2, 1/4 are estimated; 1 is FMIRNet-1 and has nothing to fuse.
        channels: of the ResUNet's levels.
        shared: one ResUNet for all scales.
        attention: "sigmoid" (the paper's), "residual" (1 + W), or "none" (the sum alone).
        norm: "instance" or "batch".
        common: head_scale, integration (of the fused field), squarings, checkpointing: see RegistrationNetwork.
    """

    loss = Structural
    small = {"channels": (8, 16, 16)}
    dimensions = (2, 3)

    def __init__(
        self,
        dimensions: int = 3,
        scales: int = 3,
        channels: Sequence[int] = (16, 32, 64, 128),
        shared: bool = False,
        attention: str = "sigmoid",
        norm: str = "instance",
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTIONS)}; it was {attention!r}")
        if not 1 <= scales <= 3:
            raise ValueError(f"scales must be 1, 2 or 3; it was {scales}")
        self.dimensions, self.scales, self.attention = (dimensions,), scales, attention
        self.divisor = 2 ** (len(channels) - 1 + scales - 1)
        self.estimators = nn.ModuleList(ResUNet(dimensions, channels, norm) for _ in range(1 if shared else scales))
        for estimator in self.estimators:
            estimator.run = self.kept_small
        self.weigh = nn.Identity()
        if scales > 1 and attention != "none":
            self.weigh = CONVOLUTION[dimensions](dimensions, dimensions, 3, padding=1)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; ``fields`` holds Phi3, Phi2 and Phi1, each on its own scale."""
        pool = F.avg_pool3d if fixed.ndim == 5 else F.avg_pool2d
        pair, estimates = torch.cat([moving, fixed], 1), []
        for scale in range(self.scales):
            estimator = self.estimators[min(scale, len(self.estimators) - 1)]
            estimates.append(estimator(pair).float())
            pair = pool(pair, 2)
        fused = sum(resize(field, fixed.shape[2:]) for field in estimates)
        if self.scales > 1 and self.attention != "none":
            weight = torch.sigmoid(self.weigh(fused).float())
            fused = fused * (1 + weight if self.attention == "residual" else weight)
        fields = {f"phi{n + 1}": self.displacement_of(estimates[n]) for n in reversed(range(self.scales))}
        return self.output_of(fused, fields)


class ResUNet(nn.Module):
    """A U-Net of residual units; (B, 2, ...) to a field (B, n, ...) of the same size."""

    def __init__(self, dimensions: int, channels: Sequence[int], norm: str) -> None:
        super().__init__()
        entering = [2, *channels[:-1]]
        self.down = nn.ModuleList(
            ResidualUnit(before, after, dimensions, norm, stride=1 if number == 0 else 2, first=number == 0)
            for number, (before, after) in enumerate(zip(entering, channels))
        )
        self.up = nn.ModuleList(
            ResidualUnit(below + here, here, dimensions, norm) for below, here in zip(channels[:0:-1], channels[-2::-1])
        )
        self.head = head(channels[0], dimensions)
        self.run = plain_run

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        levels = []
        for unit in self.down:
            pair = self.run(unit, pair)
            levels.append(pair)
        x = levels.pop()
        for unit in self.up:
            x = self.run(unit, torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), levels.pop()], 1))
        return self.head(x)


class ResidualUnit(nn.Module):
    """Two convolutions, each after normalization and rectifier, added to the input (He et al., ECCV 2016)."""

    def __init__(
        self, before: int, after: int, dimensions: int, norm: str, stride: int = 1, first: bool = False
    ) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        enter = [] if first else [normalization(norm, before, dimensions), nn.ReLU(inplace=True)]
        self.path = nn.Sequential(
            *enter,
            convolution(before, after, 3, stride=stride, padding=1),
            normalization(norm, after, dimensions),
            nn.ReLU(inplace=True),
            convolution(after, after, 3, padding=1),
        )
        self.shortcut = convolution(before, after, 1, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.path(x)


NETWORK = FMIRNet
