"""The atlas of the mean person: how likely each structure is at each place, after all people have the mean shape.

It goes beside the network that finds a brain, and is fitted to images (``models/brain_atlas.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...models.brain_atlas import frame_grid
from .atlas import Relation
from .frame import MIRRORED, SURROUNDINGS, LabelMap
from .paint import Head, frame_positions
from .source import structure


@torch.no_grad()
def mean_atlas(maps: Sequence[LabelMap], velocities: np.ndarray) -> torch.Tensor:
    """Return the probability of nothing and of the 32 structures, (33, K, J, I), on the grid of the fitted atlas.

    The mean over the maps and their mirror images; what is around the brain is nothing.

    Args:
        maps: of the people.
        velocities: from the mean shape to each map, as ``prepare_atlas`` returns them.
    """
    cpu = torch.device("cpu")
    grid = frame_grid()
    positions = frame_positions(grid.shape_kji, float(grid.spacing_mm[0]), cpu)
    relation = Relation(velocities, cpu)
    total = torch.zeros((SURROUNDINGS, *grid.shape_kji))
    for place, one in enumerate(maps):
        there = relation.from_mean(place, positions)
        for classes in Head.of(one, cpu).eighths(there):
            total.scatter_add_(0, structure(classes)[None], torch.full((1, *grid.shape_kji), 1 / 8))
    return (total + total[torch.tensor(MIRRORED)].flip(-1)) / (2 * len(maps))
