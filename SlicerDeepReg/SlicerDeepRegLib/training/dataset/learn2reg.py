"""Reads the dataset.json of Learn2Reg."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from ...types import InputError
from .index import DatasetIndex, Pair, Subject, existing_file, merge_subjects, stem

#: Keys of the description that hold pairs, and the split of these.
_PAIR_KEYS = {
    "training_paired_images": "train",
    "training_paired": "train",
    "registration_train": "train",
    "registration_val": "val",
    "validation_paired_images": "val",
    "validation_paired": "val",
    "validation": "val",
    "registration_test": "test",
    "test_paired_images": "test",
}


def read_json(path: Path) -> DatasetIndex:
    """Read Learn2Reg's description: "training" lists images, other keys list pairs.

    Raises:
        InputError: it cannot be read, names no images, or a file that it names is missing.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). It must be a Learn2Reg dataset.json.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must contain one JSON object, as Learn2Reg's dataset.json does.")
    subjects: list[Subject] = []
    pairs: list[Pair] = []
    for item in values.get("training") or []:
        item = item if isinstance(item, dict) else {"image": item}
        if "image" in item:
            subjects.append(_json_subject(path, item["image"], item.get("label"), item.get("mask")))
    for key, split in _PAIR_KEYS.items():
        for item in values.get(key) or []:
            if isinstance(item, dict) and {"fixed", "moving"} <= set(item):
                both = [_json_subject(path, item[side], None, None) for side in ("moving", "fixed")]
                subjects += both
                pairs.append(Pair(both[0].name, both[1].name, split))
    if not subjects:
        raise InputError(f'{path} names no images: it has neither "training" nor pairs of "fixed" and "moving".')
    held_out = {name for pair in pairs if pair.split != "train" for name in (pair.moving, pair.fixed)}
    named = {name: pair.split for pair in pairs if pair.split != "train" for name in (pair.moving, pair.fixed)}
    by_name = merge_subjects(subjects)
    split = {name: named[name] if name in held_out else "train" for name in by_name}
    return DatasetIndex({name: replace(subject, split=split[name]) for name, subject in by_name.items()}, tuple(pairs))


def _json_subject(path: Path, image: str, labels: str | None, mask: str | None) -> Subject:
    file = existing_file(path, image, str(path))

    def beside(named: str | None, word: str) -> Path | None:
        if named:
            return existing_file(path, named, str(path))
        guess = Path(re.sub(r"images(Tr|Ts|Val)(?=/)", rf"{word}\1", file.as_posix()))
        return guess if guess != file and guess.is_file() else None

    return Subject(stem(file), file, beside(labels, "labels"), beside(mask, "masks"))
