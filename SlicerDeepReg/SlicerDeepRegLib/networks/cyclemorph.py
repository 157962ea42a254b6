"""CycleMorph: a U-Net with convolutions of stride 2, trained as one of two that undo each other.

Paper: Kim B, Kim DH, Park SH, Kim J, Lee JG, Ye JC. CycleMorph: cycle consistent unsupervised deformable image
registration. Medical Image Analysis 2021, 71: 102036, doi:10.1016/j.media.2021.102036.

Known of its public code (no license: only the structure is taken): moving image as the first channel; channels 16, 32,
32, 32, 32 on the way down and 32, 32, 32, 8, 8 on the way up, leaky rectifiers (0.2), transposed convolutions without
rectifier that double the size, the skip before them in the channels, one more convolution at half resolution, a
head that gives voxels. 361,299 parameters.

Left out: the paper trains a second network of this kind for the way back, with losses of the cycle and of identical
images; one network, trained here by what both have in common (local correlation and smoothness), registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from .base import NetworkOutput, RegistrationNetwork
from .blocks import ConvTranspose3d, head, rectified

#: Of the rectifiers on the negative side.
SLOPE = 0.2


class CycleMorph(RegistrationNetwork):
    """A U-Net with convolutions of stride 2; one of CycleMorph's two networks.

    Args:
        encoder: channels from full resolution down to the coarsest level.
        decoder: channels on the way up; the last but one belongs to a further layer at half resolution.
        common: head_scale, integration, squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    dimensions = (3,)

    def __init__(
        self,
        encoder: Sequence[int] = (16, 32, 32, 32, 32),
        decoder: Sequence[int] = (32, 32, 32, 8, 8),
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.divisor = 2 ** (len(encoder) - 1)
        *ups, kept, last = decoder
        self.down = nn.ModuleList(
            rectified(before, after, 1 if number == 0 else 2, SLOPE)
            for number, (before, after) in enumerate(zip([2, *encoder[:-1]], encoder))
        )
        entering, leaving = [encoder[-1], *ups[:-1], kept], [*ups, last]
        self.up = nn.ModuleList(Up(*three) for three in zip(entering, encoder[-2::-1], leaving))
        self.between = rectified(ups[-1], kept, slope=SLOPE)
        self.head = head(last)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        x, levels = torch.cat([moving, fixed], 1), []
        for layer in self.down:
            x = self.kept_small(layer, x)
            levels.append(x)
        levels.pop()
        for number, up in enumerate(self.up):
            if number == len(self.up) - 1:
                x = self.kept_small(self.between, x)
            x = self.kept_small(up, x, levels.pop())
        return self.output_of(self.head(x))


class Up(nn.Module):
    """Twice the size, the skip before it in the channels, and one convolution."""

    def __init__(self, before: int, skip: int, after: int) -> None:
        super().__init__()
        self.enlarge = ConvTranspose3d(before, before, 3, stride=2, padding=1, output_padding=1)
        self.join = rectified(before + skip, after, slope=SLOPE)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return self.join(torch.cat([skip, self.enlarge(x)], 1))


NETWORK = CycleMorph
