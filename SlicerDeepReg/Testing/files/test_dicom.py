"""The DICOM registration object, read back with pydicom and applied as the standard says, not as we wrote it."""

import dataclasses
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from helpers.cases import Case
from helpers.dicom import applied, write_enhanced, write_series
from helpers.geometry import AFFINE, OBLIQUE, make_grid, rotation
from helpers.images import smooth_field
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.dicom import Series, check_patient, read_folder, read_series, write_registration
from SlicerDeepRegLib.geometry.points import apply_matrix, fixed_to_moving
from SlicerDeepRegLib.types import Grid, InputError, Transform


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
    assert np.abs(found - expected).max() < 0.01  # transform.h5 is rounded to a hundredth of a voxel
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
        ["dciodvfy", written[0] / "out" / "registration.dcm"], capture_output=True, encoding="utf-8", check=False
    ).stderr
    assert "DeformableSpatialRegistration" in said
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


#: PS3.3 A.39.2: attributes of the mandatory modules of a Deformable Spatial Registration. Type 1 has a value, type 2 is
#: there. The modules: Patient, General Study, General Series and Spatial Registration Series, Frame of Reference,
#: General Equipment and Enhanced General Equipment, Deformable Spatial Registration, Common Instance Reference, SOP
#: Common. An attribute with a dictionary is a sequence, and the dictionary what each of its items has.
INSTANCES = {"ReferencedSOPClassUID": 1, "ReferencedSOPInstanceUID": 1}
MATRIX = {"FrameOfReferenceTransformationMatrix": 1, "FrameOfReferenceTransformationMatrixType": 1}
SERIES = {"SeriesInstanceUID": 1, "ReferencedInstanceSequence": INSTANCES}
CODE = {"CodeValue": 1, "CodingSchemeDesignator": 1, "CodeMeaning": 1}
GRID = dict.fromkeys(
    ("ImageOrientationPatient", "ImagePositionPatient", "GridDimensions", "GridResolution", "VectorGridData"), 1
)
MODULES = {
    **dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex"), 2),
    **dict.fromkeys(("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"), 2),
    **dict.fromkeys(("StudyInstanceUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID"), 1),
    **dict.fromkeys(("SeriesNumber", "PositionReferenceIndicator", "ContentDescription", "ContentCreatorName"), 2),
    **dict.fromkeys(("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"), 1),
    **dict.fromkeys(("InstanceNumber", "ContentDate", "ContentTime", "ContentLabel"), 1),
    "DeformableRegistrationSequence": {
        "SourceFrameOfReferenceUID": 1,
        "ReferencedImageSequence": INSTANCES,
        "RegistrationTypeCodeSequence": CODE,
        "PreDeformationMatrixRegistrationSequence": MATRIX,
        "PostDeformationMatrixRegistrationSequence": MATRIX,
        "DeformableRegistrationGridSequence": GRID,
    },
    "ReferencedSeriesSequence": SERIES,
    "SOPClassUID": 1,
    "SOPInstanceUID": 1,
}


def lacking(dataset, attributes):
    """The attributes that are missing, or empty where that is not allowed."""
    missing = []
    for name, kind in attributes.items():
        if name not in dataset or (kind != 2 and dataset[name].is_empty):
            missing.append(name)
        elif isinstance(kind, dict):
            missing += [f"{name}.{part}" for item in dataset[name].value for part in lacking(item, kind)]
    return missing


def test_the_object_has_what_its_modules_ask_for(written):
    one = pydicom.dcmread(written[0] / "out" / "registration.dcm")
    assert lacking(one, MODULES) == []
    other_study = {"StudyInstanceUID": 1, "ReferencedSeriesSequence": SERIES}
    assert lacking(one, {"StudiesContainingOtherReferencedInstancesSequence": other_study}) == []
    assert one.Modality == "REG" and one.SOPClassUID == one.file_meta.MediaStorageSOPClassUID
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID
    assert one.ContentLabel == one.ContentLabel.upper() and len(one.ContentLabel) <= 16
    item = one.DeformableRegistrationSequence[0]
    grid = item.DeformableRegistrationGridSequence[0]
    assert len(grid.VectorGridData) == 3 * 4 * np.prod(grid.GridDimensions) and len(grid.GridResolution) == 3
    for sequence in (item.PreDeformationMatrixRegistrationSequence, item.PostDeformationMatrixRegistrationSequence):
        matrix = sequence[0].FrameOfReferenceTransformationMatrix
        assert len(matrix) == 16 and all(len(str(number)) <= 16 for number in matrix)
        assert [float(number) for number in matrix[12:]] == [0, 0, 0, 1]
        assert sequence[0].FrameOfReferenceTransformationMatrixType in ("RIGID", "RIGID_SCALE", "AFFINE")
    del item.DeformableRegistrationGridSequence[0].GridResolution  # the check itself
    one.ContentDate = ""
    assert lacking(one, MODULES) == [
        "ContentDate",
        "DeformableRegistrationSequence.DeformableRegistrationGridSequence.GridResolution",
    ]


def test_two_patients_are_refused_before_any_work_unless_asked_for(tmp_path, plain_case, capsys):
    fixed = write_series(tmp_path / "fixed", plain_case.fixed, name="Doe^Jane", identifier="1")
    moving = write_series(tmp_path / "moving", plain_case.moving, name="Roe^Richard", identifier="2")
    call = ["register", "--fixed", fixed, "--moving", moving, "--output", tmp_path / "out", "--preset", "fast"]
    call = [str(one) for one in (*call, "--device", "cpu", "--quiet")]
    assert main([*call, "--dicom"]) == 2
    said = capsys.readouterr().err
    assert "of different patients (their ID and name differ)" in said and "Doe" not in said
    assert not (tmp_path / "out").exists()
    assert main([*call, "--dicom-different-patients"]) == 0
    assert pydicom.dcmread(tmp_path / "out" / "registration.dcm").PatientName == "Doe^Jane"


@pytest.mark.parametrize(
    "changes, different",
    [
        ({}, None),
        ({"PatientName": "DOE^JANE^^"}, None),
        ({"PatientBirthDate": "", "PatientName": ""}, None),
        ({"PatientBirthDate": "19710101"}, "date of birth differs"),
        ({"PatientName": "Doe^John"}, "name differs"),
        ({"PatientID": ""}, "ID differs"),
    ],
)
def test_what_tells_two_patients_apart(changes, different):
    known = {"PatientID": "4711", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101"}
    fixed, moving = Series(known, ()), Series({**known, **changes}, ())
    if different is None:
        check_patient(fixed, moving)
        return
    with pytest.raises(InputError, match=different):
        check_patient(fixed, moving)


def test_the_object_refers_to_the_files_that_were_read_and_no_others(tmp_path, plain_case, monkeypatch):
    folders = [write_series(tmp_path / side, getattr(plain_case, side)) for side in ("fixed", "moving")]
    read = [sorted(folder.iterdir())[2:] for folder in folders]

    def result_of(request, report=None, show=None):
        images = [
            dataclasses.replace(getattr(plain_case, side), files=tuple(map(str, files)))
            for side, files in zip(("fixed", "moving"), read)
        ]
        result = SimpleNamespace(fixed=images[0], moving=images[1], transform=plain_case.transform)
        show(result)
        return result

    monkeypatch.setattr("SlicerDeepRegLib.pipeline.register", result_of)
    for name in ("begin", "end"):
        monkeypatch.setattr(f"SlicerDeepRegLib.files.results.ResultWriter.{name}", lambda writer, result: {})
    call = ["register", "--fixed", folders[0], "--moving", folders[1], "--output", tmp_path / "out"]
    assert main([str(word) for word in (*call, "--dicom-different-patients", "--quiet")]) == 0
    one = pydicom.dcmread(tmp_path / "out" / "registration.dcm")
    uids = [{pydicom.dcmread(file).SOPInstanceUID for file in files} for files in read]
    item = one.DeformableRegistrationSequence[0]
    assert {reference.ReferencedSOPInstanceUID for reference in item.ReferencedImageSequence} == uids[1]
    here = one.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {reference.ReferencedSOPInstanceUID for reference in here} == uids[0]


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
    with pytest.raises(InputError, match="no Frame of Reference UID"):
        read_folder(series, "fixed image")


def test_a_linear_transform_is_written_as_its_matrix(written, tmp_path):
    folder, case = written
    series = [read_folder(folder / side, f"{side} image") for side in ("fixed", "moving")]
    write_registration(Transform(AFFINE), *series, tmp_path / "linear.dcm", "1")
    points = case.fixed.grid.center_lps_mm + np.random.default_rng(1).uniform(-15, 15, (40, 3))
    assert np.abs(applied(tmp_path / "linear.dcm", points) - apply_matrix(AFFINE, points)).max() < 1e-3
    assert lacking(pydicom.dcmread(tmp_path / "linear.dcm"), MODULES) == []


def test_the_series_that_was_chosen_is_the_one_that_is_referred_to(tmp_path, plain_case):
    """A folder with a second series is refused without a choice, and taken with one."""
    folder = write_series(tmp_path / "both", plain_case.fixed)
    write_series(folder, plain_case.moving, prefix="b")
    with pytest.raises(InputError, match="2 DICOM series"):
        read_folder(folder, "fixed image")
    first, second = (read_folder(folder, "fixed image", number) for number in "12")
    assert first.first.SeriesInstanceUID != second.first.SeriesInstanceUID
    assert {len(one.instances) for one in (first, second)} == {
        image.grid.size_ijk[2] for image in (plain_case.fixed, plain_case.moving)
    }


def test_frames_of_one_file_say_where_they_were_scanned(tmp_path, plain_case):
    """An enhanced file that was moved is noticed as a series of files is."""
    image = plain_case.fixed
    series = read_series([write_enhanced(tmp_path / "scan.dcm", image, range(image.grid.size_ijk[2]))], "fixed image")
    assert len(series.positions_lps_mm) == image.grid.size_ijk[2] and series.off_mm(image.grid) < 0.01
    shifted, turned = np.eye(4), np.eye(4)
    shifted[0, 3], turned[:3, :3] = 30.0, rotation([0, 0, 20])
    for change in (shifted, turned):
        assert series.off_mm(Grid(image.grid.size_ijk, change @ image.grid.ijk_to_lps)) > 5
