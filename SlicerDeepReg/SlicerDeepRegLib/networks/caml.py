"""CAML, RBSC, CARSC: cross attention over multi-layers, residual blocks in the skips, and a cascade.

Paper: deformable registration with cross attention over multi-layers, residual skip connections and cascade attention,
Intelligent Data Analysis 2024, doi:10.3233/IDA-230692. Its base is XMorpher (Shi et al., MICCAI 2022): two U-shaped
streams of transformer blocks with the same weights, in which windows of one image attend to larger windows of the
other. The paper adds:

* CAML: features attend to the other image's at the same level and at another one, max pooling making the sizes
  equal; four cross attentions share their parameters;
* RBSC: a residual block of 3^3 convolutions in each skip from encoder to decoder;
* CARSC: the whole network with its residual skips run again ("twice") on what the first run aligned.

Known of the base (its released code): patches of 4^3 voxels, 48, 96, 192, 384 channels, 2, 2, 6, 2 blocks on the way
down and as many on the way up, heads of 16 channels, base windows of 2^3 and search windows of 6^3 tokens, MLP four
times as wide, no positions. With the three additions off this network has its parameters, but for a layer there
that nothing uses (a test holds the number).

Left open by the paper, and chosen here:

* the other level is the next finer one of the encoder: at level l a stream attends to the other at l, and to the
  other at l - 1, max pooled and brought to the width of l; the two answers are averaged. The finest has only its own;
* the same weights serve both streams, both levels, and both directions: the four computations of the paper's figure;
* both windows are normalized before attention (the released base normalizes the asking one only);
* the residual block is convolution, instance normalization, rectifier, convolution, instance normalization, added;
* the cascade has the same weights in each run (``shared``); each run sees the moving image warped by the field so far,
  and its field is composed with it;
* what of a search window lies outside the volume is not attended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from ..warping.sample import compose, warp
from .attention import neighbor_attention
from .base import NetworkOutput, RegistrationNetwork
from .blocks import ChannelNorm, Conv3d, ConvTranspose3d, InstanceNorm, Pointwise, head, perceptron, plain_run


class CAML(RegistrationNetwork):
    """Cross attention between two streams, over neighboring levels (CAML) and in a cascade (CARSC).

    Args:
        width: channels of the finest level.
        depths: blocks of each level, finest first; the decoder has as many.
        head_width: channels of an attention head.
        window, reach: base windows of ``window`` tokens along each axis; search windows have ``reach`` more base
            windows on each side.
        multi_layers: attend to the next finer level too (CAML).
        residual_skips: residual blocks in the skips (RBSC).
        cascades: how often the network runs (CARSC); 1 for once.
        shared: the same weights in each run.
        normalize_search: normalize search windows too before attention.
        common: head_scale, integration (of each run's field), squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    small = {"width": 16, "depths": (1, 1, 1)}
    dimensions = (3,)
    PATCH = 4

    def __init__(
        self,
        width: int = 48,
        depths: Sequence[int] = (2, 2, 6, 2),
        head_width: int = 16,
        window: int = 2,
        reach: int = 1,
        multi_layers: bool = True,
        residual_skips: bool = True,
        cascades: int = 2,
        shared: bool = True,
        normalize_search: bool = True,
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        if cascades < 1:
            raise ValueError(f"cascades must be 1 or more; it was {cascades}")
        self.divisor = self.PATCH * 2 ** (len(depths) - 1)
        self.cascades = cascades
        parts = (multi_layers, residual_skips, normalize_search)
        self.passes = nn.ModuleList(
            TwoStreams(width, depths, head_width, window, reach, *parts, self.PATCH)
            for _ in range(1 if shared else cascades)
        )
        for network in self.passes:
            network.run = self.kept_small

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; ``fields`` holds the field after each run."""
        flow: torch.Tensor | None = None
        seen, fields = moving, {}
        for number in range(self.cascades):
            increment = self.displacement_of(self.passes[min(number, len(self.passes) - 1)](seen, fixed))
            flow = increment if flow is None else compose(flow, increment)
            fields[f"pass {number + 1}"] = flow
            if number + 1 < self.cascades:
                seen = warp(moving.float(), flow).to(moving.dtype)
        return NetworkOutput(flow, fields)


class TwoStreams(nn.Module):
    """One run: moving and fixed image, (B, 1, ...) each, to a field (B, 3, ...)."""

    def __init__(
        self,
        width: int,
        depths: Sequence[int],
        head_width: int,
        window: int,
        reach: int,
        multi_layers: bool,
        residual_skips: bool,
        normalize_search: bool,
        patch: int,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(depths))]
        self.embed = Conv3d(1, width, patch, stride=patch)

        def level(number: int) -> nn.ModuleList:
            arguments = (widths[number], widths[number] // head_width, window, reach, normalize_search)
            return nn.ModuleList(CrossBlock(*arguments) for _ in range(depths[number]))

        self.encoder = nn.ModuleList(level(number) for number in range(len(depths)))
        self.decoder = nn.ModuleList(level(number) for number in range(len(depths)))
        self.merge = nn.ModuleList(_resizing(Conv3d, c, 2 * c) for c in widths[:-1])
        self.expand = nn.ModuleList(_resizing(ConvTranspose3d, 2 * c, c) for c in widths[:-1])
        self.finer = nn.ModuleList(Pointwise(c, 2 * c) for c in widths[:-1] if multi_layers)
        self.skip = nn.ModuleList(ResidualBlock(c) if residual_skips else nn.Identity() for c in widths[:-1])
        self.join = nn.ModuleList(Pointwise(2 * c, c) for c in widths[:-1])
        self.bottom_norm, self.last_norm = ChannelNorm(widths[-1]), ChannelNorm(2 * width)
        self.spread = ConvTranspose3d(2 * width, width // 2, patch, stride=patch)
        self.head = head(width // 2)
        self.run = plain_run

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        both = torch.cat(self.streams(moving, fixed).chunk(2), 1)
        return self.head(self.spread(self.last_norm(both)))

    def streams(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """(2 B, C, ...): the moving stream and then the fixed one, at the finest level.

        The streams have the same weights, so they are the two halves of one batch; swapped inputs give swapped halves.
        """
        x = self.embed(torch.cat([moving, fixed]))
        levels: list[torch.Tensor] = []
        last = len(self.encoder) - 1
        for number, blocks in enumerate(self.encoder):
            if number:
                x = self.merge[number - 1](x)
            x = self._attend(blocks, x, levels, number)
            levels.append(x)
        x = self.bottom_norm(x)
        for number in range(last, -1, -1):
            if number < last:
                x = self.join[number](torch.cat([self.expand[number](x), self.skip[number](levels[number])], 1))
            x = self._attend(self.decoder[number], x, levels, number)
        return x

    def _attend(self, blocks: nn.ModuleList, x: torch.Tensor, levels: list[torch.Tensor], number: int) -> torch.Tensor:
        """Each stream attends to the other one, and to what the other one was at the next finer level."""
        finer = []
        if number and len(self.finer):
            finer = [_swapped(self.finer[number - 1](F.max_pool3d(levels[number - 1], 2)))]
        for block in blocks:
            x = self.run(block, x, _swapped(x), *finer)
        return x


def _swapped(both: torch.Tensor) -> torch.Tensor:
    """Return the batch with its two halves exchanged."""
    return torch.cat(both.chunk(2)[::-1])


def _resizing(kind: type[Conv3d] | type[ConvTranspose3d], before: int, after: int) -> nn.Sequential:
    return nn.Sequential(kind(before, after, 2, stride=2), ChannelNorm(after))


class CrossBlock(nn.Module):
    """A transformer block whose base windows attend to the search windows of another image, or of several."""

    def __init__(
        self, width: int, heads: int, window: int, reach: int, normalize_search: bool = True, mlp_ratio: int = 4
    ) -> None:
        super().__init__()
        self.heads, self.window, self.reach = heads, window, reach
        self.normalize_search = normalize_search
        self.norm1, self.norm2 = ChannelNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = Pointwise(width, width), Pointwise(width, 2 * width)
        self.project_out = Pointwise(width, width)
        self.mlp = perceptron(width, mlp_ratio * width)

    def forward(self, base: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        query = self.query(self.norm1(base))
        attended = 0
        for other in others:
            seen = self.norm1(other) if self.normalize_search else other
            key, value = self.key_value(seen).chunk(2, 1)
            attended = attended + neighbor_attention(query, key, value, self.heads, self.window, self.reach)
        x = base + self.project_out(attended / len(others))
        return x + self.mlp(self.norm2(x.movedim(1, -1))).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """RBSC: two 3^3 convolutions, added to what goes through the skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            Conv3d(width, width, 3, padding=1),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
            Conv3d(width, width, 3, padding=1),
            InstanceNorm(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.path(x)


NETWORK = CAML
