"""Planes of a result for montages: axial, coronal and sagittal, as radiologists look at them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from ..files.images import to_sitk
from ..types import Image

#: Planes by name: the axis of an array in LPS that they cut across, and those of their rows and columns.
PLANES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
#: A slice alone has one plane.
ALONE = "slice"


def planes_of(images: Mapping[str, Image], shift_lps_mm: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return the middle planes of images on one grid, by "PLANE.NAME", float32.

    Rows of an axial plane go from anterior to posterior, those of the others from superior to inferior; columns go
    from the patient's right to left, in a sagittal plane from anterior to posterior. The middle is that of what the
    first image shows. "PLANE.spacing_mm" is the size of a pixel along columns and rows, "PLANE.across_mm" and
    "PLANE.down_mm" is where the transform leads from each pixel, in the direction of columns and of rows.

    Args:
        images: by name; the first decides where the middle is.
        shift_lps_mm: (K, J, I, 3) displacement on their grid, or None.
    """
    first = next(iter(images.values()))
    volumes = {name: image.values.astype(np.float32) for name, image in images.items()}
    if shift_lps_mm is not None:
        volumes.update({f"shift_{c}": shift_lps_mm[..., n].astype(np.float32) for n, c in enumerate("xyz")})
    return _of_slice(first, volumes) if first.grid.is_planar else _of_volume(first, volumes)


def _of_slice(first: Image, volumes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the slice as it is stored."""
    existing = [c for c in range(3) if first.grid.size_ijk[c] > 1]
    spacing = [float(first.grid.spacing_mm[c]) for c in existing]
    found = {f"{ALONE}.spacing_mm": np.array(spacing, np.float32)}
    shifts = [volumes[f"shift_{c}"] for c in "xyz" if f"shift_{c}" in volumes]
    for name, values in volumes.items():
        if not name.startswith("shift_"):
            found[f"{ALONE}.{name}"] = np.squeeze(values)
    if shifts:  # along the columns and rows of the slice, whatever way it lies in the world
        directions = first.grid.direction[:, existing]
        across, down = np.moveaxis(np.squeeze(np.stack(shifts, -1)) @ directions, -1, 0)
        found.update({f"{ALONE}.across_mm": np.float32(across), f"{ALONE}.down_mm": np.float32(down)})
    return found


def _of_volume(first: Image, volumes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    middle: list[int] = []
    for name, values in volumes.items():
        turned = sitk.DICOMOrient(to_sitk(Image(values, first.grid, name), 3), "LPS")
        array = sitk.GetArrayFromImage(turned)
        if not middle:
            middle = [_middle(array, axis) for axis in range(3)]
        spacing_kji = turned.GetSpacing()[::-1]
        for plane, (across, rows, columns) in PLANES.items():
            cut = array.take(middle[across], axis=across)
            down = 1.0
            if plane != "axial":  # rows from superior to inferior
                cut, down = cut[::-1], -1.0
            key = name
            if name.startswith("shift_"):
                axis = 2 - "xyz".index(name[-1])
                if axis == across:
                    continue
                key = "down_mm" if axis == rows else "across_mm"
                cut = cut * (down if axis == rows else 1.0)
            found[f"{plane}.{key}"] = np.ascontiguousarray(cut, np.float32)
            found[f"{plane}.spacing_mm"] = np.array([spacing_kji[columns], spacing_kji[rows]], np.float32)
    return found


def _middle(array: np.ndarray, axis: int) -> int:
    """Return the middle of what an array shows along an axis."""
    others = tuple(a for a in range(3) if a != axis)
    content = (array > array.min() + 0.1 * (array.max() - array.min())).sum(others)
    return int(np.average(np.arange(len(content)), weights=content)) if content.any() else len(content) // 2


def grid_step_mm(one: Mapping[str, np.ndarray]) -> float:
    """Return how far apart the lines of a grid are drawn on a plane: 10 mm, or less where those are fewer than 8."""
    tall, wide = one["fixed"].shape
    extent_mm = min(tall * one["spacing_mm"][1], wide * one["spacing_mm"][0])
    return next((step for step in (10.0, 5.0, 2.0) if extent_mm >= 8 * step), 1.0)


def names_of(planes: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of the planes that were kept."""
    return [name for name in (*PLANES, ALONE) if f"{name}.spacing_mm" in planes]


def plane(planes: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Return what was kept of one plane, by name."""
    return {key.partition(".")[2]: values for key, values in planes.items() if key.startswith(f"{name}.")}
