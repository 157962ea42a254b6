"""TransMatch: a Swin transformer for each image with the same weights, and windows that attend to the other image.

Paper: Chen Z, Zheng Y, Gee JC. TransMatch: a transformer-based multilevel dual-stream feature matching network for
unsupervised deformable image registration. IEEE TMI 2024, 43(1): 15-27, doi:10.1109/TMI.2023.3288136.

Known of its public code (no license file: only the structure is taken): the stages of TransMorph, for one image,
windows of 5 x 6 x 5 (1/32 of 160 x 192 x 160); at each stage two blocks of 4 heads in which the queries come from the
other image, for both directions with the same weights; a decoder with the skips of both directions; the field is
found at half resolution. Released files hold 112,350,291 numbers. Of those, nothing uses a second transformer for the
fixed image, the last level of the decoder with its skip, and some norms, which are left out here.

Two slips of that code belong to weights that were trained by it: windows are put together in another order than they
were cut (``scrambled``), and images are sampled as described at ``as_sampled_by_edges`` (``by_edges``). Both are off
unless such weights ask for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from ..warping.sample import as_sampled_by_edges
from .base import NetworkOutput, RegistrationNetwork
from .blocks import Run, UpAndJoin, head, unit
from .swin import SwinBlock, SwinEncoder, shifted


class TransMatch(RegistrationNetwork):
    """A Swin transformer of each image, matched by cross attention at every level; convolutions as decoder.

    Args:
        width: channels of the first stage.
        depths, heads: of the transformer's stages; matching has as many blocks and heads as the first.
        window: of attention, voxels along k, j and i.
        drop_path: of the transformer, see :class:`~.swin.SwinEncoder`.
        scrambled, by_edges: what weights of the public code need; see above.
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
        window: Sequence[int] = (5, 6, 5),
        drop_path: float = 0.0,
        scrambled: bool = False,
        by_edges: bool = False,
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.divisor = SwinEncoder.PATCH * 2 ** (len(depths) - 1)
        self.by_edges = by_edges
        self.transformer = SwinEncoder(1, width, depths, heads, window, drop_path, scrambled=scrambled)
        widths = [width * 2**number for number in range(len(depths))]
        self.matching = nn.ModuleList(Matching(c, depths[0], heads[0], window, scrambled) for c in widths)
        self.skip_half = unit(2, width // 2, bias=False, slope=0.01)
        self.up = nn.ModuleList(
            UpAndJoin(before, 2 * after, after) for before, after in zip(widths[:0:-1], widths[-2::-1])
        )
        self.up.append(UpAndJoin(width, width // 2, width // 2))
        self.head = head(width // 2)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        streams = self.transformer(torch.cat([moving, fixed]), self.kept_small)  # both images are one batch
        matched = [self._matched(block, level) for block, level in zip(self.matching, streams)]
        half = F.avg_pool3d(torch.cat([moving, fixed], 1), 3, stride=2, padding=1)
        x = matched.pop()[0]
        for up in self.up[:-1]:
            x = self.kept_small(up, x, *matched.pop())
        x = self.kept_small(self.up[-1], x, self.kept_small(self.skip_half, half))
        x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
        output = self.output_of(self.head(x))
        if self.by_edges:
            output.displacement = as_sampled_by_edges(output.displacement)
        return output

    def _matched(self, block: Matching, level: torch.Tensor) -> list[torch.Tensor]:
        """Return moving and fixed features, each asked by the other."""
        moving, fixed = level.chunk(2)
        other = torch.cat([fixed, moving])
        return list(block(level, other, self.kept_small).chunk(2))


class Matching(nn.Module):
    """Blocks in which the queries are the other image's; (B, C, ...)."""

    def __init__(self, width: int, depth: int, heads: int, window: Sequence[int], scrambled: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(width, window, heads, shift=shifted(number, window), scrambled=scrambled)
            for number in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, other: torch.Tensor, run: Run) -> torch.Tensor:
        x, other = x.movedim(1, -1), other.movedim(1, -1)
        for block in self.blocks:
            x = run(block, x, other)
        return self.norm(x).movedim(-1, 1)


NETWORK = TransMatch
