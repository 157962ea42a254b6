"""Reads the images of a folder, with labels and masks by patterns or by words in their names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...files.datasets import FILMS, PICKLES, count_frames
from ...types import InputError
from .index import DICOM, ENDINGS, SPLIT_WORDS, DatasetIndex, Subject, in_order, stem

_LABEL_WORD = re.compile(r"labels?(tr|ts|val)?|a?seg\d*|segmentations?|a?parc|parcellations?|annotations?")
_MASK_WORD = re.compile(r"masks?(tr|ts|val)?")
_IMAGE_WORD = re.compile(r"images?(tr|ts|val)?|img|t[12]w?|ct")


def read_folder(folder: Path, images: str | None, labels: str | None, masks: str | None) -> DatasetIndex:
    """Read the images in a folder; see ``read.read_dataset_index``.

    Raises:
        InputError: it holds no images, or labels and masks cannot be assigned to them.
    """
    files = _files(folder)
    if not files:
        raise InputError(f"The folder {folder} contains no images ({', '.join(ENDINGS)}). Check the path.")
    if images:
        with_images = _by_pattern(folder, files, images, "images")
        with_labels = _by_pattern(folder, files, labels, "labels") if labels else {}
        with_masks = _by_pattern(folder, files, masks, "masks") if masks else {}
    elif labels or masks:
        raise InputError("Patterns of labels or masks need the pattern of the images too: --images.")
    else:
        with_images, with_labels, with_masks = _by_words(folder, files)
    if not with_images:
        raise InputError(
            f"The folder {folder} contains labels or masks, but no images. Name the images: --images PATTERN."
        )
    for what, others in (("label maps", with_labels), ("masks", with_masks)):
        lost = sorted(set(others) - set(with_images))
        if lost:
            raise InputError(
                f"{len(lost)} {what} belong to no image, {others[lost[0]]} among them. Name which belongs to which by "
                "patterns (--images, --labels, --masks) or a CSV."
            )
    subjects = {}
    for key, image in with_images.items():
        split = next((SPLIT_WORDS[w] for w in _folder_words(folder, image) if w in SPLIT_WORDS), None)
        labels = image if image.suffix.lower() in PICKLES else with_labels.get(key)
        one = Subject(key, image, labels, with_masks.get(key), split)
        subjects.update(_frames_of(one) if image.suffix.lower() in FILMS else {key: one})
    return DatasetIndex(in_order(subjects))


#: Frames of a film that are taken where a CSV does not name them, as FMIRNet's paper takes two of each.
FRAMES = 2


def _frames_of(film: Subject) -> dict[str, Subject]:
    """Return frames spread over a film, the first one among them, as a group of their own."""
    count = count_frames(film.image)
    chosen = sorted({number * count // FRAMES for number in range(FRAMES)})
    named = {f"{film.name} frame {number}": number for number in chosen}
    return {name: replace(film, name=name, group=film.name, frame=number) for name, number in named.items()}


def _files(folder: Path) -> list[Path]:
    """Return the files of images; slices of DICOM are one image, their folder."""
    found: set[Path] = set()
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name.startswith(".") or not name.lower().endswith(ENDINGS):
                continue
            found.add(Path(place) if name.lower().endswith(DICOM) else Path(place) / name)
    return sorted(found)


def _by_pattern(folder: Path, files: Sequence[Path], pattern: str, what: str) -> dict[str, Path]:
    """Return the files whose path in the folder matches the pattern, by what the stars stand for."""
    parts = [re.escape(part) for part in pattern.split("*")]
    expression = re.compile("([^/]*)".join(parts))
    matched: dict[str, Path] = {}
    for file in files:
        match = expression.fullmatch(file.relative_to(folder).as_posix())
        if match:
            key = "/".join(match.groups()) or file.name
            if key in matched:
                raise InputError(f"The pattern {pattern} has two {what} for {key}: {matched[key]} and {file}.")
            matched[key] = file
    if not matched:
        raise InputError(f"No file of {folder} matches the pattern {pattern} for {what}.")
    return matched


def _by_words(folder: Path, files: Sequence[Path]) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path]]:
    """Return images, labels and masks, told apart by words in their names or folders (``sub01_seg``, ``labelsTr/``)."""
    by_kind: tuple[dict[str, Path], dict[str, Path], dict[str, Path]] = ({}, {}, {})
    for file in files:
        place = file.relative_to(folder).parts[:-1]
        parts = re.split(r"(?=[_\-. +])", stem(file))
        words = [part.strip("_-. +").lower() for part in parts]
        every = [*words, *(part.lower() for part in place)]
        kind = 1 if any(map(_LABEL_WORD.fullmatch, every)) else 2 if any(map(_MASK_WORD.fullmatch, every)) else 0
        kept = "".join(part for part, word in zip(parts, words) if not _is_role(word)).strip("_-. +")
        outside = [p for p in place if not _is_role(p.lower()) and p.lower() not in SPLIT_WORDS]
        key = "/".join([*outside, kept] if kept else outside)
        if key in by_kind[kind]:
            raise InputError(
                f"{by_kind[kind][key]} and {file} seem to belong to one subject. Say which are the images, labels and "
                "masks by patterns: --images, --labels, --masks; or give a CSV."
            )
        by_kind[kind][key] = file
    return by_kind


def _is_role(word: str) -> bool:
    return any(words.fullmatch(word) for words in (_LABEL_WORD, _MASK_WORD, _IMAGE_WORD))


def _folder_words(folder: Path, file: Path) -> list[str]:
    return [part.lower() for part in file.relative_to(folder).parts[:-1]]
