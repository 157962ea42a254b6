"""All metrics of one state of a registration, in one dictionary."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from ..geometry.points import apply_matrix, voxel_centers_lps
from ..types import Field, Image, Location, Transform
from .content import background_of
from .coverage import covered, thinned
from .intensities import Similarities
from .labels import center_by_label, dice_by_label, topology_changes, voxels_by_label
from .landmarks import target_registration_errors
from .locations import worst_locations
from .regularity import inverse_metrics, regularity_metrics
from .surfaces import Surfaces

#: Intensities are compared at every voxel of an image of at most so many, else at every second one along each axis, or
#: third, ...: they are means over so many that nothing but time is lost. Volumes and folds too, where the field itself
#: is coarser than that; a finer one is measured at every voxel, because a fold may be as small as one.
MOST_VOXELS = 40_000_000


class Measurer:
    """Measures states of one pair; what depends on the fixed image alone is prepared once.

    Attributes:
        every: how many voxels apart, along each axis of the fixed image, intensities are compared.

    Args:
        fixed, moving: the images.
        mask: (K, J, I) bool on the fixed grid where intensities and the Jacobian are measured; None takes
            the fixed labels where there are some, else the voxels above the fixed image's background.
        fixed_labels: on the fixed grid. moving_labels: on their own.
        fixed_points, moving_points: (N, 3) LPS mm.
        gaps: (K, J, I) bool on the fixed grid, voxels that are left out of the mask, or None.
        guided_labels, guided_points: labels, and (N,) bool landmarks, that guided the registration: means leave them
            out, and they have means of their own.
    """

    def __init__(
        self,
        fixed: Image,
        moving: Image,
        mask: np.ndarray | None = None,
        fixed_labels: Image | None = None,
        moving_labels: Image | None = None,
        fixed_points: np.ndarray | None = None,
        moving_points: np.ndarray | None = None,
        gaps: np.ndarray | None = None,
        guided_labels: Collection[int] = (),
        guided_points: np.ndarray | None = None,
    ) -> None:
        self.guided_labels, self.guided_points = frozenset(guided_labels), guided_points
        self.fixed_labels, self.moving_labels = fixed_labels, moving_labels
        self.numbers_of_moving = None if moving_labels is None else frozenset(voxels_by_label(moving_labels.values))
        self.fixed_points, self.moving_points = fixed_points, moving_points
        self.spacing_kji_mm = tuple(fixed.grid.spacing_mm[::-1])
        if mask is None:
            mask = fixed_labels.values > 0 if fixed_labels is not None else fixed.values > background_of(fixed.values)
        if gaps is not None and (mask & ~gaps).any():
            mask = mask & ~gaps
        self.whole_mask, self.whole_grid, self.fixed = mask, fixed.grid, fixed.values
        self.every = math.ceil((fixed.grid.voxels / MOST_VOXELS) ** (1 / max(1, sum(n > 1 for n in mask.shape))))
        if not self._thin(mask).any():
            self.every = 1
        self.mask, self.grid = self._thin(mask), thinned(fixed.grid, self.every)
        self.moving_range, self.moving_grid = _range(moving.values), moving.grid
        self.surfaces: Surfaces | None = None  # of the fixed labels
        self.fixed_scaled = _scaled(self._thin(fixed.values), _range(fixed.values))
        self.similarities = Similarities(self.fixed_scaled, self.mask)

    def _thin(self, values: np.ndarray) -> np.ndarray:
        return values[:: self.every, :: self.every, :: self.every]

    def coarse_enough(self, field: Field | None) -> bool:
        """Return whether folds of the field can be seen where intensities are compared."""
        return self.every == 1 or field is None or field.grid.voxels <= self.grid.voxels

    def metrics(self, warped: Image, warped_labels: Image | None, transform: Transform) -> dict[str, Any]:
        """Measure everything, named as in `METRICS`; a metric that cannot be measured is left out or None."""
        result: dict[str, Any] = {}
        for measured in self.one_by_one(warped, warped_labels, transform):
            result.update(measured)
        return result

    def one_by_one(
        self, warped: Image, warped_labels: Image | None, transform: Transform, surfaces: bool = True
    ) -> Iterator[Mapping[str, Any]]:
        """Measure what ``metrics`` does, and yield each group of metrics when it is known, the quick ones first.

        ``surfaces`` are the distances between those of structures, which take longest.
        """
        if self.fixed_points is not None and self.moving_points is not None:
            errors = target_registration_errors(transform, self.fixed_points, self.moving_points)
            guided = np.zeros(len(errors), bool) if self.guided_points is None else self.guided_points
            yield {"tre_by_point_mm": errors.tolist(), **_errors("tre", errors[~guided])}
            if guided.any():
                yield {**_errors("guided_tre", errors[guided]), "guided_points": np.flatnonzero(guided).tolist()}
        yield inverse_metrics(transform, self.mask, grid=self.grid)
        reached = covered(transform, self.grid, self.moving_grid)
        yield self.similarities.metrics(_scaled(self._thin(warped.values), self.moving_range), reached)
        if self.fixed_labels is not None and warped_labels is not None:
            yield self._dice(warped_labels.values)
        thin = self.coarse_enough(transform.field)
        where = (self.mask, self.grid) if thin else (self.whole_mask, self.whole_grid)
        yield regularity_metrics(transform.field, *where, transform.linear_lps)
        if self.moving_labels is not None and warped_labels is not None and transform.field is not None:
            changes = topology_changes(self.moving_labels.values, warped_labels.values)
            yield {"topology_changes": len(changes), "topology_by_label": changes}
        if surfaces and self.fixed_labels is not None and warped_labels is not None:
            yield self._distances(warped_labels.values)

    def reached(self, transform: Transform) -> float:
        """Return the part of the mask, 0 to 1, where the moving image lies: intensities are compared there."""
        reached = covered(transform, self.grid, self.moving_grid)
        return 1.0 if reached is None else float(reached[self.mask].mean())

    def locations(
        self, warped: Image, jacobian: Image, transform: Transform, metrics: dict[str, Any]
    ) -> tuple[Location, ...]:
        """Find where to look first; ``metrics`` are those of the same state."""
        if transform.field is None:
            return ()
        folded = bool(metrics.get("digital_folds_percent") or 0)
        if self.coarse_enough(transform.field):
            return worst_locations(
                transform.field,
                self._thin(jacobian.values),
                self.fixed_scaled,
                _scaled(self._thin(warped.values), self.moving_range),
                self.mask,
                folded,
                self.grid,
            )
        return worst_locations(
            transform.field,
            jacobian.values,
            _scaled(self.fixed, _range(self.fixed)),
            _scaled(warped.values, self.moving_range),
            self.whole_mask,
            folded,
            self.whole_grid,
        )

    def uncertainty(self, uncertainty: Image) -> dict[str, float]:
        """Compute metrics of an uncertainty map, which has a grid of its own, over the mask."""
        ijk = apply_matrix(self.whole_grid.lps_to_ijk, voxel_centers_lps(uncertainty.grid).reshape(-1, 3))
        i, j, k = np.clip(np.round(ijk).astype(int), 0, np.array(self.whole_grid.size_ijk) - 1).T
        inside = self.whole_mask[k, j, i]
        values = uncertainty.values.ravel()[inside if inside.any() else slice(None)]
        return {"uncertainty_mm": float(values.mean()), "uncertainty_p95_mm": float(np.percentile(values, 95))}

    def structures(self, moving_labels_warped: Image) -> dict[str, Any]:
        """Measure each structure in the fixed image and in the warped moving one: volumes in ml, center in LPS mm."""
        if self.fixed_labels is None:
            return {}
        ml = abs(float(np.linalg.det(self.whole_grid.ijk_to_lps[:3, :3]))) / 1000
        centers = {
            label: apply_matrix(self.whole_grid.ijk_to_lps, np.array([ijk]))[0].tolist()
            for label, ijk in center_by_label(self.fixed_labels.values).items()
        }
        return {
            "fixed_volume_by_label_ml": _times(voxels_by_label(self.fixed_labels.values), ml),
            "warped_volume_by_label_ml": _times(voxels_by_label(moving_labels_warped.values), ml),
            "center_by_label_lps_mm": centers,
        }

    def lost(self, warped: np.ndarray) -> list[int]:
        """Return the labels of both images of which nothing is left in the warped map: their overlap is 0."""
        if self.fixed_labels is None or self.numbers_of_moving is None:
            return []
        both = self.numbers_of_moving & frozenset(voxels_by_label(self.fixed_labels.values))
        return sorted(both - frozenset(voxels_by_label(warped)))

    def _dice(self, warped: np.ndarray) -> dict[str, Any]:
        assert self.fixed_labels is not None
        dice = dice_by_label(self.fixed_labels.values, warped, self.numbers_of_moving)
        measured: dict[str, Any] = {"dice": self._held_out(dice), "dice_by_label": dice}
        if self.guided_labels:
            guided = {label: value for label, value in dice.items() if label in self.guided_labels}
            measured.update(guided_dice=_mean(guided), guided_labels=sorted(self.guided_labels))
        return measured

    def _held_out(self, by_label: Mapping[int, float]) -> float | None:
        """Return the mean over the labels that did not guide the registration."""
        return _mean({label: value for label, value in by_label.items() if label not in self.guided_labels})

    def _distances(self, warped: np.ndarray) -> dict[str, Any]:
        assert self.fixed_labels is not None
        fixed = self.fixed_labels.values
        shape = tuple(n for n in fixed.shape if n > 1)
        if self.surfaces is None:
            spacing = tuple(s for s, n in zip(self.spacing_kji_mm, fixed.shape) if n > 1)
            self.surfaces = Surfaces(fixed.reshape(shape), spacing)
        distances = self.surfaces.compare(warped.reshape(shape))
        means = {f"{name}_mm": self._held_out(by_label) for name, by_label in distances.items()}
        return {**means, **{f"{name}_by_label_mm": by_label for name, by_label in distances.items()}}


def _errors(name: str, errors_mm: np.ndarray) -> dict[str, float]:
    """Return mean and largest of landmarks' errors; nothing for none."""
    if not len(errors_mm):
        return {}
    return {f"{name}_mm": float(errors_mm.mean()), f"{name}_max_mm": float(errors_mm.max())}


def _times(by_label: dict[int, int], factor: float) -> dict[int, float]:
    return {label: count * factor for label, count in by_label.items()}


def _mean(by_label: dict[int, float]) -> float | None:
    return float(np.mean(list(by_label.values()))) if by_label else None


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [0.1, 99.9])
    return (float(low), float(high)) if high > low else (float(values.min()), float(values.max()))


def _scaled(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    low, high = limits
    if low == high:
        return np.zeros(values.shape, np.float32)
    # As float32, intensities around 1e8 that differ by one are the same: the offset goes before the cast.
    exact = np.can_cast(values.dtype, np.float32)
    shifted = np.subtract(values, low, dtype=np.float32 if exact else np.float64).astype(np.float32, copy=False)
    scaled: np.ndarray = np.clip(shifted / np.float32(high - low), 0, 1)
    return scaled
