"""NIfTI files: read with nibabel, and their headers checked before, so that no damaged one is read as zeros.

NIfTI-1 (348 bytes) and NIfTI-2 (540 bytes), in either byte order: https://nifti.nimh.nih.gov. ITK, which writes them
here, cannot read NIfTI-2, refuses sheared grids, and does not say which of two geometries it took.
"""

from __future__ import annotations

import dataclasses
import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from ..processes.memory import check_room
from ..types import Grid, Image, InputError
from .units import UNITS_MM, in_plural

#: Nothing lies so far away.
_FAR_MM = 1e9
#: Enough for either header.
_HEAD = 544
#: Bytes of a voxel by the header's code for its type.
_BYTES = {1: 1 / 8, 2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4}
_BYTES.update({1024: 8, 1280: 8, 1536: 16, 1792: 16, 2048: 32, 2304: 4})
#: Where the two kinds keep what is needed: size of the header, magic and its place, dimensions, type, voxels' offset.
_KINDS = (
    (348, b"n+1\0", 344, (40, "8h"), (70, "h"), (108, "f")),
    (540, b"n+2\0", 4, (16, "8q"), (12, "h"), (168, "q")),
)


#: How the note says it of an image.
NO_ORIENTATION = "has no orientation (neither qform nor sform)"
#: RAS, which NIfTI speaks, to LPS.
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Two geometries agree if no corner is farther apart, and axes are at right angles if no cosine is larger.
_AGREE_MM, _SHEARED = 0.1, 1e-4


def read(path: Path, role: str) -> Image:
    """Read a file whose header was checked (see :func:`fault_of`).

    Of qform and sform the one is taken that ITK takes, and so Slicer: the sform if its code is 1 or there is no qform,
    else the qform; but the sform where it is sheared, because a qform cannot be.

    Args:
        path: a .nii or .nii.gz.
        role: what messages call the image.

    Returns:
        The image with the type of the file, float32 where it has a slope; notes say which geometry was taken if two
        disagree, and that there is none.

    Raises:
        InputError: it is damaged, too large for memory, a series of volumes, or holds colors or vectors.
    """
    volumes = _volumes(path, role)
    if len(volumes) > 1:
        raise InputError(
            f"The {role} {path} is a 4D series of {len(volumes)} volumes. Extract the one volume that is to be "
            "registered."
        )
    return volumes[0]


def read_series(path: Path, role: str) -> list[Image]:
    """Read the volumes of a 4D file, in order; see :func:`read`. A file of one volume is a series of one."""
    volumes = _volumes(path, role)
    return [dataclasses.replace(one, name=f"{path.name}, frame {number}") for number, one in enumerate(volumes)]


def _volumes(path: Path, role: str) -> list[Image]:
    import nibabel

    try:
        file = nibabel.load(path)
        header, data = file.header, file.dataobj
        slope, intercept = float(data.slope), float(data.inter)
        shape = tuple(side or 1 for side in data.shape)  # some write 0 for the sides after the third
        stored = nibabel.arrayproxy.ArrayProxy(str(path), (shape, data.dtype, data.offset, slope, intercept))
        announced = math.prod(shape) * max(data.dtype.itemsize, 1 if (slope, intercept) == (1.0, 0.0) else 4)
        check_room(announced, f"{role} {path}")
        values = np.array(stored.get_unscaled())
        forms = [(header.get_sform(), int(header["sform_code"])), (_qform(header), int(header["qform_code"]))]
        unit = unit_of(header)
        sides = [float(side) for side in header.get_zooms()[:3]]
    except (InputError, MemoryError):
        raise
    except Exception as error:  # nibabel raises all kinds on damaged files
        words = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise InputError(
            f"The {role} {path} cannot be read: it is damaged ({words[0]}). Copy or export it again."
        ) from error
    dimensions = 2 if values.ndim == 2 else 3
    values = _scalars(values, path, role)
    if (slope, intercept) != (1.0, 0.0):
        values = (values * slope + intercept).astype(np.float32 if values.dtype.kind != "c" else np.complex64)
    values = np.ascontiguousarray(values.T.astype(values.dtype.newbyteorder("="), copy=False))
    factor, size_ijk = UNITS_MM[unit], values.shape[:0:-1]
    matrix, notes = _matrix(forms, sides, size_ijk, role, factor)
    if factor != 1:
        notes.append(f"The {role} gives its geometry in {in_plural(unit)}; it was converted to mm.")
    lps = np.diag([factor] * 3 + [1.0]) @ matrix
    if dimensions == 2:
        lps = _in_plane(lps)
    grid = Grid(size_ijk, lps)
    return [Image(volume, grid, path.name, dimensions, tuple(notes), (str(path),)) for volume in values]


def unit_of(header: Any) -> str:
    """Return "meter" or "micron" where a header says that its geometry is in them, else "mm"."""
    return {1: "meter", 3: "micron"}.get(int(header["xyzt_units"]) & 7, "mm")


def _qform(header: Any) -> np.ndarray:
    """Return the (4, 4) qform, RAS; of zeros where its quaternion cannot be one.

    nibabel refuses the whole file for a quaternion that rounding made longer than 1.
    """
    from nibabel.quaternions import quat2mat

    matrix = np.zeros((4, 4))
    bcd = np.array([float(header[f"quatern_{letter}"]) for letter in "bcd"])
    length = float(bcd @ bcd)
    if not length < 1.001:
        return matrix
    first = float(np.sqrt(max(0.0, 1.0 - length)))
    sides = np.array(header["pixdim"][1:4], float)
    sides[2] *= -1 if float(header["pixdim"][0]) < 0 else 1
    matrix[:3, :3] = quat2mat([first, *(bcd / max(1.0, np.sqrt(length)))]) * sides
    matrix[:3, 3] = [float(header[f"qoffset_{letter}"]) for letter in "xyz"]
    matrix[3, 3] = 1
    return matrix


def _scalars(values: np.ndarray, path: Path, role: str) -> np.ndarray:
    """Return volumes of numbers, (I, J, K, N)."""
    if values.dtype.fields is not None or (values.ndim == 5 and values.shape[4] > 1 and values.shape[3] == 1):
        count = len(values.dtype.fields) if values.dtype.fields is not None else values.shape[4]
        raise InputError(
            f"The {role} {path} has {count} values in each voxel (color, vector or field). Convert it to a scalar "
            "image, one value in each voxel."
        )
    if values.ndim < 2:
        raise InputError(f"The {role} {path} has {values.ndim} dimensions; 2 or 3 are needed.")
    sides = (*values.shape[:3], *[1] * (3 - values.ndim))
    return values.reshape((*sides, -1), order="F")  # volumes after each other, as the file has them


def _matrix(
    forms: Sequence[tuple[np.ndarray, int]], sides: Sequence[float], size_ijk: Sequence[int], role: str, unit_mm: float
) -> tuple[np.ndarray, list[str]]:
    """Return (4, 4) from voxels to LPS in the file's unit, and notes."""
    (sform, sform_code), (qform, qform_code) = forms
    # An empty sform, or a quaternion that cannot be one, does not count beside a good one.
    if _is_geometry(qform, qform_code) and not _is_geometry(sform, sform_code):
        sform_code = 0
    elif _is_geometry(sform, sform_code) and not _is_geometry(qform, qform_code):
        qform_code = 0
    if sform_code <= 0 and qform_code <= 0:
        note = f"The {role} {NO_ORIENTATION}: which side is left is not known."
        return np.diag([*sides, *[1.0] * (3 - len(sides)), 1.0]), [note]
    if qform_code <= 0:
        return _TO_LPS @ sform, []
    if sform_code <= 0:
        return _TO_LPS @ qform, []
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(size_ijk) - 1
    apart_mm = unit_mm * float(np.linalg.norm(corners @ (sform - qform).T, axis=1).max())
    axes = sform[:3, :3] / np.maximum(np.linalg.norm(sform[:3, :3], axis=0), 1e-12)
    sheared = bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEARED)
    taken = "sform" if sheared or sform_code == 1 else "qform"
    matrix = _TO_LPS @ (sform if taken == "sform" else qform)
    if apart_mm <= _AGREE_MM:
        return matrix, []
    why = "because it is sheared, which a qform cannot be" if sheared else "as Slicer takes it"
    return matrix, [
        f"The qform and sform of the {role} disagree by up to {apart_mm:.1f} mm; the {taken} was taken, {why}."
    ]


def _is_geometry(matrix: np.ndarray, code: int) -> bool:
    return code > 0 and abs(float(np.linalg.det(matrix[:3, :3]))) > 1e-9


def _in_plane(matrix: np.ndarray) -> np.ndarray:
    """Return what a 2D file says of its own plane, as a plane z = 0."""
    flat, sides = np.eye(4), np.linalg.norm(matrix[:3, :2], axis=0)
    flat[:2, 3] = matrix[:2, 3]
    seen = matrix[:2, :2] / np.maximum(np.linalg.norm(matrix[:2, :2], axis=0), 1e-12)
    # Seen along z, pixels of an oblique plane look smaller than they are, and their axes not at right angles.
    upright = (np.linalg.norm(matrix[:2, :2], axis=0) > 1e-3 * sides).all() and abs(seen[:, 0] @ seen[:, 1]) < 1e-3
    flat[:2, :2] = (seen if upright else np.eye(2)) * sides
    return flat


def fault_of(path: Path) -> str | None:
    """Say what is wrong with a .nii or .nii.gz, as the end of a sentence; None if nothing is.

    A .gz is read to its checksum, so that one that is cut short is found.
    """
    try:
        with _opened(path) as stream:
            head = stream.read(_HEAD)
            needed, fault = _needed(head)
            if fault:
                return fault
            length = len(head) + _rest(stream) if _is_packed(path) else path.stat().st_size
    except (EOFError, OSError, zlib.error) as error:
        return f"it is damaged or cut short ({error})"
    if length < needed:
        return f"it is cut short: its header announces {needed} bytes, and it has {length}"
    return None


def header_fault_of(path: Path) -> str | None:
    """Say what is wrong with the header alone, which takes no time."""
    try:
        with _opened(path) as stream:
            return _needed(stream.read(_HEAD))[1]
    except (EOFError, OSError, zlib.error) as error:
        return f"it is damaged or cut short ({error})"


def is_nifti(path: Path) -> bool:
    """Return whether the file's name is that of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _opened(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if _is_packed(path) else open(path, "rb")


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _rest(stream: BufferedIOBase) -> int:
    length = 0
    while True:
        block = stream.read(1 << 22)
        if not block:
            return length
        length += len(block)


def _needed(head: bytes) -> tuple[int, str | None]:
    """Return how many bytes the whole file must have, and what is wrong with its header."""
    for size, magic, magic_at, dims, kind, offset in _KINDS:
        for order in "<>":
            if len(head) >= size and struct.unpack_from(order + "i", head, 0)[0] == size:
                if head[magic_at : magic_at + 4] != magic:
                    return 0, "its header does not say that it is NIfTI (an old Analyze file, or damaged)"
                count, *sides = struct.unpack_from(order + dims[1], head, dims[0])
                code = struct.unpack_from(order + kind[1], head, kind[0])[0]
                start = struct.unpack_from(order + offset[1], head, offset[0])[0]
                if size == 348 and _place_fault(head, order, min(count, 3)):
                    return 0, "its header does not say where its voxels lie: its numbers are not finite, or too large"
                return _bytes(count, sides, code, start, size)
    return 0, "it does not begin with a NIfTI header"


def _place_fault(head: bytes, order: str, sides: int) -> bool:
    """Check whether the voxels' geometry has non-finite numbers: ITK would search for a rotation forever."""
    quaternion, rows = struct.unpack_from(order + "2h", head, 252)
    numbers = list(struct.unpack_from(order + "8f", head, 76)[1 : max(0, sides) + 1])  # the voxels' sides
    numbers += struct.unpack_from(order + "6f", head, 256) if quaternion > 0 else ()
    numbers += struct.unpack_from(order + "12f", head, 280) if rows > 0 else ()
    return not all(abs(number) < _FAR_MM for number in numbers)


def _bytes(count: int, sides: Sequence[int], code: int, start: float, size: int) -> tuple[int, str | None]:
    # Writers leave 0 in the dimensions after the third; readers take it for 1.
    sides = [*sides[:3], *(side or 1 for side in sides[3:])]
    if not 1 <= count <= 7 or any(side < 1 for side in sides[:count]):
        return 0, f"its header has an invalid size ({count} dimensions of {', '.join(map(str, sides[:4]))}, ...)"
    if code not in _BYTES:
        return 0, f"its header names a voxel type that NIfTI does not have ({code})"
    if not np.isfinite(start) or not 0 <= start < 2**40:
        return 0, "its header does not say where its voxels begin"
    voxels = 1
    for side in sides[:count]:
        voxels *= int(side)
    return max(int(start), size) + int(voxels * _BYTES[code]), None
