"""The pull of further channels (structures, for example) beside the images."""

from __future__ import annotations

import numpy as np
import torch

from ...geometry.grids import resized, triple
from ...types import Grid
from ...warping.filters import central_difference
from ...warping.sample import resize, warp
from .pyramid import Images


class ChannelTerm:
    """The squared difference of the channels of a pair, summed over them, at a level.

    Like the image's, its derivative is taken by a displacement composed on the right: the warped channels' slopes
    times their differences. It is computed on voxels no finer than the field's and the channels' own: most of the
    seconds are those of warping many channels.

    Args:
        images: of a pair with channels.
        grid, field_grid: the level's, of the images and of the field.
        weight: of the mean over the voxels.
    """

    def __init__(self, images: Images, grid: Grid, field_grid: Grid, weight: float) -> None:
        if images.pair.channels is None:
            raise ValueError("the pair has no channels")
        own = images.pair.channels.fixed_grid
        coarser = resized(images.pair.grid, triple(min(pair) for pair in zip(field_grid.size_ijk, own.size_ijk)))
        self._fixed, self._moving, self._relation = images.channels_at(coarser)
        self._inside = images.inside_at(coarser)
        self._shape = images.shape(coarser)
        self._weight = weight
        self._lengths = coarser.spacing_mm[images.axes] / grid.spacing_mm[images.axes].min()
        self._voxels = float(self._inside.sum().clamp(min=1))

    def __call__(self, whole: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Return the loss and its derivative by the displacement of each voxel.

        Args:
            whole: (1, n, ...) the displacement, in voxels of any size over the box.

        Returns:
            The loss; (1, n, ...) per finest voxel of the level.
        """
        warped = warp(self._moving, resize(whole, self._shape), **self._relation)
        weighted = (warped - self._fixed).mul_(self._inside)
        value = self._weight * float(torch.linalg.vector_norm(weighted)) ** 2 / self._voxels
        return value, slope_times(warped, weighted.mul_(2 * self._weight), self._lengths)


def slope_times(warped: torch.Tensor, by_warped: torch.Tensor, lengths_ijk: np.ndarray) -> torch.Tensor:
    """Return the derivative of a loss by a small displacement of the fixed points, (1, n, ...).

    Args:
        warped: (1, C, ...).
        by_warped: its derivative by ``warped``.
        lengths_ijk: of a voxel, in the unit of the displacement.
    """
    parts = []
    for c, length in enumerate(lengths_ijk):
        slope = central_difference(warped, warped.ndim - 1 - c).mul_(by_warped)
        parts.append(slope.sum(1, keepdim=True).div_(float(length)))
    return torch.cat(parts, 1)
