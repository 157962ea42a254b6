"""Structures that guide a registration as channels: their signed distance near their surface, and 1 and 0 farther off.

A ramp of some millimeters instead of a step: where two structures lie apart by less than it is wide, each still pulls
at the other. Two structures share a channel, one positive and one negative, so that many cost half as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from ..types import Channels, Image

#: A channel falls from 1 to 0 over so many mm on both sides of a surface, and no less than a voxel: of 1.5 and 3, the
#: better one on two brains.
RAMP_MM = 1.5


def guiding_channels(fixed: Image, moving: Image, labels: Sequence[int]) -> Channels:
    """Return the channels of the labels that guide.

    Args:
        fixed, moving: label maps, each on its own grid.
        labels: that both have.
    """
    pairs = [tuple(labels[n :: (len(labels) + 1) // 2]) for n in range((len(labels) + 1) // 2)]
    values = [
        np.stack([sum(sign * _ramp(image, label) for sign, label in zip((1, -1), pair)) for pair in pairs])
        for image in (fixed, moving)
    ]
    return Channels(values[0], values[1], fixed.grid, moving.grid, guide=True)


def _ramp(labels: Image, label: int) -> np.ndarray:
    """(K, J, I) float32: 1 inside, 0 outside, and in between around the surface."""
    where = np.argwhere(labels.values == label)
    ramp_mm = max(RAMP_MM, float(labels.grid.spacing_mm.min()))
    margin = np.ceil(ramp_mm / labels.grid.spacing_mm[::-1]).astype(int) + 1
    low, high = np.maximum(where.min(0) - margin, 0), np.minimum(where.max(0) + 1 + margin, labels.values.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high))
    inside = sitk.GetImageFromArray((labels.values[box] == label).astype(np.uint8))
    inside.SetSpacing(labels.grid.spacing_mm.tolist())
    away_mm = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(inside, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    )
    ramp = np.zeros(labels.values.shape, np.float32)
    ramp[box] = np.clip(0.5 - away_mm / (2 * ramp_mm), 0, 1)
    return ramp
