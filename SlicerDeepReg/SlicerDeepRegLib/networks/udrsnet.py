"""UDRSNet: a cascade of networks, each on the image that those before it have warped, with structural similarity.

Papers: UDRSNet is the cascade that FMIRNet's paper (doi:10.3233/XST-240159) compares itself with; it describes it as
VTN's way of working, with a structural similarity as loss. VTN: Zhao S, Lau T, Luo J, Chang EI, Xu Y. Unsupervised 3D
end-to-end medical image registration with volume tweening network. IEEE JBHI 2020, 24(5): 1394-1404,
doi:10.1109/JBHI.2019.2951024; the cascade: Zhao S, Dong Y, Chang EI, Xu Y. Recursive cascaded networks for unsupervised
medical image registration. ICCV 2019, doi:10.1109/ICCV.2019.01070.

Known of VTN's public code (MIT, for TensorFlow): convolutions of stride 2 from 1/2 to 1/64 (c, 2c, 4c, 8c, 16c, 32c
channels, c = 16, a second one from 1/8 on), leaky rectifiers (0.1); on the way up a field is predicted at each
resolution, and goes up beside the features by transposed convolutions of 4 without bias; fields are in voxels, 20
times what is predicted, over the number of cascades. Its affine stem is not here: the linear stage comes before.

Left open by what is at hand of UDRSNet, and chosen here: two cascades with weights of their own, of the ResUNet that
this project's FMIRNet has ("resunet"); "vtn" is the network described above. TensorFlow's checkpoints are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..losses.papers import SSIMAndDiffusion
from ..warping.sample import compose, warp
from .base import NetworkOutput, RegistrationNetwork
from .blocks import CONVOLUTION, TRANSPOSED, plain_run, rectified
from .fmirnet import ResUNet

BASES = ("resunet", "vtn")


class UDRSNet(RegistrationNetwork):
    """A cascade of networks, each of which registers what the ones before left.

    Args:
        dimensions: 2 or 3.
        cascades: how many networks follow each other.
        base: "resunet" or "vtn".
        channels: of the ResUNet's levels. width: channels of VTN at 1/2 (c).
        norm: "instance" or "batch", of the ResUNet.
        common: head_scale, integration (of each cascade's field), squarings, checkpointing: see RegistrationNetwork.
    """

    loss = SSIMAndDiffusion
    small = {"channels": (8, 16, 16)}
    dimensions = (2, 3)

    def __init__(
        self,
        dimensions: int = 3,
        cascades: int = 2,
        base: str = "resunet",
        channels: Sequence[int] = (16, 32, 64, 128),
        width: int = 16,
        norm: str = "instance",
        head_scale: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(head_scale, **common)
        if base not in BASES:
            raise ValueError(f"base must be one of {', '.join(BASES)}; it was {base!r}")
        if not 1 <= cascades <= 16:
            raise ValueError(f"cascades must be 1 to 16; it was {cascades}")
        self.dimensions, self.cascades = (dimensions,), cascades
        self.divisor = 64 if base == "vtn" else 2 ** (len(channels) - 1)
        self.networks = nn.ModuleList(
            VTN(dimensions, width, 20 / cascades) if base == "vtn" else ResUNet(dimensions, channels, norm)
            for _ in range(cascades)
        )
        for network in self.networks:
            network.run = self.kept_small

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`; ``fields`` holds the field after each cascade."""
        flow, seen, fields = None, moving, {}
        for number, network in enumerate(self.networks):
            if flow is not None:
                seen = warp(moving.float(), flow).to(moving.dtype)
            increment = self.displacement_of(network(torch.cat([seen, fixed], 1)))
            flow = increment if flow is None else compose(flow, increment)
            fields[f"cascade {number + 1}"] = flow
        return NetworkOutput(flow, fields)


class VTN(nn.Module):
    """(B, 2, ...) to a field (B, n, ...) of the same size."""

    def __init__(self, dimensions: int, width: int, scale: float) -> None:
        super().__init__()
        n, widths = dimensions, [width * 2**level for level in range(6)]
        self.scale = scale
        self.down = nn.ModuleList()
        for level, (before, after) in enumerate(zip([2, *widths[:-1]], widths)):
            second = [rectified(after, after, dimensions=n)] if level >= 2 else []
            self.down.append(nn.Sequential(rectified(before, after, stride=2, dimensions=n), *second))
        self.predict, self.field_up, self.feature_up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        joined = widths[-1]
        for here in widths[-2::-1]:
            self.predict.append(CONVOLUTION[n](joined, n, 3, padding=1))
            self.field_up.append(_up(n, n, n))
            self.feature_up.append(nn.Sequential(_up(joined, here, n), nn.LeakyReLU(0.1, inplace=True)))
            joined = 2 * here + n
        self.head = _up(joined, n, n)
        nn.init.normal_(self.head.weight, std=1e-6)
        self.run = plain_run

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        levels = []
        for block in self.down:
            pair = self.run(block, pair)
            levels.append(pair)
        x = levels.pop()
        for predict, field_up, feature_up in zip(self.predict, self.field_up, self.feature_up):
            x = torch.cat([levels.pop(), self.run(feature_up, x), field_up(predict(x))], 1)
        return self.scale * self.head(x)


def _up(before: int, after: int, dimensions: int) -> nn.Module:
    return TRANSPOSED[dimensions](before, after, 4, stride=2, padding=1, bias=False)


NETWORK = UDRSNet
