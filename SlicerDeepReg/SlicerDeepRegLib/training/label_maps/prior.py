"""What is known of each place of the frame before an image is looked at: where structures lie in the mean person.

A network that gets this beside an image in the frame has to find borders only, not which structure is which. It learns
that in a small part of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...anatomy import STRUCTURES
from ...models.structures import FRAME_BOX_MM
from ...preparation.structures import structure_codes
from ...warping.filters import gaussian
from .frame import LabelMap
from .paint import Head, frame_positions
from .source import structure

#: The box of the frame that holds a brain, along k, j, i, around the origin (mm).
BOX_MM = FRAME_BOX_MM[::-1]
#: Voxels of the prior, and how much it is smoothed (voxels).
PRIOR_MM, SMOOTHING = 4.0, 0.7
#: Coordinates are these lengths in units of 1.
UNIT_MM = 50.0


def frame_shape(voxel_mm: float) -> tuple[int, int, int]:
    """Return the shape (K, J, I) of the box, with voxels of that size."""
    k, j, i = (round(length / voxel_mm) for length in BOX_MM)
    return k, j, i


@torch.no_grad()
def mean_prior(maps: Sequence[LabelMap]) -> torch.Tensor:
    """Return the mean codes of structures and the coordinates, (12, K, J, I), on voxels of ``PRIOR_MM`` over the box.

    The codes are those of ``preparation.structures``, left and right alike, mean over the maps and their mirror images;
    x, y, z tell the sides apart.
    """
    cpu = torch.device("cpu")
    positions = frame_positions(frame_shape(PRIOR_MM), PRIOR_MM, cpu)
    total = torch.zeros(())
    for one in maps:
        classes = structure(Head.of(one, cpu).at(positions))
        members = torch.nn.functional.one_hot(classes, len(STRUCTURES) + 1).movedim(-1, 0).float()
        total = total + torch.from_numpy(structure_codes(members.numpy()))
    mean = (total + total.flip(-1)) / (2 * len(maps))
    return torch.cat([gaussian(mean[None], [SMOOTHING] * 3)[0], positions / UNIT_MM])
