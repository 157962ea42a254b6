"""Pairs of coronal slices painted on label maps, for networks of two dimensions.

Both slices lie at one place of the frame. What leaves the plane on its way from one person to the other is not seen in
two images of two dimensions: of the known field only the part in the plane is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..rng import Rng, seed_of
from ..sources import TRAINING, Batch
from .frame import LabelMap
from .source import LabelMapSettings, LabelMapSource, rng_motion

#: How far before and behind the middle of the brain slices are taken (mm).
REACH_MM = 45.0


class SliceSource(LabelMapSource):
    """Pairs of slices; the arguments are those of :class:`LabelMapSource`.

    Half of the pairs each are mirrored up and down and have their axes exchanged, since a slice is never turned when a
    network is used: its rows may run in any of these ways.

    Args:
        shape: (K, I), both divisible by what the network needs.
    """

    def __init__(
        self,
        maps: Sequence[LabelMap],
        relation: np.ndarray,
        shape: Sequence[int],
        voxel_mm: float,
        seed: int,
        settings: LabelMapSettings,
        stream: int = TRAINING,
    ) -> None:
        super().__init__(maps, relation, (shape[0], 1, shape[1]), voxel_mm, seed, settings, stream)
        self.shape, self.spacing_kji_mm = tuple(shape), (voxel_mm,) * 2

    def _pose(self, rng: Rng) -> torch.Tensor:
        """See :class:`LabelMapSource`; the slice lies anywhere in the brain."""
        place = torch.eye(4, dtype=torch.float64)
        place[1, 3] = rng.uniform(-REACH_MM, REACH_MM)
        return place @ rng_motion(rng, self.settings.pose)

    def _pair(self, position: int, device: torch.device) -> Batch:
        batch = {name: t.squeeze(3) if t.ndim == 5 else t for name, t in super()._pair(position, device).items()}
        batch["displacement"] = batch["displacement"][:, [0, 2]]
        rng = Rng(seed_of(self.seed, self.stream, position, 2), torch.device("cpu"))
        if rng.chance(0.5):
            batch = {name: t.flip(-2) if t.ndim == 4 else t for name, t in batch.items()}
            batch["displacement"] = batch["displacement"] * batch["displacement"].new_tensor([1, -1]).view(1, 2, 1, 1)
        if self.shape[0] == self.shape[1] and rng.chance(0.5):
            batch = {name: t.transpose(-1, -2).contiguous() if t.ndim == 4 else t for name, t in batch.items()}
            batch["displacement"] = batch["displacement"].flip(1)
        return batch
