"""Series of images: the volumes of a 4D file, or several files, in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..types import Image, InputError
from . import nifti
from .deflate import gzipped
from .dicom_images import read_dicom_frames
from .dicom_slices import is_dicom
from .images import check_file, check_memory_ran_out, from_sitk, in_mm, load, straightened, to_sitk

#: How the names of files end that Slicer keeps a sequence of volumes in.
SEQUENCE_ENDING = ".seq.nrrd"
#: Where such a file keeps the times of its volumes, or their numbers.
_INDEX_VALUES = "axis 0 index values"


def read_frames(sources: Sequence[str], role: str, straight: bool = True) -> list[Image]:
    """Return the frames of a series, in order.

    Args:
        sources: one 4D image (NIfTI, NRRD, MetaImage), the folder or file of a DICOM series in time, or the frames as
            images of their own.
        role: for messages.
        straight: as of :func:`~.images.read_image`.

    Raises:
        InputError: a file cannot be read, or the only one is a single volume.
    """
    if len(sources) > 1:
        return [load(source, f"{role} image", straight=straight) for source in sources]
    path = Path(sources[0])
    if path.is_dir() or (path.is_file() and is_dicom(path)):
        return read_dicom_frames(path, role)
    if not path.is_file():
        raise InputError(f"The {role} file {path} does not exist, or is not a file. Check the path.", role)
    check_file(path, role)
    if nifti.is_nifti(path):
        volumes = nifti.read_series(path, role)
        if len(volumes) == 1:
            raise _no_series(path, role)
        return [straightened(volume, role) if straight else volume for volume in volumes]
    try:
        whole = sitk.ReadImage(str(path))
    except RuntimeError as error:
        check_memory_ran_out(error)
        last = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"The {role} file {path} could not be read ({last}). Give a 4D image.", role) from error
    count = whole.GetNumberOfComponentsPerPixel()
    if whole.GetDimension() == 3 and count > 1 and path.name.lower().endswith(SEQUENCE_ENDING):
        frames = [sitk.VectorIndexSelectionCast(whole, number) for number in range(count)]
        return [_frame(frame, number, path, role) for number, frame in enumerate(frames)]
    if whole.GetDimension() != 4 or count != 1:
        raise _no_series(path, role)
    count = whole.GetSize()[3]
    return [_frame(whole[:, :, :, number], number, path, role) for number in range(count)]


def _frame(volume: sitk.Image, number: int, path: Path, role: str) -> Image:
    return in_mm(from_sitk(volume, f"{path.name}, frame {number}"), path, role)


def _no_series(path: Path, role: str) -> InputError:
    text = f"The {role} file {path} is one volume, not a series. Give a 4D image, or several images."
    return InputError(text, role)


def times_of(sources: Sequence[str]) -> list[float] | None:
    """Return when each frame of a 4D file was taken, by its header; None where it does not say, or is none.

    In seconds of a NIfTI file; other formats name no unit.
    """
    if len(sources) != 1 or not Path(sources[0]).is_file():
        return None
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(sources[0]))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # of NIfTI-2, and of DICOM in time
        return None
    if reader.HasMetaDataKey(_INDEX_VALUES):
        try:
            times = [float(value) for value in reader.GetMetaData(_INDEX_VALUES).split()]
        except ValueError:  # words
            return None
        return times if len(times) == reader.GetNumberOfComponents() else None
    if reader.GetDimension() != 4:
        return None
    first, step = reader.GetOrigin()[3], reader.GetSpacing()[3]
    return [round(first + number * step, 9) for number in range(reader.GetSize()[3])]


def write_frames(frames: Sequence[Image], path: Path, times: Sequence[float] | None = None) -> None:
    """Write images on one grid as a 4D file.

    Args:
        times: of the frames, of which the file holds the first and the step to the second.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    kind = np.result_type(*(frame.values.dtype for frame in frames))  # warped ones are float32, others as they were
    of_one_kind = [dataclasses.replace(frame, values=frame.values.astype(kind, copy=False)) for frame in frames]
    begin, step = (0.0, 1.0) if times is None else (times[0], times[1] - times[0])
    joined = sitk.JoinSeries([to_sitk(frame, 3) for frame in of_one_kind], begin, step if step > 0 else 1.0)
    try:
        sitk.WriteImage(joined, str(path), useCompression=True)
    except RuntimeError as error:
        check_memory_ran_out(error)
        raise OSError(f"{path} could not be written: {str(error).strip().splitlines()[-1]}") from error


#: The types of voxels as NRRD names them.
_TYPES = {"u1": "uint8", "i2": "int16", "i4": "int32", "f4": "float", "f8": "double"}


def write_sequence(
    frames: Sequence[Image], path: Path, labels: bool = False, times: Sequence[float] | None = None
) -> None:
    """Write images on one grid as a volume sequence, which Slicer's sequence browser plays.

    The format is that of Slicer 5.8's documentation (developer guide, Sequences): a NRRD file whose first axis is the
    list of frames. SimpleITK writes no list.

    Args:
        path: ends in .seq.nrrd.
        labels: whether the frames are label maps.
        times: of the frames; their numbers where left out.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    grid, values = frames[0].grid, np.stack([frame.values for frame in frames], axis=-1)
    if labels:
        values = values.astype(np.int16 if values.max() < 32768 else np.int32)
    elif values.dtype.str[1:] not in _TYPES:
        values = values.astype(np.float32)
    columns = [f"({','.join(f'{part:.17g}' for part in grid.ijk_to_lps[:3, c])})" for c in range(3)]
    node = "vtkMRMLLabelMapVolumeNode" if labels else "vtkMRMLScalarVolumeNode"
    header = [
        "NRRD0005",
        f"type: {_TYPES[values.dtype.str[1:]]}",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {len(frames)} {' '.join(map(str, grid.size_ijk))}",
        f"space directions: none {' '.join(columns)}",
        "kinds: list domain domain domain",
        'labels: "frame" "" "" ""',
        "endian: little",
        "encoding: gzip",
        f"space origin: ({','.join(f'{part:.17g}' for part in grid.origin_lps_mm)})",
        "axis 0 index type:=numeric",
        f"{_INDEX_VALUES}:={' '.join(f'{time:.9g}' for time in times or range(len(frames)))}",
        f"DataNodeClassName:={node}",
    ]
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    path.write_bytes("\n".join([*header, "", ""]).encode("ascii") + gzipped(little.tobytes()))
