"""Distances between the surfaces of structures, HD95, HD and ASSD, of all labels of a map at once.

Surface elements, their areas and what is computed of their distances are those of DeepMind's ``surface-distance``, by
which Learn2Reg compares. The distances themselves are found here, because most of its time goes into what is the same
for every label and every state of a registration: its tables, the surfaces of the fixed image, and sorting in Python.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from ..processes.load import in_threads

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # invalid escapes in its docstrings
    import surface_distance
    from surface_distance import lookup_tables

#: The distances that are computed.
DISTANCES = ("hd95", "hd", "assd")
#: Of a larger structure it is not kept where the nearest place of its surface is.
MOST_KEPT_BYTES = 20_000_000


@dataclass(eq=False)
class _Surface:
    """The surface of one structure, at the corners between voxels.

    Attributes:
        low, high: the first of its box's corners, and one beyond the last.
        corners: (n, dimensions) of the whole map: those on the surface.
        areas: (n,) mm^2 (mm in 2D) of the surface in the cube around each.
        nearest: for each corner of a box, where on the surface the nearest one is; and the box's first corner.
    """

    low: np.ndarray
    high: np.ndarray
    corners: np.ndarray
    areas: np.ndarray
    nearest: tuple[np.ndarray, np.ndarray] | None = None

    def distances_mm(
        self, corners: np.ndarray, low: np.ndarray, high: np.ndarray, spacing_mm: np.ndarray
    ) -> np.ndarray:
        """Return how far corners in a box are from the surface; what was found for a larger box is used again."""
        if self.nearest is None or (self.nearest[1] > low).any() or (_end(self.nearest) < high).any():
            low, high = np.minimum(low, self.low), np.maximum(high, self.high)
            empty = np.ones(high - low, bool)
            empty[tuple((self.corners - low).T)] = False
            indices = scipy.ndimage.distance_transform_edt(
                empty, sampling=spacing_mm, return_distances=False, return_indices=True
            )
            nearest = indices.astype(np.int16 if max(empty.shape) < 2**15 else np.int32), low
            self.nearest = nearest if nearest[0].nbytes <= MOST_KEPT_BYTES else None
        else:
            nearest = self.nearest
        indices, begin = nearest
        places = (corners - begin).T
        way = np.stack([along[tuple(places)] for along in indices]) - places
        distances_mm: np.ndarray = np.sqrt(((way.T * spacing_mm) ** 2).sum(1))
        return distances_mm


def _end(nearest: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return nearest[1] + nearest[0].shape[1:]


class Surfaces:
    """The surfaces of a label map, to which others are compared.

    Args:
        labels: (K, J, I) or (J, I) integers; 0 is background.
        spacing_mm: voxel size along each axis of the array.
    """

    def __init__(self, labels: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
        self._labels, self._spacing_mm = labels, np.array(spacing_mm, float)
        table = "surface_area" if labels.ndim == 3 else "contour_length"
        self._areas = getattr(lookup_tables, f"create_table_neighbour_code_to_{table}")(list(spacing_mm))
        kernel = getattr(lookup_tables, f"ENCODE_NEIGHBOURHOOD_{labels.ndim}D_KERNEL")
        self._bits = [(shift, int(kernel[shift])) for shift in itertools.product((0, 1), repeat=labels.ndim)]
        self._boxes = scipy.ndimage.find_objects(labels)
        self._surfaces: dict[int, _Surface] = {}

    def compare(self, other: np.ndarray) -> dict[str, dict[int, float]]:
        """Compute "hd95", "hd" (the Hausdorff distance) and "assd" in mm of each label that both maps hold.

        Args:
            other: of the same shape.
        """
        boxes = scipy.ndimage.find_objects(other)
        common = [label for label, pair in enumerate(zip(self._boxes, boxes), 1) if None not in pair]

        def one(label: int) -> tuple[float, float, float]:
            first = self._surfaces.get(label) or self._surface(self._labels, label, self._boxes[label - 1])
            self._surfaces[label] = first
            return _compared(first, self._surface(other, label, boxes[label - 1]), self._spacing_mm)

        found = in_threads(one, common)
        return {name: {n: values[m] for n, values in zip(common, found)} for m, name in enumerate(DISTANCES)}

    def _surface(self, labels: np.ndarray, label: int, box: tuple[slice, ...]) -> _Surface:
        inside = np.pad(labels[box] == label, 1).view(np.uint8)
        codes = np.zeros([n - 1 for n in inside.shape], np.uint8)
        for shift, bit in self._bits:
            codes += bit * inside[tuple(slice(s, s + n) for s, n in zip(shift, codes.shape))]
        here = (codes != 0) & (codes != sum(bit for _, bit in self._bits))
        low = np.array([part.start for part in box])
        return _Surface(low, low + codes.shape, np.argwhere(here) + low, self._areas[codes[here]])


def _compared(first: _Surface, second: _Surface, spacing_mm: np.ndarray) -> tuple[float, float, float]:
    """Return the distances of two surfaces (mm) in the order of ``DISTANCES``."""
    low, high = np.minimum(first.low, second.low), np.maximum(first.high, second.high)
    distances = {}
    for names, one, other in ((("gt_to_pred", "gt"), first, second), (("pred_to_gt", "pred"), second, first)):
        way = other.distances_mm(one.corners, low, high, spacing_mm)
        order = np.lexsort((one.areas, way))
        distances[f"distances_{names[0]}"], distances[f"surfel_areas_{names[1]}"] = way[order], one.areas[order]
    hd95 = float(surface_distance.compute_robust_hausdorff(distances, 95))
    forward, backward = surface_distance.compute_average_surface_distance(distances)
    areas = one_area, other_area = first.areas.sum(), second.areas.sum()
    largest = max(float(distances[name].max()) for name in ("distances_gt_to_pred", "distances_pred_to_gt"))
    return hd95, largest, float((forward * one_area + backward * other_area) / sum(areas))


def surface_by_label(
    fixed: np.ndarray, warped: np.ndarray, spacing_kji_mm: tuple[float, ...]
) -> dict[str, dict[int, float]]:
    """Compute "hd95", "hd" and "assd" in mm of each label that both maps hold.

    Args:
        fixed, warped: (K, J, I) or (J, I) integer arrays.
        spacing_kji_mm: voxel size along each axis of the arrays.
    """
    return Surfaces(fixed, spacing_kji_mm).compare(warped)
