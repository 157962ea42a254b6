"""Label maps of several people, brought into one frame and kept.

The frame is that of the mean person: LPS millimeters, the midplane of the body at x = 0, the mean of the structures'
centers at the origin, nodded as the head of the first map. A map gets there by the affine motion that brings the
centers of its structures nearest to the mean ones (least squares), which needs no image and no iterations.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...anatomy import COMPACT, MERGED, STRUCTURE_BY_NUMBER, STRUCTURES, is_surrounding
from ...files.atomic import whole_file, writing
from ...files.detached import files_of
from ...files.images import read_image
from ...geometry.structures import centers_of
from ...types import Image, InputError

#: Of what is kept; another number prepares everything anew.
VERSION = 1
#: How many of the compact structures a map must have, on how many both sides, and have in common with the first map.
LEAST_STRUCTURES, LEAST_PAIRS, LEAST_COMMON = 12, 4, 8
#: Root mean square distance of the aligned centers from the mean ones above which a map is none of a whole brain (mm).
FARTHEST_MM = 12.0
#: Standard deviation of the centers along the direction in which they spread least; below it they lie in a slice (mm).
FLATTEST_MM = 3.0
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
#: FreeSurfer's own format, which is not read here.
FREESURFER_ENDINGS = (".mgz", ".mgh")
#: Classes: 0 is nothing, 1 to 32 the structures by rising number, those from here on what is around the brain.
SURROUNDINGS = len(STRUCTURES) + 1
#: The class of a structure's mirror image, for classes 0 to 32.
MIRRORED = (0, *(1 + [s.number for s in STRUCTURES].index(structure.mirror) for structure in STRUCTURES))


@dataclass(frozen=True, eq=False)
class LabelMap:
    """One person's map.

    Attributes:
        name: of the file.
        classes: (K, J, I) uint8, see ``SURROUNDINGS``.
        frame_to_ijk: (4, 4) from LPS millimeters of the frame to voxels.
        whole_head: whether what is around the brain is labeled.
        residual_mm: root mean square distance of its centers from the mean ones, aligned.
    """

    name: str
    classes: np.ndarray
    frame_to_ijk: np.ndarray
    whole_head: bool
    residual_mm: float


def prepare_label_maps(
    folder: Path, cache: Path, say: Callable[[str], None] = lambda text: None
) -> tuple[LabelMap, ...]:
    """Read all label maps of a folder, bring them into one frame, and keep the result in the cache.

    Args:
        folder: one file for each person, FreeSurfer's numbers.
        cache: where the result is kept, under a name that follows from the files.
        say: called with a line of text for each map.

    Raises:
        InputError: there are fewer than two, one cannot be read, has unknown numbers, exchanged sides or too few
            structures, or is none of a whole brain; or the cache cannot be written to.
    """
    files = label_map_files(folder)
    kept = cache / f"label-maps-{_stamp(files)}.npz"
    if not kept.is_file():
        maps = _aligned([_read(path, say) for path in files])
        arrays: dict[str, np.ndarray] = {}
        for number, one in enumerate(maps):
            arrays[f"{number}-classes"], arrays[f"{number}-matrix"] = one.classes, one.frame_to_ijk
            arrays[f"{number}-about"] = np.array([one.whole_head, one.residual_mm])
        with kept_whole(kept, "The prepared label maps") as stream:
            np.savez_compressed(stream, **arrays)
    return _kept(kept, files)


@contextlib.contextmanager
def kept_whole(path: Path, what: str) -> Iterator[BinaryIO]:
    """Yield a stream to a file of the cache, which is there when the block ends, or not at all.

    Raises:
        InputError: the cache cannot be written to.
    """
    with writing(what, path.parent, "Free some space, or choose another place: --cache DIR."):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as private, open(private, "wb") as stream:
            yield stream


def _stamp(files: Sequence[Path]) -> str:
    """Return a checksum that changes when one of the files does, the data beside a header included."""
    try:
        parts = [(f, f.stat()) for file in files for f in files_of(file)]
    except OSError as error:
        raise InputError(f"The label map {error.filename} cannot be read ({error.strerror}).") from error
    stamp = json.dumps([VERSION, *((f.name, about.st_size, about.st_mtime_ns) for f, about in parts)])
    return hashlib.sha256(stamp.encode()).hexdigest()[:16]


def label_map_files(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted by name.

    Raises:
        InputError: there are fewer than two, or some of them are of a format that is not read.
    """
    try:
        visible = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    except OSError as error:
        raise InputError(f"The folder of label maps {folder} cannot be read ({error.strerror}).") from error
    unread = next((f for f in visible if f.name.lower().endswith(FREESURFER_ENDINGS)), None)
    if unread is not None:
        raise InputError(
            f"{unread.name} is in FreeSurfer's own format, which is not read here. Convert it: mri_convert "
            f"{unread.name} {unread.stem}.nii.gz."
        )
    files = [f for f in visible if f.name.lower().endswith(ENDINGS)]
    if len(files) < 2:
        raise InputError(
            f"{folder} contains {len(files)} label map{'s' * (len(files) != 1)} ({', '.join(ENDINGS)}), and two people "
            "are the fewest to make pairs of. Add maps, one file for each person."
        )
    return files


def _kept(path: Path, files: Sequence[Path]) -> tuple[LabelMap, ...]:
    with np.load(path, allow_pickle=False) as arrays:
        maps = []
        for number, file in enumerate(files):
            about = arrays[f"{number}-about"]
            matrix = arrays[f"{number}-matrix"]
            maps.append(LabelMap(file.name, arrays[f"{number}-classes"], matrix, bool(about[0]), float(about[1])))
    return tuple(maps)


@dataclass(frozen=True, eq=False)
class _Read:
    name: str
    classes: np.ndarray
    ijk_to_lps: np.ndarray
    centers: dict[int, np.ndarray]


def _read(path: Path, say: Callable[[str], None]) -> _Read:
    say(f"reading label map {path.name}")
    image = read_image(path, "label map", straight=False)  # nearest voxels are taken through any affine matrix
    classes, first_ijk = _cropped(classes_of(image, path.name))
    matrix = np.array(image.grid.ijk_to_lps)
    matrix[:3, 3] += matrix[:3, :3] @ first_ijk
    centers = centers_of(classes, matrix)
    if len(centers) < LEAST_STRUCTURES:
        raise InputError(
            f"{path.name} has {len(centers)} of the {len(COMPACT)} compact structures of a brain, and "
            f"{LEAST_STRUCTURES} are the fewest to align it by. Leave it out of the folder."
        )
    if _least_spread(centers) < FLATTEST_MM:
        raise InputError(f"{path.name} is a slice or a slab of a brain, not a whole one. Leave it out of the folder.")
    _check_sides(path.name, centers)
    return _Read(path.name, classes, matrix, centers)


def classes_of(image: Image, name: str) -> np.ndarray:
    """Return FreeSurfer's numbers as classes, (K, J, I) uint8: parts joined, see ``SURROUNDINGS``.

    Raises:
        InputError: there are values that are no whole numbers, or numbers that name nothing.
    """
    values = np.asarray(image.values)
    if not np.isfinite(values).all() or not np.array_equal(values, np.round(values)):
        raise InputError(f"{name} has values other than whole numbers. Save it as a label map.")
    numbers = [int(n) for n in np.unique(values)]
    unknown = [n for n in numbers if n and n not in STRUCTURE_BY_NUMBER and n not in MERGED and not is_surrounding(n)]
    if unknown:
        raise InputError(
            f"{name} has label numbers that are none of FreeSurfer's aseg or of SynthSeg: "
            f"{', '.join(map(str, unknown[:8]))}{' and others' * (len(unknown) > 8)}. Give its structures the numbers "
            "of aseg, or set them to 0."
        )
    table = np.zeros(max(numbers) + 1, np.uint8)
    place = {structure.number: k for k, structure in enumerate(STRUCTURES, start=1)}
    around = [n for n in numbers if is_surrounding(n)]
    for number in numbers:
        if number in place:
            table[number] = place[number]
        elif number in MERGED:
            table[number] = place[MERGED[number][0]]
        elif number:
            table[number] = SURROUNDINGS + around.index(number)
    classes: np.ndarray = table[values.astype(np.int32)]
    for number in numbers:
        if number in MERGED and len(MERGED[number]) == 2:
            _split(classes, values == number, [place[side] for side in MERGED[number]])
    return classes


def _split(classes: np.ndarray, here: np.ndarray, sides: Sequence[int]) -> None:
    """Give each voxel of a part without a side to the side whose own voxels' mean is nearer."""
    means = [np.argwhere((classes == side) & ~here).mean(0) for side in sides if ((classes == side) & ~here).any()]
    if len(means) < 2:
        return
    at = np.argwhere(here)
    nearest = np.argmin([np.square(at - mean).sum(1) for mean in means], 0)
    classes[tuple(at.T)] = np.array(sides, np.uint8)[nearest]


def _cropped(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the part that is not empty, and its first voxel, (i, j, k)."""
    at = [np.flatnonzero(classes.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if any(len(one) == 0 for one in at):
        return classes, np.zeros(3)
    part = classes[tuple(slice(one[0], one[-1] + 1) for one in at)]
    return np.ascontiguousarray(part), np.array([one[0] for one in at[::-1]], float)


def _check_sides(name: str, centers: dict[int, np.ndarray]) -> None:
    """Raise InputError where left and right are exchanged, or not both there: in LPS, left is where x is larger."""
    apart = [
        centers[number][0] - centers[STRUCTURE_BY_NUMBER[number].mirror][0]
        for number in centers
        if STRUCTURE_BY_NUMBER[number].name.startswith("left") and STRUCTURE_BY_NUMBER[number].mirror in centers
    ]
    if len(apart) < LEAST_PAIRS:
        raise InputError(
            f"{name} has {len(apart)} compact structures on both sides, and {LEAST_PAIRS} are the fewest to find the "
            "midplane by. Leave it out of the folder."
        )
    if np.mean(apart) < 0:
        raise InputError(
            f"{name} has its sides exchanged: what its numbers call left lies on the right of its header's axes. "
            "Correct the orientation in its header, or exchange the numbers."
        )


def _aligned(maps: Sequence[_Read]) -> list[LabelMap]:
    """Bring each map into the frame of their mean."""
    for one in maps[1:]:
        common = set(one.centers) & set(maps[0].centers)
        if len(common) < LEAST_COMMON:
            raise InputError(
                f"{one.name} and {maps[0].name} have {len(common)} compact structures in common, and {LEAST_COMMON} "
                "are the fewest to align them by. Leave one of them out of the folder."
            )
    mean = _mean_centers(maps)
    aligned = []
    for one in maps:
        matrix, residual = affine_between(mean, one.centers)
        if residual > FARTHEST_MM:
            raise InputError(
                f"{one.name} does not lie over the others after alignment: its structures' centers are {residual:.0f} "
                "mm off. It shows no whole brain, or its axes are mislabeled. Leave it out of the folder."
            )
        if np.linalg.det(matrix[:3, :3]) <= 0:
            raise InputError(
                f"{one.name} and {maps[0].name} are mirror images of each other: an axis in the header of one of them "
                "points the wrong way. Correct it, or leave that file out of the folder."
            )
        to_ijk = np.linalg.inv(one.ijk_to_lps) @ matrix
        whole_head = bool((one.classes >= SURROUNDINGS).sum() > 0.1 * (one.classes > 0).sum())
        aligned.append(LabelMap(one.name, one.classes, to_ijk, whole_head, residual))
    return aligned


def _least_spread(centers: dict[int, np.ndarray]) -> float:
    """Return the standard deviation of the centers along the direction in which it is least, mm."""
    points = np.array(list(centers.values()))
    return float(np.linalg.svd(points - points.mean(0), compute_uv=False)[-1] / len(points) ** 0.5)


def _mean_centers(maps: Sequence[_Read], rounds: int = 3) -> dict[int, np.ndarray]:
    """Return the mean centers of all maps, as symmetric as a body, of mean size, with their mean at the origin."""
    first = maps[0].centers
    mean = {number: center - np.mean(list(first.values()), 0) for number, center in first.items()}
    for _ in range(rounds):
        sums: dict[int, list[np.ndarray]] = {}
        sizes = []
        for one in maps:
            matrix, _ = affine_between(one.centers, mean)
            sizes.append(np.linalg.det(matrix[:3, :3]))
            for number, center in one.centers.items():
                sums.setdefault(number, []).append(matrix[:3, :3] @ center + matrix[:3, 3])
        each = {number: np.mean(centers, 0) for number, centers in sums.items()}
        scale = float(np.prod(np.clip(sizes, 1e-3, 1e3)) ** (-1 / (3 * len(sizes))))  # affine fits may shrink the mean
        other = {number: each.get(STRUCTURE_BY_NUMBER[number].mirror) for number in each}
        both = {
            number: center if other[number] is None else (center + other[number] * [-1, 1, 1]) / 2
            for number, center in each.items()
        }
        middle = np.mean(list(both.values()), 0) * [0, 1, 1]  # the midplane is that of those on both sides
        mean = {number: (center - middle) * scale for number, center in both.items()}
    return mean


def affine_between(first: dict[int, np.ndarray], second: dict[int, np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the affine motion (4, 4) from the first centers to the second, and its root mean square residual (mm)."""
    common = sorted(set(first) & set(second))
    a = np.array([[*first[n], 1.0] for n in common])
    b = np.array([second[n] for n in common])
    solution, *_ = np.linalg.lstsq(a, b, rcond=None)
    matrix = np.eye(4)
    matrix[:3] = solution.T
    return matrix, float(np.sqrt(np.square(a @ solution - b).sum(1).mean()))
