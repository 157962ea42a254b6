"""Transforms as files: what ITK reads is what was found, to a hundredth of a voxel, and the files are small."""

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.cases import Case
from helpers.geometry import AFFINE, make_grid
from helpers.images import smooth_field
from SlicerDeepRegLib.files.transform_files import CHUNK, step_mm, write_inverse, write_transform
from SlicerDeepRegLib.files.transforms import to_sitk_inverse, to_sitk_transform
from SlicerDeepRegLib.types import Field, Transform


def same(first, second, points):
    return max(np.abs(np.subtract(first.TransformPoint(p), second.TransformPoint(p))).max() for p in points.tolist())


def test_what_is_read_is_what_was_written(tmp_path):
    case = Case("oblique-LPS")
    field = case.transform.field
    back = Field(-0.9 * field.displacement_lps_mm, field.grid)
    transform = Transform(AFFINE, field, (back, Field(0.01 * field.displacement_lps_mm, field.grid)))
    write_transform(transform, tmp_path / "there.h5")
    write_inverse(transform, tmp_path / "back.h5")
    points = field.grid.center_lps_mm + np.random.default_rng(0).uniform(-15, 15, (40, 3))
    there, way_back = (sitk.ReadTransform(str(tmp_path / f"{name}.h5")) for name in ("there", "back"))
    assert 0 < same(there, to_sitk_transform(transform), points) < step_mm(field)
    assert 0 < same(way_back, to_sitk_inverse(transform), points) < 2 * step_mm(field)
    assert sitk.CompositeTransform(way_back).GetNumberOfTransforms() == 3


def test_a_matrix_is_exact(tmp_path):
    write_transform(Transform(AFFINE), tmp_path / "t.h5")
    write_inverse(Transform(AFFINE), tmp_path / "i.h5")
    there, back = (sitk.ReadTransform(str(tmp_path / name)) for name in ("t.h5", "i.h5"))
    assert np.allclose(back.TransformPoint(there.TransformPoint((10.0, -20.0, 30.0))), (10, -20, 30), atol=1e-9)


def test_two_dimensions(tmp_path):
    grid = make_grid((40, 30, 1), (0.5, 0.5, 1), np.eye(3))
    vectors = np.random.default_rng(1).uniform(-3, 3, (*grid.shape_kji, 3)).astype(np.float32)
    transform = Transform(np.eye(4), Field(vectors, grid))
    write_transform(transform, tmp_path / "t.h5", dimensions=2)
    read, ours = sitk.ReadTransform(str(tmp_path / "t.h5")), to_sitk_transform(transform, 2)
    points = grid.center_lps_mm[:2] + np.random.default_rng(0).uniform(-5, 5, (40, 2))
    assert read.GetDimension() == 2 and same(read, ours, points) < step_mm(transform.field) < 0.5 / 100


@pytest.mark.parametrize("size", [(64, 64, 64), (60, 61, 62)])
def test_several_chunks_are_put_together_and_compressed(tmp_path, size):
    field = smooth_field(make_grid(size, (1, 1, 1), np.eye(3)))
    assert field.displacement_lps_mm.size > CHUNK
    write_transform(Transform(np.eye(4), field), tmp_path / "t.h5")
    read = sitk.DisplacementFieldTransform(
        sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / "t.h5"))).GetNthTransform(1)
    )
    stored = sitk.GetArrayFromImage(read.GetDisplacementField())
    assert np.abs(stored - field.displacement_lps_mm).max() <= step_mm(field) / 2 + 1e-6
    assert (tmp_path / "t.h5").stat().st_size < field.displacement_lps_mm.nbytes / 3


def test_without_an_inverse_nothing_is_written(tmp_path):
    field = Case("oblique-LPS").transform.field
    with pytest.raises(ValueError, match="without an inverse"):
        write_inverse(Transform(AFFINE, field), tmp_path / "i.h5")
    assert not (tmp_path / "i.h5").exists()
