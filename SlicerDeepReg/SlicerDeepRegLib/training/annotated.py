"""Which images of a joint training are annotated, and the pairs from these to the others.

A series (the slices of a volume, the frames of a film, the scans of a patient) is cut into groups of neighbors, and
the middle one of each group is the annotated one that is moved to the others. ``ratio`` is the part of the images that
are annotated. The paper's formula for r is not in the text at hand; this reading agrees with what it says of it (a
larger r makes moving and fixed image more alike).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..types import InputError
from .dataset.index import DatasetIndex, Pair
from .recipe import Prepared


def sliced(
    subjects: Mapping[str, Prepared], index: DatasetIndex, axis: str
) -> tuple[dict[str, Prepared], DatasetIndex]:
    """Return every volume as its slices along an axis ("i", "j" or "k"), each volume a series.

    Raises:
        InputError: the images are slices already.
    """
    slices: dict[str, Prepared] = {}
    named = {}
    for name, volume in subjects.items():
        if len(volume.shape) != 3:
            raise InputError(f"{name} is a slice already. Leave out --slices.")
        along = "kji".index(axis)
        for number in range(volume.shape[along]):
            key = f"{name} {axis}={number:04d}"
            shape = volume.shape[:along] + volume.shape[along + 1 :]
            spacing = volume.spacing_kji_mm[:along] + volume.spacing_kji_mm[along + 1 :]
            slices[key] = dataclasses.replace(
                volume, name=key, shape=shape, spacing_kji_mm=spacing, cut=(along, number), orientation=""
            )
            named[key] = dataclasses.replace(index.subjects[name], name=key, group=name)
    return slices, DatasetIndex(named)


def annotated_pairs(
    index: DatasetIndex, subjects: Mapping[str, Prepared], split: str, ratio: float | None
) -> tuple[list[Pair], list[str], list[str]]:
    """Return pairs from each annotated image to the others of its group, and the names of the annotated ones.

    The third list names an image of each group that is left out, because no image of it has labels.

    Args:
        ratio: the part of the images of a series that are annotated; None for all that have labels.

    Raises:
        InputError: no image has labels.
    """
    series: dict[str | None, list[str]] = {}
    for name, subject in index.subjects.items():
        if subject.split == split:
            series.setdefault(subject.group, []).append(name)
    pairs, annotated, left_out = [], [], []
    for members in series.values():
        for group in _groups(members, ratio):
            with_labels = [name for name in group if "labels" in subjects[name].arrays and _holds(subjects[name])]
            if not with_labels:
                left_out.append(group[0])
                continue
            moved = with_labels if ratio is None else [_middle(group, with_labels)]
            others = [name for name in group if name not in moved] or list(group)
            from_them = [Pair(m, f, split) for m in moved for f in others if m != f]
            pairs += from_them
            annotated += moved if from_them else []  # one that is alone in its group teaches nothing here
    if not any("labels" in subjects[name].arrays for members in series.values() for name in members):
        if split == "train":
            raise InputError("No image for training has labels. Joint training needs a few: see docs/training.md.")
    if not pairs and split == "train":
        raise InputError(
            "No annotated image has another image in its group to be registered to. Lower --ratio, or put the images "
            "of a series into one group (column group of the CSV)."
        )
    return pairs, annotated, left_out


def _holds(subject: Prepared) -> bool:
    return bool(subject.array("labels").any())


def _groups(members: Sequence[str], ratio: float | None) -> list[list[str]]:
    if ratio is None:
        return [list(members)]
    count = min(len(members), max(1, round(ratio * len(members))))
    return [list(part) for part in np.array_split(np.array(members, dtype=object), count)]


def _middle(group: Sequence[str], with_labels: Sequence[str]) -> str:
    """Return the annotated image nearest to the middle of the group."""
    return min(with_labels, key=lambda name: abs(group.index(name) - (len(group) - 1) / 2))


def classes_of(subjects: Mapping[str, Prepared], annotated: Sequence[str]) -> list[int]:
    """Return background and every label of the annotated images.

    Raises:
        InputError: there are too many to be structures.
    """
    labels: set[int] = set()
    for name in annotated:
        labels |= set(np.unique(subjects[name].array("labels")).tolist())
    labels.discard(0)
    if len(labels) > 255:
        raise InputError(
            f"The labels have {len(labels)} values; a segmentation network takes 255. Are they label maps?"
        )
    return [0, *sorted(int(label) for label in labels)]
