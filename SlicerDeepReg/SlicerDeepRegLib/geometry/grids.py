"""Derive grids from grids: another resolution over the same box, a margin around it, other axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations, product

import numpy as np

from ..processes.load import in_threads
from ..types import Field, Grid, InputError
from .points import apply_matrix

#: What each letter of an orientation means: the way in which an index grows, LPS.
_TOWARDS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}

#: What is left around the box of another grid, of its size on each side, and the part of a grid that is most of it.
BOX_MARGIN, LARGEST_BOX = 0.2, 0.6
#: A box of fewer voxels along an axis is none.
FEWEST_VOXELS = 8
#: Layers of an array that are computed at once.
_SLAB = 16


def triple(values: Iterable[float]) -> tuple[int, int, int]:
    """Return three whole numbers, for i, j and k, as a grid's size takes them."""
    i, j, k = values
    return int(i), int(j), int(k)


def resized(grid: Grid, size_ijk: tuple[int, int, int]) -> Grid:
    """Return a grid of another size over the same box (voxel faces are kept, not voxel centers)."""
    factor = np.array(grid.size_ijk) / np.array(size_ijk)
    matrix = grid.ijk_to_lps @ np.diag([*factor, 1.0])
    matrix[:3, 3] = grid.ijk_to_lps[:3, :3] @ ((factor - 1) / 2) + grid.origin_lps_mm
    return Grid(size_ijk, matrix)


def sampled(grid: Grid, most_voxels: int) -> Grid:
    """Return the grid itself, or a coarser one over the same box with about ``most_voxels`` voxels at most."""
    shrink = max(1.0, (grid.voxels / most_voxels) ** (1 / sum(n > 1 for n in grid.size_ijk)))
    return resized(grid, triple(max(2, round(n / shrink)) if n > 1 else 1 for n in grid.size_ijk))


def coarser(grid: Grid, factor: int, size_ijk: tuple[int, int, int]) -> Grid:
    """Return a grid whose voxels are blocks of ``factor`` voxels along each existing axis, from the same corner."""
    factors = np.where(np.array(grid.size_ijk) > 1, factor, 1)
    matrix = grid.ijk_to_lps @ np.diag([*factors, 1.0])
    matrix[:3, 3] = grid.ijk_to_lps[:3, :3] @ ((factors - 1) / 2) + grid.origin_lps_mm
    return Grid(size_ijk, matrix)


def with_voxels(grid: Grid, voxel_mm: float | Sequence[float], smallest: int = 8) -> Grid:
    """Return a grid over the same box with voxels of about that size; no axis gets fewer than ``smallest``.

    Args:
        voxel_mm: of all axes, or of i, j and k.
    """
    wanted = np.round(np.array(grid.size_ijk) * grid.spacing_mm / np.array(voxel_mm))
    size = np.where(np.array(grid.size_ijk) > 1, np.maximum(wanted, smallest), 1)
    return resized(grid, triple(size))


def padded(grid: Grid, margin_ijk: tuple[int, int, int]) -> Grid:
    """Return the grid with ``margin_ijk`` voxels more on both sides of each axis."""
    margin = np.array(margin_ijk)
    return _widened(grid, margin, margin)


def _widened(grid: Grid, before_ijk: np.ndarray, after_ijk: np.ndarray) -> Grid:
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, 3] -= grid.ijk_to_lps[:3, :3] @ before_ijk
    return Grid(triple(np.array(grid.size_ijk) + before_ijk + after_ijk), matrix)


def content_box(content: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest index, i, j, k, of the true voxels of (K, J, I); both belong to the box.

    Raises:
        ValueError: no voxel is true.
    """
    present = [np.flatnonzero(content.any(axis=tuple(a for a in range(3) if a != axis))) for axis in (2, 1, 0)]
    return np.array([found.min() for found in present]), np.array([found.max() for found in present])


def box_of_other(grid: Grid, other: Grid, to_grid_lps: np.ndarray) -> tuple[slice, ...] | None:
    """Return the voxels (i, j, k) of a grid that another covers, with a margin; None where that is most or hardly any.

    Args:
        to_grid_lps: (4, 4) from points of the other grid to points of this one, LPS mm.
    """
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in other.size_ijk])))
    there = apply_matrix(grid.lps_to_ijk @ to_grid_lps @ other.ijk_to_lps, corners)
    low, high = there.min(0), there.max(0)
    more = BOX_MARGIN * (high - low)
    size = np.array(grid.size_ijk)
    first = np.clip(np.floor(low - more), 0, size - 1).astype(int)
    last = np.clip(np.ceil(high + more) + 1, first + 1, size).astype(int)
    first, last = np.where(size == 1, 0, first), np.where(size == 1, 1, last)
    is_sliver = (last - first < np.minimum(size, FEWEST_VOXELS)).any()  # they hardly meet: somebody else has to say so
    if is_sliver or np.prod(last - first) > LARGEST_BOX * grid.voxels:
        return None
    return tuple(slice(start, end) for start, end in zip(first.tolist(), last.tolist()))


def level_size(grid: Grid, factor: float, smallest: int = 8) -> tuple[int, int, int]:
    """Return the size of a pyramid level whose voxels are about isotropic.

    The finest voxel of ``grid`` is enlarged ``factor`` times; an axis whose voxels are already
    larger than that keeps its size, and no axis falls below ``smallest`` voxels (or its own size).
    """
    target_mm = grid.spacing_mm[np.array(grid.size_ijk) > 1].min() * factor
    shrink = np.maximum(1.0, target_mm / grid.spacing_mm)
    size = np.maximum(np.round(np.array(grid.size_ijk) / shrink), np.minimum(grid.size_ijk, smallest))
    return triple(size)


def at_right_angles(grid: Grid) -> Grid:
    """Return a grid with axes at right angles that covers a sheared one: i and the plane of i and j stay as they are.

    The voxels' sides are those of the sheared box, measured along the new axes, so that no plane of voxels that was at
    right angles to others is moved between two planes.
    """
    axes, sides = np.linalg.qr(grid.ijk_to_lps[:3, :3])  # the columns are axes @ sides, and sides is upper triangular
    signs = np.sign(np.diag(sides))
    axes, spacing_mm = axes * signs, np.abs(np.diag(sides))
    size = np.array(grid.size_ijk)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (size - 1)
    places = corners @ (grid.ijk_to_lps[:3, :3].T @ axes) / spacing_mm  # in new voxels, from the old first voxel
    low, high = np.floor(places.min(axis=0) + 1e-6), np.ceil(places.max(axis=0) - 1e-6)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing_mm
    matrix[:3, 3] = grid.origin_lps_mm + matrix[:3, :3] @ low
    return Grid(triple(high - low + 1), matrix)


def overlap_fraction(first: Grid, second: Grid, samples: int = 24) -> float:
    """Return the fraction of ``first``'s voxel centers that lie inside ``second``, on a coarse lattice."""
    axes = [np.linspace(0, n - 1, min(n, samples)) for n in first.size_ijk]
    ijk = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    lps = ijk @ first.ijk_to_lps[:3, :3].T + first.origin_lps_mm
    other_ijk = lps @ second.lps_to_ijk[:3, :3].T + second.lps_to_ijk[:3, 3]
    inside = (other_ijk >= -0.5) & (other_ijk <= np.array(second.size_ijk) - 0.5)
    return float(inside.all(axis=1).mean())


def covering(grid: Grid, other: Grid) -> Grid:
    """Return ``grid`` padded by whole voxels until it covers the voxel centers of ``other`` (same directions)."""
    relation = grid.lps_to_ijk @ other.ijk_to_lps
    low = relation[:3, 3]
    high = low + np.diag(relation)[:3] * (np.array(other.size_ijk) - 1)
    size = np.array(grid.size_ijk)
    before, after = (
        np.where(size > 1, np.maximum(np.ceil(need - 1e-6), 0), 0).astype(int) for need in (-low, high - (size - 1))
    )
    return _widened(grid, before, after)


def reached_by(field: Field) -> Grid:
    """Return the field's grid padded by whole voxels until it covers ``x + u(x)`` of the voxels at its border.

    By half its size at most on each side: beyond that the field is not one that an inverse is wanted of.
    """
    grid, size = field.grid, np.array(field.grid.size_ijk)
    low, high = np.zeros(3), size - 1.0
    axes = np.flatnonzero(size > 1)
    for axis in axes:
        for end in (0, size[axis] - 1):
            displaced = np.take(field.displacement_lps_mm, [end], 2 - axis) @ grid.lps_to_ijk[:3, :3].T
            for c in axes:
                index = np.array([end]) if c == axis else np.arange(size[c])
                place = displaced[..., c] + index.reshape([-1 if 2 - c == d else 1 for d in range(3)])
                low[c], high[c] = min(low[c], place.min()), max(high[c], place.max())
    before, after = (np.ceil(np.minimum(need - 1e-6, size / 2)).astype(int) for need in (-low, high - (size - 1)))
    return _widened(grid, np.maximum(before, 0), np.maximum(after, 0))


def on_grid(field: Field, grid: Grid) -> Field:
    """Return the field on a grid with the same directions, linearly interpolated, its border repeated outside."""
    relation = field.grid.lps_to_ijk @ grid.ijk_to_lps
    values = field.displacement_lps_mm
    for c in (2, 1, 0):  # the slowest axis first: of a slab there is little left then
        position = relation[c, c] * np.arange(grid.size_ijk[c]) + relation[c, 3]
        values = _interpolated_along(values, 2 - c, position)
    return Field(np.ascontiguousarray(values, np.float32), grid)


def _interpolated_along(values: np.ndarray, axis: int, position: np.ndarray) -> np.ndarray:
    position = np.clip(position, 0, values.shape[axis] - 1)
    nearest = np.round(position)
    if np.abs(position - nearest).max() < 1e-6:
        index = nearest.astype(int)
        if len(index) == values.shape[axis] and (index == np.arange(len(index))).all():
            return values
        return np.take(values, index, axis)
    lower = np.minimum(position.astype(int), values.shape[axis] - 2)
    weight = (position - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    shape = [len(position) if a == axis else n for a, n in enumerate(values.shape)]
    between = np.empty(shape, np.result_type(values, weight))
    across = 0 if axis else 1  # in slabs that fit the cache, along another axis

    def fill(start: int) -> None:
        slab = (slice(None),) * across + (slice(start, start + _SLAB),)
        part = values[slab]
        low, high = np.take(part, lower, axis), np.take(part, lower + 1, axis)
        low *= 1 - weight
        high *= weight
        np.add(low, high, out=between[slab])

    in_threads(fill, range(0, shape[across], _SLAB))
    return between


def oriented(grid: Grid, orientation: str) -> Grid:
    """Return the same voxels with their axes in the order and direction nearest to ``orientation``.

    Args:
        orientation: three letters, the ways in which i, j and k grow: "RAS" is to the right, the front and the top.

    Raises:
        InputError: it does not consist of one of L R, one of P A and one of S I.
    """
    letters = str(orientation).upper()
    if len(letters) != 3 or any(sum(c in letters for c in pair) != 1 for pair in ("LR", "PA", "SI")):
        raise InputError(f"An orientation is three letters as RAS or LPS; it was {orientation!r}.")
    return _turned(grid, *_nearest_axes(grid, np.array([_TOWARDS[letter] for letter in letters], float).T))


def orientation_of(grid: Grid) -> str:
    """Return the three letters nearest to the grid's axes, as :func:`oriented` takes them."""
    axes = np.stack([_TOWARDS[letter] for letter in "LPS"]).astype(float).T
    order, forward = _nearest_axes(grid, axes)
    letters = ["", "", ""]
    for c, (axis, same) in enumerate(zip(order, forward)):
        letters[axis] = "LPS"[c] if same else "RAI"[c]
    return "".join(letters)


def with_axes_of(field: Field, grid: Grid) -> Field:
    """Return the field with its axes in the order and direction nearest to those of ``grid``; vectors stay LPS mm."""
    order, forward = _nearest_axes(field.grid, grid.direction)
    if order == (0, 1, 2) and all(forward):
        return field
    values = field.displacement_lps_mm.transpose(*(2 - order[2 - axis] for axis in range(3)), 3)
    for c in range(3):
        if not forward[c]:
            values = np.flip(values, 2 - c)
    return Field(np.ascontiguousarray(values), _turned(field.grid, order, forward))


def _nearest_axes(grid: Grid, directions: np.ndarray) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each column of ``directions`` (LPS): which axis of the grid is nearest, and whether it goes the same way."""
    cosines = grid.direction.T @ directions  # [axis of the grid, wanted direction]
    order = max(permutations(range(3)), key=lambda o: sum(abs(cosines[o[c], c]) for c in range(3)))
    return order, tuple(bool(cosines[order[c], c] >= 0) for c in range(3))


def _turned(grid: Grid, order: Sequence[int], forward: Sequence[bool]) -> Grid:
    matrix = grid.ijk_to_lps.copy()
    for c, (axis, same) in enumerate(zip(order, forward)):
        column = grid.ijk_to_lps[:3, axis]
        matrix[:3, c] = column if same else -column
        if not same:
            matrix[:3, 3] += column * (grid.size_ijk[axis] - 1)
    return Grid(triple(grid.size_ijk[axis] for axis in order), matrix)
