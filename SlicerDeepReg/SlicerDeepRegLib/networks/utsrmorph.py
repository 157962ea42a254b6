"""UTSRMorph: Swin blocks with a branch of convolutions, overlapping windows, and upsampling by shuffled voxels.

Paper: Zhang R, Mo H, Wang J, et al. UTSRMorph: a unified transformer and superresolution network for unsupervised
medical image registration. IEEE TMI 2025, 44(2): 891-902, doi:10.1109/TMI.2024.3467919.

Known of its public code (no license: only the structure is taken): the stages of TransMorph with 2 blocks of 4 heads
each; in a block ("fusion attention") a hundredth of two convolutions weighed by channel attention is added; after
each stage ("overlapping attention") windows of 4^3 attend to windows of 6^3 that begin two voxels before them, with
zeros outside; the decoder enlarges by a convolution to eight times the channels, which become the eight voxels. Two
layouts: "ixi" decodes to full resolution (250.63 M parameters; Small 62.74 M, Large 321.84 M); "oasis" has grouped
convolutions, stops at half resolution and enlarges the field in the same way (89.94 M; Small 20.42 M, Large 421.50 M).
Its code samples images as described at ``as_sampled_by_edges``: ``by_edges`` is for weights of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses.papers import LNCCAndDiffusion
from ..warping.sample import as_sampled_by_edges
from .base import NetworkOutput, RegistrationNetwork
from .blocks import Conv3d, Run, UpAndJoin, head, perceptron, unit
from .swin import SwinBlock, SwinEncoder, SwinStage

LAYOUTS = ("ixi", "oasis")


class UTSRMorph(RegistrationNetwork):
    """A transformer of fusion and overlapping attention as encoder, super-resolution upsampling as decoder.

    Args:
        width: channels of the first stage.
        depths, heads: blocks, and heads of attention, of each stage.
        window: of attention, voxels along k, j and i.
        last: channels before the head.
        layout: "ixi" or "oasis"; see above.
        squeeze: channels of the channel attention are so many times fewer.
        drop_path: see :class:`~.swin.SwinEncoder`.
        by_edges: what weights of the public code need; see above.
        common: head_scale, integration, squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    small = {"width": 12, "depths": (2, 2), "heads": (2, 2), "window": (2, 3, 4), "squeeze": 4}
    dimensions = (3,)

    def __init__(
        self,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (4, 4, 4, 4),
        window: Sequence[int] = (5, 6, 7),
        last: int = 16,
        layout: str = "ixi",
        squeeze: int = 30,
        drop_path: float = 0.0,
        by_edges: bool = False,
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.divisor = SwinEncoder.PATCH * 2 ** (len(depths) - 1)
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}; it was {layout!r}")
        self.by_edges = by_edges
        grouped = layout == "oasis"
        self.transformer = SwinEncoder(2, width, depths, heads, window, drop_path, stage=FusionStage, squeeze=squeeze)
        self.skip_half = unit(2, width // 2, bias=False, slope=0.01)
        widths = [width * 2**number for number in reversed(range(len(depths)))]
        skips = [*widths[1:], width // 2]
        leaving = [*widths[1:], last if grouped else width // 2]
        self.up = nn.ModuleList(
            UpAndJoin(before, skip, after, Shuffled(before, grouped))
            for before, skip, after in zip(widths, skips, leaving)
        )
        self.skip_full: nn.Module | None = None
        if not grouped:
            self.skip_full = unit(2, last, bias=False, slope=0.01)
            self.up.append(UpAndJoin(width // 2, last, last, Shuffled(width // 2, grouped)))
        self.head = head(last)
        self.enlarge = Shuffled(3, grouped) if grouped else nn.Identity()

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        pair = torch.cat([moving, fixed], 1)
        *skips, x = self.transformer(pair, self.kept_small)
        skips = [self.kept_small(self.skip_half, F.avg_pool3d(pair, 3, stride=2, padding=1)), *skips]
        if self.skip_full is not None:
            skips = [self.kept_small(self.skip_full, pair), *skips]
        for up in self.up:
            x = self.kept_small(up, x, skips.pop())
        output = self.output_of(self.enlarge(self.head(x)))
        if self.by_edges:
            output.displacement = as_sampled_by_edges(output.displacement)
        return output


class Shuffled(nn.Module):
    """Twice the size: a convolution to eight times the channels, which become the eight voxels of each."""

    def __init__(self, width: int, grouped: bool) -> None:
        super().__init__()
        self.spread = Conv3d(width, 8 * width, 3, padding=1, groups=width if grouped else 1)
        nn.init.normal_(self.spread.weight, std=0.001)
        nn.init.zeros_(self.spread.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spread(x)
        b, wide, k, j, i = x.shape
        x = x.reshape(b, wide // 8, 2, 2, 2, k, j, i).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return x.reshape(b, wide // 8, 2 * k, 2 * j, 2 * i)


class FusionStage(SwinStage):
    """Fusion blocks, and one of overlapping windows after them."""

    OVERLAPPING_HEADS = 4

    def __init__(self, width: int, depth: int, window: Sequence[int], drop_path: Sequence[float], **block: Any) -> None:
        super().__init__(width, depth, window, drop_path, **block)
        self.overlapping = OverlappingBlock(width, self.OVERLAPPING_HEADS)

    def block(self, *arguments: Any, **more: Any) -> nn.Module:
        """See :class:`SwinStage`."""
        return FusionBlock(*arguments, **more)

    def forward(self, x: Tensor, run: Run) -> Tensor:
        return run(self.overlapping, super().forward(x, run))


class FusionBlock(SwinBlock):
    """A Swin block to whose attention a hundredth of convolutions is added."""

    SHARE = 0.01

    def __init__(self, width: int, *arguments: Any, squeeze: int = 30, **more: Any) -> None:
        super().__init__(width, *arguments, **more)
        self.convolve = nn.Sequential(
            Conv3d(width, width // 3, 3, padding=1), nn.GELU(), Conv3d(width // 3, width, 3, padding=1)
        )
        inner = width // squeeze
        self.weigh = nn.Sequential(
            nn.Linear(width, inner), nn.ReLU(inplace=True), nn.Linear(inner, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor, asking: Tensor | None = None) -> Tensor:
        if asking is not None:
            raise ValueError("a fusion block attends to its own tokens alone")
        given = self.norm1(x)
        convolved = self.convolve(given.movedim(-1, 1)).movedim(1, -1)
        weight = self.weigh(convolved.mean((1, 2, 3), keepdim=True))
        x = x + self.dropped(self.attention(given)) + self.SHARE * convolved * weight
        return x + self.dropped(self.mlp(self.norm2(x)))


class OverlappingBlock(nn.Module):
    """Windows that attend to windows half as large again, and a perceptron; tokens (B, K, J, I, C)."""

    WINDOW, SEEN, BEFORE = 4, 6, 2

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.project_out = nn.Linear(width, width)
        self.mlp = perceptron(width, 4 * width)
        self.position_bias = nn.Parameter(torch.zeros((self.WINDOW + self.SEEN - 1) ** 3, heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.project_out(self._attended(self.norm1(x)))
        return x + self.mlp(self.norm2(x))

    def _attended(self, x: Tensor) -> Tensor:
        b, *shape, width = x.shape
        extra = [-size % self.WINDOW for size in shape]
        x = F.pad(x, (0, 0, 0, extra[2], 0, extra[1], 0, extra[0]))
        query, both = self.query_key_value(x).split([width, 2 * width], -1)
        counts = [size // self.WINDOW for size in x.shape[1:4]]
        each = width // self.heads
        query = query.reshape(
            b, counts[0], self.WINDOW, counts[1], self.WINDOW, counts[2], self.WINDOW, self.heads, each
        )
        query = query.permute(0, 1, 3, 5, 7, 2, 4, 6, 8).reshape(-1, self.heads, self.WINDOW**3, each)
        both = F.pad(both, (0, 0, *[self.BEFORE, self.SEEN - self.WINDOW - self.BEFORE] * 3))
        for axis in (1, 2, 3):
            both = both.unfold(axis, self.SEEN, self.WINDOW)  # (B, windows..., 2 C, seen...)
        both = both.reshape(b, *counts, 2, self.heads, each, *[self.SEEN] * 3).permute(4, 0, 1, 2, 3, 5, 7, 8, 9, 6)
        key, value = both.reshape(2, -1, self.heads, self.SEEN**3, each)
        bias = self.position_bias[self._positions(x.device)].permute(2, 0, 1)[None].to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.expand(len(query), -1, -1, -1))
        attended = attended.reshape(b, *counts, self.heads, *[self.WINDOW] * 3, each).permute(0, 1, 5, 2, 6, 3, 7, 4, 8)
        attended = attended.reshape(b, *x.shape[1:4], width)
        return attended[:, : shape[0], : shape[1], : shape[2]]

    def _positions(self, device: torch.device) -> Tensor:
        """(voxels, voxels seen): a row for each offset; rows of negative numbers count from the end, as released."""
        side = self.WINDOW + self.SEEN - 1
        offset = torch.arange(self.SEEN, device=device)[None] - torch.arange(self.WINDOW, device=device)[:, None]
        offset = offset + self.WINDOW - self.SEEN + 1
        row = (
            offset[:, None, None, :, None, None] * side**2
            + offset[None, :, None, None, :, None] * side
            + offset[None, None, :, None, None, :]
        )
        return row.reshape(self.WINDOW**3, self.SEEN**3) % side**3


NETWORK = UTSRMorph
