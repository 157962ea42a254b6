"""Overlap and topology of label maps."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import scipy.ndimage

from ..processes.load import in_threads


def labels_of(values: np.ndarray) -> list[int]:
    """Return the labels present, without 0, the background."""
    return [int(label) for label in np.unique(values) if label != 0]


def dice_by_label(
    fixed: np.ndarray, warped: np.ndarray, moving_labels: Collection[int] | None = None
) -> dict[int, float]:
    """Compute the Dice of each label of both the fixed and the moving map; labels that one lacks are left out.

    A label that the moving map held and the warped one has lost counts, as 0: else losing a structure would raise the
    mean. So it is in Learn2Reg's evaluation.

    Args:
        fixed, warped: (K, J, I) or (J, I) integer arrays.
        moving_labels: those of the moving map before it was warped; those of the warped one when left out.
    """
    highest = int(max(fixed.max(), warped.max())) + 1
    in_fixed = np.bincount(fixed.ravel(), minlength=highest)
    in_warped = np.bincount(warped.ravel(), minlength=highest)
    in_both = np.bincount(fixed[fixed == warped].ravel(), minlength=highest)
    moved = np.flatnonzero(in_warped).tolist() if moving_labels is None else moving_labels
    return {
        label: float(2 * in_both[label] / (in_fixed[label] + in_warped[label]))
        for label in sorted(moved)
        if 0 < label < highest and in_fixed[label]
    }


def voxels_by_label(values: np.ndarray) -> dict[int, int]:
    """Count the voxels of each label; absent labels are left out."""
    counts = np.bincount(values.ravel())
    return {label: int(count) for label, count in enumerate(counts) if label and count}


def center_by_label(values: np.ndarray) -> dict[int, tuple[float, float, float]]:
    """Find the voxel (i, j, k) deepest inside each label; unlike the center of mass it is never outside."""
    centers = {}
    for label, box in enumerate(scipy.ndimage.find_objects(values), start=1):
        if box is None:
            continue
        depth = scipy.ndimage.distance_transform_cdt(np.pad(values[box] == label, 1), metric="chessboard")
        if values.ndim == 3 and 1 in values.shape:  # a single slice has no depth across
            axis = values.shape.index(1)
            flat = np.pad(np.squeeze(values[box] == label, axis), 1)
            depth = np.expand_dims(scipy.ndimage.distance_transform_cdt(flat, metric="chessboard"), axis)
            depth = np.pad(depth, [(1, 1) if d == axis else (0, 0) for d in range(3)])
        kji = np.unravel_index(int(depth.argmax()), depth.shape)
        k, j, i = (float(n - 1 + part.start) for n, part in zip(kji, box))
        centers[label] = (i, j, k)
    return centers


def topology_changes(moving: np.ndarray, warped: np.ndarray) -> dict[int, dict[str, tuple[int, int]]]:
    """Return, for each label whose topology differs, {"parts": (before, after), "euler": (before, after)}.

    Parts are connected through faces, edges and corners; the Euler number counts parts minus tunnels
    plus cavities. Nearest-neighbor warping alone can change either for structures of a voxel's width.
    """
    boxes_moving, boxes_warped = scipy.ndimage.find_objects(moving), scipy.ndimage.find_objects(warped)
    both = [label for label, boxes in enumerate(zip(boxes_moving, boxes_warped), 1) if None not in boxes]

    def topologies(label: int) -> tuple[tuple[int, int], tuple[int, int]]:
        before, after = boxes_moving[label - 1], boxes_warped[label - 1]
        return _topology(moving[before] == label), _topology(warped[after] == label)

    return {
        label: {"parts": (before[0], after[0]), "euler": (before[1], after[1])}
        for label, (before, after) in zip(both, in_threads(topologies, both))
        if before != after
    }


def _topology(region: np.ndarray) -> tuple[int, int]:
    from skimage.measure import euler_number  # takes a third of a second to load

    structure = np.ones((3,) * region.ndim)
    return int(scipy.ndimage.label(region, structure)[1]), int(euler_number(region, connectivity=region.ndim))
