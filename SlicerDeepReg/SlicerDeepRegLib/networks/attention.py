"""Attention of voxels to voxels: of their window, of the windows around, or of the whole volume."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .blocks import cropped, padding_to

#: Added to a product that does not count; finite, so that half precision holds it and a row of nothing is no NaN.
OUTSIDE = -1e4


def window_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, window: int | None
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
        extra = padding_to(shape, padded)
        there = F.pad(query.new_ones((len(query), 1, *shape)), extra)
        query, key, value = (F.pad(t, extra) for t in (query, key, value))
        mask = _windows(there, window_shape, 1).transpose(2, 3) > 0  # (B windows, 1, 1, voxels)
    queries, keys, values = (_windows(t, window_shape, heads) for t in (query, key, value))
    attended = _joined(attend(queries, keys, values, mask), window_shape, query.shape)
    return cropped(attended, shape)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
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
    """Return the reverse of ``_windows``, to a (B, C, K, J, I) of that ``shape``."""
    counts = [size // w for size, w in zip(shape[2:], window)]
    x = x.reshape(shape[0], *counts, x.shape[1], *window, x.shape[3]).permute(0, 4, 8, 1, 5, 2, 6, 3, 7)
    return x.reshape(*shape)


def neighbor_attention(
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
    shape, edge = tuple(query.shape[2:]), window * reach
    side = 2 * edge  # of a tile; it sees an edge more on each side, which is twice its side in all
    padded = [-(-size // side) * side for size in shape]
    extra = padding_to(shape, padded)
    asked = F.pad(query, extra)
    seen = F.pad(torch.cat([key, value], 1), [amount + edge for amount in extra])
    # On a CPU slab by slab, which fits its cache; on a GPU every call costs more than the copies.
    slabs = padded[0] // side
    each = slabs if query.device.type == "cuda" else 1
    kind = {"dtype": query.dtype, "device": query.device}
    searched = _search_bias(window, reach, **kind)
    attended = []
    for first in range(0, slabs, each):
        last = min(first + each, slabs)
        part = asked[:, :, first * side : last * side]
        keys, values = _seen(seen[:, :, first * side : (last + 1) * side], side, 2 * heads).chunk(2, 1)
        bias = searched + _outside_bias(shape, side, first, last, len(query), **kind)
        windows = _windows(part, [side] * 3, heads)
        attended.append(_joined(F.scaled_dot_product_attention(windows, keys, values, bias), [side] * 3, part.shape))
    whole = attended[0] if len(attended) == 1 else torch.cat(attended, 2)
    return cropped(whole, shape)


def _seen(slabs: torch.Tensor, side: int, heads: int) -> torch.Tensor:
    """(B, C, K + side, J + side, I + side) to what each tile sees, (B tiles, heads, (2 side)^3, C / heads)."""
    b, c, *sizes = slabs.shape
    k, j, i = (size // side for size in sizes)
    x = slabs.reshape(b, heads, c // heads, k, side, j, side, i, side)
    for axis in (3, 5, 7):  # two neighbors side by side are what one tile sees
        first, second = (x.narrow(axis, start, x.shape[axis] - 1) for start in (0, 1))
        x = torch.cat([first, second], axis + 1)
    x = x.permute(0, 3, 5, 7, 1, 4, 6, 8, 2)
    return x.reshape(b * (k - 1) * (j - 1) * (i - 1), heads, (2 * side) ** 3, c // heads)


@functools.lru_cache(maxsize=8)
def _search_bias(window: int, reach: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(voxels of a tile, voxels seen by it): 0 where the second lies in the search window of the first, or OUTSIDE."""
    with torch.inference_mode(False):
        base = torch.arange(2 * window * reach, device=device) // window
        search = torch.arange(4 * window * reach, device=device) // window - reach
        near = (base[:, None] - search[None]).abs() <= reach  # along one axis
        k, j, i = (
            near.view([len(base) if c == n else len(search) if c == n + 3 else 1 for c in range(6)]) for n in range(3)
        )
        both = (k & j & i).reshape(len(base) ** 3, len(search) ** 3)
        return torch.zeros(both.shape, dtype=dtype, device=device).masked_fill_(~both, OUTSIDE)


@functools.lru_cache(maxsize=64)
def _outside_bias(
    shape: tuple[int, ...], side: int, first: int, last: int, batch: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """(batch x tiles, 1, 1, voxels seen): OUTSIDE where they lie outside the volume, for slabs first to last."""
    edge = side // 2
    with torch.inference_mode(False), torch.no_grad():
        extra = [amount for size in shape[::-1] for amount in (edge, -size % side + edge)]
        there = F.pad(torch.zeros((1, 1, *shape), dtype=dtype, device=device), extra, value=OUTSIDE)
        seen = _seen(there[:, :, first * side : (last + 1) * side], side, 1)
        return seen.transpose(2, 3).repeat(batch, 1, 1, 1)


def whole_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Multi-head attention of every token to every other; all (B, tokens, C), C a multiple of ``heads``."""
    b, tokens, c = query.shape
    parts = [t.reshape(b, tokens, heads, c // heads).transpose(1, 2) for t in (query, key, value)]
    return F.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(b, tokens, c)
