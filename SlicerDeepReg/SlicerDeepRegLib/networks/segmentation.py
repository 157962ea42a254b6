"""Segmentation networks that are trained together with a registration network: an FCN and a U-Net, in 2D and 3D.

FCN: Long J, Shelhamer E, Darrell T. Fully convolutional networks for semantic segmentation. CVPR 2015,
doi:10.1109/CVPR.2015.7298965. It scores the three coarsest levels of a classifier and adds the enlarged scores (the
"8s" form). U-Net: Ronneberger O, Fischer P, Brox T. MICCAI 2015, doi:10.1007/978-3-319-24574-4_28.

FMIRNet's paper (networks/fmirnet.py) joins both with a registration network and gives no sizes. Chosen here: five
levels of 16 to 256 channels, two convolutions with instance normalization each; the FCN's classifier is such an encoder
and not a pretrained VGG; scores are enlarged linearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import CONVOLUTION, cropped, normalization, padding_to

SEGMENTATIONS = ("fcn", "unet")


class SegmentationNetwork(nn.Module):
    """``network(image) -> logits``: (B, 1, ...) of 0..1 to (B, classes, ...), any size.

    Args:
        dimensions: 2 or 3.
        classes: background included.
        width: channels of the first level, doubled at each of the four others.
    """

    LEVELS = 5

    def __init__(self, dimensions: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.dimensions, self.classes = dimensions, classes
        self.widths = [width * 2**level for level in range(self.LEVELS)]
        before = [1, *self.widths[:-1]]
        self.down = nn.ModuleList(_twice(a, b, dimensions) for a, b in zip(before, self.widths))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        n, divisor = self.dimensions, 2 ** (self.LEVELS - 1)
        if image.ndim != n + 2 or image.shape[1] != 1:
            raise ValueError(f"{type(self).__name__} needs (B, 1, ...) images of {n} axes; it got {tuple(image.shape)}")
        shape = image.shape[2:]
        wide = [max(2 * divisor, -(-size // divisor) * divisor) for size in shape]
        return cropped(self.scores(self.levels(F.pad(image, padding_to(shape, wide)))), shape)

    def levels(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of every level, from fine to coarse."""
        pool = F.max_pool3d if self.dimensions == 3 else F.max_pool2d
        features = []
        for number, block in enumerate(self.down):
            x = block(pool(x, 2) if number else x)
            features.append(x)
        return features

    def scores(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """Return the logits of the classes at full resolution, (B, classes, ...), from the features of every level."""
        raise NotImplementedError


class FCN(SegmentationNetwork):
    """Scores of the three coarsest levels, enlarged and added."""

    def __init__(self, dimensions: int, classes: int, width: int = 16) -> None:
        super().__init__(dimensions, classes, width)
        self.score = nn.ModuleList(CONVOLUTION[dimensions](w, classes, 1) for w in self.widths[2:])

    def scores(self, levels: list[torch.Tensor]) -> torch.Tensor:
        total = self.score[-1](levels[-1])
        for score, level in zip(self.score[-2::-1], levels[-2:1:-1]):
            total = self._enlarged(total, level.shape[2:]) + score(level)
        return self._enlarged(total, levels[0].shape[2:])

    def _enlarged(self, x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        return F.interpolate(
            x, size=shape, mode="trilinear" if self.dimensions == 3 else "bilinear", align_corners=False
        )


class UNet(SegmentationNetwork):
    """Every level joined on the way up."""

    def __init__(self, dimensions: int, classes: int, width: int = 16) -> None:
        super().__init__(dimensions, classes, width)
        pairs = list(zip(self.widths[-2::-1], self.widths[:0:-1]))
        self.up = nn.ModuleList(_enlarging(below, here, dimensions) for here, below in pairs)
        self.join = nn.ModuleList(_twice(2 * here, here, dimensions) for here, _ in pairs)
        self.score = CONVOLUTION[dimensions](width, classes, 1)

    def scores(self, levels: list[torch.Tensor]) -> torch.Tensor:
        x = levels[-1]
        for up, join, level in zip(self.up, self.join, levels[-2::-1]):
            x = join(torch.cat([up(x), level], 1))
        return self.score(x)


def build_segmentation(name: str, dimensions: int, classes: int, width: int = 16) -> SegmentationNetwork:
    """Return the network "fcn" or "unet", see :class:`SegmentationNetwork`."""
    return {"fcn": FCN, "unet": UNet}[name](dimensions, classes, width)


def _twice(before: int, after: int, dimensions: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for entering in (before, after):
        layers.append(CONVOLUTION[dimensions](entering, after, 3, padding=1))
        layers += [normalization("instance", after, dimensions), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _enlarging(before: int, after: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"), CONVOLUTION[dimensions](before, after, 3, padding=1)
    )
