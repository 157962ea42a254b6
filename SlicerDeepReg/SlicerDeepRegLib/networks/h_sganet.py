"""H-SGANet: a small U-Net whose skips pass through graphs of distant voxels, and a linear attention at its bottom.

Paper: H-SGANet: hybrid sparse graph attention network for deformable medical image registration, 2024,
doi:10.48550/arXiv.2408.16719.

Known of its public code (no license file: only the structure is taken): both images as two channels, four levels of 16,
32, 32, 32 channels by mean pooling of 3 and convolutions; at each level a graph in which a voxel's neighbors are
those a multiple of 20 voxels away along each axis (cyclically), from which the largest difference is taken, without
gradient; at the bottom separable attention over the last axis of the volume, whose 28 positions have weights of
their own, so that the weights belong to images of 224 voxels along it; shorter ones are padded here, longer ones
refused. 367,764 parameters are written there; its finest graph then has 32 channels where 16 come in, and does
not run. With 16 there are 364,548, of which the third graph's 4,384 are used by nothing (the bottom is made from what
was before it) and left out here: 360,164.

Chosen: instance normalization in the graphs by default (see ``blocks.normalization``); "batch" as its code has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import MSEAndDiffusion
from ..types import InputError
from .base import NetworkOutput, RegistrationNetwork
from .blocks import Conv3d, InstanceNorm, head, normalization, unit


class HSGANet(RegistrationNetwork):
    """A U-Net with graph convolutions in its skips and separable attention at its coarsest level.

    Args:
        channels: of the levels, finest first.
        hop: how far apart, in voxels of the level, neighbors in a graph are.
        positions: voxels of the coarsest level along i; images may have 8 times as many.
        norm: "instance" or "batch", of the graphs.
        common: head_scale, integration, squarings, checkpointing: see RegistrationNetwork.
    """

    loss = MSEAndDiffusion
    small = {"channels": (8, 8, 8, 8), "hop": 3, "positions": 8}
    dimensions = (3,)
    divisor = 8

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 32, 32),
        hop: int = 20,
        positions: int = 28,
        norm: str = "instance",
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.positions = positions
        self.down = nn.ModuleList(_layer(before, after) for before, after in zip([2, *channels[:-1]], channels))
        self.graphs = nn.ModuleList(Graph(width, hop, norm) for width in channels)
        self.graphs[-2] = nn.Identity()
        self.attention = SeparableAttention(positions)
        below = [channels[-1], *channels[:0:-1]]
        self.up = nn.ModuleList(
            nn.Sequential(unit(b + here, here, bias=False, slope=0.01), unit(here, here, bias=False, slope=0.01))
            for b, here in zip(below, channels[::-1])
        )
        self.head = head(channels[0])

    def padded_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape that an image is padded to.

        Raises:
            InputError: it is longer along i than the weights know.
        """
        most = self.divisor * self.positions
        if shape[-1] > most:
            raise InputError(
                f"H-SGANet knows images of at most {most} voxels along their first axis, and this one has {shape[-1]} "
                "there. Use a faster preset, or another network."
            )
        return (*super().padded_shape(shape)[:-1], most)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        x, levels = torch.cat([moving, fixed], 1), []
        for number, (layer, graph) in enumerate(zip(self.down, self.graphs)):
            x = F.avg_pool3d(x, 3, stride=2, padding=1) if number else x
            levels.append(self.kept_small(layer, x))
            x = levels[-1]
            if isinstance(graph, Graph):
                x = x + self.kept_small(graph, x)
        x = x + self.attention(x)
        for number, up in enumerate(self.up):
            x = self.kept_small(up, torch.cat([x, levels.pop()], 1))
            if number < len(self.up) - 1:
                x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        return self.output_of(self.head(x))


def _layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        Conv3d(before, after, 3, padding=1, bias=False), nn.LeakyReLU(0.01, inplace=True), InstanceNorm(after)
    )


class Graph(nn.Module):
    """Max-relative graph convolution over distant neighbors, between layers of single voxels, and the input."""

    def __init__(self, width: int, hop: int, norm: str) -> None:
        super().__init__()
        self.hop = hop
        self.enter = nn.Sequential(Conv3d(width, width, 1), normalization(norm, width))
        self.join = nn.Sequential(Conv3d(2 * width, width, 1), normalization(norm, width), nn.GELU())
        self.leave = nn.Sequential(Conv3d(width, width, 1), normalization(norm, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        entered = self.enter(x)
        return x + self.leave(self.join(torch.cat([entered, self._largest_difference(entered)], 1)))

    @torch.no_grad()
    def _largest_difference(self, x: torch.Tensor) -> torch.Tensor:
        largest = torch.zeros_like(x)
        for axis in (2, 3, 4):
            for step in range(self.hop, x.shape[axis], self.hop):
                largest = torch.maximum(largest, x - x.roll(step, axis))
        return largest


class SeparableAttention(nn.Module):
    """Attention whose cost grows with the voxels alone (MobileViT v2), along the last axis of the volume."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score, self.leave = nn.Linear(width, 1), nn.Linear(width, width)
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.score, self.key, self.value, self.leave):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        context = (torch.softmax(self.score(x), 1) * self.key(x)).sum(1, keepdim=True)  # over the channels, as released
        return self.leave(self.value(x) * context)


NETWORK = HSGANet
