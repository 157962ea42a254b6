"""Both images at any resolution on the device, and a deformation between resolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F

from ...preparation.working import WorkingPair
from ...types import Channels, Field, Grid
from ...warping.filters import gaussian
from ...warping.sample import resize

#: A bias field is smooth over this part of an image and over so many of its finest voxels: a crop of 50 voxels has none
#: that is finer. A part of 14 was as good as one of 8 on the brains and the chest of benchmarks/known_truth.py.
BIAS_PARTS, BIAS_VOXELS = 14, 16


@dataclass(frozen=True, eq=False)
class Deformation:
    """A displacement and its inverse.

    Attributes:
        displacement, inverse: (1, n, ...) voxels of ``grid``, order i, j(, k).
        grid: where they are.
    """

    displacement: torch.Tensor
    inverse: torch.Tensor
    grid: Grid


class Relation(TypedDict):
    """From the voxel indices of a level to those of the moving image there, as ``warp`` takes it.

    Attributes:
        scale_ijk, offset_ijk: along each axis that exists.
    """

    scale_ijk: list[float]
    offset_ijk: list[float]


class Images:
    """Both images on the device, at any level, and how their grids relate."""

    def __init__(self, pair: WorkingPair, device: torch.device) -> None:
        self.pair, self.device = pair, device
        self.axes = list(pair.axes_ijk)
        self.fixed = self._tensor(np.stack([pair.fixed, *(one.fixed for one in pair.contrasts)]))
        self.moving = self._tensor(np.stack([pair.moving, *(one.moving for one in pair.contrasts)]))
        #: How much each contrast counts; they add up to 1.
        weights = [1.0, *(one.weight for one in pair.contrasts)]
        self.weights = [weight / sum(weights) for weight in weights]
        self.inside = self._tensor(pair.inside[None])
        self.channels = None if pair.channels is None else self._both(pair.channels)
        #: Whether a person gave the channels.
        self.guided = pair.channels is not None and pair.channels.guide

    def _both(self, channels: Channels) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensor(channels.fixed), self._tensor(channels.moving)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """(1, C, ...) of (C, K, J, I), without the axis of a single slice."""
        shape = [n for n in values.shape[1:] if n > 1] if len(self.axes) < 3 else values.shape[1:]
        tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32).reshape(1, len(values), *shape))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def shape(self, grid: Grid) -> tuple[int, ...]:
        """Return the shape, (K, J, I) or (J, I), of a grid over the pair's box."""
        return tuple(grid.size_ijk[c] for c in self.axes)[::-1]

    def at(self, grid: Grid) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Relation]:
        """Return fixed, moving and mask at the resolution of ``grid``, and ``warp``'s arguments for the moving one.

        Images are (1, C, ...) with their contrasts, without the axis of a single slice.
        """
        fixed, moving, relation = self._both_at(grid, self.fixed, self.moving, self.pair.grid, self.pair.margin_ijk)
        return fixed, moving, self.inside_at(grid), relation

    def bias_at(self, grid: Grid) -> list[float]:
        """Return over how many voxels of ``grid`` along each axis a bias field is smooth."""
        own = self.pair.grid
        sides_mm = np.array(own.size_ijk) * own.spacing_mm
        smooth_mm = np.maximum(sides_mm / BIAS_PARTS, BIAS_VOXELS * own.spacing_mm[self.axes].min())
        return (smooth_mm / grid.spacing_mm)[self.axes].tolist()

    def inside_at(self, grid: Grid) -> torch.Tensor:
        """Return the mask, (1, 1, ...) of 0..1, at the resolution of ``grid``."""
        sigma, size = self._reduction(self.pair.grid, grid)
        return self._shrunk(self.inside, sigma, size)

    def channels_at(self, grid: Grid) -> tuple[torch.Tensor, torch.Tensor, Relation]:
        """Return the channels of both, (1, C, ...), at the resolution of ``grid``, and ``warp``'s arguments."""
        channels = self.pair.channels
        if channels is None or self.channels is None:
            raise ValueError("the pair has no channels")
        margin = (np.array(channels.moving_grid.size_ijk) - np.array(channels.fixed_grid.size_ijk)) // 2
        return self._both_at(grid, *self.channels, channels.fixed_grid, margin)

    def _reduction(self, own: Grid, grid: Grid) -> tuple[list[float], list[int]]:
        """Return by how many voxels an image on ``own`` is smoothed for ``grid``, and the size there."""
        factor = np.array(own.size_ijk) / np.array(grid.size_ijk)
        return [0.35 * np.sqrt(max(0.0, f**2 - 1)) for f in factor[self.axes]], [grid.size_ijk[c] for c in self.axes]

    def _both_at(
        self, grid: Grid, fixed: torch.Tensor, moving: torch.Tensor, own: Grid, margin_ijk: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor, Relation]:
        sigma, size = self._reduction(own, grid)
        factor = (np.array(own.size_ijk) / np.array(grid.size_ijk))[self.axes]
        margin = np.array(margin_ijk)[self.axes]
        # Whole voxels of the level on every side: the moving image is sampled at the places of the fixed one, so that
        # two copies of one image stay copies at every level.
        extra = np.ceil(margin / factor).astype(int)
        places = [
            (np.arange(-e, n + e) + 0.5) * f + m - 0.5 for e, n, f, m in zip(extra, size, factor.tolist(), margin)
        ]
        relation: Relation = {"scale_ijk": [1.0] * len(size), "offset_ijk": extra.astype(float).tolist()}
        return self._shrunk(fixed, sigma, size), _sampled(gaussian(moving, sigma), places), relation

    @staticmethod
    def _shrunk(image: torch.Tensor, sigma_ijk: Sequence[float], size_ijk: Sequence[int]) -> torch.Tensor:
        shape = tuple(size_ijk[::-1])
        if tuple(image.shape[2:]) == shape:
            return image
        mode = "trilinear" if image.ndim == 5 else "bilinear"
        return F.interpolate(gaussian(image, sigma_ijk), size=shape, mode=mode, align_corners=False)


def _sampled(image: torch.Tensor, places_ijk: Sequence[np.ndarray]) -> torch.Tensor:
    """Return an image, (1, C, ...), at the voxels of every combination of places; the nearest one's beyond its edge."""
    for axis, places in enumerate(places_ijk):
        dim = image.ndim - 1 - axis
        if np.array_equal(places, np.arange(image.shape[dim])):
            continue
        low = np.floor(places)
        weight = image.new_tensor((places - low).tolist()).view([-1 if d == dim else 1 for d in range(image.ndim)])
        below, above = (
            image.index_select(dim, torch.from_numpy(index.clip(0, image.shape[dim] - 1)).to(image.device))
            for index in (low.astype(np.int64), low.astype(np.int64) + 1)
        )
        image = torch.lerp(below, above, weight)
    return image


def resized_to(state: Deformation, grid: Grid, axes: Sequence[int]) -> Deformation:
    """Return a deformation on another grid over the same box."""
    shape = tuple(grid.size_ijk[c] for c in axes)[::-1]
    return Deformation(resize(state.displacement, shape), resize(state.inverse, shape), grid)


def as_field(pair: WorkingPair, displacement: torch.Tensor, grid: Grid) -> Field:
    """Return a displacement, (1, n, ...) voxels of ``grid``, as a field in LPS mm."""
    return pair.field_from_voxels(displacement[0].cpu().numpy(), grid)
