"""Reads a CSV that names images, or pairs of images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...types import InputError
from .index import SPLIT_WORDS, SPLITS, DatasetIndex, Pair, Subject, existing_file, merge_subjects

_IMAGE_COLUMNS = ("image", "labels", "mask", "split", "group", "name", "frame")
_PAIR_COLUMNS = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask", "split")


def read_csv(path: Path) -> DatasetIndex:
    """Read a CSV of images, or of pairs of images.

    Raises:
        InputError: it cannot be read, its columns are others, or a file that it names is missing.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows = [{(k or "").strip(): (v or "").strip() for k, v in row.items() if k} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}). It must be a CSV with a line of column names.") from error
    if not rows:
        raise InputError(f"{path} has no rows.")
    columns = set(rows[0])
    known = _IMAGE_COLUMNS if "image" in columns else _PAIR_COLUMNS
    if {"image"} <= columns or {"fixed", "moving"} <= columns:
        unknown = sorted(columns - set(known))
        if unknown:
            raise InputError(
                f"{path} has columns that mean nothing here: {', '.join(unknown)}. Known: {', '.join(known)}."
            )
    if "image" in columns:
        return DatasetIndex(
            merge_subjects(_subject_of_row(path, number, row) for number, row in enumerate(rows, start=2))
        )
    if {"fixed", "moving"} <= columns:
        return _pairs_of_rows(path, rows)
    raise InputError(
        f"{path} needs the column image (and labels, mask, split, group), or the columns fixed and moving (and "
        f"fixed_labels, moving_labels, fixed_mask, moving_mask, split). It has: {', '.join(map(str, columns))}."
    )


def _subject_of_row(path: Path, number: int, row: dict[str, str]) -> Subject:
    where = f"{path}, line {number}"
    return Subject(
        (row.get("name") or row["image"]).strip(),
        existing_file(path, row["image"], where),
        labels=existing_file(path, row["labels"], where) if row.get("labels") else None,
        mask=existing_file(path, row["mask"], where) if row.get("mask") else None,
        split=_split(row.get("split"), where),
        group=(row.get("group") or "").strip() or None,
        frame=_number(row.get("frame"), where),
    )


def _pairs_of_rows(path: Path, rows: Sequence[dict[str, str]]) -> DatasetIndex:
    subjects: list[Subject] = []
    pairs: list[Pair] = []
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        for side in ("moving", "fixed"):
            image = existing_file(path, row[side], where)
            labels, mask = (row.get(f"{side}_{name}") for name in ("labels", "mask"))
            labels_file = existing_file(path, labels, where) if labels else None
            mask_file = existing_file(path, mask, where) if mask else None
            subjects.append(Subject(row[side].strip(), image, labels_file, mask_file))
        pairs.append(Pair(row["moving"].strip(), row["fixed"].strip(), _split(row.get("split"), where)))
    return DatasetIndex(_with_splits_of(pairs, merge_subjects(subjects)), tuple(pairs))


def _with_splits_of(pairs: Sequence[Pair], subjects: dict[str, Subject]) -> dict[str, Subject]:
    """Return each subject in the split of the pairs that name it; in training where one of those is."""
    if not any(pair.split for pair in pairs):
        return subjects
    splits: dict[str, set] = {}
    for pair in pairs:
        for name in (pair.moving, pair.fixed):
            splits.setdefault(name, set()).add(pair.split or "train")
    chosen = {name: next(s for s in SPLITS if s in named) for name, named in splits.items()}
    return {name: replace(subject, split=chosen[name]) for name, subject in subjects.items()}


def _number(value: str | None, where: str) -> int | None:
    text = (value or "").strip()
    if text and not text.isdecimal():
        raise InputError(f"{where}: the frame {value!r} is no number. Frames of a film are counted from 0.")
    return int(text) if text else None


def _split(value: str | None, where: str) -> str | None:
    text = (value or "").strip().lower()
    if not text:
        return None
    if text not in SPLIT_WORDS and text not in SPLITS:
        raise InputError(f"{where}: the split {value!r} is not one of {', '.join(SPLITS)}.")
    return SPLIT_WORDS.get(text, text)


def write_csv(index: DatasetIndex, path: Path) -> None:
    """Write an index as :func:`read_csv` reads it: of pairs where the data name pairs, else of images.

    Raises:
        OSError: the file cannot be written.
    """
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if index.given:
            writer.writerow(_PAIR_COLUMNS)
            split_of = {name: subject.split for name, subject in index.subjects.items()}
            for pair in index.given:
                fixed, moving = index.subjects[pair.fixed], index.subjects[pair.moving]
                files = [_absolute(one) for role in ("image", "labels", "mask") for one in _both(fixed, moving, role)]
                split = pair.split or (split_of[pair.fixed] if split_of[pair.fixed] == split_of[pair.moving] else None)
                if split is not None:
                    writer.writerow((*files, split))
            return
        writer.writerow(_IMAGE_COLUMNS)
        for subject in index.subjects.values():
            files = [_absolute(path) for path in (subject.image, subject.labels, subject.mask)]
            frame = "" if subject.frame is None else subject.frame
            writer.writerow((*files, subject.split or "", subject.group or "", subject.name, frame))


def _both(fixed: Subject, moving: Subject, role: str) -> tuple[Path | None, Path | None]:
    return getattr(fixed, role), getattr(moving, role)


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.resolve())
