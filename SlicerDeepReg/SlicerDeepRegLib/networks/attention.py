"""Attention of voxels to voxels: of their window, of the windows around, or of the whole volume."""

from __future__ import annotations

from typing import Optional, Sequence

import torch
import torch.nn.functional as F

#: Added to a product that does not count; finite, so that half precision holds it and a row of nothing is no NaN.
OUTSIDE = -1e4


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
        there = F.pad(query.new_ones((len(query), 1, *shape)), extra)
        query, key, value = (F.pad(t, extra) for t in (query, key, value))
        mask = _windows(there, window_shape, 1).transpose(2, 3) > 0  # (B windows, 1, 1, voxels)
    parts = [_windows(t, window_shape, heads) for t in (query, key, value)]
    attended = _joined(attend(*parts, mask), window_shape, query.shape)
    return attended[:, :, : shape[0], : shape[1], : shape[2]]


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """Scaled dot-product attention; all (N, heads, voxels, width).

    Four axes, and a mask that is added: only so is torch's fused attention taken on a CPU, which keeps no
    products.

    Args:
        mask: (N, 1, 1 or voxels, voxels of the key), true where a product counts.
    """
    if mask is not None:
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill_(~mask, OUTSIDE)
        mask = mask.expand(-1, -1, query.shape[2], -1)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def _windows(x: torch.Tensor, window: Sequence[int], heads: int) -> torch.Tensor:
    """(B, C, K, J, I) to (B windows, heads, voxels of a window, C / heads)."""
    b, c, k, j, i = x.shape
    counts = [size // w for size, w in zip((k, j, i), window)]
    x = x.reshape(b, heads, c // heads, counts[0], window[0], counts[1], window[1], counts[2], window[2])
    x = x.permute(0, 3, 5, 7, 1, 4, 6, 8, 2)
    return x.reshape(b * counts[0] * counts[1] * counts[2], heads, window[0] * window[1] * window[2], c // heads)


def _joined(x: torch.Tensor, window: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """The reverse of ``_windows``, to a (B, C, K, J, I) of that ``shape``."""
    counts = [size // w for size, w in zip(shape[2:], window)]
    x = x.reshape(shape[0], *counts, x.shape[1], *window, x.shape[3]).permute(0, 4, 8, 1, 5, 2, 6, 3, 7)
    return x.reshape(*shape)


def neighbour_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, window: int = 2, reach: int = 1
) -> torch.Tensor:
    """Multi-head attention of each base window to its search window: itself and the windows around it.

    Base windows are computed together in tiles of 2 ``reach`` along each axis, because their search windows overlap:
    a key is then copied 8 times, where (2 reach + 1)^3 times would be needed one by one. What no base window of a
    tile asked for is masked.

    Args:
        query: (B, C, K, J, I), cut into base windows of ``window`` voxels along each axis.
        key, value: the same shape. A search window is 2 ``reach`` + 1 base windows along each axis; what of it
            lies outside the volume is attended to by nobody.
        heads: C must be a multiple.

    Returns:
        (B, C, K, J, I).
    """
    shape, edge = query.shape[2:], window * reach
    side = 2 * edge  # of a tile; it sees an edge more on each side, which is twice its side in all
    padded = [-(-size // side) * side for size in shape]
    extra = [amount for size, p in zip(shape[::-1], padded[::-1]) for amount in (0, p - size)]
    around = [amount + edge for amount in extra]
    there = F.pad(query.new_ones((len(query), 1, *shape)), around)
    queries = F.pad(query, extra).split(side, 2)
    keys, values = (F.pad(t, around).split(side, 2) for t in (key, value))
    inside = there.split(side, 2)
    searched = _search_mask(window, reach, query.device)
    found = []
    for k, asked in enumerate(queries):  # slab by slab: a slab sees two
        seen_keys, seen_values, seen = (torch.cat(parts[k : k + 2], 2) for parts in (keys, values, inside))
        mask = searched & (_seen(seen, side, 1).transpose(2, 3) > 0)  # (tiles, 1, voxels, voxels seen)
        parts = (_windows(asked, [side] * 3, heads), _seen(seen_keys, side, heads), _seen(seen_values, side, heads))
        found.append(_joined(attend(*parts, mask), [side] * 3, asked.shape))
    return torch.cat(found, 2)[:, :, : shape[0], : shape[1], : shape[2]]


def _seen(slab: torch.Tensor, side: int, heads: int) -> torch.Tensor:
    """(B, C, 2 side, J + side, I + side) to what each tile sees, (B tiles, heads, (2 side)^3, C / heads)."""
    b, c, deep, wide, long = slab.shape
    x = slab.reshape(b, heads, c // heads, deep, wide // side, side, long // side, side)
    x = torch.cat([x[:, :, :, :, :-1], x[:, :, :, :, 1:]], 5)
    x = torch.cat([x[:, :, :, :, :, :, :-1], x[:, :, :, :, :, :, 1:]], 7)
    rows, columns = x.shape[4], x.shape[6]
    x = x.permute(0, 4, 6, 1, 3, 5, 7, 2)
    return x.reshape(b * rows * columns, heads, deep * 4 * side**2, c // heads)


def _search_mask(window: int, reach: int, device: torch.device) -> torch.Tensor:
    """(voxels of a tile, voxels seen by it): true where the second lies in the search window of the first."""
    base = torch.arange(2 * window * reach, device=device) // window
    search = torch.arange(4 * window * reach, device=device) // window - reach
    near = (base[:, None] - search[None]).abs() <= reach  # along one axis
    both = near[:, None, None, :, None, None] & near[None, :, None, None, :, None] & near[None, None, :, None, None, :]
    return both.reshape(len(base) ** 3, len(search) ** 3)


def whole_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention of every token to every other; all (B, tokens, C), C a multiple of ``heads``."""
    b, tokens, c = query.shape
    parts = [t.reshape(b, tokens, heads, c // heads).transpose(1, 2) for t in (query, key, value)]
    return F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(b, tokens, c)
