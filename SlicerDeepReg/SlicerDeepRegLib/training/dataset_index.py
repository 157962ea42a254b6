"""Which images a training has, and which pairs it makes of them: from a folder, a CSV or a Learn2Reg dataset.json."""

from __future__ import annotations

import csv
import json
import os
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..types import InputError

PAIRINGS = ("all", "random", "from-atlas", "to-atlas", "given")
SPLITS = ("train", "val", "test")
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_LABEL_WORD = re.compile(r"labels?(tr|ts|val)?|a?seg\d*|segmentations?|a?parc|parcellations?|annotations?")
_MASK_WORD = re.compile(r"masks?(tr|ts|val)?")
_IMAGE_WORD = re.compile(r"images?(tr|ts|val)?|img|t[12]w?|ct")
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "imagestr", "labelstr", "maskstr"), "train"),
    **dict.fromkeys(("val", "validation", "imagesval", "labelsval", "masksval"), "val"),
    **dict.fromkeys(("test", "testing", "imagests", "labelsts", "masksts"), "test"),
}


@dataclass(frozen=True)
class Subject:
    """One image with what belongs to it.

    Attributes:
        name: what messages call it, unique.
        image, labels, mask: files.
        split: "train", "val", "test", or None where nothing says.
        group: pairs are made within a group only (a patient, a series); None for all in one.
    """

    name: str
    image: Path
    labels: Path | None = None
    mask: Path | None = None
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Pair:
    """Names of the moving and the fixed subject."""

    moving: str
    fixed: str
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """Attributes:
    subjects: by name, sorted.
    given: pairs that the data name themselves; may be empty.
    """

    subjects: dict[str, Subject]
    given: tuple[Pair, ...] = ()

    def without(self, names: Iterable[str]) -> Listing:
        """The same without some subjects and their pairs."""
        left_out = set(names)
        kept = {name: one for name, one in self.subjects.items() if name not in left_out}
        given = tuple(p for p in self.given if p.moving in kept and p.fixed in kept)
        return Listing(kept, given)


def read_listing(path: Path, images: str | None = None, labels: str | None = None, masks: str | None = None) -> Listing:
    """The images at ``path``.

    Args:
        path: a folder, a .csv, or a Learn2Reg dataset.json.
        images, labels, masks: patterns of file names in the folder, as ``*/aligned_norm.nii.gz``; labels and masks
            belong to the image for which ``*`` stands for the same.

    Raises:
        InputError: there is nothing there, a file that is named is missing, or the form is another one.
    """
    if not path.exists():
        raise InputError(f"The data {path} do not exist. Check the path.")
    if path.is_dir():
        descriptions = sorted(path.glob("*dataset.json"))
        if not images and len(descriptions) == 1:
            return _read_json(descriptions[0])
        listing = _read_folder(path, images, labels, masks)
    elif path.suffix == ".csv":
        listing = _read_csv(path)
    elif path.suffix == ".json":
        listing = _read_json(path)
    else:
        raise InputError(f"The data {path} must be a folder, a .csv, or a Learn2Reg dataset.json.")
    if not listing.subjects:
        raise InputError(f"The data {path} name no images.")
    return listing


# -------------------------------------------------------------------------------------------------- a folder


def _read_folder(folder: Path, images: str | None, labels: str | None, masks: str | None) -> Listing:
    files = sorted(
        Path(place) / name
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(ENDINGS) and not name.startswith(".")
    )
    if not files:
        raise InputError(f"The folder {folder} holds no images ({', '.join(ENDINGS)}). Check the path.")
    if images:
        found = _by_pattern(folder, files, images, "images")
        with_labels = _by_pattern(folder, files, labels, "labels") if labels else {}
        with_masks = _by_pattern(folder, files, masks, "masks") if masks else {}
    elif labels or masks:
        raise InputError("Patterns of labels or masks need the pattern of the images too: --images.")
    else:
        found, with_labels, with_masks = _by_words(folder, files)
    if not found:
        raise InputError(
            f"The folder {folder} holds labels or masks, but no images. Name the images: --images PATTERN."
        )
    for what, others in (("label maps", with_labels), ("masks", with_masks)):
        lost = sorted(set(others) - set(found))
        if lost:
            raise InputError(
                f"{len(lost)} {what} belong to no image, {others[lost[0]]} among them. Name which belongs to which by "
                "patterns (--images, --labels, --masks) or a CSV."
            )
    subjects = {}
    for key, image in found.items():
        split = next((_SPLIT_WORDS[w] for w in _folder_words(folder, image) if w in _SPLIT_WORDS), None)
        subjects[key] = Subject(key, image, with_labels.get(key), with_masks.get(key), split)
    return Listing(_in_order(subjects))


def _in_order(subjects: dict[str, Subject]) -> dict[str, Subject]:
    """By name, numbers in it as numbers: frame 2 comes before frame 10."""

    def key(name: str):
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    return {name: subjects[name] for name in sorted(subjects, key=key)}


def _by_pattern(folder: Path, files: Sequence[Path], pattern: str, what: str) -> dict[str, Path]:
    """Files whose path in the folder is of the pattern, by what the stars stand for."""
    parts = [re.escape(part) for part in pattern.split("*")]
    expression = re.compile("([^/]*)".join(parts))
    found: dict[str, Path] = {}
    for file in files:
        match = expression.fullmatch(file.relative_to(folder).as_posix())
        if match:
            key = "/".join(match.groups()) or file.name
            if key in found:
                raise InputError(f"The pattern {pattern} has two {what} for {key}: {found[key]} and {file}.")
            found[key] = file
    if not found:
        raise InputError(f"No file of {folder} is of the pattern {pattern} for {what}.")
    return found


def _by_words(folder: Path, files: Sequence[Path]) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path]]:
    """Images, labels and masks told apart by words in their names or folders (``sub01_seg``, ``labelsTr/``)."""
    found: tuple[dict[str, Path], ...] = ({}, {}, {})
    for file in files:
        place = file.relative_to(folder).parts[:-1]
        parts = re.split(r"(?=[_\-. +])", _stem(file))
        words = [part.strip("_-. +").lower() for part in parts]
        every = [*words, *(part.lower() for part in place)]
        kind = 1 if any(map(_LABEL_WORD.fullmatch, every)) else 2 if any(map(_MASK_WORD.fullmatch, every)) else 0
        kept = "".join(part for part, word in zip(parts, words) if not _is_role(word)).strip("_-. +")
        outside = [p for p in place if not _is_role(p.lower()) and p.lower() not in _SPLIT_WORDS]
        key = "/".join([*outside, kept] if kept else outside)
        if key in found[kind]:
            raise InputError(
                f"{found[kind][key]} and {file} seem to belong to one subject. Say which are the images, labels and "
                "masks by patterns: --images, --labels, --masks; or give a CSV."
            )
        found[kind][key] = file
    return found


def _is_role(word: str) -> bool:
    return any(one.fullmatch(word) for one in (_LABEL_WORD, _MASK_WORD, _IMAGE_WORD))


def _stem(file: Path) -> str:
    return next(file.name[: -len(ending)] for ending in ENDINGS if file.name.lower().endswith(ending))


def _folder_words(folder: Path, file: Path) -> list[str]:
    return [part.lower() for part in file.relative_to(folder).parts[:-1]]


# -------------------------------------------------------------------------------------------------- a CSV


_IMAGE_COLUMNS = ("image", "labels", "mask", "split", "group", "name")
_PAIR_COLUMNS = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask", "split")


def _read_csv(path: Path) -> Listing:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows = [{(k or "").strip(): (v or "").strip() for k, v in row.items() if k} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}). It must be a CSV with a line of column names.") from error
    if not rows:
        raise InputError(f"{path} holds no rows.")
    columns = set(rows[0])
    known = _IMAGE_COLUMNS if "image" in columns else _PAIR_COLUMNS
    if {"image"} <= columns or {"fixed", "moving"} <= columns:
        unknown = sorted(columns - set(known))
        if unknown:
            raise InputError(
                f"{path} has columns that mean nothing here: {', '.join(unknown)}. Known: {', '.join(known)}."
            )
    if "image" in columns:
        return Listing(_subjects(_subject_of_row(path, number, row) for number, row in enumerate(rows, start=2)))
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
        _file(path, row["image"], where),
        *(_file(path, row[name], where) if row.get(name) else None for name in ("labels", "mask")),
        split=_split(row.get("split"), where),
        group=(row.get("group") or "").strip() or None,
    )


def _pairs_of_rows(path: Path, rows: Sequence[dict[str, str]]) -> Listing:
    subjects: list[Subject] = []
    pairs: list[Pair] = []
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        for side in ("moving", "fixed"):
            image = _file(path, row[side], where)
            extra = [row.get(f"{side}_{name}") for name in ("labels", "mask")]
            subjects.append(Subject(row[side].strip(), image, *(_file(path, e, where) if e else None for e in extra)))
        pairs.append(Pair(row["moving"].strip(), row["fixed"].strip(), _split(row.get("split"), where)))
    return Listing(_with_splits_of(pairs, _subjects(subjects)), tuple(pairs))


def _with_splits_of(pairs: Sequence[Pair], subjects: dict[str, Subject]) -> dict[str, Subject]:
    """Each subject in the split of the pairs that name it; in training where one of those is."""
    if not any(pair.split for pair in pairs):
        return subjects
    splits: dict[str, set] = {}
    for pair in pairs:
        for name in (pair.moving, pair.fixed):
            splits.setdefault(name, set()).add(pair.split or "train")
    chosen = {name: next(s for s in SPLITS if s in found) for name, found in splits.items()}
    return {name: replace(one, split=chosen[name]) for name, one in subjects.items()}


def _subjects(found: Iterable[Subject]) -> dict[str, Subject]:
    """By name; the same image may be named more than once, with the labels named at least once."""
    by_name: dict[str, Subject] = {}
    for one in found:
        known = by_name.get(one.name)
        if known is None:
            by_name[one.name] = one
            continue
        for what in ("image", "labels", "mask", "split", "group"):
            first, second = getattr(known, what), getattr(one, what)
            if first and second and first != second:
                raise InputError(f"{one.name} is named twice with another {what}: {first} and {second}.")
        merged = {w: getattr(known, w) or getattr(one, w) for w in ("labels", "mask", "split", "group")}
        by_name[one.name] = replace(known, **merged)
    return _in_order(by_name)


def _file(listed_in: Path, name: str, where: str) -> Path:
    path = Path((name or "").strip())
    path = path if path.is_absolute() else listed_in.parent / path
    if not name or not path.is_file():
        raise InputError(f"{where}: the file {name!r} does not exist. Paths are relative to the list, or absolute.")
    return path


def _split(value: str | None, where: str) -> str | None:
    text = (value or "").strip().lower()
    if not text:
        return None
    if text not in _SPLIT_WORDS and text not in SPLITS:
        raise InputError(f"{where}: the split {value!r} is not one of {', '.join(SPLITS)}.")
    return _SPLIT_WORDS.get(text, text)


# -------------------------------------------------------------------------------------------------- dataset.json

_PAIR_KEYS = {
    **dict.fromkeys(("training_paired_images", "training_paired", "registration_train"), "train"),
    **dict.fromkeys(("registration_val", "validation_paired_images", "validation_paired", "validation"), "val"),
    **dict.fromkeys(("registration_test", "test_paired_images"), "test"),
}


def _read_json(path: Path) -> Listing:
    """Learn2Reg's description: "training" lists images, other keys list pairs."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). It must be a Learn2Reg dataset.json.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold one JSON object, as Learn2Reg's dataset.json does.")
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
    named = {name: (pair.split) for pair in pairs if pair.split != "train" for name in (pair.moving, pair.fixed)}
    by_name = _subjects(subjects)
    split = {name: named[name] if name in held_out else "train" for name in by_name}
    return Listing({name: replace(one, split=split[name]) for name, one in by_name.items()}, tuple(pairs))


def _json_subject(path: Path, image: str, labels: str | None, mask: str | None) -> Subject:
    file = _file(path, image, str(path))

    def beside(named: str | None, word: str) -> Path | None:
        if named:
            return _file(path, named, str(path))
        guess = Path(re.sub(r"images(Tr|Ts|Val)(?=/)", rf"{word}\1", file.as_posix()))
        return guess if guess != file and guess.is_file() else None

    return Subject(_stem(file), file, beside(labels, "labels"), beside(mask, "masks"))


# -------------------------------------------------------------------------------------------------- splits, pairs


def with_splits(
    listing: Listing,
    validation: float,
    seed: int,
    counts: tuple[int, int, int] | None = None,
    atlas: str | None = None,
) -> tuple[Listing, str | None]:
    """Every subject in a split, and a sentence about what was decided here.

    Where the data say nothing, and there are five subjects (or groups of subjects) or more, some are drawn by the seed:
    ``validation`` of them are held out, or as many for validation and test as ``counts`` says.

    Args:
        counts: how many a paper had for training, validation and test; of fewer or more, the same parts.
        atlas: never held out.
    """
    subjects = list(listing.subjects.values())
    if any(one.split for one in subjects) or any(pair.split for pair in listing.given):
        filled = {one.name: replace(one, split=one.split or "train") for one in subjects}
        return replace(listing, subjects=filled), None
    kept = listing.subjects[atlas].group or atlas if atlas in listing.subjects else None
    groups = sorted({one.group or one.name for one in subjects} - {kept})
    parts = [0.0, 0.0] if len(groups) < 5 else [n / sum(counts) for n in counts[1:]] if counts else [validation, 0.0]
    alone = kept is None and not any(one.group for one in subjects)  # then a pair to validate needs two of them
    val, test = (max(round(part * len(groups)), 1 if part else 0) for part in parts)
    val = max(val, 2) if val and alone else val
    drawn = random.Random(seed).sample(groups, val + test)
    split = {**dict.fromkeys(drawn[:val], "val"), **dict.fromkeys(drawn[val:], "test")}
    filled = {one.name: replace(one, split=split.get(one.group or one.name, "train")) for one in subjects}
    if not val and not test:
        return replace(listing, subjects=filled), "Nothing was held out: all images are for training."
    note = f"Of {len(groups)}, {val} were held out for validation and {test} kept for a test, drawn by the seed {seed}."
    return replace(listing, subjects=filled), f"{note} A column split in a CSV chooses them."


def make_pairs(listing: Listing, pairing: str, split: str, atlas: str | None = None) -> list[Pair]:
    """The pairs of a split, in a fixed order.

    Args:
        pairing: "all": every ordered pair; "random": every subject once as fixed, its moving one drawn anew each epoch
            (here: the next one); "from-atlas" and "to-atlas": the atlas to or from every other; "given": those that the
            data name.

    Raises:
        InputError: fewer than two images, no atlas of that name, or no pairs given.
    """
    if pairing not in PAIRINGS:
        raise InputError(f"Pairs are made by {', '.join(PAIRINGS)}; it was {pairing!r}.")
    if pairing == "given":
        split_of = {name: one.split for name, one in listing.subjects.items()}
        pairs = [p for p in listing.given if p.split == split or (not p.split and _both_in(p, split_of, split))]
        if not pairs and split == "train":
            raise InputError("The data name no pairs for training. Use --pairs all, random, from-atlas or to-atlas.")
        return pairs
    given = [pair for pair in listing.given if pair.split == split]
    if split != "train" and given:
        return given  # as the data's own protocol has it
    names = [name for name, one in listing.subjects.items() if one.split == split]
    if pairing in ("from-atlas", "to-atlas"):
        if atlas not in listing.subjects:
            known = ", ".join(list(listing.subjects)[:5])
            raise InputError(f"There is no image {atlas!r} for the atlas (--atlas NAME). Names are: {known}, ...")
        others = [name for name in names if name != atlas]
        return [Pair(atlas, n, split) if pairing == "from-atlas" else Pair(n, atlas, split) for n in others]
    pairs = _within_groups(listing, names, "random" if split != "train" else pairing, split)
    if not pairs and split == "train":
        raise InputError(
            f"{len(names)} image{'s' if len(names) != 1 else ''} for training: a pair needs two (of one group). Add "
            "images, or use synthetic pairs: --synthetic."
        )
    return pairs


def _both_in(pair: Pair, split_of: dict[str, str | None], split: str) -> bool:
    """A pair of which one image is held out is in no split."""
    return split_of[pair.moving] == split == split_of[pair.fixed]


def _within_groups(listing: Listing, names: Sequence[str], pairing: str, split: str) -> list[Pair]:
    groups: dict[str | None, list[str]] = {}
    for name in names:
        groups.setdefault(listing.subjects[name].group, []).append(name)
    pairs: list[Pair] = []
    for members in groups.values():
        if pairing == "random":
            pairs += [Pair(members[n - 1], name, split) for n, name in enumerate(members) if len(members) > 1]
        else:
            pairs += [Pair(moving, fixed, split) for fixed in members for moving in members if moving != fixed]
    return pairs
