"""MSRD-Net: a multi-scale residual, dilated-attention pyramid for deformable brain registration.

Paper: Peng J, Yan J, Liu J, Wei Z, Bai S, Deng Y. Multi-scale residual learning combined with Dilformer for dual-stream
medical image registration network. Journal of Zhejiang University (Engineering Science) 2026, 60(5): 1082-1091,
doi:10.3785/j.issn.1008-973X.2026.05.017. It states: a shared dual-stream pyramid encoder of
multi-scale residual (MSR) blocks, a multi-dilated-convolution transformer (Dilformer, rates 1, 2, 3) at the low
resolutions, separable residual fusion (SRF) that fuses the scales and predicts fields, and a loss at several
resolutions. Published size: 13.958 M parameters, 63.17 G operations at 160 x 192 x 224 (multiply-accumulates of
convolutions and linear layers, as the profiler of its table counts them).

Left open by the paper, and chosen here so that the published size is met (a test holds both within 1 %):

* five levels, 1/2 to 1/32, with 16, 32, 64, 128, 256 channels; the encoder is the same for both images;
* MSR: a stride-2 convolution, then three branches (1; 3; 3 after 3) of half the channels, joined and added;
* one Dilformer after the SRF of 1/8, 1/16 and 1/32: query, key and value are full 3^3 convolutions with the three
  rates, heads of 32 channels, an MLP four times as wide (twice at 1/32);
* attention at 1/8 within windows of 6 voxels: global attention there costs 22 G more of true operations for the
  same parameters, and memory that grows with the square of the voxels;
* SRF: a 1^3 convolution and two residual units of 3x1x1, 1x3x1, 1x1x3;
* each level's head gives an increment that is composed with the field from below; heads begin near zero and are
  multiplied by 0.1 (see ``head_scale``); the field of 1/2 is enlarged linearly to full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import MultiResolution
from ..warping.sample import compose, resize, warp
from .attention import window_attention
from .base import NetworkOutput, RegistrationNetwork
from .blocks import Conv3d, ConvTranspose3d, InstanceNorm, head, perceptron, unit


class MSRDNet(RegistrationNetwork):
    """Multi-scale residual encoders of both images, fused from coarse to fine with dilated attention.

    Args:
        channels: of the levels 1/2, 1/4, ... of both streams.
        dilations: rates of query, key and value in the Dilformer; None for 1^3 convolutions instead (ablation).
        attention_levels: how many of the coarsest levels have a Dilformer; 0 for none (ablation).
        mlp_ratios: width of the MLP for those levels, finest of them first.
        window: voxels along each axis of an attention window; levels that are not larger attend globally.
        global_levels: how many of the coarsest levels attend globally whatever their size.
        multi_scale: the MSR branches; False leaves the stride-2 convolution alone (ablation).
        separable: the SRF's residual units; False for a plain 3^3 convolution with normalization and rectifier in
            the place of the SRF (ablation).
        head_scale: the heads' output is multiplied by it. A step of Adam changes every weight alike, and a head of
            the coarsest level has 6912 for each component, whose voxel is 32 of the image: unscaled, the first
            steps throw it by tens of voxels.
        common: integration (of each level's increment), squarings, checkpointing: see RegistrationNetwork.
    """

    loss = MultiResolution
    dimensions = (3,)

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dilations: tuple[int, int, int] | None = (1, 2, 3),
        attention_levels: int = 3,
        mlp_ratios: Sequence[int] = (4, 4, 2),
        window: int = 6,
        global_levels: int = 2,
        multi_scale: bool = True,
        separable: bool = True,
        head_scale: float = 0.1,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.divisor = 2 ** len(channels)
        widths = list(channels)
        entering = [1, *widths[:-1]]
        self.encoder = nn.ModuleList(
            MultiScaleResidual(before, after, multi_scale) for before, after in zip(entering, widths)
        )
        last = len(widths) - 1
        self.fusions, self.attentions, self.heads, self.up = (nn.ModuleList() for _ in range(4))
        for level, width in enumerate(widths):
            self.fusions.append(SeparableFusion((2 if level == last else 3) * width, width, separable))
            place = level - (len(widths) - attention_levels)
            if place >= 0:
                wide = level > last - global_levels
                self.attentions.append(Dilformer(width, dilations, mlp_ratios[place], None if wide else window))
            else:
                self.attentions.append(nn.Identity())
            self.heads.append(head(width))
            if level > 0:
                self.up.append(ConvTranspose3d(width, widths[level - 1], 2, stride=2))

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; sizes are multiples of 2 to the number of levels."""
        both = self.features(torch.cat([moving, fixed]))  # one encoder: the two streams are one batch
        moving_levels, fixed_levels = zip(*(level.chunk(2) for level in both))
        flow: torch.Tensor | None = None
        feature: torch.Tensor | None = None
        fields = {}
        for level in reversed(range(len(self.heads))):
            here, there = fixed_levels[level], moving_levels[level]
            if flow is None:
                joined = [here, there]
            else:
                flow = resize(flow, here.shape[2:])
                seen = warp(there.float(), flow).to(there.dtype)  # positions need single precision
                joined = [here, seen, self.up[level](feature)]
            feature = self.kept_small(self.fusions[level], torch.cat(joined, 1))
            feature = self.kept_small(self.attentions[level], feature)
            increment = self.displacement_of(self.heads[level](feature))
            flow = increment if flow is None else compose(flow, increment)
            fields[f"scale 1/{2 ** (level + 1)}"] = flow
        return NetworkOutput(resize(flow, fixed.shape[2:]), fields)

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the pyramid of each image of the batch, finest level first."""
        levels = []
        for block in self.encoder:
            image = self.kept_small(block, image)
            levels.append(image)
        return levels


class MultiScaleResidual(nn.Module):
    """MSR: half the size, then three receptive fields side by side, added to what came in."""

    def __init__(self, before: int, after: int, branches: bool = True) -> None:
        super().__init__()
        half = after // 2
        self.enter = unit(before, after, 3, stride=2)
        self.branches = nn.ModuleList()
        if branches:
            wide = nn.Sequential(unit(after, half, 3), unit(half, half, 3))
            self.branches.extend([unit(after, half, 1), unit(after, half, 3), wide])
            self.join = Conv3d(3 * half, after, 1)
            self.norm = InstanceNorm(after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        if not self.branches:
            return x
        joined = self.join(torch.cat([branch(x) for branch in self.branches], 1))
        return F.leaky_relu(self.norm(x + joined), 0.1)


class SeparableFusion(nn.Module):
    """SRF: a 1^3 convolution, then residual units of three one-dimensional convolutions."""

    def __init__(self, before: int, after: int, units: bool = True) -> None:
        super().__init__()
        # Without units a 1^3 convolution would make the field of a level a linear function of its features.
        self.enter = Conv3d(before, after, 1) if units else unit(before, after)
        self.units = nn.ModuleList(_separable(after) for _ in range(2 if units else 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        for residual in self.units:
            x = F.leaky_relu(x + residual(x), 0.1)
        return x


def _separable(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for axis in range(3):
        kernel = [3 if a == axis else 1 for a in range(3)]
        layers.append(Conv3d(width, width, kernel, padding=[k // 2 for k in kernel]))
        if axis < 2:
            layers += [InstanceNorm(width), nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*layers)


class Dilformer(nn.Module):
    """A transformer block whose query, key and value are convolutions with different dilation rates."""

    HEAD = 32

    def __init__(self, width: int, dilations: tuple[int, int, int] | None, mlp_ratio: int, window: int | None) -> None:
        super().__init__()
        self.heads, self.window = max(1, width // self.HEAD), window
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        rates = dilations or (0, 0, 0)
        self.project_in = nn.ModuleList(
            Conv3d(width, width, 3, padding=rate, dilation=rate) if rate else Conv3d(width, width, 1) for rate in rates
        )
        self.project_out = nn.Linear(width, width)
        self.mlp = perceptron(width, mlp_ratio * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm1(x.movedim(1, -1)).movedim(-1, 1)
        query, key, value = (project(normed) for project in self.project_in)
        attended = window_attention(query, key, value, self.heads, self.window)
        x = x.movedim(1, -1) + self.project_out(attended.movedim(1, -1))
        return (x + self.mlp(self.norm2(x))).movedim(-1, 1)


NETWORK = MSRDNet
