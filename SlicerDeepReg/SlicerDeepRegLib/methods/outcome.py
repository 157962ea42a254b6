"""What a method hands back to the pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import List, Optional, Tuple

import torch

from ..geometry.grids import padded
from ..preparation.working import WorkingPair
from ..types import Field, Grid, Stage


@dataclass
class Outcome:
    """The stages, and at the end the field and its inverse on grids of the working grid's directions."""

    stages: List[Stage] = field(default_factory=list)
    displacement: Optional[Field] = None
    inverse: Optional[Field] = None
    notes: List[str] = field(default_factory=list)


def room_to_leave(pair: WorkingPair, displacement: torch.Tensor, grid: Grid) -> Tuple[List[int], Grid]:
    """How far an inverse must be known beyond its grid so that it holds every x + u(x).

    Args:
        displacement: (1, n, ...) voxels of ``grid``, order i, j(, k).

    Returns:
        The padding for ``torch.nn.functional.pad``, and the grid padded so.
    """
    margin = [0, 0, 0]
    for c, axis in enumerate(pair.axes_ijk):
        margin[axis] = math.ceil(float(displacement[:, c].abs().max())) + 1
    return [margin[axis] for axis in pair.axes_ijk for _ in (0, 1)], padded(grid, tuple(margin))
