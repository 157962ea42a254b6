"""Separable filters and stencils on (B, C, K, J, I) or (B, C, J, I) tensors.

A filter along an axis is a product with a banded matrix, of which the border is a part. On a CPU that is two to five
times as fast as sums of shifted views (which read and write memory for every tap), and those are several times as fast
as a convolution or a pooling layer; on a GPU it is one kernel for an axis instead of a dozen.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import torch

#: On a CPU the slowest axis, and any that is LONG, is filtered in parts of so many voxels, which leaves out most of the
#: matrix's zeros. Matrices of the longest axes are not kept.
BLOCK, LONG, LONGEST = 16, 400, 800


def box_sum(x: torch.Tensor, radius_ijk: Sequence[int]) -> torch.Tensor:
    """The sum over a window of 2 r + 1 voxels along each axis; voxels outside count as zero."""
    return _filtered(x, _box, radius_ijk)


def box_mean(x: torch.Tensor, radius_ijk: Sequence[int], times: int = 1) -> torch.Tensor:
    """The mean over that window, of the voxels that exist; taken so many times, at the cost of one."""
    return _filtered(x, _mean, radius_ijk, times)


def gaussian(x: torch.Tensor, sigma_ijk: Sequence[float]) -> torch.Tensor:
    """Gaussian smoothing, sigma in voxels along each axis (below 0.2 leaves it), cut at 3 sigma, border repeated."""
    return _filtered(x, _bell, [float(sigma) if sigma >= 0.2 else 0 for sigma in sigma_ijk])


class WindowMeans:
    """The means over windows of 2 r + 1 voxels along each axis, of the voxels that exist, at every so many voxels.

    Args:
        shape: of the image, K, J, I or J, I.
        radius_ijk: voxels.
        stride_ijk: from one window's center to the next.
    """

    def __init__(self, shape: Sequence[int], radius_ijk: Sequence[int], stride_ijk: Sequence[int]) -> None:
        self.shape = tuple(shape)
        n = len(shape)
        self._steps = [(2 + n - 1 - c, int(radius_ijk[c]), int(stride_ijk[c])) for c in range(n)]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, ...) at the windows' centers."""
        for axis, radius, stride in self._steps[::-1]:  # slowest first: the rest then has fewer rows
            x = self._one(x, axis, _window_means, radius, stride)
        return x

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """(B, C, *shape): what the sum of the means, weighted by y, hands back to each voxel."""
        for axis, radius, stride in self._steps:
            y = self._one(y, axis, _window_means_adjoint, radius, stride)
        return y

    def centers(self, x: torch.Tensor) -> torch.Tensor:
        """The values of x at the windows' centers."""
        for axis, _, stride in self._steps:
            x = x.index_select(axis, _centers(x.shape[axis], stride).to(x.device))
        return x

    def _one(self, x: torch.Tensor, axis: int, kind: Callable, radius: int, stride: int) -> torch.Tensor:
        length = self.shape[axis - 2]
        if stride == 1 and (radius == 0 or length == 1):
            return x
        return _along(x, axis, _matrix_of(kind, length, (radius, stride), 1, x))


def _filtered(x: torch.Tensor, kind: Callable, amounts_ijk: Sequence[float], times: int = 1) -> torch.Tensor:
    for axis, amount in _per_axis(x, amounts_ijk):
        if amount and x.shape[axis] > 1:
            x = _along(x, axis, _matrix_of(kind, x.shape[axis], amount, times, x))
    return x


class _Matrix:
    """A banded matrix, and its parts that are not zero by blocks of rows."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values
        self.blocks = []  # (first row, row after the last, first column, the part)
        if values.device.type == "cpu":
            for start in range(0, len(values), BLOCK):
                rows = values[start : start + BLOCK]
                columns = torch.nonzero(rows.any(0)).flatten()
                low, high = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
                self.blocks.append((start, start + len(rows), low, high, rows[:, low:high].contiguous()))

    @property
    def worth_parting(self) -> bool:
        """Whether it has parts, and most of the rest is zero."""
        return bool(self.blocks) and sum(part.numel() for *_, part in self.blocks) * 2 < self.values.numel()


def _along(x: torch.Tensor, axis: int, matrix: _Matrix) -> torch.Tensor:
    """The matrix times x along that axis."""
    before, length, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    outer, inner, rows = math.prod(before), math.prod(after), len(matrix.values)
    slices = x.reshape(outer, length, inner)
    whole = (torch.is_grad_enabled() and x.requires_grad) or not matrix.worth_parting
    with _in_full_precision(x.device):
        if whole or (axis > 2 and length < LONG):
            found = slices[..., 0] @ matrix.values.t() if inner == 1 else torch.matmul(matrix.values, slices)
            return found.view(*before, rows, *after)
        result = slices.new_empty((outer, rows, inner))
        for start, stop, low, high, part in matrix.blocks:
            if inner == 1:
                result[:, start:stop, 0] = slices[:, low:high, 0] @ part.t()
            else:
                for n in range(outer):
                    torch.mm(part, slices[n, low:high], out=result[n, start:stop])
        return result.view(*before, rows, *after)


@contextlib.contextmanager
def _in_full_precision(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32: a variance is a small difference of sums."""
    if device.type not in ("cuda", "cpu"):  # torch 2.2 knows no autocast for others, and there is none to switch off
        yield
        return
    before = torch.get_float32_matmul_precision() if device.type == "cuda" else "highest"
    try:
        if before != "highest":
            torch.set_float32_matmul_precision("highest")
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def _matrix_of(kind: Callable, length: int, amount, times: int, like: torch.Tensor) -> _Matrix:
    make = _matrix if length <= LONGEST else _matrix.__wrapped__
    return make(kind, length, amount, times, like.dtype, like.device)


@functools.lru_cache(maxsize=64)
def _matrix(kind: Callable, length: int, amount, times: int, dtype: torch.dtype, device: torch.device) -> _Matrix:
    with torch.inference_mode(False), torch.no_grad():
        values = kind(length, amount)
        if times > 1:
            values = torch.linalg.matrix_power(values, times)
        return _Matrix(values.to(device, dtype).contiguous())


def _distance(length: int) -> torch.Tensor:
    index = torch.arange(length, dtype=torch.float64)
    return (index[None] - index[:, None]).abs()


def _box(length: int, radius: float) -> torch.Tensor:
    return (_distance(length) <= radius).double()


def _mean(length: int, radius: float) -> torch.Tensor:
    box = _box(length, radius)
    return box / box.sum(1, keepdim=True)


def _centers(length: int, stride: int) -> torch.Tensor:
    return torch.arange(min(stride // 2, (length - 1) // 2), length, stride)


def _window_means(length: int, windows) -> torch.Tensor:
    radius, stride = windows
    return _mean(length, radius)[_centers(length, stride)]


def _window_means_adjoint(length: int, windows) -> torch.Tensor:
    return _window_means(length, windows).t()


def _bell(length: int, sigma: float) -> torch.Tensor:
    reach = max(1, math.ceil(3 * sigma))
    away = torch.arange(-reach, reach + 1)
    taps = torch.exp(-0.5 * (away.double() / sigma) ** 2)
    source = (torch.arange(length)[:, None] + away).clamp(0, length - 1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, source, (taps / taps.sum()).expand(length, -1))


def central_difference(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Half the difference of the two neighbors along ``axis``; zero at the two borders."""
    result = torch.zeros_like(x)
    length = x.shape[axis]
    if length > 2:
        inner = result.narrow(axis, 1, length - 2)
        torch.sub(x.narrow(axis, 2, length - 2), x.narrow(axis, 0, length - 2), out=inner)
        inner.mul_(0.5)
    return result


def laplacian(x: torch.Tensor, weight_ijk: Sequence[float]) -> torch.Tensor:
    """Sum over the axes of weight times the second difference; nothing flows through the border.

    It is minus the gradient of half the sum of weighted squared forward differences.
    """
    result = torch.zeros_like(x)
    for axis, weight in _per_axis(x, weight_ijk):
        length = x.shape[axis]
        if length < 2:
            continue
        step = x.narrow(axis, 1, length - 1) - x.narrow(axis, 0, length - 1)
        result.narrow(axis, 0, length - 1).add_(step, alpha=weight)
        result.narrow(axis, 1, length - 1).sub_(step, alpha=weight)
    return result


def _per_axis(x: torch.Tensor, values_ijk: Sequence[float]) -> list:
    """(tensor axis, value) for i, j(, k)."""
    return [(x.ndim - 1 - c, values_ijk[c]) for c in range(x.ndim - 2)]
