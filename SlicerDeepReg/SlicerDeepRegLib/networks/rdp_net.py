"""RDP: a pyramid of two encoders whose levels are decoded again and again with the same weights.

Paper: Wang H, Ni D, Wang Y. Recursive deformable pyramid network for unsupervised medical image registration. IEEE TMI
2024, 43(6): 2229-2240, doi:10.1109/TMI.2024.3362968.

Known of its public code (no license file: only the structure is taken): an encoder for each image (their weights
differ), levels at 1, 1/2, 1/4, 1/8 with c, 2c, 4c, 8c channels, c = 16, residual blocks, instance normalization and
leaky rectifiers (0.1); at 1/8, 1/4, 1/2 and 1 a decoder that runs 2, 2, 3 and 1 times with the same weights, each time
on the moving features warped so far; each head gives a velocity, integrated by 7 squarings and composed with the field
so far, zeros outside; fields are doubled by corners. 8,922,444 parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from ..warping.sample import compose, recentered, resize_by_corners, warp
from ..warping.velocity import integrate
from .base import NetworkOutput, RegistrationNetwork
from .blocks import Conv3d, ConvTranspose3d, InstanceNorm, head, unit


class RDPNet(RegistrationNetwork):
    """Encoders of both images and decoders that run recursively at each level, from coarse to fine.

    Args:
        width: channels at full resolution (c).
        recursions: how often the decoders of 1, 1/2, 1/4 and 1/8 run.
        common: head_scale, integration ("velocity" by default, of each increment), squarings, checkpointing: see
            RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    small = {"width": 4}
    dimensions = (3,)
    divisor = 8

    def __init__(
        self,
        width: int = 16,
        recursions: Sequence[int] = (1, 3, 2, 2),
        head_scale: float = 1.0,
        integration: str = "velocity",
        **common: Any,
    ) -> None:
        super().__init__(head_scale, integration, **common)
        if len(recursions) != 4 or min(recursions) < 1:
            raise ValueError(f"recursions must be four numbers of 1 or more; they were {tuple(recursions)}")
        self.recursions = tuple(recursions)
        widths = [width * 2**level for level in range(4)]
        self.encoder_moving, self.encoder_fixed = (Encoder(widths) for _ in range(2))
        #: From what is at a level (three times its width; at the coarsest, which has nothing from below, once).
        inner = [3 * c for c in widths[:-1]] + [widths[-1]]
        self.decode = nn.ModuleList(
            nn.Sequential(unit(2 * c if level == 3 else 3 * c, wide), unit(wide, wide))
            for level, (c, wide) in enumerate(zip(widths, inner))
        )
        self.heads = nn.ModuleList(head(wide) for wide in inner)
        self.again = nn.ModuleList(
            unit(3 * c, c) if times > 1 else nn.Identity() for c, times in zip(widths, recursions)
        )
        if recursions[3] > 1:
            self.again[3] = nn.Sequential(unit(3 * widths[3], widths[3]), unit(widths[3], widths[3]))
        self.up = nn.ModuleList(_up(inner[level + 1], c) for level, c in enumerate(widths[:-1]))

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; ``fields`` holds the field after each recursion."""
        there = self.kept_small(self.encoder_moving, moving)
        here = self.kept_small(self.encoder_fixed, fixed)
        flow, below, fields = None, None, {}
        for level in (3, 2, 1, 0):
            if flow is not None:
                flow = resize_by_corners(flow, 2)
            for number in range(self.recursions[level]):
                seen = there[level]
                if flow is not None:
                    seen = warp(seen.float(), flow, outside="zeros").to(seen.dtype)
                below = self._decoded(level, number, here[level], seen, below)
                increment = self._increment(self.heads[level](below))
                flow = increment if flow is None else compose(flow, increment, "zeros")
                name = f"scale 1/{2**level}" if level else "scale 1"
                fields[f"{name}, {number + 1}"] = recentered(flow, 2**level)
        return NetworkOutput(flow, fields)

    def _decoded(
        self, level: int, number: int, here: torch.Tensor, seen: torch.Tensor, below: torch.Tensor
    ) -> torch.Tensor:
        """Return the features of the level's decoder: from those below at first, then from its own before."""
        if level == 3:
            block = self.again[3] if number else self.decode[3]
            joined = [here, seen, below] if number else [here, seen]
            return self.kept_small(block, torch.cat(joined, 1))
        carried = self.kept_small(self.again[level] if number else self.up[level], below)
        return self.kept_small(self.decode[level], torch.cat([here, seen, carried], 1))

    def _increment(self, values: torch.Tensor) -> torch.Tensor:
        scaled = self.head_scale * values.float()
        if self.integration == "displacement":
            return scaled
        return integrate(scaled, squarings=self.squarings, outside="zeros")


def _up(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        ConvTranspose3d(before, after, 4, stride=2, padding=1), InstanceNorm(after), nn.LeakyReLU(0.1, inplace=True)
    )


class Encoder(nn.Module):
    """(B, 1, ...) to the features of four levels, finest first."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.enter = unit(1, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(Conv3d(before, after, 3, stride=2, padding=1), Residual(after))
            for before, after in zip(widths, widths[1:])
        )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        levels: list[torch.Tensor] = [self.enter(image)]
        for block in self.down:
            levels.append(block(levels[-1]))
        return tuple(levels)


class Residual(nn.Module):
    """Normalization, rectifier and convolution added to the input; then both again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(InstanceNorm(width), nn.LeakyReLU(0.1), Conv3d(width, width, 3, padding=1))
        self.leave = nn.Sequential(InstanceNorm(width), nn.LeakyReLU(0.1, inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.path(x) + x)


NETWORK = RDPNet
