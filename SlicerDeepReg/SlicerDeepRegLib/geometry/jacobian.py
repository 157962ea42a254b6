"""Volume change and folding of displacement fields. numpy, in slabs that fit the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..processes.load import in_threads
from ..types import Field, Grid, Transform
from .fields import existing_axes
from .grids import on_grid

_SLAB = 16


def jacobian_of_transform(transform: Transform, grid: Grid | None = None) -> np.ndarray | None:
    """Compute the Jacobian determinant of ``T(x) = A (x + u(x))``, (K, J, I) float32; None without a field.

    The grid has the directions of the field's, and is that when left out, here and below.

    Central differences inside, one-sided at the border. 1 is no change of volume, 2 is twice the
    volume, 0 or less is a fold.
    """
    if transform.field is None:
        return None
    jacobian: np.ndarray = np.float32(np.linalg.det(transform.linear_lps[:3, :3])) * jacobian_of_field(
        transform.field, grid
    )
    return jacobian


def jacobian_of_field(field: Field, grid: Grid | None = None) -> np.ndarray:
    """Compute ``det(I + grad u)`` of the field alone, (K, J, I) float32, for a grid of any direction.

    ``det(I + du/d(ijk) inv(A3))`` is the same in voxel units: ``det(I + d(inv(A3) u)/d(ijk))``.
    """
    grid = grid or field.grid
    voxels = _in_voxels(field, grid)
    axes = existing_axes(grid)
    result = np.empty(grid.shape_kji, np.float32)

    def fill(places: tuple[slice, slice, slice]) -> None:
        slab, wide, inner = places
        part = voxels(wide)
        rows = [[_gradient(part[..., c], 2 - d, part.shape)[inner] + np.float32(c == d) for d in axes] for c in axes]
        result[slab] = _determinant(rows)

    in_threads(fill, _slabs(len(result)))
    return result


def _in_voxels(field: Field, grid: Grid) -> Callable[[slice], np.ndarray]:
    """Return a function from a slice of planes to the displacement there, in voxels of the grid, to save memory."""
    to_voxels = np.linalg.inv(grid.ijk_to_lps[:3, :3]).astype(np.float32).T
    if field.grid.same_as(grid):
        return lambda planes: field.displacement_lps_mm[planes].astype(np.float32) @ to_voxels

    def voxels_of_planes(planes: slice) -> np.ndarray:
        matrix = grid.ijk_to_lps.copy()
        matrix[:3, 3] += planes.start * matrix[:3, 2]
        part = Grid((*grid.size_ijk[:2], planes.stop - planes.start), matrix)
        displacement: np.ndarray = on_grid(field, part).displacement_lps_mm @ to_voxels
        return displacement

    return voxels_of_planes


def non_diffeomorphic_volume(
    field: Field, mask: np.ndarray | None = None, grid: Grid | None = None
) -> tuple[float, float]:
    """Compute the digital-diffeomorphism criterion of Liu et al., IJCV 2024.

    A voxel passes when all eight determinants of one-sided differences around it (four in 2D) and, in
    3D, the two of the central tetrahedra of the cube ahead of it are positive.

    Args:
        field: the displacement.
        mask: (K, J, I) bool on the grid, the voxels that count; the outermost layer never does.
        grid: where to evaluate it.

    Returns:
        (NDV, failing), both in percent of the counted voxels: NDV is the folded volume, the sum of
        ``max(-det, 0) / 12`` over the ten determinants (``/ 4`` over the four in 2D); failing is the
        part of the voxels that do not pass.
    """
    grid = grid or field.grid
    voxels = _in_voxels(field, grid)
    axes = existing_axes(grid)
    counted = np.zeros(grid.shape_kji, bool)
    interior = tuple(slice(1, -1) if n > 1 else slice(None) for n in grid.shape_kji)
    counted[interior] = True if mask is None else mask[interior]
    total = int(counted.sum())
    if not total or any(grid.size_ijk[c] < 3 for c in axes):
        return float("nan"), float("nan")
    box = _with_neighbors(counted)
    counted = counted[:, box[0], box[1]]

    def of_slab(places: tuple[slice, slice, slice]) -> tuple[float, int]:
        slab, wide, inner = places
        chosen = counted[slab]
        if not chosen.any():
            return 0.0, 0
        folded, worst = 0.0, np.full(int(chosen.sum()), np.inf, np.float32)
        for determinant in _digital_determinants(voxels(wide)[:, box[0], box[1]], axes):
            values = determinant[inner][chosen]
            folded += float(np.maximum(-values, 0).sum(dtype=np.float64))
            np.minimum(worst, values, out=worst)
        return folded, int((worst <= 0).sum())

    folded, failing = (sum(values) for values in zip(*in_threads(of_slab, _slabs(grid.size_ijk[2]))))
    share = 12 if len(axes) == 3 else 4
    return 100 * folded / share / total, 100 * failing / total


def _with_neighbors(counted: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns in which any voxel counts, and one more on each side."""
    rows, columns = (np.flatnonzero(counted.any((0, axis))) for axis in (2, 1))
    first, second = (slice(max(0, int(n[0]) - 1), int(n[-1]) + 2) for n in (rows, columns))
    return first, second


def smallest_digital_determinant(field: Field, grid: Grid | None = None) -> np.ndarray:
    """Compute the smallest determinant of the digital criterion at each voxel, (K, J, I) float32; 0 or less is a fold.

    The outermost layer, where the criterion knows nothing, is 1; so is all of a field thinner than three voxels.
    """
    grid = grid or field.grid
    voxels = _in_voxels(field, grid)
    axes = existing_axes(grid)
    result = np.ones(grid.shape_kji, np.float32)
    if any(grid.size_ijk[c] < 3 for c in axes):
        return result
    interior = tuple(slice(1, -1) if n > 1 else slice(None) for n in grid.shape_kji)
    smallest = np.ones_like(result)

    def fill(places: tuple[slice, slice, slice]) -> None:
        slab, wide, inner = places
        worst = None
        for determinant in _digital_determinants(voxels(wide), axes):
            worst = determinant[inner] if worst is None else np.minimum(worst, determinant[inner])
        smallest[slab] = worst

    in_threads(fill, _slabs(grid.size_ijk[2]))
    result[interior] = smallest[interior]
    return result


def _digital_determinants(part: np.ndarray, axes: list[int]) -> Iterator[np.ndarray]:
    """Yield every determinant of the criterion at each voxel of a slab; wrong in its outermost layer."""
    u = [np.ascontiguousarray(part[..., c]) for c in range(3)]
    ahead: dict[int, list[np.ndarray]] = {}
    behind: dict[int, list[np.ndarray]] = {}
    for c in axes:
        ahead[c] = [np.roll(u[d], -1, axis=2 - c) - u[d] + np.float32(c == d) for d in range(3)]
        behind[c] = [np.roll(step, 1, axis=2 - c) for step in ahead[c]]
    if len(axes) == 2:
        first, second = axes
        for p in (ahead[first], behind[first]):
            for q in (ahead[second], behind[second]):
                yield p[first] * q[second] - p[second] * q[first]
        return
    for p in (ahead[0], behind[0]):
        for q in (ahead[1], behind[1]):
            normal = _cross(p, q)
            for r in (ahead[2], behind[2]):
                yield _dot(normal, r)
    corner = {bits: _corner(u, bits) for bits in np.ndindex(2, 2, 2)}  # bits of i, j, k
    for base, others in (
        ((0, 0, 0), ((1, 1, 0), (0, 1, 1), (1, 0, 1))),
        ((1, 1, 1), ((0, 0, 1), (1, 0, 0), (0, 1, 0))),
    ):
        p, q, r = ([one - other for one, other in zip(corner[bits], corner[base])] for bits in others)
        yield _dot(_cross(p, q), r) * np.float32(np.sign(np.linalg.det(np.array(others) - np.array(base))))


def _cross(p: list[np.ndarray], q: list[np.ndarray]) -> list[np.ndarray]:
    return [p[c - 2] * q[c - 1] - p[c - 1] * q[c - 2] for c in range(3)]


def _dot(p: list[np.ndarray], q: list[np.ndarray]) -> np.ndarray:
    product: np.ndarray = p[0] * q[0] + p[1] * q[1] + p[2] * q[2]
    return product


def _corner(u: list[np.ndarray], bits: tuple[int, int, int]) -> list[np.ndarray]:
    shifts = tuple(-bit for bit in bits[::-1])
    return [np.roll(one, shifts, axis=(0, 1, 2)) + np.float32(bit) for one, bit in zip(u, bits)]


def _determinant(rows: list[list[np.ndarray]]) -> np.ndarray:
    determinant: np.ndarray
    if len(rows) == 2:
        determinant = rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
        return determinant
    determinant = (
        rows[0][0] * (rows[1][1] * rows[2][2] - rows[1][2] * rows[2][1])
        - rows[0][1] * (rows[1][0] * rows[2][2] - rows[1][2] * rows[2][0])
        + rows[0][2] * (rows[1][0] * rows[2][1] - rows[1][1] * rows[2][0])
    )
    return determinant


def _gradient(values: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.gradient(values, axis=axis) if shape[axis] > 1 else np.zeros_like(values)


def _slabs(length: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield (slab, slab with a neighbor on each side, the slab inside that) along the first axis."""
    for start in range(0, length, _SLAB):
        stop = min(start + _SLAB, length)
        low, high = max(0, start - 1), min(length, stop + 1)
        yield slice(start, stop), slice(low, high), slice(start - low, stop - low)
