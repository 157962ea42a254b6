"""The only place that calls grid_sample: warp an image, compose two displacements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

try:
    is_compiling = torch.compiler.is_compiling
except AttributeError:  # torch 2.2 has it elsewhere
    is_compiling = torch._dynamo.is_compiling


def warp(
    image: torch.Tensor,
    displacement: torch.Tensor,
    scale_ijk: Sequence[float] | None = None,
    offset_ijk: Sequence[float] | None = None,
    mode: str = "bilinear",
    outside: str = "border",
) -> torch.Tensor:
    """Sample ``image(scale * (x + u(x)) + offset)`` at every voxel x of the displacement's grid.

    Args:
        image: (B, C, K, J, I) or (B, C, J, I); its grid may differ from the displacement's.
        displacement: (B, n, ...) voxels of its own grid, order i, j(, k).
        scale_ijk, offset_ijk: from voxel indices of the displacement's grid to those of the image's,
            per axis; identity when left out.
        mode: "bilinear" (linear in 2D and 3D) or "nearest".
        outside: "border" repeats the image beyond its border; "zeros" takes 0 there, as many released networks do.

    Returns:
        (B, C, ...) on the displacement's grid.
    """
    positions = _normalized(displacement, image.shape[2:], scale_ijk, offset_ijk)
    parts = slab_count(image, positions)
    if parts == 1:
        return F.grid_sample(image, positions, mode=mode, padding_mode=outside, align_corners=False)
    # On a CPU torch shares out the images of a batch among its threads, never one image: slabs are made a batch.
    length = positions.shape[1] // parts
    sampled = image.new_empty((image.shape[1], *positions.shape[1:-1]))
    slabs = positions[0, : parts * length].unflatten(0, (parts, length))
    images = image.expand(parts, *image.shape[1:])
    several = F.grid_sample(images, slabs, mode=mode, padding_mode=outside, align_corners=False)
    sampled[:, : parts * length].unflatten(1, (parts, length)).copy_(several.transpose(0, 1))
    if parts * length < positions.shape[1]:
        rest = positions[:, parts * length :]
        last = F.grid_sample(image, rest, mode=mode, padding_mode=outside, align_corners=False)
        sampled[:, parts * length :] = last[0]
    return sampled[None]


def at_points(image: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Sample an image at points anywhere, linearly; beyond the border it is repeated.

    Args:
        image: (1, C, K, J, I) or (1, C, J, I).
        points: (N, n) voxels, order i, j(, k).

    Returns:
        (C, N); both arguments may have gradients.
    """
    size = points.new_tensor(image.shape[2:][::-1])
    count = len(points)
    # As in warp, for the sake of a CPU's threads; an image that learns would get a gradient from each part.
    parts = 1 if image.requires_grad or points.device.type != "cpu" or count < 5000 else torch.get_num_threads()
    positions = F.pad((2 * points + 1) / size - 1, (0, 0, 0, -count % parts))
    positions = positions.view(parts, -1, *[1] * (points.shape[1] - 1), points.shape[1])
    images = image.expand(parts, *image.shape[1:])
    sampled = F.grid_sample(images, positions, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.flatten(2).transpose(0, 1).flatten(1)[:, :count]


def slab_count(image: torch.Tensor, positions: torch.Tensor) -> int:
    """Return into how many slabs along the slowest axis a single image on a CPU is split, one for each thread."""
    if is_compiling() or image.device.type != "cpu" or image.shape[0] > 1 or positions.shape[0] > 1:
        return 1
    if torch.is_grad_enabled() and (image.requires_grad or positions.requires_grad):
        return 1  # backwards the parts of the batch would each have a gradient of the whole image
    large = positions[..., 0].numel() > 50_000
    return max(1, min(torch.get_num_threads(), positions.shape[1])) if large else 1


def _normalized(
    displacement: torch.Tensor,
    image_shape: Sequence[int],
    scale_ijk: Sequence[float] | None,
    offset_ijk: Sequence[float] | None,
) -> torch.Tensor:
    """Return positions in grid_sample's coordinates: index x of an axis with N voxels is (2 x + 1) / N - 1.

    This is the align_corners=False form: it is exact too, and it allows N = 1.
    """
    dimensions = displacement.shape[1]
    shape = displacement.shape[2:]
    if (displacement.requires_grad and torch.is_grad_enabled()) or is_compiling():
        return _normalized_with_gradient(displacement, image_shape, scale_ijk, offset_ijk)
    positions = torch.empty(
        (displacement.shape[0], *shape, dimensions), dtype=displacement.dtype, device=displacement.device
    )
    for c in range(dimensions):
        axis = dimensions - 1 - c
        per_voxel = 2.0 / image_shape[axis] * (scale_ijk[c] if scale_ijk is not None else 1.0)
        start = (2.0 * (offset_ijk[c] if offset_ijk is not None else 0.0) + 1.0) / image_shape[axis] - 1.0
        index = torch.arange(shape[axis], dtype=displacement.dtype, device=displacement.device)
        along = [1] * dimensions
        along[axis] = -1
        torch.add((index * per_voxel + start).view(along), displacement[:, c], alpha=per_voxel, out=positions[..., c])
    return positions


def _normalized_with_gradient(
    displacement: torch.Tensor,
    image_shape: Sequence[int],
    scale_ijk: Sequence[float] | None,
    offset_ijk: Sequence[float] | None,
) -> torch.Tensor:
    """Return the same without in-place writes, so that it can be differentiated and compiled."""
    dimensions = displacement.shape[1]
    columns = []
    for c in range(dimensions):
        axis = dimensions - 1 - c
        per_voxel = 2.0 / image_shape[axis] * (scale_ijk[c] if scale_ijk is not None else 1.0)
        start = (2.0 * (offset_ijk[c] if offset_ijk is not None else 0.0) + 1.0) / image_shape[axis] - 1.0
        index = torch.arange(displacement.shape[2 + axis], dtype=displacement.dtype, device=displacement.device)
        along = [1] * dimensions
        along[axis] = -1
        columns.append((index * per_voxel + start).view(along) + displacement[:, c] * per_voxel)
    return torch.stack(columns, -1)


def compose(first: torch.Tensor, second: torch.Tensor, outside: str = "border") -> torch.Tensor:
    """Return the displacement of ``(id + first) o (id + second)``: second is applied to the point first.

    Both (B, n, ...) voxels on the same grid; ``outside`` as for ``warp``.
    """
    return warp(first, second, outside=outside).add_(second)


def resize(displacement: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Resize a displacement or velocity to another size over the same box, in the new voxels."""
    old = displacement.shape[2:]
    if tuple(old) == tuple(shape):
        return displacement
    factor = displacement.new_tensor([new / before for new, before in zip(shape, old)][::-1]).view(
        1, -1, *[1] * len(old)
    )
    size, mode = tuple(shape), "trilinear" if len(old) == 3 else "bilinear"
    if math.prod(shape) > math.prod(old):  # fewer values to multiply before
        return F.interpolate(displacement * factor, size=size, mode=mode, align_corners=False)
    return F.interpolate(displacement, size=size, mode=mode, align_corners=False) * factor


def resize_by_corners(displacement: torch.Tensor, factor: float) -> torch.Tensor:
    """Resize a displacement or velocity to a grid ``factor`` times as fine with the same corner voxels.

    Many released networks enlarge their fields so (align_corners), with values that grow by ``factor``. The new grid
    does not cover quite the same box: see :func:`recentered`.
    """
    shape = [round(size * factor) for size in displacement.shape[2:]]
    mode = "trilinear" if displacement.ndim == 5 else "bilinear"
    if factor < 1:  # first the resampling: fewer values to multiply
        return F.interpolate(displacement, size=shape, mode=mode, align_corners=True) * factor
    return F.interpolate(displacement * factor, size=shape, mode=mode, align_corners=True)


def recentered(displacement: torch.Tensor, factor: int) -> torch.Tensor:
    """Move a field of :func:`resize_by_corners`' coarse grid onto the coarse grid over the same box.

    There every voxel is the middle of ``factor`` ones along each axis, as everywhere else here.
    """
    if factor == 1:
        return displacement
    sizes = displacement.shape[:1:-1]  # along i, j(, k)
    ratio = [max(n - 1, 1) / max(factor * n - 1, 1) for n in sizes]
    start = [(factor - 1) / 2 * r for r in ratio]
    return warp(displacement, torch.zeros_like(displacement), [factor * r for r in ratio], start)


def as_sampled_by_edges(displacement: torch.Tensor) -> torch.Tensor:
    """Correct a displacement of a network that normalized positions by voxel centers and sampled by edges.

    Some released networks scale index x to 2 x / (S - 1) - 1 and then sample without align_corners, so that they read
    the voxel (x + u) S / (S - 1) - 1/2. Their weights have learned to give u for that.

    Args:
        displacement: (B, n, ...) voxels, order i, j(, k).
    """
    columns = []
    for c in range(displacement.shape[1]):
        axis = displacement.ndim - 1 - c
        size = displacement.shape[axis]
        along = [1] * (displacement.ndim - 1)
        along[axis - 1] = size
        index = torch.arange(size, dtype=displacement.dtype, device=displacement.device).view(along)
        columns.append((index + displacement[:, c]) * (size / max(size - 1, 1)) - 0.5 - index)
    return torch.stack(columns, 1)
