"""Series of images: the volumes of a 4D file, or several files, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import SimpleITK as sitk

from ..types import Image, InputError
from .images import check_memory_ran_out, from_sitk, load, to_sitk


def read_frames(sources: Sequence[str], role: str) -> list[Image]:
    """Return the frames of a series, in order.

    Args:
        sources: one 4D image (NIfTI, NRRD, MetaImage), or the frames as images of their own.
        role: for messages.

    Raises:
        InputError: a file cannot be read, or the only one is a single volume.
    """
    if len(sources) > 1:
        return [load(source, f"{role} image {number}") for number, source in enumerate(sources)]
    path = Path(sources[0])
    if not path.is_file():
        raise InputError(f"The {role} file {path} does not exist, or is not a file. Check the path.", role)
    try:
        whole = sitk.ReadImage(str(path))
    except RuntimeError as error:
        check_memory_ran_out(error)
        last = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"The {role} file {path} could not be read ({last}). Give a 4D image.", role) from error
    if whole.GetDimension() != 4 or whole.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"The {role} file {path} is one volume, not a series. Give a 4D image, or several images.", role
        )
    count = whole.GetSize()[3]
    return [from_sitk(whole[:, :, :, number], f"{path.name}, frame {number}") for number in range(count)]


def write_frames(frames: Sequence[Image], path: Path) -> None:
    """Write images on one grid as a 4D file.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    joined = sitk.JoinSeries([to_sitk(frame, 3) for frame in frames])
    try:
        sitk.WriteImage(joined, str(path), useCompression=True)
    except RuntimeError as error:
        check_memory_ran_out(error)
        raise OSError(f"{path} could not be written: {str(error).strip().splitlines()[-1]}") from error
