"""The one resampler: the geometry of its result, its values against SimpleITK's own, and what lies outside."""

import numpy as np
import pytest
import SimpleITK as sitk
from SlicerDeepRegLib.files.images import to_sitk
from SlicerDeepRegLib.preparation.resample import resample, warp_image, warp_labels
from SlicerDeepRegLib.types import Field, Grid, Image, Transform


def oblique_image(size_ijk, spacing_mm, seed=0, dimensions=3):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    matrix[:dimensions, :dimensions] = turn
    matrix[:3, :3] *= np.asarray(spacing_mm, float)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(size_ijk) - 1) / 2)
    grid = Grid(size_ijk, matrix)
    return Image(rng.normal(100, 20, grid.shape_kji).astype(np.float32), grid, "moving", dimensions)


def test_on_its_own_grid_an_image_is_unchanged():
    image = oblique_image((7, 6, 5), (1.0, 1.5, 2.0))
    np.testing.assert_allclose(resample(image, image.grid), image.values, rtol=1e-5)


def test_a_linear_map_is_applied_as_simpleitk_applies_it():
    moving, fixed = oblique_image((12, 11, 10), (1.0, 1.5, 2.0)), oblique_image((9, 8, 7), (1.1, 1.4, 2.0), seed=1)
    matrix = np.eye(4)
    matrix[:3, :3] += 0.02 * np.random.default_rng(2).normal(size=(3, 3))
    matrix[:3, 3] = (1.0, -2.0, 0.5)
    affine = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
    expected = sitk.Resample(to_sitk(moving), to_sitk(fixed), affine, sitk.sitkNearestNeighbor, 0.0)
    values = resample(moving, fixed.grid, matrix, sitk.sitkNearestNeighbor, outside=0)
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(expected))


def test_outside_is_the_border_or_a_value():
    image = oblique_image((5, 5, 5), (1.0, 1.0, 1.0))
    far = np.eye(4)
    far[:3, 3] = image.grid.ijk_to_lps[:3, 0] * 100
    np.testing.assert_array_equal(resample(image, image.grid, far, outside=-3), -3)
    border = np.repeat(image.values[:, :, -1:], 5, axis=2)
    np.testing.assert_allclose(resample(image, image.grid, far), border, rtol=1e-4)


def test_coarser_grids_are_smoothed_but_labels_are_not():
    image = oblique_image((16, 16, 16), (1.0, 1.0, 1.0))
    matrix = image.grid.ijk_to_lps.copy()
    matrix[:3, :3] *= 4
    coarse = Grid((4, 4, 4), matrix)
    assert resample(image, coarse).std() < 0.5 * image.values.std()
    labels = resample(image, coarse, interpolator=sitk.sitkNearestNeighbor)
    np.testing.assert_array_equal(labels, image.values[::4, ::4, ::4])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_whole_transform_warps_as_simpleitk_does(dimensions):
    depth = 1 if dimensions == 2 else 10
    moving = oblique_image((12, 11, depth), (1.0, 1.5, 2.0), dimensions=dimensions)
    fixed = oblique_image((9, 8, depth), (1.1, 1.4, 2.0), seed=1, dimensions=dimensions)
    vectors = np.zeros((*fixed.grid.shape_kji, 3), np.float32)
    vectors[..., 0] = 1.5
    shifted = np.eye(4)
    shifted[0, 3] = 1.5
    by_field = warp_image(moving, fixed, Transform(np.eye(4), Field(vectors, fixed.grid)))
    by_matrix = warp_image(moving, fixed, Transform(shifted))
    np.testing.assert_allclose(by_field.values, by_matrix.values, rtol=1e-4)
    assert by_field.dimensions == dimensions and by_field.grid.same_as(fixed.grid)
    assert by_field.values.min() >= moving.values.min()


def test_labels_stay_labels_and_may_be_missing():
    labels = Image(np.random.default_rng(0).integers(0, 5, (5, 6, 7)).astype(np.int16), Grid((7, 6, 5), np.eye(4)))
    warped = warp_labels(labels, labels, Transform(np.eye(4)))
    np.testing.assert_array_equal(warped.values, labels.values)
    assert warp_labels(None, labels, Transform(np.eye(4))) is None
