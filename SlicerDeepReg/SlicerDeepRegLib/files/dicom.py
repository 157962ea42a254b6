"""The transform as a DICOM Deformable Spatial Registration, for systems that read no other. Needs pydicom.

DICOM PS3.3 C.20.3.1.1: a point of the Registered frame of reference goes through the pre-deformation matrix, gets the
offset of the grid added, goes through the post-deformation matrix, and is then a point of the Source frame. That is
``T(x) = A (x + u(x))`` with the fixed image as Registered, the moving one as Source, the pre matrix 1, the grid ``u``
and the post matrix ``A``; all of it is in LPS mm, as here.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry.points import apply_matrix
from ..types import Field, Grid, InputError, Transform
from .dicom_slices import chosen, groups_in

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: SOP class, and the class UID under which its files name their maker (a UUID made once, as PS3.5 B.2 has it).
STORAGE = "1.2.840.10008.5.1.4.1.1.66.3"
IMPLEMENTATION = "2.25.65137177394651799099165267028739208806"
#: What says whose image it is, and of which examination: taken over from the fixed series.
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")


@dataclass(frozen=True, eq=False)
class Series:
    """What is needed of a DICOM series to refer to it.

    Attributes:
        first: the header of its first file, a pydicom Dataset without pixels.
        instances: (SOP class UID, SOP instance UID) of each file.
        positions_lps_mm: of the first pixel of each file, or of each of its frames, that has one of its own.
    """

    first: Any
    instances: tuple[tuple[str, str], ...]
    positions_lps_mm: tuple[tuple[float, ...], ...] = ()

    def off_mm(self, grid: Grid) -> float:
        """Return how far a slice lies from the slices of a grid at most; 0 where the files do not say.

        Rows, columns and the order of the slices may be reversed.
        """
        axes = _axes(self.first)
        if not self.positions_lps_mm or axes is None:
            return 0.0
        i, j, k = (np.arange(n) for n in grid.size_ijk)
        corners = np.stack(np.meshgrid(i[[0, -1]], j[[0, -1]], k, indexing="ij"), -1).reshape(-1, 3)
        places = apply_matrix(grid.ijk_to_lps, corners.astype(float))
        off = [np.linalg.norm(places - position, axis=1).min() for position in np.array(self.positions_lps_mm)]
        sides_mm = grid.spacing_mm[:2] * np.maximum(1, np.array(grid.size_ijk[:2]) - 1)
        for axis in np.array(axes, float).reshape(2, 3):  # a turn about the first pixels moves the last ones
            along = np.abs(grid.direction[:, :2].T @ axis)
            off.append(np.sqrt(max(0.0, 2 - 2 * along.max())) * sides_mm.max())
        return float(max(off))


def read_series(files: Sequence[Path], role: str) -> Series:
    """Read the headers of a series.

    Args:
        files: all of them, in any order.
        role: what messages call the image ("fixed image").

    Raises:
        InputError: no DICOM files, files of several series, or without a frame of reference.
    """
    import pydicom

    headers = []
    for file in sorted(files):
        try:
            headers.append(pydicom.dcmread(file, stop_before_pixels=True))
        except pydicom.errors.InvalidDicomError:
            continue  # a folder may hold a DICOMDIR's companions
    headers = [header for header in headers if "SOPInstanceUID" in header and "SeriesInstanceUID" in header]
    if not headers:
        raise InputError(f"The {role} contains no DICOM series. A DICOM object is written between DICOM series only.")
    if len({header.SeriesInstanceUID for header in headers}) > 1:
        raise InputError(f"The {role} contains several DICOM series. Give a folder of one.")
    for tag, title in (("FrameOfReferenceUID", "Frame of Reference UID"), ("StudyInstanceUID", "Study Instance UID")):
        if not headers[0].get(tag):
            raise InputError(
                f"The {role} has no {title} in its DICOM header, so a DICOM registration object cannot refer to it. "
                "Export the series again, or leave out the DICOM object."
            )
    return Series(
        headers[0],
        tuple((str(header.SOPClassUID), str(header.SOPInstanceUID)) for header in headers),
        tuple(position for header in headers for position in _positions(header)),
    )


def _positions(header: Dataset) -> list[tuple[float, ...]]:
    """Return where the first pixel of a file lies, or of each of its frames, LPS mm; none where it does not say."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or ()
    places = [group.PlanePositionSequence[0] for group in groups if group.get("PlanePositionSequence")] or [header]
    found = [place.get("ImagePositionPatient") or () for place in places]
    return [tuple(float(number) for number in position) for position in found if len(position) == 3]


def _axes(header: Dataset) -> Any:
    """Return the directions of rows and columns of a file, those of its first frame where frames have their own."""
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in header.get(sequence) or ():
            if group.get("PlaneOrientationSequence"):
                return group.PlaneOrientationSequence[0].get("ImageOrientationPatient")
    return header.get("ImageOrientationPatient")


def read_folder(path: Path, role: str, series: str = "") -> Series:
    """Read the series of the image that is read from a folder; see :func:`read_series`.

    Args:
        path: the folder.
        role: what messages call the image.
        series: which image of several; see :func:`~.dicom_slices.chosen`.
    """
    if not path.is_dir():
        raise InputError(
            f"The {role} {path} is not a folder of a DICOM series. A DICOM object is written between DICOM series only."
        )
    group = chosen(groups_in(path, role)[0], series, path, role)
    return read_series(list(dict.fromkeys(one.file for one in group.slices)), role)


def check_patient(fixed: Series, moving: Series) -> None:
    """Check that both series are of one patient: an object is filed under the fixed one's name.

    Names and dates of birth are compared where both series have them, without regard to case and empty parts.

    Raises:
        InputError: an identifier, a name or a date of birth differs.
    """
    different = []
    for name, title in (("PatientID", "ID"), ("PatientName", "name"), ("PatientBirthDate", "date of birth")):
        values = [str(series.first.get(name) or "").strip(" ^").casefold() for series in (fixed, moving)]
        if values[0] != values[1] and (all(values) or name == "PatientID"):
            different.append(title)
    if different:
        raise InputError(
            f"The fixed and the moving series are of different patients (their {' and '.join(different)} "
            f"{'differs' if len(different) == 1 else 'differ'}), and a DICOM registration is filed under the patient "
            "of the fixed one. Check that both series belong to the same patient.",
            "dicom_different_patients",
        )


#: What a linear transform has in place of a field: points beyond a grid are moved by the matrices alone, too.
_STILL = Field(np.zeros((2, 2, 2, 3), np.float32), Grid((2, 2, 2), np.eye(4)))


def write_registration(transform: Transform, fixed: Series, moving: Series, path: Path, version: str) -> None:
    """Write the object; it belongs to the study of the fixed image.

    Args:
        transform: fixed to moving, LPS mm; of a linear one the matrix is written with a grid that displaces nothing.
        version: of this software.

    Raises:
        InputError: the axes of its grid are not at right angles.
        OSError: it could not be written.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = STORAGE, generate_uid(None)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, IMPLEMENTATION
    registration = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    registration.SpecificCharacterSet = "ISO_IR 192"
    registration.SOPClassUID, registration.SOPInstanceUID = STORAGE, meta.MediaStorageSOPInstanceUID
    for name in (*_PATIENT, *_STUDY):
        setattr(registration, name, fixed.first.get(name, ""))
    now = datetime.datetime.now()
    registration.ContentDate, registration.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    registration.Modality, registration.SeriesInstanceUID, registration.SeriesNumber, registration.InstanceNumber = (
        "REG",
        generate_uid(None),
        1,
        1,
    )
    registration.SeriesDescription, registration.Laterality = "Deformable registration", ""
    registration.Manufacturer = registration.ManufacturerModelName = "SlicerDeepReg"
    registration.DeviceSerialNumber = registration.SoftwareVersions = version
    registration.FrameOfReferenceUID, registration.PositionReferenceIndicator = fixed.first.FrameOfReferenceUID, ""
    registration.ContentLabel, registration.ContentDescription, registration.ContentCreatorName = (
        "REGISTRATION",
        "Fixed to moving",
        "",
    )
    registration.DeformableRegistrationSequence = [
        _registration(transform.linear_lps, transform.field or _STILL, moving)
    ]
    _refer(registration, fixed, moving)
    _save(registration, path)


def _save(registration: Dataset, path: Path) -> None:
    """Write it with the preamble and header of a DICOM file; pydicom before 3 has other names for these."""
    import pydicom

    if int(pydicom.__version__.split(".")[0]) >= 3:
        registration.save_as(path, enforce_file_format=True)
        return
    registration.is_little_endian, registration.is_implicit_VR = True, False
    registration.save_as(path, write_like_original=False)


def _registration(linear_lps: np.ndarray, field: Field, moving: Series) -> Dataset:
    from pydicom.dataset import Dataset

    item, code = Dataset(), Dataset()
    item.SourceFrameOfReferenceUID = moving.first.FrameOfReferenceUID
    item.ReferencedImageSequence = [_reference(instance) for instance in moving.instances]
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "125024", "DCM", "Image Content-based Alignment"
    item.RegistrationTypeCodeSequence = [code]
    item.PreDeformationMatrixRegistrationSequence = [_matrix(np.eye(4))]
    item.PostDeformationMatrixRegistrationSequence = [_matrix(linear_lps)]
    field = _right_handed(field)
    direction, grid = field.grid.direction, Dataset()
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise InputError(
            "The axes of the fixed image are not at right angles, which a DICOM registration object cannot express. "
            "Resample the fixed image to a grid with axes at right angles, and register again."
        )
    grid.ImagePositionPatient = _decimals(field.grid.origin_lps_mm)
    grid.ImageOrientationPatient = _decimals([*direction[:, 0], *direction[:, 1]])
    grid.GridDimensions = list(field.grid.size_ijk)
    grid.GridResolution = [float(side) for side in field.grid.spacing_mm]
    grid.VectorGridData = np.ascontiguousarray(field.displacement_lps_mm, "<f4").tobytes()
    item.DeformableRegistrationGridSequence = [grid]
    return item


def _right_handed(field: Field) -> Field:
    """Return the field on a right-handed grid: DICOM's third axis is the cross product of the first two."""
    matrix = field.grid.ijk_to_lps
    if np.linalg.det(matrix[:3, :3]) > 0:
        return field
    turned = matrix.copy()
    turned[:3, 3] += matrix[:3, 2] * (field.grid.size_ijk[2] - 1)
    turned[:3, 2] *= -1
    return Field(field.displacement_lps_mm[::-1], Grid(field.grid.size_ijk, turned))


def _matrix(matrix_lps: np.ndarray) -> Dataset:
    from pydicom.dataset import Dataset

    item, turn = Dataset(), matrix_lps[:3, :3]
    item.FrameOfReferenceTransformationMatrix = _decimals(matrix_lps.ravel())
    rigid = np.abs(turn.T @ turn - np.eye(3)).max() < 1e-6 and np.linalg.det(turn) > 0
    item.FrameOfReferenceTransformationMatrixType = "RIGID" if rigid else "AFFINE"
    return item


def _decimals(values: Iterable[float]) -> list[Any]:
    """Return decimal strings of 16 characters at most, as DICOM requires."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]  # + 0.0: no minus before nothing


def _reference(instance: tuple[str, str]) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance
    return item


def _refer(registration: Dataset, fixed: Series, moving: Series) -> None:
    """Name both series: in this object's study, or in others."""
    from pydicom.dataset import Dataset

    here: list[Dataset] = []
    elsewhere: list[Dataset] = []
    for series in (fixed, moving):
        item = Dataset()
        item.SeriesInstanceUID = series.first.SeriesInstanceUID
        item.ReferencedInstanceSequence = [_reference(instance) for instance in series.instances]
        if series.first.StudyInstanceUID == registration.StudyInstanceUID:
            if all(item.SeriesInstanceUID != other.SeriesInstanceUID for other in here):
                here.append(item)
        else:
            study = Dataset()
            study.StudyInstanceUID, study.ReferencedSeriesSequence = series.first.StudyInstanceUID, [item]
            elsewhere.append(study)
    registration.ReferencedSeriesSequence = here
    if elsewhere:
        registration.StudiesContainingOtherReferencedInstancesSequence = elsewhere
