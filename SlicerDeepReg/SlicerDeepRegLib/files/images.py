"""Images from and to files: NIfTI, NRRD, MetaImage, DICOM, and pictures of one slice."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..geometry.grids import at_right_angles
from ..processes.memory import check_room
from ..types import GeometryError, Grid, Image, InputError, Source
from . import nifti
from .atomic import check_name, whole_files
from .deflate import gzip_file
from .detached import files_of, outside_of
from .dicom_images import read_dicom
from .dicom_slices import is_dicom, may_be_dicom
from .headers import header_fault_of, unit_of
from .units import UNITS_MM, in_plural

FORMATS = (
    "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), DICOM (the folder of a series, or a file), or "
    "a gray picture (.png, .tif)"
)
#: ITK's readers that may be used, by the ending of a file's name: no other one is ever tried on a stranger's bytes.
_READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".png": "PNGImageIO",
    ".tif": "TIFFImageIO",
    ".tiff": "TIFFImageIO",
}
_PICTURES = ("PNGImageIO", "TIFFImageIO")
#: Cosines between the axes of a grid that ITK, and what it writes, take for right angles.
_SHEARED = 1e-4


def load(source: Source, role: str, series: str = "", straight: bool = True, allow_outside: bool = False) -> Image:
    """Return the image, read first if it is a path, with voxels of a type that everything here can compute with.

    Raises:
        InputError: as of :func:`read_image`; or an image in memory has other voxels than numbers.
    """
    if not isinstance(source, Image):
        return read_image(source, role, series, straight, allow_outside)
    values = source.values
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"The {role} is a masked array. Fill it, and give the mask as a mask.")
    if values.dtype.kind not in "biufc":
        raise InputError(f"The {role} must be an array of numbers; it was of {values.dtype}.")
    dtype = values.dtype.newbyteorder("=")
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    elif dtype.kind == "f" and dtype.itemsize not in (4, 8):  # half precision, and more than double
        dtype = np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return source if dtype == values.dtype else dataclasses.replace(source, values=values.astype(dtype))


def read_image(
    path: str | os.PathLike,
    role: str = "image",
    series: str = "",
    straight: bool = True,
    allow_outside: bool = False,
) -> Image:
    """Read one scalar 2D or 3D image.

    Args:
        path: a file, or a folder that holds a DICOM series.
        role: what the image is for, as the messages should call it ("fixed image").
        series: which of several DICOM images in the folder; see :func:`~.dicom_slices.chosen`.
        straight: whether a sheared grid is resampled to one with axes at right angles; not for labels, which are
            brought to another grid later.
        allow_outside: whether a header may name data files outside its folder.

    Returns:
        The image with the pixel type of the file; a 2D file becomes one slice, ``dimensions`` 2.

    Raises:
        InputError: missing, unreadable, truncated, empty, 4D, vector or color data, a bad header, data files that are
            missing or lie elsewhere, or several DICOM images of which none was chosen.
    """
    path = Path(path)
    check_name(str(path))
    if not path.exists():
        raise InputError(f"The {role} {path} does not exist. Check the path.")
    is_folder_or_dicom = path.is_dir() or (
        path.is_file() and path.suffix.lower() not in _READERS and _is_dicom_file(path)
    )
    if series and not is_folder_or_dicom:
        raise InputError(
            f"The {role} {path} is not DICOM, so no series can be chosen in it. Leave out the option that chooses one "
            "(--fixed-series, --moving-series)."
        )
    try:
        if is_folder_or_dicom:
            return read_dicom(path, role, series)
        image = _read_file(path, role, allow_outside)
    except GeometryError as error:
        raise InputError(f"The {role} {path} cannot be used: {error}", error.control) from error
    except RuntimeError as error:
        check_memory_ran_out(error)
        raise InputError(_explain(path, role, str(error))) from error
    return straightened(image, role) if straight else image


def _is_dicom_file(path: Path) -> bool:
    return not nifti.is_nifti(path) and (is_dicom(path) or path.suffix.lower() in (".dcm", ".dicom", ".ima"))


def check_file(path: Path, role: str, allow_outside: bool = False) -> None:
    """Raise InputError for a file that is no image, is cut short, or names data files elsewhere; see ``read_image``."""
    if not path.is_file():
        raise InputError(f"The {role} {path} is not a regular file. Give {FORMATS}.")
    if path.stat().st_size == 0:
        raise InputError(f"The {role} {path} is empty (0 bytes). Copy or export it again.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None and not nifti.is_nifti(path):
        raise InputError(f"The {role} {path} is not an image that can be read here. Give {FORMATS}.")
    outside = None if allow_outside else outside_of(path)
    if outside is not None:
        raise InputError(
            f"The header of the {role} {path} names the data file {outside}, which lies outside the header's folder. "
            "Copy that file beside the header; if you trust the header, register --allow-outside reads it there."
        )
    fault = nifti.fault_of(path) if reader is None else header_fault_of(path)
    if fault:
        raise InputError(f"The {role} {path} cannot be read: {fault}. Copy or export it again.")


def _read_file(path: Path, role: str, allow_outside: bool) -> Image:
    check_file(path, role, allow_outside)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        return nifti.read(path, role)
    itk_image = _read_single_volume(path, role, reader)
    notes: tuple[str, ...] = ()
    space = itk_image.GetMetaData("NRRD_space") if "NRRD_space" in itk_image.GetMetaDataKeys() else ""
    if reader == "NrrdImageIO" and not space.lower().startswith(("left-", "right-", "ras", "las", "lps")):
        notes = (f"The {role} names no anatomical space in its header; its axes were taken as LPS.",)
    image = from_sitk(itk_image, path.name)
    image = in_mm(image, path, role)
    notes += image.notes
    if reader in _PICTURES:
        notes += _unsized(image, role)
    return dataclasses.replace(image, notes=notes, files=tuple(map(str, files_of(path))))


def in_mm(image: Image, path: Path, role: str) -> Image:
    """Return what was read from a NRRD in mm, with a note where it was in another unit: ITK does not look at it.

    Raises:
        InputError: its header names several units, or one that is no length.
    """
    try:
        unit = unit_of(path)
    except ValueError as error:
        raise InputError(f"The {role} {path} cannot be used: {error}, not in mm. Save it in mm.") from error
    if unit == "mm":
        return image
    matrix = np.diag([UNITS_MM[unit]] * 3 + [1.0]) @ image.grid.ijk_to_lps
    note = f"The {role} gives its geometry in {in_plural(unit)}; it was converted to mm."
    return dataclasses.replace(image, grid=Grid(image.grid.size_ijk, matrix), notes=(*image.notes, note))


def _unsized(image: Image, role: str) -> tuple[str, ...]:
    """Say what a picture does not: how large its pixels are, and in a stack how far apart its slices."""
    unknown = ["how large its pixels are"] if (image.grid.spacing_mm[:2] == 1).all() else []
    unknown += ["how far apart its slices are"] if image.grid.size_ijk[2] > 1 else []
    if not unknown:
        return ()
    return (f"The {role} is a picture that does not say {' and '.join(unknown)}; 1 mm was taken.",)


def straightened(image: Image, role: str, labels: bool = False) -> Image:
    """Return the image on a grid whose axes are at right angles: itself, if its own are; else resampled, with a note.

    Labels are taken from the nearest voxel, and there are none outside.

    Viewers and file formats differ in what they make of a sheared grid, and most drop the shear without a word.
    """
    direction = image.grid.direction
    if np.abs(direction.T @ direction - np.eye(3)).max() <= _SHEARED:
        return image
    if image.values.dtype.kind == "c":
        raise InputError(
            f"The {role} ({image.name}) has complex values (real and imaginary part). Convert it to a magnitude image."
        )
    grid = at_right_angles(image.grid)
    finite = image.values[np.isfinite(image.values)]
    lowest = float(finite.min()) if finite.size else 0.0
    target = sitk.Image(grid.size_ijk, sitk.sitkUInt8)
    place(target, grid)
    source = to_sitk(image, 3) if labels else sitk.Cast(to_sitk(image, 3), sitk.sitkFloat32)
    how, lowest = (sitk.sitkNearestNeighbor, 0.0) if labels else (sitk.sitkLinear, lowest)
    values = sitk.Resample(source, target, sitk.Transform(3, sitk.sitkIdentity), how, lowest)
    note = f"The axes of the {role} are not at right angles (it is sheared, as by a gantry tilt); it was resampled."
    return dataclasses.replace(image, values=sitk.GetArrayFromImage(values), grid=grid, notes=(*image.notes, note))


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
    return (
        f"The {role} {path} could not be read; it may be damaged or cut short ({last_line}). Copy or export it again."
    )


def _read_single_volume(path: Path, role: str, image_io: str) -> sitk.Image:
    """Read a scalar 2D or 3D image; whatever is not one, or does not fit into memory, is refused by its header."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if 0 in size:
        raise InputError(
            f"The {role} {path} has no voxels: its size is {' x '.join(map(str, size))}. Copy or export it again."
        )
    if len(size) == 4 and size[3] != 1:
        raise InputError(
            f"The {role} {path} is a 4D series of {size[3]} volumes. Extract the one volume that is wanted."
        )
    if len(size) not in (2, 3, 4):
        raise InputError(f"The {role} {path} has {len(size)} dimensions; 2 or 3 are needed.")
    if components != 1:
        raise InputError(
            f"The {role} {path} has {components} values in each voxel (color, vector or field). Convert it to a scalar "
            "image, one value in each voxel."
        )
    check_room(announced_bytes(reader), f"{role} {path}")
    itk_image = reader.Execute()
    return itk_image[:, :, :, 0] if len(size) == 4 else itk_image


def announced_bytes(reader: sitk.ImageFileReader) -> int:
    """Return how many bytes of voxels a header announces, whose information was read."""
    size = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * int(size.GetSizeOfPixelComponent())


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


def write_image(image: Image, path: str | os.PathLike, keys: Mapping[str, str] | None = None) -> None:
    """Write a scalar image, compressed, in the format that the name's ending says.

    Args:
        image: what to write.
        path: where to.
        keys: texts for the header of a file whose format has room for them (NRRD).

    Raises:
        OSError: the disk is full, or the file cannot be written; a file of that name is as it was.
    """
    path = Path(path)
    with whole_files(path.parent) as folder:  # a .mhd has two files
        _write_checked(image, folder / path.name, keys or {})


#: Endings of files that labels and maps of any grid can be written as.
WRITTEN_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".nhdr")


def check_image_name(path: Path) -> None:
    """Raise InputError where a file's name does not end as that of an image that can be written."""
    if not path.name.lower().endswith(WRITTEN_ENDINGS):
        raise InputError(f"The output {path} must end with {', '.join(WRITTEN_ENDINGS[:-1])} or {WRITTEN_ENDINGS[-1]}.")


def _write_checked(image: Image, path: Path, keys: Mapping[str, str]) -> None:
    try:
        volume = to_sitk(image)
        for key, value in keys.items():
            volume.SetMetaData(key, value)
        if path.name.lower().endswith(".nii.gz"):
            sitk.WriteImage(volume, str(path.with_suffix("")))
            gzip_file(path.with_suffix(""), path)  # several times as fast as ITK
        else:
            sitk.WriteImage(volume, str(path), useCompression=True)
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


def approximate_voxels(path: str | os.PathLike, allow_outside: bool = False) -> int:
    """Return how many voxels an image file has by its header, or a folder by the size of its files; 0 if unknown."""
    path = Path(path)
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) // 2
    if (
        not path.is_file() or not (allow_outside or outside_of(path) is None) or header_fault_of(path)
    ):  # whoever reads it will say so
        return 0
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # not an image: likewise
        return 0
    return int(np.prod(reader.GetSize()))


def checksum(source: Source) -> str:
    """Compute the SHA-256 of a file and the data files it names, of a folder's DICOM files, or of voxels and grid.

    Other files in a folder (a .DS_Store, results) do not count: they are no part of the image.
    """
    digest = hashlib.sha256()
    if isinstance(source, Image):
        digest.update(np.ascontiguousarray(source.values).tobytes())
        digest.update(source.grid.ijk_to_lps.tobytes())
        return digest.hexdigest()
    path = Path(source)
    files = files_of(path)
    if path.is_dir():
        everything = sorted(p for p in path.rglob("*") if p.is_file())
        files = tuple(file for file in everything if may_be_dicom(file)) or tuple(everything)
    for file in files:
        with open(file, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 22), b""):
                digest.update(block)
    return digest.hexdigest()
