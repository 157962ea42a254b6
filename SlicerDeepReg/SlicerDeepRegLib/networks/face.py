"""What every network takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class NetworkOutput:
    """What a network found, as ``warped(x) = moving(x + u(x))`` on the fixed grid.

    Attributes:
        displacement: (B, n, K, J, I) or (B, n, J, I), voxels of the input grid, order i, j(, k).
        fields: every intermediate displacement at its own scale, in voxels of that scale, by name, coarse to fine.
        velocity: (B, n, ...) where the displacement is the exponential of one, in voxels of its own grid.
    """

    displacement: torch.Tensor
    fields: Dict[str, torch.Tensor] = field(default_factory=dict)
    velocity: Optional[torch.Tensor] = None


class RegistrationNetwork(nn.Module):
    """A network for pairs of any size: padded at the far ends to a multiple of ``divisor``, and cropped again.

    Subclasses write ``estimate(moving, fixed)`` for sizes that are multiples. Images are (B, 1, K, J, I) or
    (B, 1, J, I), intensities 0..1 with 0 outside, on one grid.
    """

    #: Every axis is padded to a multiple of this.
    divisor = 1
    #: How many axes images may have.
    dimensions: Tuple[int, ...] = (3,)

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """Estimate the displacement from fixed to moving points.

        Raises:
            ValueError: the two differ in shape, or have a number of axes that the network does not take.
        """
        n = fixed.ndim - 2
        if moving.shape != fixed.shape or n not in self.dimensions or fixed.shape[1] != 1:
            raise ValueError(
                f"{type(self).__name__} needs two images of one shape, (B, 1, ...) with {self.dimensions} axes; it got "
                f"{tuple(moving.shape)} and {tuple(fixed.shape)}"
            )
        shape = fixed.shape[2:]
        padded = [-(-size // self.divisor) * self.divisor for size in shape]
        if all(size == self.divisor for size in padded):
            padded[-1] += self.divisor  # a single voxel at the coarsest level cannot be normalised
        padding = [amount for size, wide in zip(shape[::-1], padded[::-1]) for amount in (0, wide - size)]
        output = self.estimate(F.pad(moving, padding), F.pad(fixed, padding))
        for name, one in output.fields.items():
            output.fields[name] = _cropped(one, [-(-s * c // p) for s, c, p in zip(shape, one.shape[2:], padded)])
        output.displacement = _cropped(output.displacement, shape)
        return output

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """The same for sizes that are multiples of ``divisor``."""
        raise NotImplementedError


def _cropped(tensor: torch.Tensor, shape) -> torch.Tensor:
    for axis, size in enumerate(shape, start=2):
        tensor = tensor.narrow(axis, 0, size)
    return tensor
