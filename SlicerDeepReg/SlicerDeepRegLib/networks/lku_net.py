"""LKU-Net: a U-Net whose coarser levels add a large kernel, a usual one, a single voxel and the input.

Paper: Jia X, Bartlett J, Zhang T, Lu W, Qiu Z, Duan J. U-Net vs Transformer: is U-Net outdated in medical image
registration? MLMI 2022, doi:10.1007/978-3-031-21014-3_16.

Known of its public code (no license: only the structure is taken): moving image first; channels c, 2c, 4c, 8c, 8c from
full resolution to 1/16; kernels of 5 voxels in 3D and 7 in 2D; rectifiers with one trained slope each; transposed
convolutions of 2 voxels; a head without bias whose field, through x / (1 + |x|), is in normalized units of [-1, 1], so
that u = f (S - 1) / 2 voxels along an axis of S. S is that of the images that it learned from: the same anatomy gives
the same f in an image that is cropped or padded, and must move as far there. Its IXI code integrates that field (7
squarings), its 2D code not.
Pretrained: 522,950, 2,087,638 and 8,342,294 parameters (c = 4, 8, 16), of which a second head (1,296 at c = 8) is used
by nothing and is left out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..losses.papers import LNCCAndDiffusion
from .base import NetworkOutput, RegistrationNetwork
from .blocks import CONVOLUTION, TRANSPOSED, head

#: Voxels of the images of its papers, in the order of the tensor's axes, by the number of axes.
IMAGE_SIZE = {2: (160, 192), 3: (160, 192, 224)}


class LKUNet(RegistrationNetwork):
    """A U-Net with large kernels at the coarser levels.

    Args:
        dimensions: 2 or 3.
        width: channels at full resolution (c).
        kernel: size of the large kernel; None for 5 in 3D and 7 in 2D.
        image_size: voxels along (k,) j and i of the images that it learns or learned from, which scale its field; None
            for those of its papers, 160 x 192 x 224 and 160 x 192. Images that it registers may have any size.
        common: head_scale, integration, squarings, checkpointing: see RegistrationNetwork.
    """

    loss = LNCCAndDiffusion
    small = {"width": 4, "head_scale": 0.1}
    dimensions = (2, 3)

    def __init__(
        self,
        dimensions: int = 3,
        width: int = 8,
        kernel: int | None = None,
        image_size: Sequence[int] | None = None,
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        self.dimensions, self.divisor = (dimensions,), 16
        kernel = kernel or {2: 7, 3: 5}[dimensions]
        self.image_size = tuple(image_size or IMAGE_SIZE[dimensions])
        if len(self.image_size) != dimensions or min(self.image_size) < 2:
            raise ValueError(f"image_size must be {dimensions} numbers of voxels; it was {self.image_size}")
        c, n = width, dimensions
        widths = [c, 2 * c, 4 * c, 8 * c, 8 * c]
        self.enter = nn.Sequential(_layer(2, c, n), _layer(c, c, n))
        self.down = nn.ModuleList(
            nn.Sequential(_layer(before, after, n, stride=2), LargeKernel(after, kernel, n))
            for before, after in zip(widths[:-1], widths[1:])
        )
        self.up = nn.ModuleList()
        self.join = nn.ModuleList()
        for below, skip, inner, after in ((8, 8, 8, 4), (4, 4, 4, 2), (2, 2, 4, 2), (2, 1, 2, 2)):
            self.up.append(nn.Sequential(TRANSPOSED[n](below * c, below * c, 2, stride=2), nn.PReLU()))
            self.join.append(nn.Sequential(_layer((below + skip) * c, inner * c, n), _layer(inner * c, after * c, n)))
        self.head = head(2 * c, n, bias=False)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        x = self.kept_small(self.enter, torch.cat([moving, fixed], 1))
        levels = [x]
        for block in self.down:
            x = self.kept_small(block, x)
            levels.append(x)
        levels.pop()
        for up, join in zip(self.up, self.join):
            x = self.kept_small(join, torch.cat([up(x), levels.pop()], 1))
        half = [(size - 1) / 2 for size in self.image_size[::-1]]
        voxels = fixed.new_tensor(half, dtype=torch.float32).view(1, -1, *[1] * (fixed.ndim - 2))
        return self.output_of(nn.functional.softsign(self.head(x).float()) * voxels)


def _layer(before: int, after: int, dimensions: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(CONVOLUTION[dimensions](before, after, 3, stride=stride, padding=1), nn.PReLU())


class LargeKernel(nn.Module):
    """Three kernels side by side and the input, added; then a rectifier."""

    def __init__(self, width: int, kernel: int, dimensions: int) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(
            CONVOLUTION[dimensions](width, width, size, padding=size // 2) for size in (3, kernel, 1)
        )
        self.rectify = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rectify(sum(kernel(x) for kernel in self.kernels) + x)


NETWORK = LKUNet
