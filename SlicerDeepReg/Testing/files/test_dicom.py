"""The DICOM registration object, read back with pydicom and applied as the standard says, not as we wrote it."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from helpers.cases import Case
from helpers.dicom import applied, write_series
from helpers.geometry import OBLIQUE, make_grid
from helpers.images import smooth_field
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.dicom import read_folder, write_registration
from SlicerDeepRegLib.geometry.points import fixed_to_moving
from SlicerDeepRegLib.types import InputError, Transform


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two oblique series registered by the command, with the object."""
    folder, case = tmp_path_factory.mktemp("dicom"), Case("oblique-LPS")
    fixed = write_series(folder / "fixed", case.fixed)
    moving = write_series(folder / "moving", case.moving)
    call = ["register", "--fixed", fixed, "--moving", moving, "--output", folder / "out", "--preset", "fast"]
    assert main([str(one) for one in (*call, "--dicom", "--device", "cpu", "--quiet")]) == 0
    return folder, case


def test_the_object_moves_points_as_the_transform_does_and_names_both_series(written):
    folder, case = written
    points = case.fixed.grid.center_lps_mm + np.random.default_rng(1).uniform(-15, 15, (40, 3))
    transform = sitk.ReadTransform(str(folder / "out" / "transform.h5"))
    expected = np.array([transform.TransformPoint(point.tolist()) for point in points])
    found = applied(folder / "out" / "registration.dcm", points)
    assert np.abs(found - expected).max() < 1e-3
    assert np.linalg.norm(found - points, axis=1).mean() > 2  # the other way round would be far off
    one = pydicom.dcmread(folder / "out" / "registration.dcm")
    fixed, moving = (pydicom.dcmread(folder / side / "000.dcm") for side in ("fixed", "moving"))
    assert one.FrameOfReferenceUID == fixed.FrameOfReferenceUID and one.PatientName == fixed.PatientName
    item = one.DeformableRegistrationSequence[0]
    assert item.SourceFrameOfReferenceUID == moving.FrameOfReferenceUID
    named = {reference.ReferencedSOPInstanceUID for reference in item.ReferencedImageSequence}
    assert moving.SOPInstanceUID in named and len(named) == case.moving.grid.size_ijk[2]
    assert one.StudyInstanceUID == fixed.StudyInstanceUID and one.SOPInstanceUID != fixed.SOPInstanceUID
    assert one.ReferencedSeriesSequence[0].SeriesInstanceUID == fixed.SeriesInstanceUID


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_the_object_passes_a_validator(written):
    said = subprocess.run(
        ["dciodvfy", written[0] / "out" / "registration.dcm"], capture_output=True, text=True, check=False
    ).stderr
    assert "DeformableSpatialRegistration" in said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


@pytest.mark.parametrize("handed", [1.0, -1.0], ids=["right-handed", "left-handed"])
def test_grids_of_either_hand(tmp_path, plain_case, handed):
    series = read_folder(write_series(tmp_path / "one", plain_case.fixed), "fixed image")
    grid = make_grid((12, 14, 10), (2.0, 1.5, 3.0), OBLIQUE @ np.diag([1, 1, handed]))
    transform = Transform(plain_case.transform.linear_lps, smooth_field(grid))
    write_registration(transform, series, series, tmp_path / "one.dcm", "1")
    points = grid.center_lps_mm + np.random.default_rng(2).uniform(-7, 7, (20, 3))
    assert np.abs(applied(tmp_path / "one.dcm", points) - fixed_to_moving(transform, points)).max() < 1e-4


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path, plain_case, capsys):
    series = write_series(tmp_path / "series", plain_case.fixed)
    image = sitk.GetImageFromArray(plain_case.moving.values)
    sitk.WriteImage(image, str(tmp_path / "moving.nii.gz"))
    call = ["register", "--fixed", series, "--moving", tmp_path / "moving.nii.gz", "--output", tmp_path / "out"]
    assert main([str(one) for one in (*call, "--dicom")]) == 2
    assert "between DICOM series only" in capsys.readouterr().err and not (tmp_path / "out").exists()
    for file in series.iterdir():
        one = pydicom.dcmread(file)
        del one.FrameOfReferenceUID
        one.save_as(file)
    with pytest.raises(InputError, match="no frame of reference"):
        read_folder(series, "fixed image")
    with pytest.raises(InputError, match="linear"):
        write_registration(Transform(np.eye(4)), None, None, tmp_path / "x.dcm", "1")
