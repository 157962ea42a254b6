"""PIViT: the field is found at 1/8 by Swin blocks in three iterations, and refined at 1/4 and 1/2.

Paper: Ma T, Dai X, Zhang S, Wen Y. PIViT: large deformation image registration with pyramid-iterative vision
transformer. MICCAI 2023, doi:10.1007/978-3-031-43999-5_57.

Known of its public code (no license: only the structure is taken): one encoder for both images, three convolutions of
stride 2 with 32 channels; at 1/8 three times: two Swin blocks of one head in windows of 8^3 over both images' features,
a convolution, a head; at 1/4 and 1/2 a convolution and a head; each increment is composed with the field so far, with
zeros outside, fields are doubled by corners, and the field of 1/2 is the last one. 664,873 parameters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from ..warping.sample import compose, recentered, resize_by_corners, warp
from .base import NetworkOutput, RegistrationNetwork
from .blocks import head, plain_run, rectified
from .swin import SwinStage


class PIViT(RegistrationNetwork):
    """A field estimated at 1/8 by iterated Swin blocks, and refined at 1/4 and 1/2.

    Args:
        width: channels of every level.
        iterations: at 1/8, each with weights of its own.
        window: of attention, voxels along each axis.
        common: head_scale, integration (of each increment), squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    small = {"width": 8, "window": 3}
    dimensions = (3,)
    divisor = 8

    def __init__(
        self, width: int = 32, iterations: int = 3, window: int = 8, head_scale: float = 1.0, **common: Any
    ) -> None:
        super().__init__(head_scale, **common)
        self.encoder = nn.ModuleList(rectified(before, width, 2) for before in (1, width, width))
        self.attend = nn.ModuleList(Attending(width, window) for _ in range(iterations))
        self.refine = nn.ModuleList(rectified(2 * width, width) for _ in range(2))
        self.heads = nn.ModuleList(head(width) for _ in range(iterations + 2))
        for block in self.attend:
            block.run = self.kept_small

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        x, levels = torch.cat([moving, fixed]), []
        for layer in self.encoder:
            x = self.kept_small(layer, x)
            levels.append(x.chunk(2))
        estimators = [*((block, 8) for block in self.attend), *zip(self.refine, (4, 2))]
        flow, fields, before = None, {}, 8
        for number, (block, factor) in enumerate(estimators):
            there, here = levels[factor.bit_length() - 2]
            if flow is not None and factor < before:
                flow = resize_by_corners(flow, 2)
            seen = there if flow is None else warp(there.float(), flow, outside="zeros").to(there.dtype)
            features = (
                self.kept_small(block, torch.cat([seen, here], 1)) if factor < 8 else block(torch.cat([seen, here], 1))
            )
            increment = self.displacement_of(self.heads[number](features))
            flow = increment if flow is None else compose(flow, increment, "zeros")
            name = f"1/8, iteration {number + 1}" if factor == 8 else f"scale 1/{factor}"
            fields[name], before = recentered(flow, factor), factor
        return NetworkOutput(resize_by_corners(flow, 2), fields)


class Attending(nn.Module):
    """Two Swin blocks over the features of both images, and a convolution."""

    def __init__(self, width: int, window: int) -> None:
        super().__init__()
        self.swin = SwinStage(2 * width, 2, [window] * 3, (0.0, 0.0), heads=1, shrink=True)
        self.reduce = rectified(2 * width, width)
        self.run = plain_run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.reduce(self.swin(x.movedim(1, -1), self.run).movedim(-1, 1))


NETWORK = PIViT
