"""The DICOM registration object, read back with pydicom and applied as the standard says, not as we wrote it."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import OBLIQUE, Case, make_grid, smooth_field
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.dicom import read_folder, write_registration
from SlicerDeepRegLib.geometry.points import fixed_to_moving
from SlicerDeepRegLib.types import InputError, Transform

MR = "1.2.840.10008.5.1.4.1.1.4"


def write_series(folder, image, name="Doe^Jane", study=None, frame=None):
    """An MR series of an image whose grid is right-handed."""
    folder.mkdir()
    study, series, frame = study or generate_uid(), generate_uid(), frame or generate_uid()
    grid, values = image.grid, np.clip(image.values * 10, 0, 4000).astype(np.uint16)
    for k in range(grid.size_ijk[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MR, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = MR, meta.MediaStorageSOPInstanceUID, "MR"
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = name, "4711", "19700101", "F"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20260101", "120000", "1", ""
        one.ReferringPhysicianName = ""
        one.Rows, one.Columns, one.InstanceNumber = grid.size_ijk[1], grid.size_ijk[0], k + 1
        one.PixelSpacing = [float(grid.spacing_mm[1]), float(grid.spacing_mm[0])]
        one.SliceThickness = float(grid.spacing_mm[2])
        one.ImageOrientationPatient = [f"{v:.10f}" for v in (*grid.direction[:, 0], *grid.direction[:, 1])]
        one.ImagePositionPatient = [f"{v:.8f}" for v in grid.ijk_to_lps[:3, :3] @ [0, 0, k] + grid.origin_lps_mm]
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.PixelData = values[k].tobytes()
        if int(pydicom.__version__.split(".")[0]) >= 3:
            one.save_as(folder / f"{k:03d}.dcm", enforce_file_format=True)
        else:
            one.is_little_endian, one.is_implicit_VR = True, False
            one.save_as(folder / f"{k:03d}.dcm", write_like_original=False)
    return folder


def applied(path, points_lps_mm):
    """What the object says of points of the fixed image: PS3.3 C.20.3.1.1, written from the standard."""
    item = pydicom.dcmread(path).DeformableRegistrationSequence[0]
    pre, post = (
        np.array(sequence[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
        for sequence in (item.PreDeformationMatrixRegistrationSequence, item.PostDeformationMatrixRegistrationSequence)
    )
    grid = item.DeformableRegistrationGridSequence[0]
    size = [int(n) for n in grid.GridDimensions]
    row, column = np.array(grid.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)], axis=1) * np.array(grid.GridResolution, float)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(*size[::-1], 3)
    moved = []
    for point in points_lps_mm:
        ijk = np.linalg.solve(axes, point - np.array(grid.ImagePositionPatient, float))
        low = np.clip(np.floor(ijk).astype(int), 0, np.array(size) - 2)
        part, offset = ijk - low, np.zeros(3)
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1 - part))
            i, j, k = low + corner
            offset += weight * vectors[k, j, i]
        through = (pre @ [*point, 1])[:3] + offset
        moved.append((post @ [*through, 1])[:3])
    return np.array(moved)


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
