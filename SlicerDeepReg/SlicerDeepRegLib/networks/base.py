"""What every network declares, takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..losses.papers import PaperLoss
from ..warping.velocity import integrate
from .blocks import cropped, padding_to

INTEGRATIONS = ("displacement", "velocity")


@dataclass
class NetworkOutput:
    """What a network estimates, as ``warped(x) = moving(x + u(x))`` on the fixed grid.

    Attributes:
        displacement: (B, n, K, J, I) or (B, n, J, I), voxels of the input grid, order i, j(, k).
        fields: every intermediate displacement at its own scale, in voxels of that scale, by name, in the order in
            which they were estimated.
        factors: by the same names, how many voxels of the input are one voxel of that field along each axis.
        velocity: (B, n, ...) where the displacement is the exponential of one, in voxels of the input grid.
    """

    displacement: torch.Tensor
    fields: dict[str, torch.Tensor] = field(default_factory=dict)
    factors: dict[str, int] = field(default_factory=dict)
    velocity: torch.Tensor | None = None


class RegistrationNetwork(nn.Module):
    """A network for pairs of any size: padded at the far ends to a multiple of ``divisor``, and cropped again.

    Subclasses implement ``estimate(moving, fixed)`` for sizes that are multiples. Images are (B, 1, K, J, I) or
    (B, 1, J, I), intensities 0..1 with 0 outside, on one grid, in single precision; for half precision use autocast.

    A subclass is offered under the name of its file when that file says ``NETWORK = TheClass``. It declares ``loss``,
    and the other class attributes where it differs.

    Args:
        head_scale: factor from the output of a head to its displacement or velocity.
        integration: "displacement", or "velocity": the output of a head is integrated by scaling and squaring.
        squarings: how often the velocity is halved, and squared again.
        checkpointing: recompute the blocks in the backward pass instead of keeping what is inside them: less
            memory, more time.
    """

    #: The loss of its paper, see ``losses/papers.py``.
    loss: ClassVar[type[PaperLoss]]
    #: Arguments of a small network for quick tests, where the default one is large.
    small: ClassVar[Mapping[str, Any]] = {}
    #: Numbers of axes that images may have. A class of more than one takes ``dimensions`` as an argument, and each of
    #: its networks has the one that it was built for.
    dimensions: tuple[int, ...] = (3,)
    #: Every axis is padded to a multiple of this.
    divisor: int = 1

    def __init__(
        self,
        head_scale: float = 1.0,
        integration: str = "displacement",
        squarings: int = 7,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if integration not in INTEGRATIONS:
            raise ValueError(f"integration must be one of {', '.join(INTEGRATIONS)}; it was {integration!r}")
        self.head_scale, self.integration = head_scale, integration
        self.squarings, self.checkpointing = squarings, checkpointing

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
        padded = self.padded_shape(shape)
        padding = padding_to(shape, padded)
        output = self.estimate(F.pad(moving, padding), F.pad(fixed, padding))
        for name, values in output.fields.items():
            output.factors[name] = padded[-1] // values.shape[-1]
            output.fields[name] = cropped(values, [-(-size // output.factors[name]) for size in shape])
        output.displacement = cropped(output.displacement, shape)
        if output.velocity is not None:
            output.velocity = cropped(output.velocity, shape)
        return output

    def padded_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape that an image is padded to."""
        padded = [-(-size // self.divisor) * self.divisor for size in shape]
        if all(size == self.divisor for size in padded):
            padded[-1] += self.divisor  # a single voxel at the coarsest level cannot be normalized
        return tuple(padded)

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """Estimate the displacement of images whose sizes are multiples of ``divisor``."""
        raise NotImplementedError

    def kept_small(self, block: nn.Module, *inputs: torch.Tensor) -> Any:
        """Return ``block(*inputs)``, recomputed in the backward pass where checkpointing is on."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    def displacement_of(self, values: torch.Tensor) -> torch.Tensor:
        """Return the output of a head as a displacement in single precision: scaled, and integrated if configured."""
        scaled = self.head_scale * values.float()  # positions need single precision
        return integrate(scaled, squarings=self.squarings) if self.integration == "velocity" else scaled

    def output_of(self, values: torch.Tensor, fields: dict[str, torch.Tensor] | None = None) -> NetworkOutput:
        """Return the output of a network with one head at full resolution, from what that head gives."""
        velocity = self.head_scale * values.float() if self.integration == "velocity" else None
        return NetworkOutput(self.displacement_of(values), fields or {}, velocity=velocity)
