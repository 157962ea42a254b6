"""Transformer blocks whose voxels attend to those of their window, every second block with shifted windows.

After Liu et al., Swin transformer, ICCV 2021, in 3D as the registration networks of its line have it: TransMorph,
TransMatch, UTSRMorph and PIViT are made of these. Tokens are (B, K, J, I, C) here: linear layers take them as they lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import OUTSIDE
from .blocks import Conv3d, Run, perceptron, plain_run


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a trained bias for each relative position.

    Args:
        width: channels, a multiple of ``heads``.
        window: voxels along k, j and i.
        shift: by how many voxels the windows are shifted. Voxels that the shift brings together from opposite ends
            do not attend to each other.
        bias: of query, key and value.
        shrink: a window that is larger than the volume becomes as small as that, without a shift. Otherwise the
            volume is made up to whole windows with zeros, which are attended to (as released networks do).
        scrambled: put the windows together in the wrong order, as the code did that some pretrained weights learned in.
    """

    def __init__(
        self,
        width: int,
        window: Sequence[int],
        heads: int,
        shift: Sequence[int] = (0, 0, 0),
        bias: bool = False,
        shrink: bool = False,
        scrambled: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.shift, self.heads = tuple(window), tuple(shift), heads
        self.shrink, self.scrambled = shrink, scrambled
        self.query_key_value = nn.Linear(width, 3 * width, bias=bias)
        self.project_out = nn.Linear(width, width)
        rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.position_bias = nn.Parameter(torch.zeros(rows, heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)

    def forward(self, x: Tensor, asking: Tensor | None = None) -> Tensor:
        """Tokens to tokens; where ``asking`` is given, the queries are its and keys and values those of x."""
        shape = x.shape[1:4]
        window, shift = self._fitting(shape)
        extra = [-size % w for size, w in zip(shape, window)]
        if any(extra):
            around = (0, 0, 0, extra[2], 0, extra[1], 0, extra[0])
            x = F.pad(x, around)
            asking = F.pad(asking, around) if asking is not None else None
        if any(shift):
            x = x.roll([-s for s in shift], (1, 2, 3))
            asking = asking.roll([-s for s in shift], (1, 2, 3)) if asking is not None else None
        x = self._attended(self._projected(x, asking), window, shift)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return self.project_out(x[:, : shape[0], : shape[1], : shape[2]])

    def _fitting(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if not self.shrink:
            return self.window, self.shift
        window = tuple(min(w, size) for w, size in zip(self.window, shape))
        return window, tuple(s if size > w else 0 for s, size, w in zip(self.shift, shape, self.window))

    def _projected(self, x: Tensor, asking: Tensor | None) -> Tensor:
        """(B, K, J, I, 3 C)"""
        if asking is None:
            return self.query_key_value(x)
        weight, bias, width = self.query_key_value.weight, self.query_key_value.bias, x.shape[-1]
        first, rest = (None, None) if bias is None else (bias[:width], bias[width:])
        return torch.cat([F.linear(asking, weight[:width], first), F.linear(x, weight[width:], rest)], -1)

    def _attended(self, projected: Tensor, window: Sequence[int], shift: Sequence[int]) -> Tensor:
        """Attention of the windows of a volume of whole windows; those at a far end of a shifted one are masked."""
        bias = self.position_bias[relative_positions(window, self.window, projected.device)]
        bias = bias.permute(2, 0, 1)[None].to(projected.dtype)  # (1, heads, voxels, voxels)
        if not any(shift):
            return self._windows_of(projected, window, bias)
        if self.scrambled:  # then the order of windows of the whole volume matters
            return self._windows_of(projected, window, self._whole_mask(projected.shape[1:4], window, shift, bias))
        parts = [((size - w, False), (w, True)) for size, w in zip(projected.shape[1:4], window)]
        slabs = []
        for k in _locations(parts[0]):
            rows = []
            for j in _locations(parts[1]):
                boxes = []
                for i in _locations(parts[2]):
                    box = projected[:, k[0], j[0], i[0]]
                    mask = bias + _apart(window, shift, (k[1], j[1], i[1]), bias)
                    boxes.append(self._windows_of(box, window, mask))
                rows.append(torch.cat(boxes, 3))
            slabs.append(torch.cat(rows, 2))
        return torch.cat(slabs, 1)

    def _windows_of(self, projected: Tensor, window: Sequence[int], mask: Tensor) -> Tensor:
        """(B, K, J, I, 3 C) to (B, K, J, I, C)."""
        b, *shape, width = projected.shape
        counts = [size // w for size, w in zip(shape, window)]
        each = width // 3 // self.heads
        x = projected.reshape(b, counts[0], window[0], counts[1], window[1], counts[2], window[2], 3, self.heads, each)
        x = x.permute(7, 0, 1, 3, 5, 8, 2, 4, 6, 9)
        query, key, value = x.reshape(3, -1, self.heads, window[0] * window[1] * window[2], each)
        mask = mask.repeat(b, 1, 1, 1) if mask.shape[0] > 1 else mask.expand(query.shape[0], -1, -1, -1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = attended.reshape(b, *counts, self.heads, *window, each)
        order = (0, 1, 5, 2, 6, 3, 7, 4, 8)
        if self.scrambled:
            order = (0, 1, 3, 6, 2, 5, 7, 4, 8)
        return attended.permute(order).reshape(b, *shape, width // 3)

    def _whole_mask(self, shape: Sequence[int], window: Sequence[int], shift: Sequence[int], bias: Tensor) -> Tensor:
        counts = [size // w for size, w in zip(shape, window)]
        ends = itertools.product(*[[n == count - 1 for n in range(count)] for count in counts])
        return torch.cat([bias + _apart(window, shift, end, bias) for end in ends])


def _locations(parts: Sequence[tuple[int, int]]) -> list[tuple[slice, bool]]:
    """Return where the windows of one axis are, those before the last and the last: (slice, whether it is the last)."""
    (before, _), (last, _) = parts
    windows = [(slice(before, before + last), True)]
    return [(slice(0, before), False), *windows] if before else windows


def _apart(window: Sequence[int], shift: Sequence[int], last: Sequence[bool], like: Tensor) -> Tensor:
    """(1, 1, voxels, voxels): a number that forbids, where two voxels of a window come from opposite ends."""
    region = torch.zeros(tuple(window), dtype=torch.long, device=like.device)
    for axis in range(3):
        if last[axis] and shift[axis]:
            along = [1, 1, 1]
            along[axis] = window[axis]
            came = torch.arange(window[axis], device=like.device) >= window[axis] - shift[axis]
            region = 2 * region + came.long().view(along)
    region = region.flatten()
    return torch.zeros_like(like[:, :1]).masked_fill(region[:, None] != region[None], OUTSIDE)


def relative_positions(window: Sequence[int], table: Sequence[int], device: torch.device) -> Tensor:
    """(voxels, voxels) row of the table of biases for each voxel of a window and each that it attends to.

    Args:
        window: its size. table: the size of the windows that the table was made for, at least as large.
    """
    row: Tensor = torch.zeros(1, dtype=torch.long, device=device)
    for axis in range(3):
        index = torch.arange(window[axis], device=device)
        offset = index[:, None] - index[None] + table[axis] - 1
        along = [1] * 6
        along[axis] = along[axis + 3] = window[axis]
        row = row * (2 * table[axis] - 1) + offset.view(along)
    voxels = window[0] * window[1] * window[2]
    return row.reshape(voxels, voxels)


class SwinBlock(nn.Module):
    """Attention and perceptron, each after a normalization and added to what came in.

    Args:
        drop_path: the part of passes, in training, that leave each of the two out ("stochastic depth").
        attention: arguments of :class:`WindowAttention`.
    """

    def __init__(
        self,
        width: int,
        window: Sequence[int],
        heads: int,
        ratio: float = 4.0,
        drop_path: float = 0.0,
        **attention: Any,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = WindowAttention(width, window, heads, **attention)
        self.mlp = perceptron(width, int(width * ratio))
        self.drop_path = drop_path

    def forward(self, x: Tensor, asking: Tensor | None = None) -> Tensor:
        asks = self.norm1(asking) if asking is not None else None
        x = x + self.dropped(self.attention(self.norm1(x), asks))
        return x + self.dropped(self.mlp(self.norm2(x)))

    def dropped(self, x: Tensor) -> Tensor:
        """Return zeros for some pairs of the batch in training, and the others scaled to make up for it."""
        if not self.training or not self.drop_path:
            return x
        kept = torch.rand([len(x)] + [1] * (x.ndim - 1), device=x.device) >= self.drop_path
        return x * kept / (1 - self.drop_path)


def shifted(number: int, window: Sequence[int]) -> tuple[int, ...]:
    """Return the shift of a stage's block of that number: none, half a window, none, ..."""
    halves = tuple(w // 2 for w in window)
    return halves if number % 2 and min(halves) > 0 else (0, 0, 0)


class PatchMerging(nn.Module):
    """Half the size: eight voxels side by side as channels, normalized, and reduced to ``after`` channels."""

    #: The order of the eight, as (k, j, i).
    ORDER = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1))

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8 * before)
        self.reduction = nn.Linear(8 * before, after, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(torch.cat([x[:, k::2, j::2, i::2] for k, j, i in self.ORDER], -1)))


class SwinStage(nn.Module):
    """The blocks of one resolution."""

    def __init__(self, width: int, depth: int, window: Sequence[int], drop_path: Sequence[float], **block: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            self.block(width, window, shift=shifted(number, window), drop_path=drop_path[number], **block)
            for number in range(depth)
        )

    def block(self, *arguments: Any, **more: Any) -> nn.Module:
        """Return one block; the arguments are those of its class."""
        return SwinBlock(*arguments, **more)

    def forward(self, x: Tensor, run: Run) -> Tensor:
        for block in self.blocks:
            x = run(block, x)
        return x


class SwinEncoder(nn.Module):
    """Patches of 4^3 voxels and stages of blocks, each with half the resolution and twice the channels.

    Args:
        images: channels that come in.
        width: channels of the first stage.
        depths, heads: blocks and heads of each stage.
        window: along k, j and i.
        drop_path: of the last block; it grows from 0 for the first.
        stage: what a stage is, called with width, depth, window, drop_path and the arguments of its blocks.
        block: further arguments of the blocks.
    """

    PATCH = 4

    def __init__(
        self,
        images: int,
        width: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: Sequence[int],
        drop_path: float = 0.0,
        stage: Callable[..., nn.Module] = SwinStage,
        **block: Any,
    ) -> None:
        super().__init__()
        widths = [width * 2**number for number in range(len(depths))]
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        self.embed = Conv3d(images, width, self.PATCH, stride=self.PATCH)
        self.embed_norm = nn.LayerNorm(width)
        self.stages, begin = nn.ModuleList(), 0
        for wide, depth, each in zip(widths, depths, heads):
            self.stages.append(stage(wide, depth, window, rates[begin : begin + depth], heads=each, **block))
            begin += depth
        self.merge = nn.ModuleList(PatchMerging(c, 2 * c) for c in widths[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in widths)

    def forward(self, images: Tensor, run: Run = plain_run) -> list[Tensor]:
        """Return the features of the stages, (B, C, ...) each, finest first, of (B, images, ...)."""
        x, features = self.embed_norm(self.embed(images).movedim(1, -1)), []
        for number, stage in enumerate(self.stages):
            if number:
                x = self.merge[number - 1](x)
            x = stage(x, run)
            features.append(self.norms[number](x).movedim(-1, 1))
        return features
