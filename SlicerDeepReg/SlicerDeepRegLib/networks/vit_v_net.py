"""ViT-V-Net: a V-Net whose coarsest features pass through a vision transformer.

Paper: Chen J, He Y, Frey EC, Li Y, Du Y. ViT-V-Net: vision transformer for unsupervised volumetric medical image
registration. MIDL 2021, doi:10.48550/arXiv.2104.06468.

Known of its public code (MIT): moving image first; two convolutions with rectifiers at 1, 1/2 and 1/4 (16, 32, 32
channels), pooled further to 1/8 and 1/16 for the skips; patches of 8^3 at 1/4 to 252 channels (so tokens are 1/32), a
trained position for each, 12 layers of 12 heads with an inner width of 3072; then 512 channels and five times: twice
the size, skip, two convolutions with normalization (96, 48, 32, 32, 16 channels). 31,560,079 parameters. Positions
belong to one size of image (5 x 6 x 7 tokens for 160 x 192 x 224); for others they are interpolated here.

Chosen: instance normalization by default, because batch normalization of one pair in training is that (see
``blocks.normalization``); "batch", with running statistics, for the pretrained weights. Its dropout (0.1) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import MSEAndDiffusion
from .attention import whole_attention
from .base import NetworkOutput, RegistrationNetwork
from .blocks import Conv3d, head, normalized, perceptron


class ViTVNet(RegistrationNetwork):
    """A V-Net with a vision transformer at its bottleneck.

    Args:
        channels: of the convolutions at 1, 1/2 and 1/4.
        width: of the tokens. layers, heads, inner: of the transformer.
        positions: tokens along k, j and i that the trained positions are for.
        first: channels after the transformer.
        decoder: channels of the five levels on the way up.
        norm: "instance" or "batch".
        common: head_scale, integration, squarings, checkpointing: see RegistrationNetwork.
    """

    loss = MSEAndDiffusion
    small = {"width": 24, "layers": 2, "heads": 2, "inner": 32, "first": 32, "decoder": (16, 16, 8, 8, 8)}
    dimensions = (3,)
    divisor = 32
    PATCH = 8

    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 32),
        width: int = 252,
        layers: int = 12,
        heads: int = 12,
        inner: int = 3072,
        positions: Sequence[int] = (5, 6, 7),
        first: int = 512,
        decoder: Sequence[int] = (96, 48, 32, 32, 16),
        norm: str = "instance",
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.positions_kji = tuple(positions)
        self.levels = nn.ModuleList(_pair(*two) for two in zip([2, *channels[:-1]], channels))
        self.patches = Conv3d(channels[-1], width, self.PATCH, stride=self.PATCH)
        self.positions = nn.Parameter(torch.zeros(1, positions[0] * positions[1] * positions[2], width))
        self.transformer = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))
        self.transformer_norm = nn.LayerNorm(width, eps=1e-6)
        self.enter = normalized(width, first, norm, bias=False)
        skips = [channels[-1], channels[-1], *channels[::-1]]
        self.up = nn.ModuleList(
            nn.Sequential(
                normalized(before + skip, after, norm, bias=False), normalized(after, after, norm, bias=False)
            )
            for before, skip, after in zip([first, *decoder[:-1]], skips, decoder)
        )
        self.head = head(decoder[-1])

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        x, skips = torch.cat([moving, fixed], 1), []
        for number, level in enumerate(self.levels):
            x = self.kept_small(level, F.max_pool3d(x, 2) if number else x)
            skips.append(x)
        for _ in range(2):
            skips.append(F.max_pool3d(skips[-1], 2))
        x = self.kept_small(self.enter, self._transformed(x))
        for up in self.up:
            x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = self.kept_small(up, torch.cat([x, skips.pop()], 1))
        return self.output_of(self.head(x))

    def _transformed(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x)
        shape = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2) + self._positions_for(shape)
        for layer in self.transformer:
            tokens = self.kept_small(layer, tokens)
        return self.transformer_norm(tokens).transpose(1, 2).reshape(len(x), -1, *shape)

    def _positions_for(self, shape: Sequence[int]) -> torch.Tensor:
        if tuple(shape) == self.positions_kji:
            return self.positions
        volume = self.positions.transpose(1, 2).reshape(1, -1, *self.positions_kji)
        return (
            F.interpolate(volume, size=tuple(shape), mode="trilinear", align_corners=False).flatten(2).transpose(1, 2)
        )


def _pair(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for entering in (before, after):
        layers += [Conv3d(entering, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Layer(nn.Module):
    """A layer of the transformer; (B, tokens, C)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project_out = nn.Linear(width, width)
        self.mlp = perceptron(width, inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = self.norm1(x)
        attended = whole_attention(self.query(given), self.key(given), self.value(given), self.heads)
        x = x + self.project_out(attended)
        return x + self.mlp(self.norm2(x))


NETWORK = ViTVNet
