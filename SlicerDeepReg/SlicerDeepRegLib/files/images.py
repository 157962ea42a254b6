"""Images from and to files, with SimpleITK: NIfTI, NRRD, MetaImage, and a folder of one DICOM series."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..types import Grid, Image, InputError, Source
from . import nifti
from .atomic import whole_files
from .headers import header_fault_of

FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) or a folder with one DICOM series"


def load(source: Source, role: str) -> Image:
    """The image itself, or the image read from a path. ``role`` names it in messages ("fixed image")."""
    return source if isinstance(source, Image) else read_image(source, role)


def read_image(path: str | os.PathLike, role: str = "image") -> Image:
    """Read one scalar 2D or 3D image.

    Args:
        path: a file, or a folder that holds one DICOM series.
        role: what the image is for, as the messages should call it ("fixed image").

    Returns:
        The image with the pixel type of the file; a 2D file becomes one slice, ``dimensions`` 2.

    Raises:
        InputError: missing, unreadable, truncated, empty, 4D, vector or color data, or a bad header.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"The {role} {path} does not exist. Check the path.")
    try:
        picture = _read_dicom_folder(path, role) if path.is_dir() else _read_file(path, role)
    except RuntimeError as error:
        check_memory_ran_out(error)
        raise InputError(_explain(path, role, str(error))) from error
    picture = _single_volume(picture, path, role)
    return from_sitk(picture, path.name)


def _read_file(path: Path, role: str) -> sitk.Image:
    if path.stat().st_size == 0:
        raise InputError(f"The {role} {path} is empty (0 bytes). Copy or export it again.")
    fault = nifti.fault_of(path) if nifti.is_nifti(path) else header_fault_of(path)
    if fault:
        raise InputError(f"The {role} {path} cannot be read: {fault}. Copy or export it again.")
    _check_gzip(path, role)
    return sitk.ReadImage(str(path))


def _check_gzip(path: Path, role: str) -> None:
    """A truncated .gz would be read as zeros without a word, so read it to its checksum first."""
    if path.suffix.lower() != ".gz" or nifti.is_nifti(path):  # those were read to their end already
        return
    try:
        with gzip.open(path, "rb") as stream:
            while stream.read(1 << 24):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"The {role} {path} is damaged or cut short ({error}). Copy or export it again.") from error


def _read_dicom_folder(path: Path, role: str) -> sitk.Image:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    if not series:
        raise InputError(f"The {role} folder {path} holds no DICOM series. Give {FORMATS}.")
    if len(series) > 1:
        counts = [len(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), uid)) for uid in series]
        raise InputError(
            f"The {role} folder {path} holds {len(series)} DICOM series (of {', '.join(map(str, counts))} files). "
            "Put the series to be registered in a folder of its own."
        )
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series[0]))
    return reader.Execute()


def _explain(path: Path, role: str, message: str) -> str:
    lowered = message.lower()
    if "direction" in lowered or "orthonormal" in lowered or "determinant" in lowered:
        return (
            f"The {role} {path} has a direction matrix that cannot be used (singular, or its axes are not at right "
            "angles). Resample it to a regular grid or correct its header."
        )
    if "unable to determine imageio" in lowered or "could not create" in lowered:
        return f"The {role} {path} is not an image that can be read here. Give {FORMATS}."
    last_line = message.strip().splitlines()[-1].strip()
    return f"The {role} {path} could not be read; it may be damaged or cut short ({last_line}). Export it again."


def _single_volume(picture: sitk.Image, path: Path, role: str) -> sitk.Image:
    if 0 in picture.GetSize():
        size = " x ".join(map(str, picture.GetSize()))
        raise InputError(f"The {role} {path} holds no voxels: its size is {size}. Copy or export it again.")
    if picture.GetDimension() == 4:
        if picture.GetSize()[3] != 1:
            raise InputError(
                f"The {role} {path} is a 4D series of {picture.GetSize()[3]} volumes. Extract the one volume that is "
                "to be registered."
            )
        picture = picture[:, :, :, 0]
    if picture.GetDimension() not in (2, 3):
        raise InputError(f"The {role} {path} has {picture.GetDimension()} dimensions; 2 or 3 are needed.")
    if picture.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"The {role} {path} has {picture.GetNumberOfComponentsPerPixel()} values in each voxel (color, vector or "
            "field). Convert it to a scalar image, one value in each voxel."
        )
    return picture


def from_sitk(picture: sitk.Image, name: str) -> Image:
    """A 2D or 3D SimpleITK image as ours; a 2D one becomes a single slice in the plane z = 0."""
    dimensions = picture.GetDimension()
    values = sitk.GetArrayFromImage(picture)
    matrix = np.eye(4)
    direction = np.array(picture.GetDirection()).reshape(dimensions, dimensions)
    matrix[:dimensions, :dimensions] = direction * np.array(picture.GetSpacing())
    matrix[:dimensions, 3] = picture.GetOrigin()
    size_ijk = picture.GetSize() + (1,) * (3 - dimensions)
    return Image(values.reshape(size_ijk[::-1]), Grid(size_ijk, matrix), name, dimensions)


def to_sitk(image: Image, dimensions: int = 0) -> sitk.Image:
    """Ours as SimpleITK's, in the dimensions it came from unless told otherwise."""
    dimensions = dimensions or image.dimensions
    values = image.values.astype(np.uint8) if image.values.dtype == bool else image.values
    picture = sitk.GetImageFromArray(values[0] if dimensions == 2 else values)
    place(picture, image.grid)
    return picture


def place(picture: sitk.Image, grid: Grid) -> None:
    """Give a SimpleITK image of either dimension the geometry of ``grid``."""
    n = picture.GetDimension()
    picture.SetSpacing(grid.spacing_mm[:n].tolist())
    picture.SetOrigin(grid.origin_lps_mm[:n].tolist())
    picture.SetDirection(grid.direction[:n, :n].ravel().tolist())


def write_image(image: Image, path: str | os.PathLike) -> None:
    """Write a scalar image, compressed, in the format that the name's ending says.

    Raises:
        OSError: the disk is full, or the file cannot be written; a file of that name is as it was.
    """
    path = Path(path)
    with whole_files(path.parent) as folder:  # a .mhd has two files
        _write_checked(image, folder / path.name)


def _write_checked(image: Image, path: Path) -> None:
    try:
        sitk.WriteImage(to_sitk(image), str(path), useCompression=True)
        # ITK's writers of NIfTI and, before 5.4, of MetaImage say nothing when the disk fills up: the file is cut
        # short, to be read as zeros.
        fault = nifti.fault_of(path) if nifti.is_nifti(path) else header_fault_of(path)
    except RuntimeError as error:
        check_memory_ran_out(error)
        fault = str(error).strip().splitlines()[-1]
    if fault:
        raise OSError(errno.EIO, f"writing {path.name} failed: {fault}")


def check_memory_ran_out(error: RuntimeError) -> None:
    """Raise MemoryError where that is what an error of ITK says: it is not the file's fault."""
    if "allocate memory" in str(error):
        raise MemoryError(str(error)) from error


def approximate_voxels(path: str | os.PathLike) -> int:
    """How many voxels an image file has, from its header; for a folder, from the size of its files; 0 if unknown."""
    path = Path(path)
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) // 2
    if not path.is_file() or header_fault_of(path):  # whoever reads it will say so
        return 0
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # not an image: likewise
        return 0
    return int(np.prod(reader.GetSize()))


def checksum(source: Source) -> str:
    """SHA-256 of the file (of every file of a folder, in order), or of an in-memory image's voxels and grid."""
    digest = hashlib.sha256()
    if isinstance(source, Image):
        digest.update(np.ascontiguousarray(source.values).tobytes())
        digest.update(source.grid.ijk_to_lps.tobytes())
        return digest.hexdigest()
    path = Path(source)
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with open(file, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 22), b""):
                digest.update(block)
    return digest.hexdigest()
