"""The same pair as another scan might have shown it: to see how much of a registration is chance.

Each look adds noise as strong as the images' own, a smooth change of brightness, and a small rigid motion of the moving
image, which is taken out of the transform again. Kinds and sizes are our choice: what repeating a scan does at least.
"""

from __future__ import annotations

import numpy as np

from ..geometry.points import voxel_centers_lps
from ..metrics.content import background_of
from ..types import Grid, Image

#: Deviation of the shift along each axis, in voxels of the moving image (of its longest side), and of the turn.
SHIFT_VOXELS, TURN_DEGREES = 0.5, 0.5
#: Brightness changes by this part at most, smoothly over the image.
GAIN = 0.05
#: An image without noise of its own gets this part of its range.
LEAST_NOISE = 0.01


def perturbed_pair(fixed: Image, moving: Image, seed: int) -> tuple[Image, Image, np.ndarray]:
    """Another look at a pair; the same seed gives the same look.

    Returns:
        Both images, and the (4, 4) motion ``R`` in LPS mm by which the moving image was moved: a transform ``T`` found
        for these is ``R^-1 T`` for the images that were given.
    """
    random = np.random.default_rng(seed)
    motion = _motion(moving.grid, random)
    moved = Grid(moving.grid.size_ijk, motion @ moving.grid.ijk_to_lps)
    return (
        Image(_another_look(fixed, random), fixed.grid, fixed.name, fixed.dimensions),
        Image(_another_look(moving, random), moved, moving.name, moving.dimensions),
        motion,
    )


def noise_of(image: Image) -> float:
    """Return the standard deviation of an image's noise, from its second differences along each axis.

    The median is that of the noise as long as most voxels are not on an edge; voxels at the lowest value are left
    out, because a background that was set to one value has no noise.
    """
    values = image.values.astype(np.float32)
    inside = values > background_of(values)
    found = []
    for axis in range(3):
        if values.shape[axis] < 3:
            continue
        second, whole = np.diff(values, 2, axis=axis), np.moveaxis(inside, axis, 0)
        here = np.moveaxis(whole[:-2] & whole[1:-1] & whole[2:], 0, axis)
        if here.any():
            found.append(float(np.median(np.abs(second[here]))) / (0.6745 * np.sqrt(6)))
    return min(found) if found else 0.0


def _another_look(image: Image, random: np.random.Generator) -> np.ndarray:
    values = image.values.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    sigma = max(noise_of(image), LEAST_NOISE * float(high - low))
    place = 2 * np.pi * (voxel_centers_lps(image.grid) - image.grid.center_lps_mm) / _extent_mm(image.grid)
    wave = np.cos(0.5 * place @ random.normal(size=3) + random.uniform(0, 2 * np.pi))
    noise = random.normal(size=values.shape).astype(np.float32) * np.float32(sigma)
    lowest = background_of(values)
    looked = lowest + (values - lowest) * (1 + GAIN * wave.astype(np.float32)) + noise
    return np.where(values > lowest, looked, values)  # a background of one value stays one


def _extent_mm(grid: Grid) -> float:
    return float(np.max(np.array(grid.size_ijk) * grid.spacing_mm))


def _motion(grid: Grid, random: np.random.Generator) -> np.ndarray:
    """Return a small turn about the grid's center and a shift; in the plane of a single slice."""
    flat = np.array(grid.size_ijk) == 1
    shift = random.normal(size=3) * SHIFT_VOXELS * grid.spacing_mm[~flat].max()
    turn = np.deg2rad(random.normal(size=3) * TURN_DEGREES)
    if flat.any():
        normal = grid.direction[:, np.argmax(flat)]
        shift, turn = shift - normal * (shift @ normal), normal * (turn @ normal)
    motion = np.eye(4)
    motion[:3, :3] = _rotation(turn)
    motion[:3, 3] = grid.center_lps_mm - motion[:3, :3] @ grid.center_lps_mm + shift
    return motion


def _rotation(turn_rad: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: about the vector, by its length."""
    angle = np.linalg.norm(turn_rad)
    if angle == 0:
        return np.eye(3)
    x, y, z = turn_rad / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
