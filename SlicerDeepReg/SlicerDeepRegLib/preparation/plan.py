"""How much work an preset means for a given image: levels, iterations, and the memory they need."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import List, Tuple, Union

from ..geometry.grids import level_size
from ..types import Grid


@dataclass(frozen=True)
class Level:
    """One resolution of the optimization.

    Attributes:
        factor: how much larger than the finest voxel of the image its voxels are.
        size_ijk: its size.
        iterations: how many steps.
        field_size_ijk: the size of the velocity field that is looked for there, no larger.
    """

    factor: float
    size_ijk: Tuple[int, int, int]
    iterations: int
    field_size_ijk: Tuple[int, int, int]


@dataclass(frozen=True)
class Preset:
    """What an preset stands for.

    Attributes:
        iterations: by level factor, coarsest first.
        most_voxels: of the finest level.
        coarse: steps at the finest levels of an image with more than ``LARGE`` voxels there. The velocity is given at
            every second voxel of these levels then. The images are still compared voxel by voxel. Steps are smoothed
            by more than a voxel, so that little is lost, and integrating, composing and smoothing, most of the work,
            cost an eighth.
    """

    iterations: Tuple[Tuple[int, int], ...]
    most_voxels: int
    coarse: Tuple[int, ...] = ()


#: Below this many voxels a field at full size costs a few seconds at most.
LARGE = 500_000


PRESET_PLANS = {
    "fast": Preset(((8, 40), (4, 40), (2, 40)), 4_000_000, (40, 30)),
    "standard": Preset(((8, 40), (4, 40), (2, 60), (1, 18)), 12_000_000, (40, 14)),
    "thorough": Preset(((8, 60), (4, 60), (2, 80), (1, 60)), 24_000_000),
}

#: Bytes for each voxel of the finest level while `svf` works there, with a field as fine as the images and with a
#: coarser one, measured (benchmarks/RESULTS.md); for each voxel of the fixed image meanwhile; and a fixed part.
BYTES_PER_VOXEL = {"lncc": (540, 210), "mind": (1300, 950)}
HELD_BYTES, FIXED_BYTES = 8, 700_000_000
#: The same of a GPU's memory, where only torch's arrays are; for each voxel of the fixed image while fields are laid on
#: it, unless it is too large for that; and a fixed part. A slow test counts what torch takes.
GPU_BYTES_PER_VOXEL = {"lncc": (380, 140), "mind": (800, 650)}
GPU_BYTES_PER_FIXED_VOXEL, GPU_FIXED_BYTES = 80, 300_000_000
#: Up to so many fixed voxels the transform is given at each of them, beyond on the voxels on which it was found.
MOST_WHOLE = 30_000_000
#: Bytes for each voxel of the fixed image afterwards (inverse, warped image, Jacobian, metrics), then and beyond.
BYTES_PER_FIXED_VOXEL = (230, 42)


def levels(grid: Grid, preset: str) -> List[Level]:
    """The levels for an image on ``grid``, coarsest first; identical sizes are merged into the finer.

    When the finest level would have more voxels than the preset allows, all factors grow together.
    """
    plan = PRESET_PLANS[preset]
    coarsening = 1.0
    while _voxels(level_size(grid, plan.iterations[-1][0] * coarsening)) > plan.most_voxels:
        coarsening *= 1.1
    found: List[Level] = []
    for factor, iterations in plan.iterations:
        size = level_size(grid, factor * coarsening)
        if found and found[-1].size_ijk == size:
            found[-1] = Level(factor * coarsening, size, max(iterations, found[-1].iterations), size)
        else:
            found.append(Level(factor * coarsening, size, iterations, size))
    if _voxels(found[-1].size_ijk) > LARGE:
        for place, steps in zip(range(len(found) - 1, -1, -1), plan.coarse[::-1]):
            field_size = level_size(grid, found[place].factor * 2)
            found[place] = dataclasses.replace(found[place], iterations=steps, field_size_ijk=field_size)
    return found


def estimated_bytes(grid: Grid, preset: str, needs: Union[str, int] = "lncc", on_gpu: bool = False) -> int:
    """Peak memory of a registration onto ``grid``, estimated before any work.

    Args:
        needs: "lncc" or "mind" for `svf`, or the bytes for each voxel of the working grid, as cards have them.
        on_gpu: of a GPU's memory, instead of the computer's where nothing is on a GPU.
    """
    finest = levels(grid, preset)[-1]
    each = needs
    if isinstance(needs, str):
        each = (GPU_BYTES_PER_VOXEL if on_gpu else BYTES_PER_VOXEL)[needs][finest.field_size_ijk != finest.size_ijk]
    during = _voxels(finest.size_ijk) * each
    if on_gpu:
        laid = grid.voxels * GPU_BYTES_PER_FIXED_VOXEL if grid.voxels <= MOST_WHOLE else 0
        return GPU_FIXED_BYTES + max(during, laid)
    during += grid.voxels * HELD_BYTES
    after = grid.voxels * BYTES_PER_FIXED_VOXEL[grid.voxels > MOST_WHOLE]
    return FIXED_BYTES + max(during, after)


def _voxels(size_ijk: Tuple[int, int, int]) -> int:
    return size_ijk[0] * size_ijk[1] * size_ijk[2]
