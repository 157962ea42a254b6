"""Read one image of DICOM files: the folder of a series, a single slice, or a file of many frames.

What the positions of the slices say is done exactly: a gantry tilt and uneven gaps are resampled to a regular grid.
What they do not say, and what is missing or doubled, is refused or told in a note.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..geometry.stacks import Stack
from ..processes.memory import check_room
from ..types import Grid, Image, InputError
from .dicom_slices import Group, Slice, check_in_time, chosen, groups_in, in_order_of_time, siblings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read_dicom(path: Path, role: str, series: str = "") -> Image:
    """Read an image.

    Args:
        path: a folder, or a file.
        role: what messages call the image ("fixed image").
        series: which image of several; see :func:`~.dicom_slices.chosen`.

    Returns:
        The image on a regular grid, with notes about what was resampled, left out or inverted, and its files.

    Raises:
        InputError: nothing there can be read as one image whose geometry is known.
    """
    groups, notes = groups_in(path, role)
    group = chosen(groups, series, path, role)
    if not path.is_dir():
        count = siblings(path, group, role)
        if count > 1 and len(group.slices) > 1:
            notes += (f"{count - 1} more files of the same series lie beside that of the {role}, and were not read.",)
        elif count > 1:
            raise InputError(
                f"The {role} {path} is one slice of a DICOM series; {count} slices of it lie in {path.parent}. Give "
                "that folder, or copy the slice to a folder of its own."
            )
    return _read(group, path, role, notes)


def read_dicom_frames(path: Path, role: str) -> list[Image]:
    """Read the images in time of a folder or file, in order: the phases of one series, or a series for each.

    Args:
        path: the folder, or a file of many frames.
        role: what messages call the images ("frames").

    Raises:
        InputError: there is one image, there are several series in time, or one of the images cannot be read.
    """
    groups, notes = groups_in(path, role)
    of_series: dict[str, list[Group]] = {}
    for group in groups:
        of_series.setdefault(group.slices[0].series, []).append(group)
    in_time = [several for several in of_series.values() if len(several) > 1]
    if len(in_time) > 1:
        listed = "; ".join(f"{several[0].description} and {len(several) - 1} more" for several in in_time)
        raise InputError(
            f"The {role} {path} contains {len(in_time)} series of several images: {listed}. Put the one that is meant "
            "into a folder of its own.",
            role,
        )
    frames = in_time[0] if in_time else groups
    if len(frames) > 1:
        check_in_time(frames, path, role)
    if len(frames) < 2:
        raise InputError(
            f"The {role} {path} is one volume, not a series. Give the folder of a DICOM series in time, a 4D image, or "
            "several images.",
            role,
        )
    if not in_time:
        notes += (f"Each of the {len(frames)} series of {path} is taken for a frame, in the order of their times.",)
    return [
        dataclasses.replace(_read(frame, path, role, notes), name=f"{path.name}, frame {number}")
        for number, frame in enumerate(in_order_of_time(frames))
    ]


def _read(group: Group, path: Path, role: str, notes: tuple[str, ...]) -> Image:
    """Return the image of a group of slices."""
    check_room(8 * sum(math.prod(one.size_ij) for one in group.slices), f"{role} {path}")  # rescaling takes float64
    if group.stack is None:
        grid, placing = _unplaced(group, path, role)
        values, inverted = _voxels(group.slices, role)
    else:
        group, placing = _whole(group, path, role)
        values, inverted = _voxels(group.slices, role)
        stack = _stack(group)
        grid = stack.grid(group.slices[0].size_ij)
        values = stack.values_on(grid, values, float(values.min()))
    return Image(
        values=values,
        grid=grid,
        name=path.name,
        notes=(*notes, *group.notes, *placing, *inverted),
        files=tuple(dict.fromkeys(str(one.file) for one in group.slices)),
    )


def _unplaced(group: Group, path: Path, role: str) -> tuple[Grid, list[str]]:
    """Return the plane z = 0 for a single image without a position, such as a radiograph."""
    first = group.slices[0]
    if len(group.slices) > 1 or first.pixel_mm is None:
        lacking = "pixel spacing" if first.pixel_mm is None else "position and orientation (ImagePositionPatient)"
        raise InputError(
            f"The slices of the {role} {path} have no {lacking} in their DICOM headers, so their geometry is "
            "unknown. Export the original series again (not as secondary capture), or convert it with the software of "
            "the scanner's manufacturer."
        )
    matrix = np.diag([*first.pixel_mm, 1.0, 1.0])
    note = f"The {role} has no position in its DICOM header; it was put into the plane z = 0."
    return Grid((*first.size_ij, 1), matrix), [note]


def _whole(group: Group, path: Path, role: str) -> tuple[Group, list[str]]:
    """Return the group without slices that are there twice, and notes about its geometry; refuse what is not whole."""
    stack = _stack(group)
    if stack.doubled:
        group = _without_doubles(group, path, role)
        stack = _stack(group)
        if stack.doubled:
            raise InputError(_mixed(group, stack, path, role))
    if stack.is_torn:
        n = int(stack.gaps_mm.argmax())
        raise InputError(
            f"Slices of the {role} {path} are missing: between {group.slices[n].file.name} and "
            f"{group.slices[n + 1].file.name} there is a gap of {stack.gaps_mm[n]:.1f} mm, where slices lie "
            f"{stack.usual_gap_mm:.1f} mm apart. Copy or export the whole series again."
        )
    return group, geometry_notes(stack, f"The {role}", [one.file.name for one in group.slices])


def _stack(group: Group) -> Stack:
    if group.stack is None:
        raise ValueError("these slices have no place")
    return group.stack


def geometry_notes(stack: Stack, called: str, names: Sequence[str] = ()) -> list[str]:
    """Say what is irregular about a stack of slices: missing ones, uneven gaps, a tilt.

    Args:
        stack: the slices.
        called: what to call the image at the beginning of a sentence ("The fixed image").
        names: of the slices' files, sorted as the stack is.
    """
    notes = []
    gaps = stack.gaps_mm
    if stack.missing:
        lost = sum(count for _, count in stack.missing)
        where = ""
        if names:
            where = " after " + ", ".join(names[n] for n, _ in stack.missing[:5])
        notes.append(
            f"{called} is missing {lost} slice{'s' * (lost != 1)}{where}, interpolated here from the neighboring "
            "slices. Check the images there, or export the whole series again."
        )
    elif not stack.is_even:
        notes.append(
            f"{called} has uneven slice spacing ({gaps.min():.2f} to {gaps.max():.2f} mm); it was resampled to a "
            f"spacing of {stack.step_mm:.2f} mm."
        )
    if not stack.is_straight:
        tilt = stack.tilt_degrees
        how = f"is tilted by {tilt:.1f} degrees (gantry tilt)" if tilt is not None else "has slices shifted sideways"
        notes.append(f"{called} {how}; it was resampled to a grid with axes at right angles.")
    return notes


def _mixed(group: Group, stack: Stack, path: Path, role: str) -> str:
    n = stack.doubled[0]
    names = f"{group.slices[n].file.name} and {group.slices[n + 1].file.name}"
    return (
        f"The {role} {path} mixes several images: {len(stack.doubled)} of its {len(group.slices)} slices have the same "
        f"position as another one (for example {names}), and their headers do not tell them apart. Put the slices of "
        "one image into a folder of their own."
    )


def _without_doubles(group: Group, path: Path, role: str) -> Group:
    """Leave out slices that lie at the place of another one and have its pixels; those that differ are refused."""
    stack = _stack(group)
    left_out = []
    for n in stack.doubled:
        same_plane = stack.gaps_mm[n] < 1e-3 and np.abs(stack.moved_mm[n + 1] - stack.moved_mm[n]).max() < 1e-3
        one, other = group.slices[n], group.slices[n + 1]
        if not same_plane or not np.array_equal(_voxels([one], role)[0], _voxels([other], role)[0]):
            raise InputError(_mixed(group, stack, path, role))
        left_out.append(n + 1)
    kept = [n for n in range(len(group.slices)) if n not in left_out]
    names = ", ".join(group.slices[n].file.name for n in left_out[:3])
    note = (
        f"{len(left_out)} duplicate slice{'s' * (len(left_out) != 1)} of the {role} "
        f"{'was' if len(left_out) == 1 else 'were'} left out ({names}{', ...' if len(left_out) > 3 else ''})."
    )
    reduced = Stack(
        order=np.arange(len(kept)),
        distance_mm=stack.distance_mm[kept],
        moved_mm=stack.moved_mm[kept],
        axes=stack.axes,
        pixel_mm=stack.pixel_mm,
        first_lps_mm=stack.first_lps_mm,
    )
    slices = tuple(group.slices[n] for n in kept)
    return dataclasses.replace(group, slices=slices, stack=reduced, notes=(*group.notes, note))


def _voxels(slices: Sequence[Slice], role: str) -> tuple[np.ndarray, list[str]]:
    """Return (N, J, I) values, rescaled slice by slice, and notes; small values bright are turned round."""
    frames: dict[Path, np.ndarray] = {}
    planes, notes = [], []
    for one in slices:
        if one.frame is None:
            stored = _stored(one.file, role)
        else:
            if one.file not in frames:
                whole = _stored(one.file, role)
                frames[one.file] = whole.reshape(-1, *whole.shape[-2:])
            stored = frames[one.file]
            if one.frame >= len(stored):
                raise InputError(
                    f"The {role} file {one.file} has fewer frames than its header lists. Copy or export it again."
                )
            stored = stored[one.frame]
        stored = stored.reshape(stored.shape[-2:])
        if [*stored.shape] != [one.size_ij[1], one.size_ij[0]]:
            raise InputError(
                f"The pixel data of the {role} file {one.file} do not match the size in its header. Copy or export it "
                "again."
            )
        planes.append(stored)
    slopes, intercepts = ({getattr(one, name) for one in slices} for name in ("slope", "intercept"))
    if not all(np.isfinite(n) for n in (*slopes, *intercepts)) or 0.0 in slopes:
        raise InputError(
            f"The {role} has an invalid rescale slope or intercept in its DICOM headers (first file: "
            f"{slices[0].file}). Export the series again, or convert it to NIfTI or NRRD first."
        )
    values = np.stack(planes)
    if slopes != {1.0} or not all(float(n).is_integer() for n in intercepts):
        slope, intercept = (
            np.array([getattr(one, name) for one in slices]).reshape(-1, 1, 1) for name in ("slope", "intercept")
        )
        values = (values * slope + intercept).astype(np.float32)
    elif intercepts != {0.0}:
        shift = np.array([int(one.intercept) for one in slices], np.int64).reshape(-1, 1, 1)
        values = values + shift if values.dtype.kind == "f" else _smallest(values.astype(np.int64) + shift)
    if slices[0].inverted:
        whole_numbers = values.dtype.kind in "iu"
        values = _smallest(values.max().astype(np.int64) + values.min() - values) if whole_numbers else -values
        notes.append(f"The {role} is stored with low values for bright (MONOCHROME1); it was inverted.")
    return values, notes


def _stored(file: Path, role: str) -> np.ndarray:
    """Return the stored values, without rescaling: (J, I), or (frames, J, I)."""
    import pydicom
    from pydicom import uid

    try:
        whole = pydicom.dcmread(file, force=True)
        if "ModalityLUTSequence" in whole:
            raise InputError(
                f"The {role} file {file} has a lookup table for its values (Modality LUT), which is not supported. "
                "Convert it to NIfTI or NRRD first."
            )
        syntax = whole.file_meta.get("TransferSyntaxUID")
        if syntax is None:  # written without the header of a file, as by old archives
            newer = int(pydicom.__version__.split(".")[0]) >= 3
            implicit = bool(whole.original_encoding[0] if newer else whole.is_implicit_VR)
            whole.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        elif syntax.is_encapsulated and syntax != uid.RLELossless and int(whole.get("NumberOfFrames", 1) or 1) == 1:
            return _decoded(file, whole)
        values: np.ndarray = whole.pixel_array  # of many compressed frames, where pydicom has a decoder for them
        return _used_bits(values, whole)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # pydicom and GDCM raise all kinds on damaged pixels
        words = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise InputError(
            f"The pixels of the {role} file {file} are damaged or cut short ({words[0]}). Copy or export it again."
        ) from error


def _used_bits(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Clear what old scanners keep in the unused high bits, such as overlays."""
    if values.dtype.kind not in "iu":
        return values
    stored, allocated, high = (int(header[name].value) for name in ("BitsStored", "BitsAllocated", "HighBit"))
    if stored >= allocated or not stored - 1 <= high < allocated:
        return values
    kept = (values.astype(np.int64) >> (high + 1 - stored)) & ((1 << stored) - 1)
    if int(header.PixelRepresentation):
        kept = np.where(kept >= 1 << (stored - 1), kept - (1 << stored), kept)
    return _smallest(kept)


def _smallest(values: np.ndarray) -> np.ndarray:
    """Return int64 values as int32 where they fit."""
    limits = np.iinfo(np.int32)
    return values.astype(np.int32) if limits.min <= values.min() and values.max() <= limits.max else values


def _decoded(file: Path, header: Dataset) -> np.ndarray:
    """Return compressed values, decoded by ITK's GDCM, which applies what the header says: that is undone."""
    image = sitk.ReadImage(str(file), imageIO="GDCMImageIO")
    values: np.ndarray = sitk.GetArrayFromImage(image)
    slope, intercept = float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)
    if slope != 1 or intercept != 0:
        values = np.round((values.astype(np.float64) - intercept) / slope)
    values = values.astype(np.int64)
    if str(header.get("PhotometricInterpretation", "")) == "MONOCHROME1":  # GDCM turns them round, within these bits
        signed = bool(int(header.PixelRepresentation))
        values = (-1 if signed else (1 << int(header.BitsStored)) - 1) - values
    return _smallest(values)
