"""Our transform as one ITK transform in memory; ``transform_files`` writes it.

ITK applies the transform that was added last first, so ``T(x) = A (x + u(x))`` is the composite
[affine, displacement field]; its inverse is [inverse displacement fields, last first, then inverse affine].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from ..types import Field, Transform
from .images import place


def to_sitk_transform(transform: Transform, dimensions: int = 3) -> sitk.Transform:
    """Convert the fixed-to-moving transform, LPS mm; ``dimensions`` is 2 for a transform between 2D images."""
    return _composite(parts(transform), dimensions)


def to_sitk_inverse(transform: Transform, dimensions: int = 3) -> sitk.Transform:
    """Convert the inverse, the moving-to-fixed transform, LPS mm.

    Raises:
        ValueError: there is a field but no inverse field.
    """
    return _composite(inverse_parts(transform), dimensions)


def parts(transform: Transform) -> list[np.ndarray | Field]:
    """Return the matrices and fields of the composite, in ITK's order."""
    return [transform.linear_lps] if transform.field is None else [transform.linear_lps, transform.field]


def inverse_parts(transform: Transform) -> list[np.ndarray | Field]:
    """Return those of the inverse.

    Raises:
        ValueError: there is a field but no inverse field.
    """
    if transform.field is not None and not transform.inverse_fields:
        raise ValueError("This transform was made without an inverse field.")
    return [*transform.inverse_fields[::-1], np.linalg.inv(transform.linear_lps)]


def affine(matrix_lps: np.ndarray, dimensions: int) -> sitk.AffineTransform:
    """Convert a (4, 4) matrix."""
    converted = sitk.AffineTransform(dimensions)
    converted.SetMatrix(matrix_lps[:dimensions, :dimensions].ravel().tolist())
    converted.SetTranslation(matrix_lps[:dimensions, 3].tolist())
    return converted


def _composite(given: Sequence[np.ndarray | Field], dimensions: int) -> sitk.Transform:
    converted = [
        _displacement(part, dimensions) if isinstance(part, Field) else affine(part, dimensions) for part in given
    ]
    return sitk.CompositeTransform(converted)


def _displacement(field: Field, dimensions: int) -> sitk.Transform:
    vectors = np.asarray(field.displacement_lps_mm, np.float64)
    vectors = vectors[0, ..., :2] if dimensions == 2 else vectors
    itk_image = sitk.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    place(itk_image, field.grid)
    return sitk.DisplacementFieldTransform(itk_image)
