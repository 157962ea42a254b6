"""Voxels that are NaN or infinite, or as good as that: no data. They are filled, to be computed with, and left out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from ..metrics.content import above_background
from ..types import Image

#: Larger values are no measurements: the lowest number of a type stands for "no data", and float32 ends at 3e38.
MOST = 1e30


@dataclass(frozen=True, eq=False)
class Gaps:
    """The voxels of an image that are not numbers.

    Attributes:
        where: (K, J, I) bool.
        part_of_body: how many of them lie in the body, as a part of the body's voxels; 1 where nothing else is there.
    """

    where: np.ndarray
    part_of_body: float


def without_gaps(image: Image) -> tuple[Image, Gaps | None]:
    """Return the image with its gaps filled, and these; the image itself and None where it has none.

    The body is every voxel that shows something (``above_background``), and every gap that has such voxels before and
    behind it along each axis of the image; the outline of a slice that shows nothing, between others, is that of the
    nearest one. So what surrounds an image that was turned, or an organ that was stripped, is not the body.

    A gap in the body gets the nearest value that is a number, any other the lowest one of the image, as its background
    has. An image without any number is not filled.
    """
    values = image.values
    if values.dtype.kind != "f":
        return image, None
    with np.errstate(invalid="ignore"):
        gaps = ~(np.abs(values) < MOST)
    if not gaps.any():
        return image, None
    if gaps.all():
        return image, Gaps(gaps, 1.0)
    values = np.where(gaps, np.nan, values)
    shown = above_background(values)
    inside = gaps & _between(shown)
    filled = np.where(gaps, values[~gaps].min(), values)
    if inside.any():
        nearest = scipy.ndimage.distance_transform_edt(gaps, return_distances=False, return_indices=True)
        filled[inside] = values[tuple(axis[inside] for axis in nearest)]
    body = int(inside.sum()) + int(shown.sum())
    return dataclasses.replace(image, values=filled), Gaps(gaps, int(inside.sum()) / max(1, body))


def _between(shown: np.ndarray) -> np.ndarray:
    """Return the voxels with shown ones on both sides along every axis that exists."""
    axes = [axis for axis, size in enumerate(shown.shape) if size > 1]
    for axis in axes:
        present = np.flatnonzero(shown.any(axis=tuple(other for other in range(3) if other != axis)))
        if present.size:
            numbers = np.arange(shown.shape[axis])
            nearest = present[np.abs(numbers[:, None] - present).argmin(axis=1)]
            between = (numbers > present[0]) & (numbers < present[-1])
            shown = np.take(shown, np.where(between, nearest, numbers), axis=axis)
    inside = np.ones(shown.shape, bool)
    for axis in axes:
        before = np.maximum.accumulate(shown, axis=axis)
        behind = np.flip(np.maximum.accumulate(np.flip(shown, axis), axis=axis), axis)
        inside &= before & behind
    return inside
