"""torch, SimpleITK and Slicer must move the same point, and warp the same image, alike."""

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import torch
from SlicerDeepRegLib.files.images import to_sitk
from SlicerDeepRegLib.files.transform_files import step_mm, write_transform
from SlicerDeepRegLib.files.transforms import to_sitk_inverse, to_sitk_transform
from SlicerDeepRegLib.geometry.jacobian import jacobian_of_transform
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, moving_to_fixed, voxel_centers_lps
from SlicerDeepRegLib.mrml.host import Host
from SlicerDeepRegLib.mrml.nodes import add_transform, add_volume, image_from_node, resampled
from SlicerDeepRegLib.preparation.resample import warp_image
from SlicerDeepRegLib.types import Image, Transform
from SlicerDeepRegLib.warping.sample import warp

RANGE = 100.0


@pytest.fixture
def scene():
    with Host() as host:
        yield host.scene


def inside_points(case, number=400):
    """Random points well inside the fixed grid, LPS mm."""
    random = np.random.default_rng(1)
    ijk = random.uniform(2, np.array(case.fixed.grid.size_ijk) - 3, (number, 3))
    return apply_matrix(case.fixed.grid.ijk_to_lps, ijk)


def comparable(case):
    """Voxels of the fixed grid whose partner lies inside the moving image, where nobody has to extrapolate."""
    there = fixed_to_moving(case.transform, voxel_centers_lps(case.fixed.grid).reshape(-1, 3))
    ijk = apply_matrix(case.moving.grid.lps_to_ijk, there)
    inside = ((ijk > 0.5) & (ijk < np.array(case.moving.grid.size_ijk) - 1.5)).all(1)
    assert inside.mean() > 0.5
    return inside.reshape(case.fixed.grid.shape_kji)


def torch_warped(case):
    """The moving image at T(x) by torch: moving index minus fixed index is the displacement it wants."""
    there = fixed_to_moving(case.transform, voxel_centers_lps(case.fixed.grid).reshape(-1, 3))
    moving_ijk = apply_matrix(case.moving.grid.lps_to_ijk, there).reshape(*case.fixed.grid.shape_kji, 3)
    fixed_ijk = np.moveaxis(np.indices(case.fixed.grid.shape_kji)[::-1], 0, -1)
    displacement = torch.from_numpy(np.moveaxis(moving_ijk - fixed_ijk, -1, 0)[None]).float()
    return warp(torch.from_numpy(case.moving.values)[None, None], displacement)[0, 0].numpy()


def test_image_is_seen_where_the_truth_puts_it(case):
    """The anchor of all: warped(x) = moving(T(x)) equals the fixed picture, which was made without any of our code."""
    warped = warp_image(case.moving, case.fixed, case.transform).values
    assert np.abs(warped - case.fixed.values)[comparable(case)].mean() < 0.01 * RANGE


def test_torch_and_simpleitk_warp_alike(case):
    difference = torch_warped(case) - warp_image(case.moving, case.fixed, case.transform).values
    assert np.abs(difference)[comparable(case)].max() < 1e-3 * RANGE


def test_slicer_warps_alike_with_our_node(case, scene):
    moving, fixed = add_volume(scene, case.moving, "moving"), add_volume(scene, case.fixed, "fixed")
    node = add_transform(scene, case.transform, "transform")
    shown = image_from_node(resampled(moving, fixed, node, "warped")).values
    ours = warp_image(case.moving, case.fixed, case.transform).values
    assert np.abs(shown - ours)[comparable(case)].max() < 1e-3 * RANGE


def test_slicer_reads_transform_h5_alike(case, scene, tmp_path):
    write_transform(case.transform, tmp_path / "transform.h5")
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "read")
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(tmp_path / "transform.h5"))
    assert storage.ReadData(node)
    moving, fixed = add_volume(scene, case.moving, "moving"), add_volume(scene, case.fixed, "fixed")
    shown = image_from_node(resampled(moving, fixed, node, "warped")).values
    ours = warp_image(case.moving, case.fixed, case.transform).values
    assert np.abs(shown - ours)[comparable(case)].max() < 1e-3 * RANGE
    # Between voxel centers Slicer interpolates a field from a file cubically, ITK linearly: less alike there.
    rounding = step_mm(case.transform.field)
    assert slicer_point_error(case, node, voxel_centers(case)) < 0.01 + rounding
    assert slicer_point_error(case, node, inside_points(case, 50)) < 0.03 + rounding


def test_our_node_moves_points_alike(case, scene):
    node = add_transform(scene, case.transform, "transform")
    assert slicer_point_error(case, node, voxel_centers(case)) < 0.01
    assert slicer_point_error(case, node, inside_points(case, 50)) < 0.01


def voxel_centers(case):
    return voxel_centers_lps(case.fixed.grid)[2:-2:5, 2:-2:5, 2:-2:5].reshape(-1, 3)


def slicer_point_error(case, node, points):
    """The largest distance, mm, between T by Slicer and by us."""
    from_parent = node.GetTransformFromParent()
    theirs = np.array([from_parent.TransformPoint(*p) for p in points * [-1, -1, 1]]) * [-1, -1, 1]
    return np.linalg.norm(theirs - fixed_to_moving(case.transform, points), axis=1).max()


def test_points_move_alike_through_the_file(case, tmp_path):
    write_transform(case.transform, tmp_path / "transform.h5")
    read = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    points = inside_points(case)
    theirs = np.array([read.TransformPoint(point.tolist()) for point in points])
    assert np.abs(theirs - fixed_to_moving(case.transform, points)).max() < 0.01 * min(case.fixed.grid.spacing_mm)


def test_field_outside_its_grid_keeps_the_border_value(plain_case):
    """Ours and Slicer's rule; ITK's is zero, so it only agrees inside."""
    corner = plain_case.fixed.grid.ijk_to_lps[:3, 3]
    outside = corner + plain_case.fixed.grid.ijk_to_lps[:3, :3] @ [-3.0, -3.0, -3.0]
    moved = fixed_to_moving(Transform(np.eye(4), plain_case.transform.field), outside[None])[0]
    assert np.allclose(moved - outside, plain_case.transform.field.displacement_lps_mm[0, 0, 0], atol=1e-5)


def test_jacobian_equals_finite_differences_of_the_transform(case):
    """Against differences of T itself along LPS x, y and z, taken from the file's transform."""
    itk = to_sitk_transform(case.transform)
    ours = jacobian_of_transform(case.transform)
    random = np.random.default_rng(2)
    worst = 0.0
    for index in random.integers(3, np.array(case.fixed.grid.size_ijk) - 4, (60, 3)):
        columns = []
        for axis in range(3):  # along the grid's own axes, a voxel either way: what central differences see
            ahead, behind = index.astype(float), index.astype(float)
            ahead[axis] += 1
            behind[axis] -= 1
            a, b = (apply_matrix(case.fixed.grid.ijk_to_lps, p[None])[0] for p in (ahead, behind))
            columns.append((np.array(itk.TransformPoint(a.tolist())) - np.array(itk.TransformPoint(b.tolist()))) / 2)
        det = np.linalg.det(np.stack(columns, 1)) / np.linalg.det(case.fixed.grid.ijk_to_lps[:3, :3])
        worst = max(worst, abs(det - ours[index[2], index[1], index[0]]))
    assert worst < 1e-4
    assert np.ptp(ours) > 0.03  # the field does change volume, so that the test can fail


def test_labels_are_warped_by_nearest_neighbor_and_images_linearly(plain_case):
    labels = Image((plain_case.moving.values > 50).astype(np.int32) * 7, plain_case.moving.grid)
    warped = warp_image(labels, plain_case.fixed, plain_case.transform, sitk.sitkNearestNeighbor).values
    assert set(np.unique(warped)) == {0, 7}
    as_image = warp_image(labels, plain_case.fixed, plain_case.transform).values
    assert len(np.unique(as_image)) > 100
    by_itk = sitk.Resample(
        to_sitk(labels), to_sitk(plain_case.fixed), to_sitk_transform(plain_case.transform), sitk.sitkNearestNeighbor
    )
    assert (sitk.GetArrayFromImage(by_itk) == warped).all()


def test_inverse_of_a_linear_transform_is_exact(case):
    linear = Transform(AFFINE_OF(case))
    points = inside_points(case, 20)
    there = fixed_to_moving(linear, points)
    assert np.abs(moving_to_fixed(linear, there) - points).max() < 1e-9
    back = to_sitk_inverse(linear)
    assert np.abs(np.array([back.TransformPoint(p.tolist()) for p in there]) - points).max() < 1e-9


def AFFINE_OF(case):
    return case.transform.linear_lps


def test_nodes_return_the_image_they_were_made_from(case, scene):
    back = image_from_node(add_volume(scene, case.fixed, "fixed"))
    assert back.grid.same_as(case.fixed.grid, 1e-9)
    assert (back.values == case.fixed.values).all()


@pytest.mark.parametrize("interpolator", [sitk.sitkLinear, sitk.sitkNearestNeighbor])
def test_a_field_on_the_fixed_voxels_warps_as_itk_resamples(case, interpolator):
    """The way that is taken for such fields, against ITK's for any transform, the border of the moving image too."""
    values = case.moving.values if interpolator == sitk.sitkLinear else (case.moving.values > 50).astype(np.int16) * 7
    moving = Image(values, case.moving.grid, "moving")
    assert case.transform.field.grid.same_as(case.fixed.grid)
    ours = warp_image(moving, case.fixed, case.transform, interpolator).values
    outside = float(values.min()) if interpolator == sitk.sitkLinear else 0.0
    itk = sitk.Resample(
        to_sitk(moving), to_sitk(case.fixed), to_sitk_transform(case.transform), interpolator, outside, sitk.sitkUnknown
    )
    theirs = sitk.GetArrayFromImage(itk)
    assert ours.dtype == (np.float32 if interpolator == sitk.sitkLinear else np.int16)
    if interpolator == sitk.sitkLinear:  # rounding may decide about a voxel that lies on the border
        assert np.mean(np.abs(ours - theirs) > 1e-3 * RANGE) < 1e-4
    else:
        assert np.mean(ours != theirs) < 2e-4
