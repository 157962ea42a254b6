"""A small U-Net that sees the structures of a brain in an image of any contrast, and features that no contrast changes.

Trained on painted label maps as SynthSeg is (Billot et al., Medical Image Analysis 2023); the size is ours, so that a
head of 2 mm voxels takes seconds on two cores: the levels begin at half the resolution, and full resolution is made of
eight values for each voxel there (Shi et al., CVPR 2016) beside a thin layer that saw the image itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import Conv3d, InstanceNorm, cropped, padding_to

#: Channels at 1/2, 1/4, 1/8 and 1/16 of the resolution.
WIDTHS = (32, 64, 96, 128)
#: Channels at full resolution: of the image itself, and made of those below.
OWN, MADE, JOINED = 8, 16, 32


@dataclass
class StructureOutput:
    """What the network says.

    Attributes:
        logits: (B, classes, K, J, I).
        features: (B, features, K, J, I), of length 1 at each voxel, or None where the network has no such head.
    """

    logits: torch.Tensor
    features: torch.Tensor | None


class StructureNetwork(nn.Module):
    """``network(image) -> StructureOutput``: (B, 1, K, J, I) of 0..1, any size; axes as RAS.

    Args:
        classes: background included.
        features: channels of the second head; 0 for none.
    """

    def __init__(self, classes: int = 33, features: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.divisor = 2 ** len(WIDTHS)
        self.own = _unit(1, OWN)
        self.stem = nn.Sequential(
            Conv3d(1, WIDTHS[0], 4, stride=2, padding=1), InstanceNorm(WIDTHS[0], affine=True), nn.LeakyReLU(0.1)
        )
        self.down = nn.ModuleList([_unit(WIDTHS[0], WIDTHS[0])])
        for before, after in zip(WIDTHS, WIDTHS[1:]):
            self.down.append(nn.Sequential(nn.MaxPool3d(2), _unit(before, after), _unit(after, after)))
        self.up = nn.ModuleList(
            nn.Sequential(_unit(here + below, here), _unit(here, here))
            for here, below in zip(WIDTHS[-2::-1], WIDTHS[:0:-1])
        )
        self.spread = Conv3d(WIDTHS[0], 8 * MADE, 1)
        self.join = nn.Sequential(Conv3d(MADE + OWN, JOINED, 1), nn.LeakyReLU(0.1))
        self.score = Conv3d(JOINED, classes, 1)
        self.feature = Conv3d(JOINED, features, 1) if features else None

    def forward(self, image: torch.Tensor) -> StructureOutput:
        """Return what the network says of each voxel; see :class:`StructureOutput`."""
        if image.ndim != 5 or image.shape[1] != 1:
            raise ValueError(f"{type(self).__name__} needs (B, 1, K, J, I) images; it got {tuple(image.shape)}")
        shape = image.shape[2:]
        wide = [max(2 * self.divisor, -(-size // self.divisor) * self.divisor) for size in shape]
        image = F.pad(image, padding_to(shape, wide))
        x = self.stem(image)
        levels = []
        for block in self.down:
            x = block(x)
            levels.append(x)
        for block, level in zip(self.up, levels[-2::-1]):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, level], 1))
        x = self.join(torch.cat([_unfolded(self.spread(x)), self.own(image)], 1))
        features = None
        if self.feature is not None:
            features = F.normalize(cropped(self.feature(x), shape).float(), dim=1)
        return StructureOutput(cropped(self.score(x), shape).float(), features)


def _unit(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(Conv3d(before, after, 3, padding=1), InstanceNorm(after, affine=True), nn.LeakyReLU(0.1))


def _unfolded(x: torch.Tensor) -> torch.Tensor:
    """(B, 8 C, K, J, I) to (B, C, 2K, 2J, 2I): each voxel becomes eight."""
    b, c, k, j, i = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, k, j, i).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // 8, 2 * k, 2 * j, 2 * i)
