"""The pair as a method works on it: linear part applied, cropped to the content, intensities alike.

The recipe is kept as data (`WorkingPair`), so that what the method finds on the working grid can be
put back on the fixed image's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
import SimpleITK as sitk

from ..files.images import to_sitk
from ..geometry.fields import to_lps
from ..geometry.grids import oriented, padded, resized, with_voxels
from ..types import Field, Grid, Image, InputError
from . import intensity, plan
from .plan import Level

#: Voxels kept around the content of the fixed image, and around the working grid for the moving one.
CROP_MARGIN = 6
MOVING_MARGIN = 12


@dataclass(frozen=True, eq=False)
class WorkingPair:
    """A prepared pair and the recipe that undoes it.

    Attributes:
        fixed: (K, J, I) float32, 0..1, on ``grid``.
        moving: float32, 0..1, on ``grid`` padded by ``margin_ijk``, the linear part already applied.
        inside: (K, J, I) bool, the voxels that count: the fixed mask, where moving content exists.
        grid: the working grid: the fixed grid cropped, its axes turned where a recipe asks for it, and resized.
        linear_lps: (4, 4) the linear part that was applied.
        similarity: "lncc" or "mind", decided.
        levels: the resolutions to work at, coarsest first; the last one is ``grid``.
        preset: how much work was asked for.
    """

    fixed: np.ndarray
    moving: np.ndarray
    inside: np.ndarray
    grid: Grid
    margin_ijk: Tuple[int, int, int]
    fixed_grid: Grid
    linear_lps: np.ndarray
    similarity: str
    levels: Tuple[Level, ...]
    preset: str

    @property
    def axes_ijk(self) -> Tuple[int, ...]:
        """The axes that exist: all three, or two for a single slice."""
        return tuple(c for c in range(3) if self.grid.size_ijk[c] > 1)

    def field_from_voxels(self, displacement: np.ndarray, grid: Grid) -> Field:
        """A displacement in voxels as a :class:`Field`.

        Args:
            displacement: (n, ...) voxels of ``grid``, order i, j(, k), without the axes that do not exist.
            grid: where it is.
        """
        return to_lps(displacement, grid, self.axes_ijk)


def prepare(
    fixed: Image,
    moving: Image,
    linear_lps: np.ndarray,
    preset: str,
    similarity: str,
    fixed_mask: Optional[np.ndarray] = None,
    moving_mask: Optional[Image] = None,
    voxel_mm: Optional[float] = None,
    orientation: Optional[str] = None,
) -> WorkingPair:
    """Bring both images to one working grid.

    Args:
        fixed, moving: as read.
        linear_lps: (4, 4) fixed to moving.
        preset: "fast", "standard" or "thorough": sets the resolution of the working grid.
        similarity: "auto", "lncc" or "mind".
        fixed_mask: (K, J, I) bool on the fixed grid, or None.
        moving_mask: an image on the moving grid, above 0 where it counts, or None.
        voxel_mm: the size of the finest voxels, where a recipe asks for one; None for those of the fixed image.
        orientation: order and direction of the axes, where a recipe asks for one ("RAS"); None for the fixed image's.
    """
    cropped = _crop(fixed, fixed_mask)
    if orientation is not None:
        cropped = oriented(cropped, orientation)
    if voxel_mm is not None:
        cropped = with_voxels(cropped, voxel_mm)
    levels = plan.levels(cropped, preset)
    grid = resized(cropped, levels[-1].size_ijk)
    margin_ijk = tuple(MOVING_MARGIN if n > 1 else 0 for n in grid.size_ijk)
    wide = padded(grid, margin_ijk)
    fixed_values = resample(fixed, grid)
    moving_values = resample(moving, wide, linear_lps)
    present = resample(_presence(moving, moving_mask), wide, linear_lps, sitk.sitkNearestNeighbor, outside=0) > 0
    core = tuple(slice(m, m + n) for m, n in zip(margin_ijk[::-1], grid.shape_kji))
    inside = present[core]
    if fixed_mask is not None:
        mask = Image(fixed_mask.astype(np.uint8), fixed.grid)
        inside = inside & (resample(mask, grid, interpolator=sitk.sitkNearestNeighbor, outside=0) > 0)
    if not inside.any():
        inside = np.ones(grid.shape_kji, bool)
    ranges = [intensity.robust_range(one[inside]) for one in (fixed_values, moving_values[core])]
    for image, (low, high) in zip((fixed, moving), ranges):
        if not high > low:
            raise InputError(
                f"Where the two images overlap, {image.name} has one value everywhere: there is nothing to compare. "
                "Check that both show the same part of the body, and the masks."
            )
    fixed_values = intensity.scaled(fixed_values, *ranges[0])
    moving_values = intensity.scaled(moving_values, *ranges[1])
    content = inside & ((fixed_values > 0) | (moving_values[core] > 0))
    if similarity == "auto":
        similarity = choose_similarity(fixed_values[content], moving_values[core][content])
    if similarity == "lncc":
        both = inside & (fixed_values > 0) & (moving_values[core] > 0)
        moving_values = _match(moving_values, fixed_values, core, both)
    return WorkingPair(
        fixed_values, moving_values, inside, grid, margin_ijk, fixed.grid, linear_lps, similarity, tuple(levels), preset
    )


def choose_similarity(fixed: np.ndarray, moving: np.ndarray) -> str:
    """ "lncc" for images of one contrast, "mind" for others, from the voxels inside both after the linear part.

    Of one contrast means that their correlation is at least 0.3.
    """
    if fixed.size < 2 or fixed.std() == 0 or moving.std() == 0:
        return "mind"
    return "lncc" if np.corrcoef(fixed, moving)[0, 1] >= 0.3 else "mind"


def _match(moving: np.ndarray, fixed: np.ndarray, core: tuple, both: np.ndarray) -> np.ndarray:
    if both.sum() < 1000:
        return moving
    whole = np.zeros(moving.shape, bool)
    whole[core] = both
    wide_fixed = np.zeros(moving.shape, np.float32)
    wide_fixed[core] = fixed
    return intensity.match_quantiles(moving, wide_fixed, whole)


def _presence(moving: Image, moving_mask: Optional[Image]) -> Image:
    return moving_mask if moving_mask is not None else Image(np.ones(moving.grid.shape_kji, np.uint8), moving.grid)


def _crop(fixed: Image, fixed_mask: Optional[np.ndarray]) -> Grid:
    """The part of the fixed grid that holds content or mask, with a margin."""
    content = fixed.values > intensity.background_level(fixed.values)
    if fixed_mask is not None:
        content = content & fixed_mask if (content & fixed_mask).any() else fixed_mask
    low, high = [], []
    for axis_kji in (2, 1, 0):
        present = np.flatnonzero(content.any(axis=tuple(a for a in range(3) if a != axis_kji)))
        low.append(max(0, int(present[0]) - CROP_MARGIN))
        high.append(min(content.shape[axis_kji], int(present[-1]) + 1 + CROP_MARGIN))
    matrix = fixed.grid.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, :3] @ np.array(low)
    return Grid(tuple(np.array(high) - low), matrix)


def resample(
    image: Image,
    grid: Grid,
    linear_lps: Optional[np.ndarray] = None,
    interpolator: int = sitk.sitkLinear,
    outside: Optional[float] = None,
) -> np.ndarray:
    """The image on another grid, through a linear map from ``grid``'s points to the image's.

    Smoothed first along the axes on which ``grid`` is coarser, unless labels (nearest neighbor).

    Args:
        outside: the value beyond the image; None repeats the border.
    """
    picture = to_sitk(image, 3)
    if interpolator != sitk.sitkNearestNeighbor:
        picture = sitk.Cast(picture, sitk.sitkFloat32)
        picture = _anti_aliased(picture, grid, linear_lps)
    affine = sitk.AffineTransform(3)
    if linear_lps is not None:
        affine.SetMatrix(linear_lps[:3, :3].ravel().tolist())
        affine.SetTranslation(linear_lps[:3, 3].tolist())
    result = sitk.Resample(
        picture,
        size=list(grid.size_ijk),
        transform=affine,
        interpolator=interpolator,
        outputOrigin=grid.origin_lps_mm.tolist(),
        outputSpacing=grid.spacing_mm.tolist(),
        outputDirection=grid.direction.ravel().tolist(),
        defaultPixelValue=float(outside or 0),
        useNearestNeighborExtrapolator=outside is None,
    )
    return sitk.GetArrayFromImage(result)


def _anti_aliased(picture: sitk.Image, grid: Grid, linear_lps: Optional[np.ndarray]) -> sitk.Image:
    """Smooth along each axis of the picture by what the step of ``grid`` exceeds its own."""
    to_picture = np.linalg.inv(np.array(picture.GetDirection()).reshape(3, 3))
    linear = linear_lps[:3, :3] if linear_lps is not None else np.eye(3)
    steps_mm = np.abs(to_picture @ linear @ grid.ijk_to_lps[:3, :3]).max(axis=1)
    ratio = steps_mm / np.array(picture.GetSpacing())
    sigma_mm = 0.35 * np.sqrt(np.maximum(ratio**2 - 1, 0)) * np.array(picture.GetSpacing())
    sigma_mm[np.array(picture.GetSize()) < 4] = 0
    if (ratio < 1.2).all() or not sigma_mm.any():
        return picture
    return sitk.DiscreteGaussian(picture, variance=(sigma_mm**2).tolist(), maximumKernelWidth=64)
