"""register() finds the same known transform whatever the geometries of the two images are."""

import numpy as np
import SimpleITK as sitk
from SlicerDeepRegLib.files.transform_files import write_inverse, write_transform
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving, moving_to_fixed
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.types import Request


def head_points(case):
    """Points inside the head, where there is something to register, LPS mm."""
    kji = np.argwhere(case.fixed.values > 30)[::7]
    return apply_matrix(case.fixed.grid.ijk_to_lps, kji[:, ::-1].astype(float))


def test_known_transform_is_found_and_its_inverse_returns(case, tmp_path):
    result = register(Request(case.fixed, case.moving, preset="standard", device="cpu"))
    points = head_points(case)
    truth = fixed_to_moving(case.transform, points)
    before = np.linalg.norm(points - truth, axis=1).mean()
    found = fixed_to_moving(result.transform, points)
    after = np.linalg.norm(found - truth, axis=1).mean()
    assert before > 3.0
    assert after < 1.0
    assert result.metrics["after"]["ncc"] > 0.98
    assert result.metrics["after"]["ndv_percent"] == 0

    assert np.linalg.norm(moving_to_fixed(result.transform, found) - points, axis=1).max() < 0.1
    write_transform(result.transform, tmp_path / "t.h5")
    write_inverse(result.transform, tmp_path / "i.h5")
    there, back = (sitk.ReadTransform(str(tmp_path / name)) for name in ("t.h5", "i.h5"))
    returned = [back.TransformPoint(there.TransformPoint(p.tolist())) for p in points[::5]]
    assert np.linalg.norm(np.array(returned) - points[::5], axis=1).max() < 0.1
