"""Images as a network takes them, by the recipe that its card will carry; prepared once and kept.

Each subject becomes arrays on a grid of the network's voxels: oriented, resampled, cut or padded to one size, and
scaled to 0..1. What was prepared is kept as .npy beside the training (or where ``--cache`` says) under a name that
follows from the file and the recipe, so that a changed file or recipe is prepared anew.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk

from ..checks import check_image
from ..files.atomic import whole_file, writing
from ..files.datasets import ANALYZE, read_subject
from ..files.detached import stamps_of
from ..geometry.grids import orientation_of
from ..preparation.resample import resample
from ..preparation.single import grid_by_recipe, shows_more, unit_values
from ..types import Image, InputError
from .dataset.index import DatasetIndex, Subject

#: Of what is kept; another number prepares everything anew.
VERSION = 2
#: Shape, spacing (mm) and orientation that the images of a training have in common.
Kind = tuple[tuple[int, ...], tuple[float, ...], str]


@dataclass(frozen=True)
class Prepared:
    """One subject, its arrays in files that are mapped when they are asked for.

    Attributes:
        base: the files' path without its ending.
        arrays: which there are: "image" (float16, 0..1), "labels" (uint16), "mask" (bool); (K, J, I) or (J, I).
        shape: of each.
        spacing_kji_mm: of the axes that exist.
        orientation: three letters, or "" for a slice.
        cropped: it shows more than the size that was asked for holds.
        cut: (axis, number): it is that slice of the volume in the files; None for all of it.
    """

    name: str
    base: Path
    arrays: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_kji_mm: tuple[float, ...]
    orientation: str
    cut: tuple[int, int] | None = None
    cropped: bool = False

    def array(self, name: str) -> np.ndarray | None:
        """Return one of the arrays, mapped into memory, or None where there is no such."""
        if name not in self.arrays:
            return None
        values = np.load(self.base.with_suffix(f".{name}.npy"), mmap_mode="r", allow_pickle=False)
        return values if self.cut is None else values[(slice(None),) * self.cut[0] + (self.cut[1],)]


def prepare_subjects(
    index: DatasetIndex,
    recipe: Mapping[str, Any],
    size_ijk: Sequence[int] | None,
    cache: Path,
    skip: bool,
    free_axis: int | None = None,
    say: Callable[[str], None] = lambda text: None,
    resample_to: bool = False,
) -> tuple[dict[str, Prepared], list[str]]:
    """Prepare every subject of the index.

    Args:
        recipe: as on a card.
        size_ijk: cut or pad to that many voxels along i, j(, k), around the middle of what is shown; None for neither.
        skip: leave out what cannot be used, instead of stopping.
        free_axis: of i, j, k as 0, 1, 2: images may differ along it, because they are cut into slices along it.
        say: called with a line of text for each image.
        resample_to: resample to the size, over the whole box of each image, instead of cutting or padding to it.

    Returns:
        The prepared subjects by name, and a sentence for each that was left out.

    Raises:
        InputError: an image cannot be read or differs from the others, labels do not match, or the disk is full.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The cache {cache} cannot be made ({error.strerror}). Choose another: --cache DIR."
        ) from error
    subjects: dict[str, Prepared] = {}
    left_out: list[str] = []
    for number, subject in enumerate(index.subjects.values(), start=1):
        say(f"preparing {number} of {len(index.subjects)}: {subject.name}")
        try:
            subjects[subject.name] = _prepared(subject, recipe, size_ijk, cache, resample_to)
        except CacheError:
            raise
        except InputError as error:
            if not skip:
                raise InputError(f"{error} (--on-bad-image skip leaves such images out)") from error
            left_out.append(str(error))
    cropped = [name for name, subject in subjects.items() if subject.cropped]
    if cropped:
        say(f"{len(cropped)} images are larger than the size given, {cropped[0]} among them; the rest was cut off.")
    for name, why in _misfits(subjects, bool(recipe.get("voxel_mm")) or resample_to, free_axis).items():
        if not skip:
            raise InputError(
                f"{why} Resample them alike, or give --size, --voxel-mm and "
                "--orientation, or leave such out: --on-bad-image skip."
            )
        left_out.append(why)
        del subjects[name]
    return subjects, left_out


def _misfits(subjects: Mapping[str, Prepared], any_voxels: bool, free_axis: int | None) -> dict[str, str]:
    """Return a sentence for each subject whose arrays are not like those of most."""

    def kind(subject: Prepared) -> Kind:
        shape = subject.shape
        axes = [n for n in range(len(shape)) if free_axis is None or n != len(shape) - 1 - free_axis]
        # Voxels of a size that was asked for differ a little, so that a whole number of them fills the box.
        spacing = () if any_voxels else tuple(round(subject.spacing_kji_mm[n], 3) for n in axes)
        return tuple(shape[n] for n in axes), spacing, subject.orientation

    kinds = {name: kind(subject) for name, subject in subjects.items()}
    if not kinds:
        return {}
    usual, _ = Counter(kinds.values()).most_common(1)[0]
    return {
        name: f"{name} has {_in_words(kind)}; most others have {_in_words(usual)}."
        for name, kind in kinds.items()
        if kind != usual
    }


def _in_words(kind: Kind) -> str:
    shape, spacing, orientation = kind
    size = " x ".join(map(str, shape[::-1]))
    return (
        f"{size} voxels of {' x '.join(f'{v:g}' for v in spacing[::-1])} mm{f' in {orientation}' * bool(orientation)}"
    )


def _prepared(
    subject: Subject, recipe: Mapping[str, Any], size_ijk: Sequence[int] | None, cache: Path, resample_to: bool
) -> Prepared:
    stamp = _stamp(subject)
    sizes = [*(size_ijk or []), *(["resampled"] if resample_to else [])]
    frame = [] if subject.frame is None else [subject.frame]
    key = json.dumps([VERSION, stamp, dict(recipe), sizes, *frame], sort_keys=True)
    base = cache / hashlib.sha256(key.encode()).hexdigest()[:24]
    described = base.with_suffix(".json")
    if not described.is_file():
        arrays, spacing, orientation, cropped = _arrays(subject, recipe, size_ijk, resample_to)
        for name, array in arrays.items():
            _write(base.with_suffix(f".{name}.npy"), lambda stream, array=array: np.save(stream, array))
        values = {"spacing_kji_mm": spacing, "arrays": sorted(arrays), "shape": arrays["image"].shape}
        values["cropped"] = cropped
        text = json.dumps({**values, "orientation": orientation})
        _write(described, lambda stream: stream.write(text.encode()))
    values = json.loads(described.read_text(encoding="utf-8"))
    kept = {key: tuple(values[key]) for key in ("arrays", "shape", "spacing_kji_mm")}
    return Prepared(subject.name, base, **kept, orientation=values["orientation"], cropped=values["cropped"])


def _stamp(subject: Subject) -> list[tuple[str, str, int, int]]:
    """Return values that change when one of the subject's files does, the data beside a header included."""
    stamp: list[tuple[str, str, int, int]] = []
    try:
        for role in ("image", "labels", "mask"):
            file = getattr(subject, role)
            if file is None:
                continue
            parts = [file]
            if file.suffix in ANALYZE:  # a header and voxels of one name
                parts = sorted(file.parent.glob(f"{file.stem}.*"))
            stamp += [(role, *stamped) for part in parts for stamped in stamps_of(part)]
    except OSError as error:
        raise InputError(f"{subject.name}: {error.filename or file} cannot be read ({error.strerror}).") from error
    return stamp


class CacheError(InputError):
    """What was prepared could not be written, which is no fault of the image."""


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file of the cache by ``write(stream)``: the whole of it or nothing."""
    remedy = "Free some space, or choose another place: --cache DIR."
    with writing("The prepared images", path.parent, remedy, error_type=CacheError), whole_file(path) as private:
        with open(private, "wb") as stream:
            write(stream)


def _arrays(
    subject: Subject, recipe: Mapping[str, Any], size_ijk: Sequence[int] | None, resample_to: bool
) -> tuple[dict[str, np.ndarray], list[float], str, bool]:
    """Return the arrays by name, the spacing along their axes (mm), the orientation, and whether they are cropped."""
    image = check_image(read_subject(subject.image, "image", subject.frame), "image")
    labels = _companion(subject.labels, image, "labels", subject.frame)
    mask = _companion(subject.mask, image, "mask", subject.frame)
    grid = grid_by_recipe(image, recipe, size_ijk, resample_to)
    shape = tuple(n for n in grid.shape_kji if n > 1)
    inside = resample(mask, grid, interpolator=sitk.sitkNearestNeighbor, outside=0) > 0 if mask else None
    arrays = {"image": unit_values(image, grid, inside).astype(np.float16).reshape(shape)}
    if labels is not None:
        resampled = resample(labels, grid, interpolator=sitk.sitkNearestNeighbor, outside=0)
        arrays["labels"] = resampled.astype(np.uint16).reshape(shape)
    if inside is not None:
        arrays["mask"] = inside.reshape(shape)
    spacing = [float(s) for s, n in zip(grid.spacing_mm[::-1], grid.shape_kji) if n > 1]
    return arrays, spacing, "" if grid.is_planar else orientation_of(grid), shows_more(image, grid)


def _companion(path: Path | None, image: Image, role: str, frame: int | None) -> Image | None:
    """Read labels or mask of an image, which must lie on its grid."""
    if path is None:
        return None
    companion = read_subject(path, role, frame)
    if not companion.grid.same_as(image.grid, tolerance_mm=0.01):
        sizes = [" x ".join(map(str, one.grid.size_ijk)) for one in (companion, image)]
        raise InputError(
            f"The {role} file {path} is not on the voxel grid of the image {image.name}: {sizes[0]} and {sizes[1]} "
            "voxels, or a different origin, spacing or direction. Resample it to the image."
        )
    values = companion.values
    if (values < 0).any() or (values != np.round(values)).any() or values.max() > 65535:
        raise InputError(
            f"The {role} file {path} has values other than whole numbers from 0 to 65535. Save it as a label map."
        )
    if not values.any():
        raise InputError(f"The {role} file {path} is empty: every voxel is 0. Correct it, or leave it out.")
    return Image(values.astype(np.int32), companion.grid, companion.name, companion.dimensions)
