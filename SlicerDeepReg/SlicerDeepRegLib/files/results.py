"""Write a result as files in a folder, all of them or none."""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..processes.folders import disown, own
from ..types import OUTPUT_FILES, RESULT_OUTPUTS, Image, InputError, Result
from .atomic import whole_files, writing
from .images import check_memory_ran_out, checksum, write_image
from .jsonable import jsonable
from .transform_files import write_inverse, write_transform

#: Bytes for each voxel, at most: of a field, and of the images, which are two of floats and the labels.
_BYTES_OF_FIELD, _BYTES_OF_IMAGES = 12, 2 * 4 + 4
#: The transform and its inverse are three fields, of about the voxels of the fixed image, of a large one of these.
_FIELDS, _MOST_FIELD_VOXELS = 3, 30_000_000


@contextmanager
def output_folder(path: Path, mark: str = OUTPUT_FILES["result"]) -> Iterator[Path]:
    """Yield a private folder for outputs; when the block ends, they replace the files of the same names in ``path``.

    If the block fails or is interrupted, nothing in ``path`` has changed, and folders made for it are removed.

    Args:
        path: the folder.
        mark: the file of JSON that makes these files a result. It says which files were written with it: what an
            earlier run wrote and this one does not is removed, so that nobody takes it for a part of the new result.

    Raises:
        InputError: the folder cannot be made or written to, another run is writing into it, or the disk is full.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        with ExitStack() as opened, writing("The results", path):
            path.mkdir(parents=True, exist_ok=True)
            opened.callback(disown, _owned(path))
            earlier = _written_by(path / mark)
            with whole_files(path, last=mark) as private:
                yield private
                sizes = {file.name: file.stat().st_size for file in sorted(private.iterdir()) if file.name != mark}
                if (private / mark).is_file():
                    described = {**json.loads((private / mark).read_text(encoding="utf-8")), "files": sizes}
                    (private / mark).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
            for name, size in earlier.items():
                file = path / name
                if name not in sizes and file.is_file() and file.stat().st_size == size:  # else it is the user's now
                    file.unlink()
    except BaseException:
        for folder in made:
            try:
                folder.rmdir()
            except OSError:
                break
        raise


def _owned(path: Path) -> int | None:
    try:
        return own(path)
    except BlockingIOError as error:
        text = f"Another run is writing into {path}. Wait until it ends, or choose another folder."
        raise InputError(text, "output") from error


def _written_by(mark: Path) -> dict[str, int]:
    """Return the names and sizes of the files that the run of a mark wrote beside it; none where it does not say."""
    try:
        files = json.loads(mark.read_text(encoding="utf-8"))["files"]
        return {name: int(size) for name, size in files.items() if Path(name).name == name != mark.name}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def check_output(path: Path, inputs: Iterable[Path], names: Iterable[str] = ()) -> None:
    """Check, before any work, that outputs can be written and take the place of no input.

    Args:
        path: the folder, or the file where there are no names.
        inputs: files that are read.
        names: patterns of the names of what is written into the folder.

    Raises:
        InputError: it cannot be written to, another run is writing into it, or an input would be replaced.
    """
    patterns = tuple(names)
    if patterns and path.exists() and not path.is_dir():
        raise InputError(f"The output {path} is a file. Give a folder.", "output")
    if not patterns and path.is_dir():
        raise InputError(f"The output {path} is a folder. Give a file.", "output")
    folder = path if patterns else path.absolute().parent
    existing = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    if not existing.is_dir():
        raise InputError(f"The output {path} cannot be written: {existing} is a file. Choose another folder.", "output")
    if not os.access(existing, os.W_OK | os.X_OK):
        text = f"The output {path} cannot be written: {existing} is read-only. Choose another folder."
        raise InputError(text, "output")
    if patterns and path.is_dir():
        disown(_owned(path))
    for file in inputs:
        real = Path(os.path.realpath(file))
        if patterns:
            same = real.parent == Path(os.path.realpath(path))
            replaced = same and any(fnmatch.fnmatch(real.name, pattern) for pattern in patterns)
        else:
            replaced = real == Path(os.path.realpath(path))
        if replaced and real.is_file():
            raise InputError(f"The input {file} would be replaced by an output. Choose another place for it.", "output")


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


class ResultWriter:
    """Writes a result into a folder, its images and fields in a thread while the result is still measured.

    Use it in a ``with`` statement: where that ends early, the thread has ended too, and files may be missing.

    Attributes:
        folder: for the files.

    Args:
        keep: which of ``RESULT_OUTPUTS`` to write; result.json always is.
    """

    def __init__(self, folder: Path, keep: Collection[str] = RESULT_OUTPUTS) -> None:
        self.folder, self._keep = folder, keep
        self._thread = ThreadPoolExecutor(1)
        self._begun: Future[dict[str, str]] | None = None

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(wait=True)

    def begin(self, result: Result) -> None:
        """Start to write what is there before anything is measured.

        Raises:
            OSError: the disk is full.
        """
        fields = [
            sum(field.grid.voxels for field in group if field)
            for name, group in (
                ("transform", (result.transform.field,)),
                ("inverse", result.transform.inverse_fields),
            )
            if name in self._keep
        ]
        amounts = [_BYTES_OF_IMAGES * result.fixed.grid.voxels, *(_BYTES_OF_FIELD * voxels for voxels in fields)]
        _reserve(self.folder, [amount for amount in amounts if amount])
        self._begun = self._thread.submit(self._write, result)

    def end(self, result: Result) -> dict[str, Any]:
        """Write the rest of a result, which was measured; returns the content of result.json.

        Raises:
            OSError: the disk is full, or a file cannot be written.
        """
        if self._begun is None:
            self.begin(result)
        assert self._begun is not None
        digested = self._begun.result()
        if result.uncertainty is not None:
            digested = {**digested, "uncertainty": checksum(result.uncertainty)}
            self._image(result.uncertainty, "uncertainty")
        described = describe(result, digested)
        text = json.dumps(described, indent=2, allow_nan=False)
        (self.folder / OUTPUT_FILES["result"]).write_text(text + "\n", encoding="utf-8")
        return described

    def _write(self, result: Result) -> dict[str, str]:
        """Write the images and fields that a result has; returns their checksums."""
        dimensions = result.fixed.dimensions
        for name in ("warped", "jacobian", "warped_labels"):
            self._image(getattr(result, name), name)
        try:
            for name, write in (("transform", write_transform), ("inverse", write_inverse)):
                if name in self._keep:
                    write(result.transform, self.folder / OUTPUT_FILES[name], dimensions)
        except RuntimeError as error:  # HDF5 says no more than that a write failed
            check_memory_ran_out(error)
            raise OSError(errno.EIO, f"writing the transform failed: {str(error).strip().splitlines()[-1]}") from error
        return digests(result)

    def _image(self, image: Image | None, name: str) -> None:
        if image is not None and name in self._keep:
            write_image(image, self.folder / OUTPUT_FILES[name])


def write_result(result: Result, folder: Path, keep: Collection[str] = RESULT_OUTPUTS) -> dict[str, Any]:
    """Write a result into ``folder``; returns the content of result.json.

    Args:
        keep: which of ``RESULT_OUTPUTS`` to write.

    Raises:
        OSError: the disk is full, or a file cannot be written.
    """
    with ResultWriter(folder, keep) as writer:
        return writer.end(result)


def _reserve(folder: Path, amounts: Collection[int]) -> None:
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


def describe(result: Result, digested: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the content of result.json: plain values, NaN and infinity as null.

    Args:
        digested: the result's ``digests``, where they are known.
    """
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
            "outputs_sha256": digests(result) if digested is None else digested,
        }
    )
