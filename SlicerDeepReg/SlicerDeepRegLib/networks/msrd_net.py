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
* each level's head gives an increment that is composed with the field from below; heads begin near zero.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import nn

from ..warping.sample import compose, resize, warp
from .face import NetworkOutput, RegistrationNetwork


class MSRDNet(RegistrationNetwork):
    """
    Args:
        channels: of the levels 1/2, 1/4, ... of both streams.
        dilations: rates of query, key and value in the Dilformer; None for 1^3 convolutions instead (ablation).
        attention_levels: how many of the coarsest levels have a Dilformer; 0 for none (ablation).
        mlp_ratios: width of the MLP for those levels, finest of them first.
        window: voxels along each axis of an attention window; levels that are not larger attend globally.
        global_levels: how many of the coarsest levels attend globally whatever their size.
        multi_scale: the MSR branches; False leaves the stride-2 convolution alone (ablation).
        separable: the SRF's residual units; False leaves its 1^3 convolution alone (ablation).
        head_scale: the heads' output is multiplied by it. A step of Adam changes every weight alike, and a head of
            the coarsest level has 6912 for each component, whose voxel is 32 of the image: unscaled, the first
            steps throw it by tens of voxels.
    """

    dimensions = (3,)

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        dilations: Optional[Tuple[int, int, int]] = (1, 2, 3),
        attention_levels: int = 3,
        mlp_ratios: Sequence[int] = (4, 4, 2),
        window: int = 6,
        global_levels: int = 2,
        multi_scale: bool = True,
        separable: bool = True,
        head_scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.divisor, self.head_scale = 2 ** len(channels), head_scale
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
            head = nn.Conv3d(width, 3, 3, padding=1)
            nn.init.normal_(head.weight, std=1e-5)
            nn.init.zeros_(head.bias)
            self.heads.append(head)
            if level > 0:
                self.up.append(nn.ConvTranspose3d(width, widths[level - 1], 2, stride=2))

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; sizes are multiples of 2 to the number of levels."""
        moving_levels, fixed_levels = self.features(moving), self.features(fixed)
        flow: Optional[torch.Tensor] = None
        feature: Optional[torch.Tensor] = None
        fields = {}
        for level in reversed(range(len(self.heads))):
            here, there = fixed_levels[level], moving_levels[level]
            if flow is None:
                joined = [here, there]
            else:
                flow = resize(flow, here.shape[2:])
                seen = warp(there.float(), flow).to(there.dtype)  # positions need single precision
                joined = [here, seen, self.up[level](feature)]
            feature = self.attentions[level](self.fusions[level](torch.cat(joined, 1)))
            increment = self.head_scale * self.heads[level](feature).float()
            flow = increment if flow is None else compose(flow, increment)
            fields[f"1/{2 ** (level + 1)}"] = flow
        return NetworkOutput(resize(flow, fixed.shape[2:]), fields)

    def features(self, image: torch.Tensor) -> List[torch.Tensor]:
        """The pyramid of one image, finest level first."""
        levels = []
        for block in self.encoder:
            image = block(image)
            levels.append(image)
        return levels


def _unit(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, instance normalisation, leaky rectifier."""
    return nn.Sequential(
        nn.Conv3d(before, after, kernel, stride=stride, padding=kernel // 2),
        nn.InstanceNorm3d(after),
        nn.LeakyReLU(0.1, inplace=True),
    )


class MultiScaleResidual(nn.Module):
    """MSR: half the size, then three receptive fields side by side, added to what came in."""

    def __init__(self, before: int, after: int, branches: bool = True) -> None:
        super().__init__()
        half = after // 2
        self.enter = _unit(before, after, 3, stride=2)
        self.branches = nn.ModuleList()
        if branches:
            wide = nn.Sequential(_unit(after, half, 3), _unit(half, half, 3))
            self.branches.extend([_unit(after, half, 1), _unit(after, half, 3), wide])
            self.join = nn.Conv3d(3 * half, after, 1)
            self.norm = nn.InstanceNorm3d(after)

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
        self.enter = nn.Conv3d(before, after, 1)
        self.units = nn.ModuleList(_separable(after) for _ in range(2 if units else 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        for unit in self.units:
            x = F.leaky_relu(x + unit(x), 0.1)
        return x


def _separable(width: int) -> nn.Sequential:
    layers: List[nn.Module] = []
    for axis in range(3):
        kernel = [3 if a == axis else 1 for a in range(3)]
        layers.append(nn.Conv3d(width, width, kernel, padding=[k // 2 for k in kernel]))
        if axis < 2:
            layers += [nn.InstanceNorm3d(width), nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*layers)


class Dilformer(nn.Module):
    """A transformer block whose query, key and value are convolutions with different dilation rates."""

    HEAD = 32

    def __init__(
        self, width: int, dilations: Optional[Tuple[int, int, int]], mlp_ratio: int, window: Optional[int]
    ) -> None:
        super().__init__()
        self.heads, self.window = max(1, width // self.HEAD), window
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        rates = dilations or (0, 0, 0)
        self.project_in = nn.ModuleList(
            nn.Conv3d(width, width, 3, padding=rate, dilation=rate) if rate else nn.Conv3d(width, width, 1)
            for rate in rates
        )
        self.project_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm1(x.movedim(1, -1)).movedim(-1, 1)
        query, key, value = (project(normed) for project in self.project_in)
        attended = window_attention(query, key, value, self.heads, self.window)
        x = x.movedim(1, -1) + self.project_out(attended.movedim(1, -1))
        return (x + self.mlp(self.norm2(x))).movedim(-1, 1)


def window_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, window: Optional[int]
) -> torch.Tensor:
    """Multi-head attention of voxels to the voxels of their window.

    Args:
        query, key, value: (B, C, K, J, I).
        heads: C must be a multiple.
        window: voxels along each axis; None, or a size that no axis exceeds, is one window. A size that does not
            divide the volume is made up with voxels that nobody attends to.

    Returns:
        (B, C, K, J, I).
    """
    shape = query.shape[2:]
    if window is None or max(shape) <= window:
        window_shape, padded = list(shape), list(shape)
    else:
        window_shape = [min(window, size) for size in shape]
        padded = [-(-size // w) * w for size, w in zip(shape, window_shape)]
    mask = None
    if list(shape) != padded:
        extra = [amount for size, p in zip(shape[::-1], padded[::-1]) for amount in (0, p - size)]
        there = F.pad(query.new_ones((1, 1, *shape)), extra)
        query, key, value = (F.pad(t, extra) for t in (query, key, value))
        mask = _windows(there, window_shape, 1)[:, :, 0, :, 0] > 0  # (1, windows, voxels)
        mask = mask | ~mask.any(-1, keepdim=True)  # a window of nothing may attend to itself: it is cut off anyway
        mask = mask[:, :, None, None, :]
    parts = [_windows(t, window_shape, heads) for t in (query, key, value)]
    attended = F.scaled_dot_product_attention(*parts, attn_mask=mask)
    return _joined(attended, window_shape, padded)[:, :, : shape[0], : shape[1], : shape[2]]


def _windows(x: torch.Tensor, window: Sequence[int], heads: int) -> torch.Tensor:
    """(B, C, K, J, I) to (B, windows, heads, voxels of a window, C / heads)."""
    b, c, k, j, i = x.shape
    counts = [size // w for size, w in zip((k, j, i), window)]
    x = x.reshape(b, heads, c // heads, counts[0], window[0], counts[1], window[1], counts[2], window[2])
    x = x.permute(0, 3, 5, 7, 1, 4, 6, 8, 2)
    return x.reshape(b, counts[0] * counts[1] * counts[2], heads, window[0] * window[1] * window[2], c // heads)


def _joined(x: torch.Tensor, window: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """The reverse of ``_windows``."""
    b, _, heads, _, width = x.shape
    counts = [size // w for size, w in zip(shape, window)]
    x = x.reshape(b, *counts, heads, *window, width).permute(0, 4, 8, 1, 5, 2, 6, 3, 7)
    return x.reshape(b, heads * width, *shape)
