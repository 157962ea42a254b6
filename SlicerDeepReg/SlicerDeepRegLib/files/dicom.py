"""The transform as a DICOM Deformable Spatial Registration, for systems that read no other. Needs pydicom.

DICOM PS3.3 C.20.3.1.1: a point of the Registered frame of reference goes through the pre-deformation matrix, gets the
offset of the grid added, goes through the post-deformation matrix, and is then a point of the Source frame. That is
``T(x) = A (x + u(x))`` with the fixed image as Registered, the moving one as Source, the pre matrix 1, the grid ``u``
and the post matrix ``A``; all of it is in LPS mm, as here.
"""

from __future__ import annotations

import datetime
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..types import Field, Grid, InputError, Transform

#: SOP class, and the class UID under which its files name their maker (a UUID made once, as PS3.5 B.2 has it).
STORAGE = "1.2.840.10008.5.1.4.1.1.66.3"
IMPLEMENTATION = "2.25.65137177394651799099165267028739208806"
NO_PYDICOM = 'DICOM objects need pydicom. Install it: pip install "SlicerDeepReg[dicom]"'
#: What says whose image it is, and of which examination: taken over from the fixed series.
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")


@dataclass(frozen=True, eq=False)
class Series:
    """What is needed of a DICOM series to refer to it.

    Attributes:
        first: the header of its first file, a pydicom Dataset without pixels.
        instances: (SOP class UID, SOP instance UID) of each file.
    """

    first: Any
    instances: tuple[tuple[str, str], ...]


def can_write() -> bool:
    """Whether pydicom is there."""
    return importlib.util.find_spec("pydicom") is not None


def read_series(files: Sequence[Path], role: str) -> Series:
    """The headers of a series.

    Args:
        files: all of them, in any order.
        role: what messages call the image ("fixed image").

    Raises:
        InputError: without pydicom; no DICOM files, of several series, or without a frame of reference.
    """
    if not can_write():
        raise InputError(NO_PYDICOM)
    import pydicom

    headers = []
    for file in sorted(files):
        try:
            headers.append(pydicom.dcmread(file, stop_before_pixels=True))
        except pydicom.errors.InvalidDicomError:
            continue  # a folder may hold a DICOMDIR's companions
    headers = [one for one in headers if "SOPInstanceUID" in one and "SeriesInstanceUID" in one]
    if not headers:
        raise InputError(f"The {role} holds no DICOM series. A DICOM object is written between DICOM series only.")
    if len({one.SeriesInstanceUID for one in headers}) > 1:
        raise InputError(f"The {role} holds several DICOM series. Give one.")
    if not headers[0].get("FrameOfReferenceUID"):
        raise InputError(f"The {role} has no frame of reference in its DICOM header, so no registration can name it.")
    return Series(headers[0], tuple((str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in headers))


def read_folder(path: Path, role: str) -> Series:
    """The series in a folder; see :func:`read_series`."""
    if not path.is_dir():
        raise InputError(
            f"The {role} {path} is no folder of a DICOM series. A DICOM object is written between DICOM series only."
        )
    return read_series([file for file in path.iterdir() if file.is_file()], role)


def write_registration(transform: Transform, fixed: Series, moving: Series, path: Path, version: str) -> None:
    """Write the object; it belongs to the study of the fixed image.

    Args:
        transform: fixed to moving, LPS mm, with a field.
        version: of this software.

    Raises:
        InputError: the transform is linear, or the axes of its grid are not at right angles.
        OSError: it could not be written.
    """
    if transform.field is None:
        raise InputError("The transform is linear. A deformable registration object needs a displacement field.")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = STORAGE, generate_uid(None)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, IMPLEMENTATION
    one = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    one.SpecificCharacterSet = "ISO_IR 192"
    one.SOPClassUID, one.SOPInstanceUID = STORAGE, meta.MediaStorageSOPInstanceUID
    for name in (*_PATIENT, *_STUDY):
        setattr(one, name, fixed.first.get(name, ""))
    now = datetime.datetime.now()
    one.ContentDate, one.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    one.Modality, one.SeriesInstanceUID, one.SeriesNumber, one.InstanceNumber = "REG", generate_uid(None), 1, 1
    one.SeriesDescription, one.Laterality = "Deformable registration", ""
    one.Manufacturer = one.ManufacturerModelName = "SlicerDeepReg"
    one.DeviceSerialNumber = one.SoftwareVersions = version
    one.FrameOfReferenceUID, one.PositionReferenceIndicator = fixed.first.FrameOfReferenceUID, ""
    one.ContentLabel, one.ContentDescription, one.ContentCreatorName = "REGISTRATION", "Fixed to moving", ""
    one.DeformableRegistrationSequence = [_registration(transform, moving)]
    _refer(one, fixed, moving)
    _save(one, path)


def _save(one, path: Path) -> None:
    """With the preamble and header of a DICOM file, which pydicom before 3 calls otherwise."""
    import pydicom

    if int(pydicom.__version__.split(".")[0]) >= 3:
        one.save_as(path, enforce_file_format=True)
        return
    one.is_little_endian, one.is_implicit_VR = True, False
    one.save_as(path, write_like_original=False)


def _registration(transform: Transform, moving: Series):
    from pydicom.dataset import Dataset

    item, code = Dataset(), Dataset()
    item.SourceFrameOfReferenceUID = moving.first.FrameOfReferenceUID
    item.ReferencedImageSequence = [_reference(instance) for instance in moving.instances]
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "125024", "DCM", "Image Content-based Alignment"
    item.RegistrationTypeCodeSequence = [code]
    item.PreDeformationMatrixRegistrationSequence = [_matrix(np.eye(4))]
    item.PostDeformationMatrixRegistrationSequence = [_matrix(transform.linear_lps)]
    field = _right_handed(transform.field)
    direction, grid = field.grid.direction, Dataset()
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise InputError("The axes of the fixed image are not at right angles, and a DICOM grid cannot be sheared.")
    grid.ImagePositionPatient = _decimals(field.grid.origin_lps_mm)
    grid.ImageOrientationPatient = _decimals([*direction[:, 0], *direction[:, 1]])
    grid.GridDimensions = list(field.grid.size_ijk)
    grid.GridResolution = [float(side) for side in field.grid.spacing_mm]
    grid.VectorGridData = np.ascontiguousarray(field.displacement_lps_mm, "<f4").tobytes()
    item.DeformableRegistrationGridSequence = [grid]
    return item


def _right_handed(field: Field) -> Field:
    """DICOM's third axis is the cross product of the first two: a left-handed grid is given from its other end."""
    matrix = field.grid.ijk_to_lps
    if np.linalg.det(matrix[:3, :3]) > 0:
        return field
    turned = matrix.copy()
    turned[:3, 3] += matrix[:3, 2] * (field.grid.size_ijk[2] - 1)
    turned[:3, 2] *= -1
    return Field(field.displacement_lps_mm[::-1], Grid(field.grid.size_ijk, turned))


def _matrix(matrix_lps: np.ndarray):
    from pydicom.dataset import Dataset

    item, turn = Dataset(), matrix_lps[:3, :3]
    item.FrameOfReferenceTransformationMatrix = _decimals(matrix_lps.ravel())
    rigid = np.abs(turn.T @ turn - np.eye(3)).max() < 1e-6 and np.linalg.det(turn) > 0
    item.FrameOfReferenceTransformationMatrixType = "RIGID" if rigid else "AFFINE"
    return item


def _decimals(values: Sequence[float]) -> list[Any]:
    """Decimal strings of 16 characters at most, as DICOM has them."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]  # + 0.0: no minus before nothing


def _reference(instance: tuple[str, str]):
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance
    return item


def _refer(one, fixed: Series, moving: Series) -> None:
    """Name both series: in this object's study, or in others."""
    from pydicom.dataset import Dataset

    here, elsewhere = [], []
    for series in (fixed, moving):
        item = Dataset()
        item.SeriesInstanceUID = series.first.SeriesInstanceUID
        item.ReferencedInstanceSequence = [_reference(instance) for instance in series.instances]
        if series.first.StudyInstanceUID == one.StudyInstanceUID:
            if all(item.SeriesInstanceUID != other.SeriesInstanceUID for other in here):
                here.append(item)
        else:
            study = Dataset()
            study.StudyInstanceUID, study.ReferencedSeriesSequence = series.first.StudyInstanceUID, [item]
            elsewhere.append(study)
    one.ReferencedSeriesSequence = here
    if elsewhere:
        one.StudiesContainingOtherReferencedInstancesSequence = elsewhere
