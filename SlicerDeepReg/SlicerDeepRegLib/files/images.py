"""Images from and to files, with SimpleITK: NIfTI, NRRD, MetaImage, and a folder of one DICOM series."""

from __future__ import annotations

import dataclasses
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
    """Return the image, read first if it is a path. ``role`` names it in messages ("fixed image")."""
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
        itk_image = _read_dicom_folder(path, role) if path.is_dir() else _read_file(path, role)
    except RuntimeError as error:
        check_memory_ran_out(error)
        raise InputError(_explain(path, role, str(error))) from error
    itk_image = _single_volume(itk_image, path, role)
    return _with_gaps(from_sitk(itk_image, path.name), path)


def _with_gaps(image: Image, path: Path) -> Image:
    """Return an image of a NIfTI file with the NaN that ITK took for 0."""
    gaps = nifti.gaps_of(path) if image.values.dtype.kind == "f" and path.is_file() and nifti.is_nifti(path) else None
    if gaps is None:
        return image
    values = np.where(gaps.reshape(image.values.shape), np.array(np.nan, image.values.dtype), image.values)
    return dataclasses.replace(image, values=values)


def _read_file(path: Path, role: str) -> sitk.Image:
    if path.stat().st_size == 0:
        raise InputError(f"The {role} {path} is empty (0 bytes). Copy or export it again.")
    fault = nifti.fault_of(path) if nifti.is_nifti(path) else header_fault_of(path)
    if fault:
        raise InputError(f"The {role} {path} cannot be read: {fault}. Copy or export it again.")
    _check_gzip(path, role)
    return sitk.ReadImage(str(path))


def _check_gzip(path: Path, role: str) -> None:
    """Read a .gz to its checksum: a truncated one would silently be read as zeros."""
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


def _single_volume(itk_image: sitk.Image, path: Path, role: str) -> sitk.Image:
    if 0 in itk_image.GetSize():
        size = " x ".join(map(str, itk_image.GetSize()))
        raise InputError(f"The {role} {path} holds no voxels: its size is {size}. Copy or export it again.")
    if itk_image.GetDimension() == 4:
        if itk_image.GetSize()[3] != 1:
            raise InputError(
                f"The {role} {path} is a 4D series of {itk_image.GetSize()[3]} volumes. Extract the one volume that is "
                "to be registered."
            )
        itk_image = itk_image[:, :, :, 0]
    if itk_image.GetDimension() not in (2, 3):
        raise InputError(f"The {role} {path} has {itk_image.GetDimension()} dimensions; 2 or 3 are needed.")
    if itk_image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"The {role} {path} has {itk_image.GetNumberOfComponentsPerPixel()} values in each voxel (color, vector or "
            "field). Convert it to a scalar image, one value in each voxel."
        )
    return itk_image


def from_sitk(itk_image: sitk.Image, name: str) -> Image:
    """Convert a 2D or 3D SimpleITK image; a 2D one becomes a single slice in the plane z = 0."""
    dimensions = itk_image.GetDimension()
    values = sitk.GetArrayFromImage(itk_image)
    matrix = np.eye(4)
    direction = np.array(itk_image.GetDirection()).reshape(dimensions, dimensions)
    matrix[:dimensions, :dimensions] = direction * np.array(itk_image.GetSpacing())
    matrix[:dimensions, 3] = itk_image.GetOrigin()
    size_ijk = itk_image.GetSize() + (1,) * (3 - dimensions)
    return Image(values.reshape(size_ijk[::-1]), Grid(size_ijk, matrix), name, dimensions)


def to_sitk(image: Image, dimensions: int = 0) -> sitk.Image:
    """Convert an image to SimpleITK's, with its own number of dimensions unless ``dimensions`` is given."""
    dimensions = dimensions or image.dimensions
    values = image.values.astype(np.uint8) if image.values.dtype == bool else image.values
    itk_image = sitk.GetImageFromArray(values[0] if dimensions == 2 else values)
    place(itk_image, image.grid)
    return itk_image


def place(itk_image: sitk.Image, grid: Grid) -> None:
    """Give a SimpleITK image of either dimension the geometry of ``grid``."""
    n = itk_image.GetDimension()
    itk_image.SetSpacing(grid.spacing_mm[:n].tolist())
    itk_image.SetOrigin(grid.origin_lps_mm[:n].tolist())
    itk_image.SetDirection(grid.direction[:n, :n].ravel().tolist())


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
    """Return how many voxels an image file has by its header, or a folder by the size of its files; 0 if unknown."""
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
    """Compute the SHA-256 of a file (of every file of a folder, in order), or of an image's voxels and grid."""
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
