"""Decides which subjects are for training, and which are held out for validation and for a test."""

from __future__ import annotations

import random
from dataclasses import replace

from .index import DatasetIndex


def with_splits(
    index: DatasetIndex,
    validation: float,
    seed: int,
    counts: tuple[int, int, int] | None = None,
    atlas: str | None = None,
) -> tuple[DatasetIndex, str | None]:
    """Return the index with every subject in a split, and a sentence about what was decided here, if anything.

    Where the data say nothing, and there are five subjects (or groups of subjects) or more, some are sampled by the
    seed: the part ``validation`` of them is held out, or as many for validation and test as ``counts`` says.

    Args:
        counts: how many a paper had for training, validation and test; of fewer or more, the same parts.
        atlas: never held out.
    """
    subjects = list(index.subjects.values())
    if any(subject.split for subject in subjects) or any(pair.split for pair in index.given):
        filled = {subject.name: replace(subject, split=subject.split or "train") for subject in subjects}
        return replace(index, subjects=filled), None
    kept = index.subjects[atlas].group or atlas if atlas in index.subjects else None
    groups = sorted({subject.group or subject.name for subject in subjects} - {kept})
    if len(groups) < 5:
        parts = [0.0, 0.0]
    elif counts:
        parts = [n / sum(counts) for n in counts[1:]]
    else:
        parts = [validation, 0.0]
    alone = kept is None and not any(subject.group for subject in subjects)  # then a pair to validate needs two of them
    val, test = (max(round(part * len(groups)), 1 if part else 0) for part in parts)
    val = max(val, 2) if val and alone else val
    sampled = random.Random(seed).sample(groups, val + test)
    split = {name: "val" if number < val else "test" for number, name in enumerate(sampled)}
    filled = {
        subject.name: replace(subject, split=split.get(subject.group or subject.name, "train")) for subject in subjects
    }
    if not val and not test:
        return replace(index, subjects=filled), "Nothing was held out: all images are for training."
    note = (
        f"Of {len(groups)}, {val} were held out for validation and {test} kept for a test, sampled by the seed {seed}."
    )
    return replace(index, subjects=filled), f"{note} A column split in a CSV chooses them."
