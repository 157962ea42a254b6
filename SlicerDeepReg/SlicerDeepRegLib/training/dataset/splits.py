"""Decides which subjects are for training, and which are held out for validation and for a test; keeps it."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ...files.atomic import whole_file, writing
from .index import SPLITS, DatasetIndex, Subject
from .pairs import held_out

#: Beside a training: which image was for what.
SPLIT_FILE = "split.csv"
#: Bytes of each end of a file that count for its fingerprint.
_END = 1 << 16
#: So few subjects, or groups of them, are not divided.
FEWEST = 5
#: Pairings of images are told one by one up to so many.
DESCRIBED = 3


def with_splits(
    index: DatasetIndex,
    validation: float,
    seed: int,
    counts: tuple[int, int, int] | None = None,
    atlas: str | None = None,
) -> tuple[DatasetIndex, str | None]:
    """Return the index with every subject in a split, and a sentence about what was decided here, if anything.

    Where the data say nothing, and there are five subjects (or groups of subjects) or more, some are sampled by the
    seed: the part ``validation`` of them is held out, or as many for validation and test as ``counts`` says. Images
    that the data pair belong together, so that no pair is lost; of pairs that are all connected (everybody with the
    same atlas, or with each other) images are held out, with every pair that has one of them.

    Args:
        counts: how many a paper had for training, validation and test; of fewer or more, the same parts.
        atlas: never held out.
    """
    subjects = list(index.subjects.values())
    if any(subject.split for subject in subjects) or any(pair.split for pair in index.given):
        filled = {subject.name: replace(subject, split=subject.split or "train") for subject in subjects}
        divided = replace(index, subjects=filled)
        return divided, _mixed(divided)
    group_of = _groups(index)
    kept = group_of.get(atlas) if atlas is not None else None
    groups = sorted(set(group_of.values()) - {kept})
    if len(groups) < FEWEST:
        parts = [0.0, 0.0]
    elif counts:
        parts = [n / sum(counts) for n in counts[1:]]
    else:
        parts = [validation, 0.0]
    # A pair to validate needs two images, where each stands for itself.
    alone = kept is None and len(groups) == len(subjects)
    val, test = (max(round(part * len(groups)), 1 if part else 0) for part in parts)
    val = max(val, 2) if val and alone else val
    test = max(test, 2) if test and alone else test
    sampled = random.Random(seed).sample(groups, val + test)
    split = {name: "val" if number < val else "test" for number, name in enumerate(sampled)}
    filled = {subject.name: replace(subject, split=split.get(group_of[subject.name], "train")) for subject in subjects}
    divided = replace(index, subjects=filled)
    if not val and not test:
        return divided, "Nothing was held out: all images are for training."
    note = (
        f"Of {len(groups)}, {val} were held out for validation and {test} kept for a test, sampled by the seed {seed}."
    )
    lost = _across(divided)
    if lost:
        note += (
            f" {lost} of {len(index.given)} pairs connect images of different parts and are not used: every image is "
            "connected with the others by pairs."
        )
    return divided, f"{note} A column split in a CSV chooses them."


def _mixed(index: DatasetIndex) -> str | None:
    """Say so where the data's own pairs mix what is trained on with what is held out; None where they do not."""
    split_of = {name: subject.split for name, subject in index.subjects.items()}
    dropped = sum(pair.split == "train" and held_out(pair, split_of) for pair in index.given)
    tested = [pair for pair in index.given if pair.split in ("val", "test")]
    learned = sum("train" in (split_of[pair.moving], split_of[pair.fixed]) for pair in tested)
    notes = []
    if dropped:
        notes.append(f"Training pairs that are not used, because an image of them is held out: {dropped}.")
    if learned:
        notes.append(
            f"Pairs for validation or a test with an image that is trained on: {learned} of {len(tested)}. What is "
            "measured on them says less of new images."
        )
    return " ".join(notes) or None


def _groups(index: DatasetIndex) -> dict[str, str]:
    """Return the group of each subject: its own, and that of those that the data pair it with.

    Where pairs connect so much that fewer than ``FEWEST`` groups would be left, they are not followed.
    """
    own = {name: subject.group or name for name, subject in index.subjects.items()}
    parent = {group: group for group in own.values()}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    for pair in index.given:
        first, second = root(own[pair.moving]), root(own[pair.fixed])
        parent[max(first, second)] = min(first, second)
    joined = {name: root(group) for name, group in own.items()}
    return joined if len(set(joined.values())) >= FEWEST else own


def _across(index: DatasetIndex) -> int:
    split_of = {name: subject.split for name, subject in index.subjects.items()}
    return sum(split_of[pair.moving] != split_of[pair.fixed] for pair in index.given)


def described(index: DatasetIndex) -> list[str]:
    """Return lines that say how many images there are for what, and which files were taken for one subject's."""
    lines = []
    for split in SPLITS:
        members = [subject for subject in index.subjects.values() if subject.split == split]
        if members:
            labeled = sum(subject.labels is not None for subject in members)
            masked = sum(subject.mask is not None for subject in members)
            lines.append(f"{split}: {len(members)} images, {labeled} with labels, {masked} with a mask")
    shown = list(index.subjects.values())[:DESCRIBED]
    lines += [f"  {subject.name}: {_files(subject)}" for subject in shown]
    if len(index.subjects) > DESCRIBED:
        lines.append(f"  and {len(index.subjects) - DESCRIBED} more; all are in {SPLIT_FILE} beside the model")
    return lines


def _files(subject: Subject) -> str:
    named = (("image", subject.image), ("labels", subject.labels), ("mask", subject.mask))
    return ", ".join(f"{role} {path.name}" for role, path in named if path is not None)


def write_split(index: DatasetIndex, folder: Path) -> None:
    """Write which image is for what beside a training: name, split, group, names of its files, and a fingerprint.

    Raises:
        InputError: the disk is full or cannot be written to.
    """
    with writing("The split", folder), whole_file(folder / SPLIT_FILE) as private:
        with open(private, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("name", "split", "group", "image", "labels", "mask", "fingerprint"))
            for one in index.subjects.values():
                files = [path.name if path is not None else "" for path in (one.image, one.labels, one.mask)]
                writer.writerow((one.name, one.split, one.group or "", *files, fingerprint(one)))


def fingerprint(subject: Subject) -> str:
    """Return what tells an image from others wherever it lies: a checksum of its size and of its ends.

    The image of a folder (DICOM) is told by the names and sizes of its files.
    """
    try:
        return hashlib.sha256(f"{subject.frame}".encode() + _ends(subject.image)).hexdigest()[:16]
    except OSError:  # whoever reads it says so
        return ""


def contents_of(index: DatasetIndex) -> str:
    """Return a fingerprint of all images, labels and masks of a data set; see :func:`fingerprint`.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for one in index.subjects.values():
        for path in (one.image, one.labels, one.mask):
            digest.update(b"-" if path is None else hashlib.sha256(_ends(path)).digest())
    return digest.hexdigest()[:16]


def _ends(path: Path) -> bytes:
    """Return the size and both ends of a file, or the names and sizes of a folder's files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return "\n".join(f"{file.name} {file.stat().st_size}" for file in files).encode()
    size = path.stat().st_size
    with open(path, "rb") as stream:
        begin = stream.read(_END)
        stream.seek(max(0, size - _END))
        return f" {size} ".encode() + begin + stream.read(_END)


def trained_on(folder: Path, subjects: Iterable[Subject]) -> list[str]:
    """Return the names of those subjects that the training of a model learned from, as far as it is known.

    By fingerprint: names depend on how the data were given. By name where a training kept no fingerprints.
    """
    rows = [row for row in _rows_of(folder) if row.get("split") == "train"]
    prints = {row["fingerprint"] for row in rows if row.get("fingerprint")}
    names = set() if prints else {row.get("name") for row in rows}
    return [one.name for one in subjects if one.name in names or (prints and fingerprint(one) in prints)]


def read_split(folder: Path) -> dict[str, str]:
    """Return the split of each image of a training by name; empty where it is not known."""
    rows = _rows_of(folder)
    return {row["name"]: row["split"] for row in rows if row.get("name") and row.get("split") in SPLITS}


def _rows_of(folder: Path) -> list[dict[str, str]]:
    try:
        with open(folder / SPLIT_FILE, newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
