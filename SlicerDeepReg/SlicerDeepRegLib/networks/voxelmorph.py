"""VoxelMorph: a U-Net that gives a velocity at half resolution, integrated and enlarged.

Paper: Balakrishnan G, Zhao A, Sabuncu MR, Guttag J, Dalca AV. VoxelMorph: a learning framework for deformable medical
image registration. IEEE TMI 2019, 38(8): 1788-1800, doi:10.1109/TMI.2019.2897538; the diffeomorphic form: Dalca et al.,
Medical Image Analysis 2019, 57: 226-236, doi:10.1016/j.media.2019.07.006.

Known of its public code (Apache-2.0), and kept so that its weights give the same field: moving and fixed image as two
channels, 3^n convolutions with leaky rectifiers (0.2), max pooling, nearest neighbors on the way up, skips with what
came before each pooling; the head's field is halved by corners, integrated by 7 squarings with zeros outside, and
doubled by corners. Three published sizes: the released default (327,331 parameters), and the two of the 2018 and 2019
papers' displacement networks (276,523 and 320,403 in this layout).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from ..warping.sample import resize_by_corners
from ..warping.velocity import integrate
from .base import NetworkOutput, RegistrationNetwork
from .blocks import CONVOLUTION, JoinedConv3d, head


class VoxelMorph(RegistrationNetwork):
    """A U-Net whose velocity is integrated at half resolution.

    Args:
        dimensions: 2 or 3.
        encoder: channels of the levels on the way down, finest first.
        decoder: channels of the levels on the way up, coarsest first, and then of the layers at full resolution.
        layers: convolutions of each level.
        reduced: the velocity is integrated at this part of the resolution of the head: 1 or 2.
        half_resolution: the decoder stops at half the resolution (then the velocity is there already).
        common: head_scale, integration ("velocity" by default; "displacement" leaves it out and the halving with it),
            squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    dimensions = (2, 3)

    def __init__(
        self,
        dimensions: int = 3,
        encoder: Sequence[int] = (16, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 32, 32, 16, 16),
        layers: int = 1,
        reduced: int = 2,
        half_resolution: bool = False,
        head_scale: float = 1.0,
        integration: str = "velocity",
        **common: Any,
    ) -> None:
        super().__init__(head_scale, integration, **common)
        if reduced not in (1, 2) or (half_resolution and (reduced != 2 or integration != "velocity")):
            raise ValueError("reduced must be 1 or 2, and 2 with a velocity where the decoder stops at half resolution")
        self.dimensions, self.reduced, self.half_resolution = (dimensions,), reduced, half_resolution
        levels = len(encoder) // layers
        self.divisor = 2**levels
        self.encoder, self.decoder, skips, width = nn.ModuleList(), nn.ModuleList(), [], 2
        for level in range(levels):
            self.encoder.append(nn.ModuleList())
            for after in encoder[level * layers : (level + 1) * layers]:
                self.encoder[-1].append(Layer(width, after, dimensions))
                width = after
            skips.append(width)
        for level in range(levels):
            self.decoder.append(nn.ModuleList())
            for after in decoder[level * layers : (level + 1) * layers]:
                self.decoder[-1].append(Layer(width, after, dimensions))
                width = after
            if not half_resolution or level < levels - 1:
                width += skips.pop()
        self.last = nn.ModuleList()
        for after in decoder[levels * layers :]:
            self.last.append(Layer(width, after, dimensions))
            width = after
        self.head = head(width, dimensions)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        velocity = self.head_scale * self.head(self._features(torch.cat([moving, fixed], 1))).float()
        if self.integration == "displacement":
            return NetworkOutput(velocity)
        halved = self.reduced == 2
        if halved and not self.half_resolution:
            velocity = resize_by_corners(velocity, 0.5)
        flow = integrate(velocity, squarings=self.squarings, outside="zeros")
        return NetworkOutput(resize_by_corners(flow, 2) if halved else flow, velocity=None if halved else velocity)

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        pool, levels = (F.max_pool3d if x.ndim == 5 else F.max_pool2d), []
        for layers in self.encoder:
            for layer in layers:
                x = self.kept_small(layer, x)
            levels.append(x)
            x = pool(x, 2)
        joined = (x,)
        for number, layers in enumerate([*self.decoder, self.last]):
            for layer in layers:
                joined = (self.kept_small(layer, *joined),)
            if number < len(self.decoder) - self.half_resolution:
                joined = (F.interpolate(joined[0], scale_factor=2, mode="nearest"), levels.pop())
        return torch.cat(joined, 1)


class Layer(nn.Sequential):
    """A convolution and a rectifier; of several tensors side by side where a level is joined by its skip."""

    def __init__(self, before: int, after: int, dimensions: int) -> None:
        kind = JoinedConv3d if dimensions == 3 else CONVOLUTION[2]
        super().__init__(kind(before, after, 3, padding=1), nn.LeakyReLU(0.2, inplace=True))

    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        convolve, rectify = self
        return rectify(convolve(*parts) if isinstance(convolve, JoinedConv3d) else convolve(torch.cat(parts, 1)))


NETWORK = VoxelMorph
