"""A DICOM series of an image, and a Deformable Spatial Registration applied as the standard says."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def write_series(
    folder, image, name="Doe^Jane", study=None, frame=None, identifier="4711", change=None, prefix="", most=4000
):
    """An MR series of an image whose grid is right-handed; ``change(k, header)`` may alter each slice's header."""
    folder.mkdir(exist_ok=True)
    study, series, frame = study or generate_uid(), generate_uid(), frame or generate_uid()
    grid, values = image.grid, np.clip(image.values * 10, 0, most).astype(np.uint16)
    for k in range(grid.size_ijk[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MR, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = MR, meta.MediaStorageSOPInstanceUID, "MR"
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = name, identifier, "19700101", "F"
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
        if change is not None:
            change(k, one)
        save(one, folder / f"{prefix}{k:03d}.dcm")
    return folder


def save(one, path):
    """Write a dataset with the preamble and header of a DICOM file."""
    if int(pydicom.__version__.split(".")[0]) >= 3:
        one.save_as(path, enforce_file_format=True)
    else:
        one.is_little_endian, one.is_implicit_VR = True, False
        one.save_as(path, write_like_original=False)


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


def write_enhanced(path, image, order, slopes=None):
    """One Enhanced MR file with the slices of an image as frames in the given order, each with its own slope."""
    grid, values = image.grid, np.clip(image.values * 10, 0, 4000)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ENHANCED_MR, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    whole.SOPClassUID, whole.SOPInstanceUID, whole.Modality = ENHANCED_MR, meta.MediaStorageSOPInstanceUID, "MR"
    whole.StudyInstanceUID, whole.SeriesInstanceUID, whole.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    whole.Rows, whole.Columns, whole.NumberOfFrames = grid.size_ijk[1], grid.size_ijk[0], len(order)
    whole.SamplesPerPixel, whole.PhotometricInterpretation, whole.PixelRepresentation = 1, "MONOCHROME2", 0
    whole.BitsAllocated, whole.BitsStored, whole.HighBit = 16, 16, 15
    shared, turn, measures = Dataset(), Dataset(), Dataset()
    turn.ImageOrientationPatient = [f"{v:.10f}" for v in (*grid.direction[:, 0], *grid.direction[:, 1])]
    measures.PixelSpacing = [float(grid.spacing_mm[1]), float(grid.spacing_mm[0])]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turn], [measures]
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], []
    planes = []
    for k, slope in zip(order, slopes or [1.0] * len(order)):
        frame, place, scale = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [f"{v:.8f}" for v in grid.ijk_to_lps[:3, :3] @ [0, 0, k] + grid.origin_lps_mm]
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = str(slope), "0", "US"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [scale]
        whole.PerFrameFunctionalGroupsSequence.append(frame)
        planes.append(np.round(values[k] / slope).astype(np.uint16))
    whole.PixelData = np.stack(planes).tobytes()
    save(whole, path)
    return path
