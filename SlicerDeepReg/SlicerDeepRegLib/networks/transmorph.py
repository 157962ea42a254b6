"""TransMorph: a Swin transformer of both images as encoder, convolutions as decoder.

Paper: Chen J, Frey EC, He Y, Segars WP, Li Y, Du Y. TransMorph: transformer for unsupervised medical image
registration. Medical Image Analysis 2022, 82: 102615, doi:10.1016/j.media.2022.102615.

Known of its public code (MIT): moving image first; patches of 4^3, stages of 96, 192, 384, 768 channels with 2, 2, 4, 2
blocks of 4, 4, 8, 8 heads, windows of 5 x 6 x 7 (1/32 of 160 x 192 x 224), a bias for each relative position, none for
query, key and value; a decoder of upsampling, skip and two normalized convolutions without bias; skips of two plain
convolutions of the images at 1/2 and 1. Parameters: 46,771,251; Tiny 244,527, Small 11,757,195, Large 108,343,907.
Its stochastic depth (0.3 in training) is ``drop_path`` here and off unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from .base import NetworkOutput, RegistrationNetwork
from .blocks import UpAndJoin, head, unit
from .swin import SwinEncoder


class TransMorph(RegistrationNetwork):
    """A Swin transformer of both images as encoder, convolutions as decoder.

    Args:
        width: channels of the first stage.
        depths, heads: blocks, and heads of attention, of each stage.
        window: of attention, voxels along k, j and i. A volume is made up to whole windows; weights know one size.
        last: channels before the head.
        drop_path: see :class:`~.swin.SwinEncoder`.
        common: head_scale, integration, squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    small = {"width": 12, "depths": (2, 2), "heads": (2, 2), "window": (2, 3, 4)}
    dimensions = (3,)

    def __init__(
        self,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 4, 2),
        heads: Sequence[int] = (4, 4, 8, 8),
        window: Sequence[int] = (5, 6, 7),
        last: int = 16,
        drop_path: float = 0.0,
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.divisor = SwinEncoder.PATCH * 2 ** (len(depths) - 1)
        self.transformer = SwinEncoder(2, width, depths, heads, window, drop_path)
        self.skip_half = unit(2, width // 2, bias=False, slope=0.01)
        self.skip_full = unit(2, last, bias=False, slope=0.01)
        widths = [*(width * 2**number for number in reversed(range(len(depths)))), width // 2, last]
        self.up = nn.ModuleList(UpAndJoin(before, after, after) for before, after in zip(widths, widths[1:]))
        self.head = head(last)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        pair = torch.cat([moving, fixed], 1)
        *skips, x = self.transformer(pair, self.kept_small)
        half = F.avg_pool3d(pair, 3, stride=2, padding=1)
        skips = [self.kept_small(self.skip_full, pair), self.kept_small(self.skip_half, half), *skips]
        for up in self.up:
            x = self.kept_small(up, x, skips.pop())
        return self.output_of(self.head(x))


NETWORK = TransMorph
