"""The index of a data set: its images with what belongs to them, and the pairs that it names itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ...files.datasets import ANALYZE, FILMS, PICKLES
from ...types import InputError

DICOM = (".dcm", ".ima")
SPLITS = ("train", "val", "test")
#: Of files with one image each, films, and slices of DICOM, of which a folder is an image.
ENDINGS = (
    (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".tif", ".tiff") + ANALYZE + PICKLES + FILMS + DICOM
)
#: Words of folders and columns, and the split that they mean.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "imagestr": "train",
    "labelstr": "train",
    "maskstr": "train",
    "val": "val",
    "validation": "val",
    "imagesval": "val",
    "labelsval": "val",
    "masksval": "val",
    "test": "test",
    "testing": "test",
    "imagests": "test",
    "labelsts": "test",
    "masksts": "test",
}


@dataclass(frozen=True)
class Subject:
    """One image with what belongs to it.

    Attributes:
        name: what messages call it, unique.
        image, labels, mask: files.
        split: "train", "val", "test", or None where the data do not say.
        group: pairs are made within a group only (a patient, a series, a film); None for all in one.
        frame: which frame of a film it is, counted from 0; None of anything else.
    """

    name: str
    image: Path
    labels: Path | None = None
    mask: Path | None = None
    split: str | None = None
    group: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Pair:
    """Names of the moving and the fixed subject, and the split that the data give the pair, if any."""

    moving: str
    fixed: str
    split: str | None = None


@dataclass(frozen=True)
class DatasetIndex:
    """The subjects of a data set.

    Attributes:
        subjects: by name, sorted.
        given: pairs that the data name themselves; may be empty.
    """

    subjects: dict[str, Subject]
    given: tuple[Pair, ...] = ()

    def without(self, names: Iterable[str]) -> DatasetIndex:
        """Return the index without some subjects and their pairs."""
        left_out = set(names)
        kept = {name: subject for name, subject in self.subjects.items() if name not in left_out}
        given = tuple(pair for pair in self.given if pair.moving in kept and pair.fixed in kept)
        return DatasetIndex(kept, given)


def in_order(subjects: dict[str, Subject]) -> dict[str, Subject]:
    """Return the subjects sorted by name, numbers in it as numbers: frame 2 comes before frame 10."""

    def key(name: str) -> list[int | str]:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    return {name: subjects[name] for name in sorted(subjects, key=key)}


def merge_subjects(subjects: Iterable[Subject]) -> dict[str, Subject]:
    """Return the subjects by name; one may be named more than once, with its labels named at least once.

    Raises:
        InputError: one is named twice with different files, split or group; or two are one file.
    """
    by_name: dict[str, Subject] = {}
    for subject in subjects:
        known = by_name.get(subject.name)
        if known is None:
            by_name[subject.name] = subject
            continue
        for what in ("image", "labels", "mask", "split", "group"):
            first, second = getattr(known, what), getattr(subject, what)
            if first and second and first != second:
                raise InputError(f"{subject.name} is named twice with another {what}: {first} and {second}.")
        if known.frame != subject.frame:
            raise InputError(
                f"{subject.name} is named twice with another frame: {known.frame} and {subject.frame}. Give each "
                "a name of its own (column name)."
            )
        by_name[subject.name] = replace(
            known,
            labels=known.labels or subject.labels,
            mask=known.mask or subject.mask,
            split=known.split or subject.split,
            group=known.group or subject.group,
        )
    named: dict[tuple[str, int | None], str] = {}
    for subject in by_name.values():
        file = os.path.realpath(subject.image), subject.frame
        if file in named:
            raise InputError(
                f"{named[file]} and {subject.name} are the same image, {subject.image}: it could be trained on and "
                "tested with. Give it once, or the same name each time (column name)."
            )
        named[file] = subject.name
    return in_order(by_name)


def existing_file(listed_in: Path, name: str, where: str) -> Path:
    """Return the path of a file that a list names.

    Args:
        listed_in: the list; relative paths are relative to its folder.
        where: the list and the line, for the message.

    Raises:
        InputError: there is no such file.
    """
    path = Path((name or "").strip())
    path = path if path.is_absolute() else listed_in.parent / path
    if not name or not path.is_file():
        raise InputError(f"{where}: the file {name!r} does not exist. Paths are relative to the list, or absolute.")
    return path


def stem(file: Path) -> str:
    """Return the name of an image file without its ending, one of ``ENDINGS``; of a folder, its name."""
    endings = (ending for ending in ENDINGS if file.name.lower().endswith(ending))
    return next((file.name[: -len(ending)] for ending in endings), file.name)
