"""Write a result as files in a folder, all of them or none."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..types import OUTPUT_FILES, InputError, Result
from .atomic import whole_files, writing
from .images import check_memory_ran_out, checksum, write_image
from .jsonable import jsonable
from .transform_files import write_inverse, write_transform

#: Bytes for each voxel, at most: of a field, and of the images, which are two of floats and the labels.
_BYTES_OF_FIELD, _BYTES_OF_IMAGES = 12, 2 * 4 + 4
#: The transform and its inverse are three fields, of about the voxels of the fixed image, of a large one of these.
_FIELDS, _MOST_FIELD_VOXELS = 3, 30_000_000


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield a private folder for outputs; when the block ends, they replace the files of the same names in ``path``.

    If the block fails or is interrupted, nothing in ``path`` has changed, and folders made for it are removed.

    Raises:
        InputError: the folder cannot be made or written to, or the disk is full.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        with writing("The results", path):
            path.mkdir(parents=True, exist_ok=True)
            with whole_files(path) as private:
                yield private
    except BaseException:
        for folder in made:
            try:
                folder.rmdir()
            except OSError:
                break
        raise


def check_disk_space(path: Path, voxels: int) -> None:
    """Raise InputError when the disk of ``path`` has too little room for the results on that many fixed voxels."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    fields = _FIELDS * min(voxels, _MOST_FIELD_VOXELS)
    needed = voxels * _BYTES_OF_IMAGES + fields * _BYTES_OF_FIELD + 10_000_000
    if free < needed:
        raise InputError(
            f"The results need about {needed / 1e9:.2f} GB and the disk of {path} has {free / 1e9:.2f} GB free. Free "
            "some space, or choose another folder."
        )


def write_result(result: Result, folder: Path) -> dict[str, Any]:
    """Write every output of a result into ``folder``; returns the content of result.json.

    Raises:
        OSError: the disk is full, or a file cannot be written.
    """
    dimensions = result.fixed.dimensions
    inverse = result.transform.inverse_fields
    fields = [sum(field.grid.voxels for field in group if field) for group in ((result.transform.field,), inverse)]
    amounts = [_BYTES_OF_IMAGES * result.fixed.grid.voxels, *(_BYTES_OF_FIELD * voxels for voxels in fields)]
    _reserve(folder, [amount for amount in amounts if amount])
    write_image(result.warped, folder / OUTPUT_FILES["warped"])
    write_image(result.jacobian, folder / OUTPUT_FILES["jacobian"])
    if result.warped_labels is not None:
        write_image(result.warped_labels, folder / OUTPUT_FILES["warped_labels"])
    if result.uncertainty is not None:
        write_image(result.uncertainty, folder / OUTPUT_FILES["uncertainty"])
    try:
        write_transform(result.transform, folder / OUTPUT_FILES["transform"], dimensions)
        write_inverse(result.transform, folder / OUTPUT_FILES["inverse"], dimensions)
    except RuntimeError as error:  # HDF5 says no more than that a write failed
        check_memory_ran_out(error)
        raise OSError(errno.EIO, f"writing the transform failed: {str(error).strip().splitlines()[-1]}") from error
    described = describe(result)
    text = json.dumps(described, indent=2, allow_nan=False)
    (folder / OUTPUT_FILES["result"]).write_text(text + "\n", encoding="utf-8")
    return described


def _reserve(folder: Path, amounts: Sequence[int]) -> None:
    """Raise OSError while nothing is written yet where the disk will not take files of so many bytes.

    HDF5 that meets a full disk ends the whole process later, when that exits.
    """
    with ExitStack() as opened:
        for amount in amounts:
            stream = opened.enter_context(tempfile.TemporaryFile(dir=folder))
            try:
                os.posix_fallocate(stream.fileno(), 0, amount)  # knows of quotas and of the longest file too
                continue
            except AttributeError:  # not on Windows and macOS
                pass
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
            if shutil.disk_usage(folder).free < sum(amounts):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def digests(result: Result) -> dict[str, str]:
    """Compute the SHA-256 of a result's voxels and vectors; files would differ by dates and compression."""
    images = {name: getattr(result, name) for name in ("warped", "jacobian", "warped_labels", "uncertainty")}
    digested = {name: checksum(image) for name, image in images.items() if image is not None}
    transform = hashlib.sha256(np.ascontiguousarray(result.transform.linear_lps, "<f8").tobytes())
    for field in (result.transform.field, *result.transform.inverse_fields):
        if field is not None:
            transform.update(np.ascontiguousarray(field.displacement_lps_mm, "<f4").tobytes())
            transform.update(field.grid.ijk_to_lps.tobytes())
    return {"transform": transform.hexdigest(), **digested}


def describe(result: Result) -> dict[str, Any]:
    """Return the content of result.json: plain values, NaN and infinity as null."""
    return jsonable(
        {
            "request": result.request.describe(),
            "provenance": result.provenance,
            "seconds": result.seconds,
            "peak_gb": result.peak_gb,
            "stages": [
                {
                    "name": stage.name,
                    "seconds": round(stage.seconds, 3),
                    "metrics": stage.metrics,
                    "curve": stage.curve,
                    "note": stage.note,
                }
                for stage in result.stages
            ],
            "linear_lps": result.transform.linear_lps,
            "metrics": result.metrics,
            "label_names": result.label_names,
            "locations": [dataclasses.asdict(place) for place in result.locations],
            "notes": result.notes,
            "outputs_sha256": digests(result),
        }
    )
