"""Resample images onto other grids, with SimpleITK: through a matrix, or through a whole transform."""

from __future__ import annotations

from typing import overload

import numpy as np
import SimpleITK as sitk

from ..files.images import place, to_sitk
from ..files.transforms import to_sitk_inverse, to_sitk_transform
from ..types import Field, Grid, Image, Transform


def resample(
    image: Image,
    grid: Grid,
    linear_lps: np.ndarray | None = None,
    interpolator: int = sitk.sitkLinear,
    outside: float | None = None,
) -> np.ndarray:
    """Return the image's values on ``grid``, through a linear map from points of ``grid`` to points of the image.

    Except for labels (nearest neighbor), the image is first smoothed along the axes on which ``grid`` is coarser, to
    avoid aliasing.

    Args:
        image: what to resample.
        grid: where to sample it.
        linear_lps: (4, 4), LPS mm; the identity when left out.
        interpolator: one of SimpleITK's.
        outside: the value beyond the image; None repeats its border.

    Returns:
        (K, J, I) on ``grid``: float32, or the image's own type for nearest neighbor.
    """
    volume = to_sitk(image, 3)
    if interpolator != sitk.sitkNearestNeighbor:
        volume = _smoothed_for(sitk.Cast(volume, sitk.sitkFloat32), grid, linear_lps)
    affine = sitk.AffineTransform(3)
    if linear_lps is not None:
        affine.SetMatrix(linear_lps[:3, :3].ravel().tolist())
        affine.SetTranslation(linear_lps[:3, 3].tolist())
    return _sampled(volume, grid, affine, interpolator, outside)


def warp_image(moving: Image, fixed: Image, transform: Transform, interpolator: int = sitk.sitkLinear) -> Image:
    """Return ``moving(T(x))`` on the grid of the fixed image.

    Where ``T(x)`` lies outside the moving image, the result is the moving image's lowest value, or 0 for labels
    (nearest neighbor).

    Args:
        moving: the image to warp.
        fixed: the image whose grid and number of dimensions the result has.
        transform: ``T``, from points of the fixed image to points of the moving one, LPS mm.
        interpolator: one of SimpleITK's.
    """
    dimensions = fixed.dimensions
    labels = interpolator == sitk.sitkNearestNeighbor
    volume = to_sitk(moving, dimensions)
    if not labels:
        volume = sitk.Cast(volume, sitk.sitkFloat32)
    outside = 0.0 if labels else float(moving.values.min())
    if dimensions == 3 and transform.field is not None and transform.field.grid.same_as(fixed.grid):
        displacements = _displacements(transform.linear_lps, transform.field)
        values = _warped(volume, displacements, fixed.grid, interpolator, outside)
    else:
        values = _sampled(volume, fixed.grid, to_sitk_transform(transform, dimensions), interpolator, outside)
    return Image(values.reshape(fixed.grid.shape_kji), fixed.grid, f"{moving.name} warped", dimensions)


def warp_back(fixed: Image, moving: Image, transform: Transform) -> Image:
    """Return ``fixed(T^-1(y))`` on the grid of the moving image, linearly.

    Raises:
        ValueError: the transform has a field but no inverse field.
    """
    dimensions = moving.dimensions
    volume = sitk.Cast(to_sitk(fixed, dimensions), sitk.sitkFloat32)
    lowest = float(fixed.values.min())
    inverse = to_sitk_inverse(transform, dimensions)
    values = _sampled(volume, moving.grid, inverse, sitk.sitkLinear, lowest)
    return Image(values.reshape(moving.grid.shape_kji), moving.grid, f"{fixed.name} warped back", dimensions)


@overload
def warp_labels(labels: Image, fixed: Image, transform: Transform) -> Image: ...


@overload
def warp_labels(labels: None, fixed: Image, transform: Transform) -> None: ...


def warp_labels(labels: Image | None, fixed: Image, transform: Transform) -> Image | None:
    """Return the moving labels on the grid of the fixed image (nearest neighbor), or None if there are no labels."""
    return None if labels is None else warp_image(labels, fixed, transform, sitk.sitkNearestNeighbor)


def warp_labels_linearly(labels: Image, fixed: Image, transform: Transform) -> Image:
    """Return the moving labels on the grid of the fixed image: each one's membership is warped, the largest one wins.

    TransMorph's tables warp labels so (Chen et al., Med Image Anal 2022); background takes part.
    """
    found = np.zeros(fixed.grid.shape_kji, np.int32)
    largest, total = np.zeros((2, *fixed.grid.shape_kji), np.float32)
    for label in np.unique(labels.values[labels.values != 0]):
        members = Image((labels.values == label).astype(np.float32), labels.grid, labels.name, labels.dimensions)
        share = warp_image(members, fixed, transform).values
        stronger = share > largest
        found[stronger], largest[stronger] = label, share[stronger]
        total += share
    found[largest <= 1 - total] = 0  # the rest is background
    return Image(found, fixed.grid, f"{labels.name} warped", fixed.dimensions)


def _warped(volume: sitk.Image, displacements: np.ndarray, grid: Grid, interpolator: int, outside: float) -> np.ndarray:
    """Return what ``_sampled`` does, for a field on the voxels of the grid: in less than half the time."""
    field = sitk.GetImageFromArray(displacements, isVector=True)
    place(field, grid)
    warp = sitk.WarpImageFilter()
    warp.SetInterpolator(interpolator)
    warp.SetOutputParameteresFromImage(field)
    warp.SetEdgePaddingValue(outside)
    return sitk.GetArrayFromImage(warp.Execute(volume, field))


def _displacements(linear_lps: np.ndarray, field: Field) -> np.ndarray:
    """Return ``T(x) - x = A u(x) + (A - 1) x`` at the voxels of the field, (K, J, I, 3) LPS mm, float32."""
    grid, matrix, shift_mm = field.grid, linear_lps[:3, :3], linear_lps[:3, 3]
    rest = matrix - np.eye(3)
    steps_mm, first_mm = rest @ grid.ijk_to_lps[:3, :3], rest @ grid.ijk_to_lps[:3, 3] + shift_mm
    i, j, k = (np.arange(n)[:, None] * steps_mm[:, c] for c, n in enumerate(grid.size_ijk))
    vectors: np.ndarray = field.displacement_lps_mm @ matrix.T.astype(np.float32)
    for along, axes in ((k + first_mm, (1, 2)), (j, (0, 2)), (i, (0, 1))):
        vectors += np.expand_dims(along, axes).astype(np.float32)
    return vectors


def _sampled(
    volume: sitk.Image, grid: Grid, transform: sitk.Transform, interpolator: int, outside: float | None
) -> np.ndarray:
    n = volume.GetDimension()
    result = sitk.Resample(
        volume,
        size=list(grid.size_ijk[:n]),
        transform=transform,
        interpolator=interpolator,
        outputOrigin=grid.origin_lps_mm[:n].tolist(),
        outputSpacing=grid.spacing_mm[:n].tolist(),
        outputDirection=grid.direction[:n, :n].ravel().tolist(),
        defaultPixelValue=float(outside or 0),
        useNearestNeighborExtrapolator=outside is None,
    )
    return sitk.GetArrayFromImage(result)


def _smoothed_for(volume: sitk.Image, grid: Grid, linear_lps: np.ndarray | None) -> sitk.Image:
    """Smooth along each axis of the volume by the amount by which the step of ``grid`` exceeds its own."""
    to_volume = np.linalg.inv(np.array(volume.GetDirection()).reshape(3, 3))
    linear = linear_lps[:3, :3] if linear_lps is not None else np.eye(3)
    steps_mm = np.abs(to_volume @ linear @ grid.ijk_to_lps[:3, :3]).max(axis=1)
    ratio = steps_mm / np.array(volume.GetSpacing())
    sigma_mm = 0.35 * np.sqrt(np.maximum(ratio**2 - 1, 0)) * np.array(volume.GetSpacing())
    sigma_mm[np.array(volume.GetSize()) < 4] = 0
    if (ratio < 1.2).all() or not sigma_mm.any():
        return volume
    return sitk.DiscreteGaussian(volume, variance=(sigma_mm**2).tolist(), maximumKernelWidth=64)
