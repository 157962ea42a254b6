"""WaveMorph: wavelets on the way down, ConvNeXt V2 in the middle, learned sampling on the way up.

Paper: Zhang X, Xu A, Ouyang G, et al. Wavelet-guided multi-scale ConvNeXt for unsupervised medical image registration.
Bioengineering 2025, 12, 406, doi:10.3390/bioengineering12040406. It states: the MSWF module takes the 8 sub-bands of a
3D Haar transform and fuses them by ConvNeXt-like kernels of several sizes; ConvNeXt V2 blocks in the bottleneck;
DySample for upsampling; a field from a similarity and a smoothness. Its ablation replaces MSWF by max pooling, patch
merging and plain wavelets, and DySample by the nearest neighbor and trilinear interpolation. Sizes are not
published; a pair of 160 x 192 x 224 took 0.072 s. (A paper of Medical Physics 2025 has a network of the same name
that is another one.)

Sources of the pieces: Haar downsampling (Xu et al., Pattern Recognition 2023), ConvNeXt V2 with global response
normalization (Woo et al., CVPR 2023), DySample, static scope, linear then shuffled (Liu et al., ICCV 2023).

Left open by the paper, and chosen here:

* four MSWF modules from a stem of ``width`` channels at full resolution, each doubling the channels; two bottleneck
  blocks; each step up joins the skip and has two convolutions with instance normalization;
* ``width`` 8 by default, which is 110 G multiply-accumulates and the faster one; 16 ("full") is 408 G;
* MSWF: 1^3 convolution of the sub-bands, layer normalization, the sum of depthwise kernels of 3, 5 and 7 voxels, layer
  normalization, four times as many channels, GELU, global response normalization, back, added;
* DySample in 3D has 4 groups and 2 x 2 x 2 places, 96 offsets for each voxel, a quarter of a voxel long at the start.

The three depthwise kernels are added into one of 7 voxels before they are used: the same numbers in one convolution.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from ..warping.sample import warp
from .base import NetworkOutput, RegistrationNetwork
from .blocks import ChannelNorm, Conv3d, CountsProducts, InstanceNorm, head, unit

DOWN = ("mswf", "wavelet", "patchmerging", "maxpool")
UP = ("dysample", "trilinear", "nearest")


class WaveMorph(RegistrationNetwork):
    """A U-Net with wavelet downsampling, ConvNeXt V2 blocks at the bottleneck and dynamic upsampling.

    Args:
        width: channels of the stem; the bottleneck has 16 times as many.
        bottleneck: how many ConvNeXt V2 blocks.
        down: "mswf", or "wavelet", "patchmerging", "maxpool" (ablations).
        up: "dysample", or "trilinear", "nearest" (ablations).
        common: head_scale, integration, squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    dimensions = (3,)
    LEVELS = 4

    def __init__(
        self,
        width: int = 8,
        bottleneck: int = 2,
        down: str = "mswf",
        up: str = "dysample",
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        if down not in DOWN or up not in UP:
            raise ValueError(
                f"down must be one of {', '.join(DOWN)} and up one of {', '.join(UP)}; got {down!r}, {up!r}"
            )
        self.divisor = 2**self.LEVELS
        widths = [width * 2**level for level in range(self.LEVELS + 1)]
        self.stem = unit(2, width)
        self.down = nn.ModuleList(_downsampling(down, before, after) for before, after in zip(widths, widths[1:]))
        self.bottleneck = nn.Sequential(*(ConvNeXtV2(widths[-1]) for _ in range(bottleneck)))
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for here, below in zip(widths[-2::-1], widths[:0:-1]):
            self.up.append(_upsampling(up, below))
            self.join.append(nn.Sequential(unit(below + here, here), unit(here, here)))
        self.head = head(width)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; there is one field."""
        x = self.stem(torch.cat([moving, fixed], 1))
        levels: list[torch.Tensor] = []
        for module in self.down:
            levels.append(x)
            x = self.kept_small(module, x)
        x = self.kept_small(self.bottleneck, x)
        for up, join in zip(self.up, self.join):
            x = self.kept_small(join, torch.cat([self.kept_small(up, x), levels.pop()], 1))
        return self.output_of(self.head(x))


def haar(x: torch.Tensor) -> torch.Tensor:
    """Compute the orthonormal 3D Haar transform: (B, C, K, J, I), even sizes, to (B, 8 C, K/2, J/2, I/2).

    Channel 8 c + 4 a + 2 b + d is the sub-band of channel c with the low (0) or high (1) part along k, j and i.
    """
    bands = [x]
    for axis in (2, 3, 4):
        halves = []
        for band in bands:
            even, odd = (_every_second(band, axis, start) for start in (0, 1))
            halves += [(even + odd) * 0.5**0.5, (even - odd) * 0.5**0.5]
        bands = halves
    return torch.stack(bands, 2).flatten(1, 2)


def _every_second(x: torch.Tensor, axis: int, start: int) -> torch.Tensor:
    return x[(slice(None),) * axis + (slice(start, None, 2),)]


def _downsampling(kind: str, before: int, after: int) -> nn.Module:
    if kind == "mswf":
        return MultiScaleWaveletFusion(before, after)
    if kind == "wavelet":
        return nn.Sequential(Haar(), Conv3d(8 * before, after, 1), InstanceNorm(after), nn.LeakyReLU(0.1))
    if kind == "patchmerging":
        return nn.Sequential(SpaceToDepth(), ChannelNorm(8 * before), Conv3d(8 * before, after, 1, bias=False))
    return nn.Sequential(nn.MaxPool3d(2), unit(before, after))


class Haar(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return haar(x)


class SpaceToDepth(nn.Module):
    """The eight voxels of each block side by side, as patch merging has them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[:, :, k::2, j::2, i::2] for k in (0, 1) for j in (0, 1) for i in (0, 1)]
        return torch.cat(parts, 1)


class MultiScaleWaveletFusion(nn.Module):
    """MSWF: half the size without loss, then several receptive fields at once."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.enter = Conv3d(8 * before, after, 1)
        self.norm = ChannelNorm(after)
        self.mix = Mixing(after, (3, 5, 7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(self.norm(self.enter(haar(x))))


class Mixing(nn.Module):
    """Depthwise kernels, layer normalization, and an MLP with global response normalization, added to the input."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.depthwise = SummedDepthwise(width, kernels)
        self.norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.response = GlobalResponse(4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.depthwise(x).movedim(1, -1))
        y = self.narrow(self.response(F.gelu(self.widen(y))))
        return x + y.movedim(-1, 1)


class ConvNeXtV2(Mixing):
    """The block of ConvNeXt V2 with a kernel of 7 voxels."""

    def __init__(self, width: int) -> None:
        super().__init__(width, (7,))


class SummedDepthwise(CountsProducts):
    """The sum of depthwise convolutions of several sizes, computed as one of the largest."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Conv3d(width, width, k, padding=k // 2, groups=width) for k in kernels)

    @property
    def products(self) -> int:
        """Multiply-accumulates of one value of its output, counted as the separate convolutions that they stand for."""
        return sum(part.weight[0].numel() for part in self.parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest = max(part.kernel_size[0] for part in self.parts)
        weight = sum(F.pad(part.weight, [(largest - part.kernel_size[0]) // 2] * 6) for part in self.parts)
        bias = sum(part.bias for part in self.parts)
        x, weight = (t.contiguous(memory_format=torch.channels_last_3d) for t in (x, weight))  # a CPU is slow otherwise
        return F.conv3d(x, weight, bias, padding=largest // 2, groups=x.shape[1])


class GlobalResponse(nn.Module):
    """GRN: each channel weighed by its norm over the volume, relative to the mean of all channels; (B, ..., C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes = tuple(range(1, x.ndim - 1))
        strength = x.float().square().sum(axes, keepdim=True).add(1e-12).sqrt()
        relative = strength / (strength.mean(-1, keepdim=True) + 1e-6)
        return self.gamma * (x * relative.to(x.dtype)) + self.beta + x


def _upsampling(kind: str, width: int) -> nn.Module:
    if kind == "dysample":
        return DySample(width)
    return nn.Upsample(scale_factor=2, mode=kind, align_corners=False if kind == "trilinear" else None)


class DySample(nn.Module):
    """Twice the size, each new voxel sampled where a learned offset says; groups of channels have their own offsets.

    At offset zero it is linear interpolation.
    """

    GROUPS, SCALE, REACH = 4, 2, 0.25

    def __init__(self, width: int) -> None:
        super().__init__()
        self.offset = Conv3d(width, 3 * self.GROUPS * self.SCALE**3, 1)
        nn.init.normal_(self.offset.weight, std=1e-3)
        nn.init.zeros_(self.offset.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, k, j, i = x.shape
        s, g = self.SCALE, self.GROUPS
        offset = self.offset(x).float() * self.REACH  # voxels of x
        offset = offset.view(b, g, 3, s, s, s, k, j, i).permute(0, 1, 2, 6, 3, 7, 4, 8, 5)
        offset = offset.reshape(b * g, 3, s * k, s * j, s * i)
        groups = x.float().reshape(b * g, c // g, k, j, i)
        # Voxel y of the larger grid lies at y / s + (1 - s) / (2 s) of the smaller one.
        sampled = warp(groups, offset * s, scale_ijk=[1 / s] * 3, offset_ijk=[(1 - s) / (2 * s)] * 3)
        return sampled.reshape(b, c, s * k, s * j, s * i).to(x.dtype)


NETWORK = WaveMorph
