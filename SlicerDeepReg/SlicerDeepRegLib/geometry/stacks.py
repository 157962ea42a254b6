"""How the slices of a scan lie: whether they form a regular grid, and what is missing, doubled or moved if not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Grid
from .grids import triple

#: Positions are rounded by scanners and exports, to a tenth of a millimeter by some: slices lie evenly if none is off
#: by more than this part of a gap, and straight if none is moved in its plane by more than this part of a pixel, ...
_ROUNDED = 0.1
#: ... or by so much, if that is less than half a pixel. Of a gap it is the most.
_ROUNDED_MM = 0.1
#: Two slices that are nearer than this part of the usual gap are one place that was scanned twice.
_SAME_PLACE = 0.1
#: A gap of so many usual gaps has slices missing, if the others are about even.
_MISSING = 1.5
#: With more of the slices missing in one place, or in all, nothing true can be put into the gaps.
_MOST_IN_A_ROW, _MOST_MISSING = 3, 0.2


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel slices, sorted along their normal.

    Attributes:
        order: (N,) index of each slice in what was given.
        distance_mm: (N,) along the normal, from the first slice, ascending.
        moved_mm: (N, 2) in their plane, along i and j, from the first slice.
        axes: (3, 3) unit vectors of i, j and the normal in LPS, as columns.
        pixel_mm: (2,) sides of a pixel along i and j.
        first_lps_mm: (3,) center of the first voxel of the first slice.
    """

    order: np.ndarray
    distance_mm: np.ndarray
    moved_mm: np.ndarray
    axes: np.ndarray
    pixel_mm: np.ndarray
    first_lps_mm: np.ndarray

    @property
    def gaps_mm(self) -> np.ndarray:
        """(N - 1,) distances of neighboring slices."""
        gaps_mm: np.ndarray = np.diff(self.distance_mm)
        return gaps_mm

    @property
    def usual_gap_mm(self) -> float:
        """The median distance of neighboring slices; 0 for a single one."""
        return float(np.median(self.gaps_mm)) if len(self.gaps_mm) else 0.0

    @property
    def doubled(self) -> tuple[int, ...]:
        """Places in the sorted order whose next slice lies at the same place."""
        if not len(self.gaps_mm):
            return ()
        usual = float(np.percentile(self.gaps_mm, 75)) or float(self.gaps_mm.max()) or 1.0
        return tuple(int(n) for n in np.flatnonzero(self.gaps_mm < _SAME_PLACE * usual))

    @property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """(place in the sorted order, how many slices are missing after it), where the others lie evenly."""
        usual = self.usual_gap_mm
        if usual <= 0:
            return ()
        ratio = self.gaps_mm / usual
        wide = ratio >= _MISSING
        if not wide.any() or (np.abs(ratio[~wide] - 1) > 0.1).any() or wide.mean() > _MOST_MISSING:
            return ()
        return tuple((int(n), max(1, round(float(ratio[n])) - 1)) for n in np.flatnonzero(wide))

    @property
    def is_torn(self) -> bool:
        """Whether a gap is so wide, or so many slices are missing, that filling the gaps would be invention."""
        usual = self.usual_gap_mm
        if usual <= 0:
            return False
        lost = sum(count for _, count in self.missing)
        widest = float(self.gaps_mm.max())
        return widest > (_MOST_IN_A_ROW + 1.25) * usual or lost > _MOST_MISSING * len(self.order)

    @property
    def is_even(self) -> bool:
        """Whether the slices lie evenly along the normal."""
        even = np.linspace(0, self.distance_mm[-1], len(self.distance_mm))
        return bool(np.abs(self.distance_mm - even).max() <= min(_ROUNDED_MM, _ROUNDED * self.usual_gap_mm))

    @property
    def is_straight(self) -> bool:
        """Whether each slice lies exactly behind the one before: no gantry tilt, no other movement in the plane."""
        return bool((np.abs(self.moved_mm) <= self._rounded_mm).all())

    @property
    def _rounded_mm(self) -> np.ndarray:
        """(2,) how far rounding may move a slice in its plane."""
        rounded_mm: np.ndarray = np.maximum(_ROUNDED * self.pixel_mm, np.minimum(_ROUNDED_MM, self.pixel_mm / 2))
        return rounded_mm

    @property
    def tilt_degrees(self) -> float | None:
        """The angle of a gantry tilt, where the slices move evenly in their plane; else None."""
        if len(self.order) < 2 or self.distance_mm[-1] <= 0:
            return None
        slope = self.moved_mm[-1] / self.distance_mm[-1]
        if (np.abs(self.moved_mm - np.outer(self.distance_mm, slope)) > self._rounded_mm).any():
            return None
        return float(np.degrees(np.arctan(np.linalg.norm(slope))))

    def grid(self, size_ij: tuple[int, int]) -> Grid:
        """Return the regular grid on which the slices are put: their own where they are regular.

        Args:
            size_ij: pixels of a slice along i and j.
        """
        low, high = (np.floor(self.moved_mm / self.pixel_mm + slack).astype(int) for slack in (1e-6, 1 - 1e-6))
        before, after = (
            (np.zeros(2, int), np.zeros(2, int)) if self.is_straight else (low.min(axis=0), high.max(axis=0))
        )
        size = np.array(size_ij) + after - before
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes * [*self.pixel_mm, self.step_mm]
        matrix[:3, 3] = self.first_lps_mm + self.axes[:, :2] @ (before * self.pixel_mm)
        return Grid(triple((*size, self.slices)), matrix)

    @property
    def step_mm(self) -> float:
        """The distance of slices of :meth:`grid`: the smallest gap, but at least half the usual one."""
        if len(self.order) == 1:
            return 1.0
        if self.is_even:
            return float(self.distance_mm[-1]) / (len(self.order) - 1)
        return max(float(self.gaps_mm.min()), self.usual_gap_mm / 2)

    @property
    def slices(self) -> int:
        """How many slices :meth:`grid` has."""
        return len(self.order) if self.is_even else int(self.distance_mm[-1] / self.step_mm + 1e-3) + 1

    def values_on(self, grid: Grid, slices: np.ndarray, outside: float) -> np.ndarray:
        """Put the slices on :meth:`grid`: linear interpolation in the plane, then along the normal.

        Args:
            grid: as :meth:`grid` gives it.
            slices: (N, J, I) in the sorted order.
            outside: the value where a moved slice has no pixel.

        Returns:
            (K, J, I); the slices themselves where nothing is to be interpolated, else float32.
        """
        if self.is_straight:
            placed = slices
        else:
            shape = (len(slices), *grid.shape_kji[1:])
            origin = (self.first_lps_mm - grid.origin_lps_mm) @ self.axes[:, :2]
            shift_ij = (self.moved_mm + origin) / self.pixel_mm
            placed = np.stack([_shifted(v, shape[1:], (s[1], s[0]), outside) for v, s in zip(slices, shift_ij)])
        if self.is_even:
            return placed
        wanted = np.arange(grid.size_ijk[2]) * self.step_mm
        upper = np.clip(np.searchsorted(self.distance_mm, wanted, side="left"), 1, len(self.order) - 1)
        weight = np.clip((wanted - self.distance_mm[upper - 1]) / self.gaps_mm[upper - 1], 0, 1).astype(np.float32)
        weight = np.round(weight, 5).reshape(-1, 1, 1)
        placed = placed.astype(np.float32, copy=False)
        between: np.ndarray = placed[upper - 1] * (1 - weight) + placed[upper] * weight
        return between


def stack_of(positions_lps_mm: np.ndarray, axes_ij: np.ndarray, pixel_mm: np.ndarray) -> Stack:
    """Sort parallel slices along their normal.

    Args:
        positions_lps_mm: (N, 3) center of the first pixel of each slice.
        axes_ij: (3, 2) unit vectors of i and j, LPS, as columns.
        pixel_mm: (2,) sides of a pixel along i and j.
    """
    left, _, right = np.linalg.svd(axes_ij, full_matrices=False)
    axes_ij = left @ right  # the nearest axes at right angles: some headers have two decimals
    axes = np.column_stack([axes_ij, np.cross(axes_ij[:, 0], axes_ij[:, 1])])
    along = positions_lps_mm @ axes[:, 2]
    order = np.argsort(along, kind="stable")
    first = positions_lps_mm[order[0]]
    relative = (positions_lps_mm[order] - first) @ axes
    return Stack(order, relative[:, 2], relative[:, :2], axes, np.asarray(pixel_mm, float), first)


def _shifted(values: np.ndarray, shape: tuple[int, ...], shift: tuple[float, float], outside: float) -> np.ndarray:
    """Return (J, I) values moved by so many pixels along the axes, on an array of ``shape``, linearly interpolated.

    Half a pixel beyond the centers of the outermost pixels their values go on; then comes ``outside``.
    """
    result = values.astype(np.float32)
    inside = []
    for axis, (size, moved) in enumerate(zip(shape, shift)):
        last = values.shape[axis] - 1
        at = np.round(np.arange(size) - moved, 4)
        inside.append((at >= -0.5) & (at <= last + 0.5))
        at = np.clip(at, 0, last)
        lower = np.minimum(at.astype(int), max(last - 1, 0))
        weight = (at - lower).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        upper = np.minimum(lower + 1, last)
        result = np.take(result, lower, axis) * (1 - weight) + np.take(result, upper, axis) * weight
    result[~np.outer(*inside)] = outside
    return result
