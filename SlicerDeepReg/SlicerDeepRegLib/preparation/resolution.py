"""The finest resolution that a preset works at for a given image, and the memory that a registration takes there."""

from __future__ import annotations

from dataclasses import dataclass

from ..geometry.grids import level_size
from ..types import Grid, Memory, PairDescription


@dataclass(frozen=True)
class Resolution:
    """How fine a preset works.

    Attributes:
        factor: its finest voxel in units of the finest voxel of the image.
        max_voxels: of the working grid; images that are larger get larger voxels.
    """

    factor: float
    max_voxels: int


RESOLUTIONS = {
    "fast": Resolution(factor=2, max_voxels=4_000_000),
    "standard": Resolution(factor=1, max_voxels=12_000_000),
    "thorough": Resolution(factor=1, max_voxels=24_000_000),
}

#: Bytes a voxel of the fixed image while a method works, and a fixed part, measured by benchmarks/memory.py
#: (benchmarks/RESULTS.md).
HELD_BYTES, FIXED_BYTES = 8, 700_000_000
#: The same of a GPU's memory, where only torch's arrays are: bytes a voxel of the fixed image while fields are put on
#: its voxels, unless it is too large for that; and a fixed part. A slow test counts what torch allocates.
DEVICE_BYTES_PER_FIXED_VOXEL, DEVICE_FIXED_BYTES = 80, 300_000_000
#: Up to so many fixed voxels the transform is given at each of them, beyond on the voxels on which it was found.
MAX_DENSE_VOXELS = 30_000_000
#: Bytes a voxel of the fixed image afterwards (inverse, warped image, Jacobian, metrics), then and beyond.
BYTES_PER_FIXED_VOXEL = (230, 42)


def coarsening(grid: Grid, preset: str) -> float:
    """Return the factor, at least 1, by which voxels grow so that the finest grid is as small as the preset asks."""
    resolution, growth = RESOLUTIONS[preset], 1.0
    while voxels(level_size(grid, resolution.factor * growth)) > resolution.max_voxels:
        growth *= 1.1
    return growth


def finest(grid: Grid, preset: str) -> tuple[float, tuple[int, int, int]]:
    """Return the factor (in units of the finest voxel of ``grid``) and the size i, j, k of the finest working grid."""
    factor = RESOLUTIONS[preset].factor * coarsening(grid, preset)
    return factor, level_size(grid, factor)


def registration_memory(description: PairDescription, working: Memory, on_device: bool = True) -> Memory:
    """Estimate the peak memory of a whole registration.

    Args:
        description: the pair.
        working: what the method takes while it works, on the host or on the device.
        on_device: whether the method itself computes there; its field is inverted there in any case.
    """
    fixed = description.fixed.voxels
    during = fixed * HELD_BYTES + (0 if description.on_gpu and on_device else working.host)
    after = fixed * BYTES_PER_FIXED_VOXEL[fixed > MAX_DENSE_VOXELS]
    device = 0
    if description.on_gpu:
        dense = fixed * DEVICE_BYTES_PER_FIXED_VOXEL if fixed <= MAX_DENSE_VOXELS else 0
        device = DEVICE_FIXED_BYTES + max(working.device, dense)
    return Memory(FIXED_BYTES + max(during, after), device)


def voxels(size_ijk: tuple[int, int, int]) -> int:
    """Return the number of voxels of a size."""
    return size_ijk[0] * size_ijk[1] * size_ijk[2]
