"""The pair as a method works on it: linear part applied, cropped to the content, intensities alike.

The recipe is kept as data (`WorkingPair`), so that what the method finds on the working grid can be
put back on the fixed image's grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..geometry.fields import to_lps
from ..geometry.grids import box_of_other, content_box, level_size, oriented, padded, resized, triple, with_voxels
from ..geometry.points import apply_matrix
from ..metrics.content import background_level
from ..similarity import similarity
from ..types import Channels, Field, Grid, Guidance, Image, ImagePair, InputError
from . import intensity
from .filling import filled
from .resample import resample
from .resolution import finest

#: Voxels kept around the content of the fixed image, and around the working grid for the moving one.
CROP_MARGIN = 6
MOVING_MARGIN = 12
#: Fewer voxels are not enough to match the distributions of two images.
LEAST_TO_MATCH = 1000


@dataclass(frozen=True, eq=False)
class WorkingContrast:
    """A further contrast of a prepared pair.

    Attributes:
        fixed, moving: as those of the pair.
        weight: how much it counts, where the first one counts 1.
    """

    fixed: np.ndarray
    moving: np.ndarray
    weight: float


@dataclass(frozen=True, eq=False)
class WorkingPair:
    """A prepared pair and the recipe that undoes it.

    Attributes:
        fixed: (K, J, I) float32, 0..1, on ``grid``.
        moving: float32, 0..1, on ``grid`` padded by ``margin_ijk``, the linear part already applied.
        inside: (K, J, I) bool, the voxels that count: the fixed mask, where moving content exists.
        grid: the working grid: ``content_grid`` at the resolution of the preset.
        margin_ijk: voxels around ``grid`` that the moving image is known on.
        content_grid: the fixed grid cropped to its content, its axes turned and its voxels sized where a recipe asks
            for it.
        linear_lps: (4, 4) the linear part that was applied.
        similarity: the name of the metric.
        preset: the preset that was asked for.
        channels: those of the pair on grids over the same box as ``grid`` and around it, the linear part applied to
            the moving ones; no finer than ``grid`` or than they came. None where the pair has none.
        contrasts: further ones, prepared as the images are.
        guidance: that of the pair, as it came: in LPS mm of both images, before the linear part.
    """

    fixed: np.ndarray
    moving: np.ndarray
    inside: np.ndarray
    grid: Grid
    margin_ijk: tuple[int, int, int]
    content_grid: Grid
    linear_lps: np.ndarray
    similarity: str
    preset: str
    channels: Channels | None = None
    contrasts: tuple[WorkingContrast, ...] = ()
    guidance: Guidance | None = None

    @property
    def axes_ijk(self) -> tuple[int, ...]:
        """The axes that exist: all three, or two for a single slice."""
        return tuple(c for c in range(3) if self.grid.size_ijk[c] > 1)

    @property
    def moving_inside(self) -> np.ndarray:
        """(K, J, I) the moving image on ``grid``, without its margin."""
        return self.moving[_core(self.margin_ijk, self.grid)]

    def field_from_voxels(self, displacement: np.ndarray, grid: Grid) -> Field:
        """Return a displacement in voxels as a :class:`Field`.

        Args:
            displacement: (n, ...) voxels of ``grid``, order i, j(, k), without the axes that do not exist.
            grid: where it is.
        """
        return to_lps(displacement, grid, self.axes_ijk)


def working_pair(
    pair: ImagePair,
    linear_lps: np.ndarray,
    preset: str,
    metric: str,
    voxel_mm: float | Sequence[float] | None = None,
    orientation: str | None = None,
    divisor: float | None = None,
    match: bool = True,
    crop: bool = True,
) -> WorkingPair:
    """Bring both images to one working grid.

    Args:
        pair: as read.
        linear_lps: (4, 4) fixed to moving.
        preset: sets the resolution of the working grid.
        metric: the name of a similarity metric.
        voxel_mm: the size of the finest voxels, where a recipe asks for one, or those along i, j and k;
            None for those of the fixed image.
        orientation: order and direction of the axes, where a recipe asks for one ("RAS"); None for the fixed image's,
            and without effect on a single slice, which has no three axes to turn.
        divisor: what the values are divided by, where a recipe asks for that and those of both images fit it (see
            ``intensity.fits_divisor``); otherwise each image is scaled to 0..1 between its robust limits, and the
            moving one matched to the fixed one where the metric compares values.
        match: False where a recipe says that it is not: mapping the values of a CT to the distribution of an MR makes
            neither of it, and a network that learned from any two contrasts has not seen such an image.
        crop: False for the whole grid of the fixed image, also where it shows nothing.

    Raises:
        InputError: one of the images has a single value where both are.
    """
    content_grid = _crop(pair, linear_lps) if crop else pair.fixed.grid
    if orientation is not None and not content_grid.is_planar:
        content_grid = oriented(content_grid, orientation)
    if voxel_mm is not None:
        content_grid = with_voxels(content_grid, voxel_mm)
    grid = resized(content_grid, finest(content_grid, preset)[1])
    margin_ijk = triple(MOVING_MARGIN if n > 1 else 0 for n in grid.size_ijk)
    wide, core = padded(grid, margin_ijk), _core(margin_ijk, grid)
    inside = _inside(pair, grid, wide, core, linear_lps)
    chosen = similarity(metric)

    def alike(first: Image, second: Image) -> tuple[np.ndarray, np.ndarray]:
        """Return both on their working grids, in one range of intensities."""
        first, second = filled(first, pair.fixed_excluded), filled(second, pair.moving_excluded)
        masks = pair.fixed_mask, None if pair.moving_mask is None else pair.moving_mask.values > 0
        calm = [
            dataclasses.replace(one, values=intensity.without_outliers(one.values, mask))
            for one, mask in zip((first, second), masks)
        ]
        fixed, moving = resample(calm[0], grid), resample(calm[1], wide, linear_lps)
        divided = divisor is not None and all(
            intensity.fits_divisor(float(image.values.min()), float(image.values.max()), divisor)
            for image in (first, second)
        )
        fixed, moving = _unit_range((first, second), fixed, moving, inside, core, divisor if divided else None)
        if match and chosen.matches_intensities and not divided:
            moving = _match(moving, fixed, core, inside & (fixed > 0) & (moving[core] > 0))
        return fixed, moving

    fixed, moving = alike(pair.fixed, pair.moving)
    return WorkingPair(
        fixed=fixed,
        moving=moving,
        inside=inside,
        grid=grid,
        margin_ijk=margin_ijk,
        content_grid=content_grid,
        linear_lps=linear_lps,
        similarity=chosen.name,
        preset=preset,
        channels=None if pair.channels is None else _channels(pair.channels, grid, margin_ijk, linear_lps),
        contrasts=tuple(WorkingContrast(*alike(one.fixed, one.moving), one.weight) for one in pair.contrasts),
        guidance=pair.guidance,
    )


def _channels(given: Channels, grid: Grid, margin_ijk: tuple[int, int, int], linear_lps: np.ndarray) -> Channels:
    """Return the channels over the box of the working grid, the moving ones with a margin as wide as the image's."""
    axes = np.array(grid.size_ijk) > 1
    size = level_size(grid, max(1.0, float(given.fixed_grid.spacing_mm.min() / grid.spacing_mm[axes].min())))
    core = resized(grid, size)
    wide = padded(core, triple(np.ceil(np.array(margin_ijk) * grid.spacing_mm / core.spacing_mm)))

    def on(target: Grid, values: np.ndarray, own: Grid, linear_lps: np.ndarray | None = None) -> np.ndarray:
        return np.stack([resample(Image(channel, own), target, linear_lps, outside=0) for channel in values])

    return Channels(
        fixed=on(core, given.fixed, given.fixed_grid),
        moving=on(wide, given.moving, given.moving_grid, linear_lps),
        fixed_grid=core,
        moving_grid=wide,
        guide=given.guide,
    )


def _core(margin_ijk: tuple[int, int, int], grid: Grid) -> tuple[slice, ...]:
    return tuple(slice(m, m + n) for m, n in zip(margin_ijk[::-1], grid.shape_kji))


def _inside(pair: ImagePair, grid: Grid, wide: Grid, core: tuple[slice, ...], linear_lps: np.ndarray) -> np.ndarray:
    """Return the voxels of the working grid to compare at.

    Raises:
        InputError: the masks, or the images, have no voxel in common.
    """
    nearest = sitk.sitkNearestNeighbor
    inside = (resample(_presence(pair), wide, linear_lps, nearest, outside=0) > 0)[core]
    if pair.fixed_mask is not None:
        mask = Image(pair.fixed_mask.astype(np.uint8), pair.fixed.grid)
        inside = inside & (resample(mask, grid, interpolator=nearest, outside=0) > 0)
    return inside if inside.any() else _thin(pair, grid, linear_lps)


def _thin(pair: ImagePair, grid: Grid, linear_lps: np.ndarray) -> np.ndarray:
    """Return the voxels that hold any of what is compared, where it is too thin for the centers of all of them.

    It is looked for at the voxels of both images: either may be too coarse to see it.
    """
    fixed, presence = pair.fixed.grid, _presence(pair)
    seen = resample(presence, fixed, linear_lps, sitk.sitkNearestNeighbor, outside=0) > 0
    if pair.fixed_mask is not None:
        seen &= pair.fixed_mask
    places = [apply_matrix(fixed.ijk_to_lps, np.argwhere(seen)[:, ::-1])]
    if pair.moving_mask is not None:
        own = apply_matrix(presence.grid.ijk_to_lps, np.argwhere(presence.values > 0)[:, ::-1])
        there = apply_matrix(np.linalg.inv(linear_lps), own)
        ijk = np.round(apply_matrix(fixed.lps_to_ijk, there)).astype(int)
        inside = ((ijk >= 0) & (ijk < np.array(fixed.size_ijk))).all(axis=1)
        there, (i, j, k) = there[inside], ijk[inside].T
        places.append(there if pair.fixed_mask is None else there[pair.fixed_mask[k, j, i]])
    thin = np.zeros(grid.shape_kji, bool)
    for points in places:
        i, j, k = np.clip(np.round(apply_matrix(grid.lps_to_ijk, points)).astype(int), 0, np.array(grid.size_ijk) - 1).T
        thin[k, j, i] = True
    if not thin.any():
        masked = pair.fixed_mask is not None or pair.moving_mask is not None
        what, check = ("masks of the two images", "them") if masked else ("two images", "that both show the same part")
        raise InputError(
            f"After the alignment the {what} have no voxel in common: there is nothing to compare. Check {check}, and "
            "what the alignment starts from."
        )
    return thin


def _presence(pair: ImagePair) -> Image:
    if pair.moving_mask is not None:
        return pair.moving_mask
    return Image(np.ones(pair.moving.grid.shape_kji, np.uint8), pair.moving.grid)


def _unit_range(
    images: tuple[Image, Image],
    fixed: np.ndarray,
    moving: np.ndarray,
    inside: np.ndarray,
    core: tuple[slice, ...],
    divisor: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    ranges = [intensity.robust_range(values[inside]) for values in (fixed, moving[core])]
    for image, (low, high) in zip(images, ranges):
        if not high > low:
            raise InputError(
                f"The two images overlap only where {image.name} has a single value: there is nothing to compare. "
                "Check that both show the same part of the body, and what the alignment starts from."
            )
    if divisor is not None:
        ranges = [(0.0, divisor)] * 2
    return intensity.scaled(fixed, *ranges[0]), intensity.scaled(moving, *ranges[1])


def _match(moving: np.ndarray, fixed: np.ndarray, core: tuple[slice, ...], both: np.ndarray) -> np.ndarray:
    if both.sum() < LEAST_TO_MATCH:
        return moving
    whole = np.zeros(moving.shape, bool)
    whole[core] = both
    wide_fixed = np.zeros(moving.shape, np.float32)
    wide_fixed[core] = fixed
    return intensity.match_quantiles(moving, wide_fixed, whole)


def _crop(pair: ImagePair, linear_lps: np.ndarray) -> Grid:
    """Return the part of the fixed grid that holds content or mask, with a margin.

    Of a head that is compared with a crop of one, that is where the crop lies: nothing is known of the rest.
    """
    fixed, mask = pair.fixed, pair.fixed_mask
    content = fixed.values > background_level(fixed.values)
    if mask is not None:
        content = content & mask if (content & mask).any() else mask
    box = box_of_other(fixed.grid, pair.moving.grid, np.linalg.inv(linear_lps))
    if box is not None:
        shown = np.zeros_like(content)
        shown[box[::-1]] = content[box[::-1]]
        content = shown if shown.any() else content
    first, last = content_box(content)
    low, high = np.maximum(first - CROP_MARGIN, 0), np.minimum(last + 1 + CROP_MARGIN, fixed.grid.size_ijk)
    matrix = fixed.grid.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, :3] @ low
    return Grid(triple(high - low), matrix)
