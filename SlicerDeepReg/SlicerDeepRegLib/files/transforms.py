"""Our transform as one ITK transform, in memory and in a file.

ITK applies the transform that was added last first, so ``T(x) = A (x + u(x))`` is the composite
[affine, displacement field]; its inverse is [inverse displacement fields, last first, then inverse affine].
"""

from __future__ import annotations

import os

import numpy as np
import SimpleITK as sitk

from ..types import Field, Transform
from .images import place


def to_sitk_transform(transform: Transform, dimensions: int = 3) -> sitk.Transform:
    """The fixed-to-moving transform, LPS mm; ``dimensions`` 2 for a transform between 2D images."""
    parts = [_affine(transform.linear_lps, dimensions)]
    if transform.field is not None:
        parts.append(_displacement(transform.field, dimensions))
    return sitk.CompositeTransform(parts)


def to_sitk_inverse(transform: Transform, dimensions: int = 3) -> sitk.Transform:
    """The moving-to-fixed transform, LPS mm.

    Raises:
        ValueError: there is a field but no inverse field.
    """
    parts = [_affine(np.linalg.inv(transform.linear_lps), dimensions)]
    if transform.field is not None:
        if not transform.inverse_fields:
            raise ValueError("This transform was made without an inverse field.")
        parts = [_displacement(field, dimensions) for field in transform.inverse_fields[::-1]] + parts
    return sitk.CompositeTransform(parts)


def write_transform(transform: sitk.Transform, path: str | os.PathLike) -> None:
    sitk.WriteTransform(transform, str(path))


def _affine(matrix_lps: np.ndarray, dimensions: int) -> sitk.Transform:
    affine = sitk.AffineTransform(dimensions)
    affine.SetMatrix(matrix_lps[:dimensions, :dimensions].ravel().tolist())
    affine.SetTranslation(matrix_lps[:dimensions, 3].tolist())
    return affine


def _displacement(field: Field, dimensions: int) -> sitk.Transform:
    vectors = np.asarray(field.displacement_lps_mm, np.float64)
    vectors = vectors[0, ..., :2] if dimensions == 2 else vectors
    picture = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    place(picture, field.grid)
    return sitk.DisplacementFieldTransform(picture)
