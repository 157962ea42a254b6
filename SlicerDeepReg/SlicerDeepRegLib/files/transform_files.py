"""Our transform as a file of ITK's: one composite transform in HDF5, which ITK, SimpleITK, ANTs and Slicer read.

ITK itself writes fields as doubles without compression: 550 MB for a pair of brains of 1 mm. Here they are floats,
rounded to a hundredth of a voxel, shuffled and compressed, chunk by chunk on several threads.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

from .. import __version__
from ..processes.load import in_threads
from ..types import Field, Grid, Transform
from .deflate import LEVEL, deflated
from .images import place
from .transforms import affine, inverse_parts, parts

#: Values of a chunk: few enough that all threads have work, enough to compress well.
CHUNK = 1 << 19


def write_transform(transform: Transform, path: str | os.PathLike, dimensions: int = 3) -> None:
    """Write the fixed-to-moving transform, LPS mm; ``dimensions`` is 2 for a transform between 2D images.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    _write(parts(transform), path, dimensions)


def write_inverse(transform: Transform, path: str | os.PathLike, dimensions: int = 3) -> None:
    """Write the inverse, the moving-to-fixed transform, LPS mm.

    Raises:
        ValueError: there is a field but no inverse field.
        OSError: as of ``write_transform``.
    """
    _write(inverse_parts(transform), path, dimensions)


def read_fields(path: str | os.PathLike, inverse_path: str | os.PathLike) -> Transform:
    """Read a transform and its inverse that ``write_transform`` and ``write_inverse`` wrote, part by part.

    Raises:
        OSError, KeyError, ValueError: a file is missing, or was not written by them.
    """
    forward, back = _read(path), _read(inverse_path)
    fields = [part for part in forward if isinstance(part, Field)]
    if not forward or isinstance(forward[0], Field) or len(fields) != len(forward) - 1 or len(fields) > 1:
        raise ValueError("it is not a matrix and a field")
    if not back or isinstance(back[-1], Field):
        raise ValueError("its inverse is not fields and a matrix")
    inverse_fields = tuple(part for part in back[::-1] if isinstance(part, Field))
    return Transform(forward[0], fields[0] if fields else None, inverse_fields)


def _read(path: str | os.PathLike) -> list[np.ndarray | Field]:
    import h5py

    found: list[np.ndarray | Field] = []
    with h5py.File(path, "r") as file:
        group = file["TransformGroup"]
        for number in range(1, len(group)):
            part = group[str(number)]
            kind = part["TransformType"][0].decode("ascii")
            dimensions = int(kind[-1])
            fixed = np.array(part["TransformFixedParameters"])
            values = part["TransformParameters"][()]
            if kind.startswith("AffineTransform"):
                matrix = np.eye(4)
                matrix[:dimensions, :dimensions] = values[:-dimensions].reshape(dimensions, dimensions)
                matrix[:dimensions, 3] = values[-dimensions:]
                found.append(matrix)
            elif kind.startswith("DisplacementFieldTransform"):
                found.append(_field(fixed, values, dimensions))
            else:
                raise ValueError(f"{kind} is not a part of our transforms")
    return found


def _field(fixed: np.ndarray, values: np.ndarray, dimensions: int) -> Field:
    size, origin, spacing = (fixed[n * dimensions : (n + 1) * dimensions] for n in range(3))
    matrix = np.eye(4)
    direction = fixed[3 * dimensions :].reshape(dimensions, dimensions)
    matrix[:dimensions, :dimensions] = direction * spacing
    matrix[:dimensions, 3] = origin
    sizes = [*size.astype(int).tolist(), 1][:3]
    vectors = np.zeros((*sizes[::-1], 3), np.float32)
    vectors[..., :dimensions] = np.asarray(values, np.float32).reshape(*sizes[::-1], dimensions)
    return Field(vectors, Grid((sizes[0], sizes[1], sizes[2]), matrix))


def step_mm(field: Field) -> float:
    """Return what a field's components are rounded to: the power of two below a hundredth of its smallest voxel."""
    spacing_mm = [length for length, n in zip(field.grid.spacing_mm, field.grid.size_ijk) if n > 1]
    return float(2.0 ** math.floor(math.log2(min(spacing_mm, default=1.0) / 100)))


def _write(given: Sequence[np.ndarray | Field], path: str | os.PathLike, dimensions: int) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, text in (
            ("ITKVersion", f"SlicerDeepReg {__version__}"),
            ("HDFVersion", h5py.version.hdf5_version),
            ("OSName", platform.system()),
            ("OSVersion", platform.release()),
        ):
            _put_text(file, name, text)
        group = file.create_group("TransformGroup")
        _put_text(group.create_group("0"), "TransformType", f"CompositeTransform_double_{dimensions}_{dimensions}")
        for number, part in enumerate(given, 1):
            if isinstance(part, Field):
                _put_field(group.create_group(str(number)), part, dimensions)
            else:
                _put_affine(group.create_group(str(number)), part, dimensions)


def _put_text(group: Any, name: str, text: str) -> None:
    import h5py

    group.create_dataset(name, (1,), h5py.string_dtype("ascii"))[0] = text.encode("ascii", "replace")


def _put_affine(group: Any, matrix_lps: np.ndarray, dimensions: int) -> None:
    transform = affine(matrix_lps, dimensions)
    _put_text(group, "TransformType", f"AffineTransform_double_{dimensions}_{dimensions}")
    group["TransformFixedParameters"] = np.array(transform.GetFixedParameters(), "<f8")
    group["TransformParameters"] = np.array(transform.GetParameters(), "<f8")


def _put_field(group: Any, field: Field, dimensions: int) -> None:
    geometry = sitk.Image([1] * dimensions, sitk.sitkUInt8)
    place(geometry, field.grid)
    fixed = (*field.grid.size_ijk[:dimensions], *geometry.GetOrigin(), *geometry.GetSpacing(), *geometry.GetDirection())
    vectors = field.displacement_lps_mm
    flat = np.ascontiguousarray(vectors[0, ..., :2] if dimensions == 2 else vectors).reshape(-1)
    # ITK's reader turns floats into the doubles of this type.
    _put_text(group, "TransformType", f"DisplacementFieldTransform_double_{dimensions}_{dimensions}")
    group["TransformFixedParameters"] = np.array(fixed, "<f8")
    chunk = min(CHUNK, len(flat))
    stored = group.create_dataset(
        "TransformParameters",
        flat.shape,
        "<f4",
        chunks=(chunk,),
        shuffle=True,
        compression="gzip",
        compression_opts=LEVEL,
    )
    starts = range(0, len(flat), chunk)
    for start, packed in zip(starts, in_threads(_packer(flat, chunk, step_mm(field)), starts)):
        stored.id.write_direct_chunk((start,), packed)


def _packer(flat: np.ndarray, chunk: int, step: float) -> Callable[[int], bytes]:
    """Return what makes the bytes of the chunk from a value on, as HDF5's filters "shuffle" and "deflate" do."""

    def packed(start: int) -> bytes:
        values = np.zeros(chunk, "<f4")  # a chunk is whole, also where the data end in it
        part = flat[start : start + chunk]
        np.multiply(np.rint(part * (1 / step)), step, out=values[: len(part)], casting="unsafe")
        return deflated(values.view(np.uint8).reshape(-1, 4).T.tobytes())

    return packed
