"""The resolutions that velocity-field optimization works at, coarse to fine. No torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ...geometry.grids import level_size
from ...preparation.resolution import RESOLUTIONS, coarsening, voxels
from ...types import Grid

#: Below this many voxels a field at full size costs a few seconds at most.
LARGE = 500_000


@dataclass(frozen=True)
class Level:
    """One resolution of the optimization.

    Attributes:
        factor: its voxel in units of the finest voxel of the image.
        size_ijk: its size.
        iterations: number of steps.
        field_size_ijk: the size of the velocity field that is optimized there, no larger.
    """

    factor: float
    size_ijk: tuple[int, int, int]
    iterations: int
    field_size_ijk: tuple[int, int, int]

    @property
    def name(self) -> str:
        """What the stage is called."""
        return f"scale 1/{self.factor:.3g}" if self.factor > 1 else "scale 1"

    @property
    def work(self) -> int:
        """Steps times voxels: what its seconds grow with."""
        return self.iterations * voxels(self.size_ijk)


@dataclass(frozen=True)
class Schedule:
    """The iterations of a preset.

    Attributes:
        iterations: (factor, steps) of each level, coarsest first.
        coarse_field: steps at the finest levels of an image with more than ``LARGE`` voxels there. The velocity is
            given at every second voxel of these levels then, while the images are compared voxel by voxel. Steps are
            smoothed by more than a voxel, so that little is lost, and integrating, composing and smoothing, most of
            the work, cost an eighth.
    """

    iterations: tuple[tuple[int, int], ...]
    coarse_field: tuple[int, ...] = ()


SCHEDULES = {
    "fast": Schedule(iterations=((8, 40), (4, 40), (2, 40)), coarse_field=(40, 30)),
    "standard": Schedule(iterations=((8, 40), (4, 40), (2, 60), (1, 18)), coarse_field=(40, 14)),
    # 60 steps at full size instead of 20 took twice the CPU and ended no better (benchmarks/RESULTS.md).
    "thorough": Schedule(iterations=((8, 60), (4, 60), (2, 60), (1, 20))),
}
for _preset, _schedule in SCHEDULES.items():  # a method works to the finest resolution of its preset
    assert _schedule.iterations[-1][0] == RESOLUTIONS[_preset].factor


def levels(grid: Grid, preset: str) -> list[Level]:
    """Return the levels for an image on ``grid``, coarsest first; identical sizes are merged into the finer.

    When the finest level would have more voxels than the preset allows, all factors grow together.
    """
    schedule, growth = SCHEDULES[preset], coarsening(grid, preset)
    result: list[Level] = []
    for factor, iterations in schedule.iterations:
        size = level_size(grid, factor * growth)
        if result and result[-1].size_ijk == size:
            result[-1] = Level(factor * growth, size, max(iterations, result[-1].iterations), size)
        else:
            result.append(Level(factor * growth, size, iterations, size))
    if voxels(result[-1].size_ijk) > LARGE:
        for index, steps in zip(range(len(result) - 1, -1, -1), schedule.coarse_field[::-1]):
            field_size = level_size(grid, result[index].factor * 2)
            result[index] = dataclasses.replace(result[index], iterations=steps, field_size_ijk=field_size)
    return result
