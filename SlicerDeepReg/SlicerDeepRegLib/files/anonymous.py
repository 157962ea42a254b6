"""A result without names: what is written of it does not say whose images they were, nor what was segmented in them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

from ..types import CONTRAST_FIELDS, IMAGE_FIELDS, POINT_FIELDS, Image, Result
from .points import load_points
from .segmentations import read_segmentation


def without_names(result: Result) -> Result:
    """Return a result whose images are called by what they are ("fixed", "moving labels") and segments by number.

    Its notes are rewritten, and its request names no file, so that it cannot be repeated.
    """
    names = dict(_names(result))
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)) or r"(?!)"
    )

    def said(text: str) -> str:
        return pattern.sub(lambda match: names[match.group()], text)

    def called(image: Image | None, name: str) -> Any:
        return None if image is None else dataclasses.replace(image, name=name, notes=(), files=())

    given: dict[str, Any] = {}
    for field in (*IMAGE_FIELDS, *POINT_FIELDS):
        if getattr(result.request, field) is not None:
            given[field] = f"<{field.replace('_', ' ')}>"
    for field, side in CONTRAST_FIELDS.items():
        given[field] = tuple(f"<{side} {number}>" for number, _ in enumerate(getattr(result.request, field), 2))
    if result.request.initial_file is not None:
        given["initial"] = "<initial>"
    if isinstance(result.request.continued, (str, os.PathLike)):
        given["continued"] = "<result>"
    numbers = {name.lower(): str(number) for number, name in result.label_names.items()}
    given["guide_structures"] = tuple(numbers.get(name.lower(), name) for name in result.request.guide_structures)
    given["held_points"] = tuple(f"<landmark {n}>" for n, _ in enumerate(result.request.held_points, 1))
    return dataclasses.replace(
        result,
        request=dataclasses.replace(result.request, fixed_series="", moving_series="", label_names={}, **given),
        fixed=called(result.fixed, "fixed"),
        moving=called(result.moving, "moving"),
        warped=called(result.warped, "moving warped"),
        warped_labels=called(result.warped_labels, "moving labels warped"),
        fixed_labels=called(result.fixed_labels, "fixed labels"),
        label_names={number: f"structure {number}" for number in result.label_names},
        stages=tuple(dataclasses.replace(stage, note=said(stage.note)) for stage in result.stages),
        notes=tuple(map(said, result.notes)),
    )


def _called(source: Any, called: str) -> Iterator[tuple[str, str]]:
    if isinstance(source, Image):
        yield source.name, called
    elif isinstance(source, (str, os.PathLike)):
        yield os.fspath(source), called
        yield os.path.basename(os.path.abspath(source)), called


def _names(result: Result) -> Iterator[tuple[str, str]]:
    """Yield each name that may stand in a note, and what to call it."""
    for number, name in enumerate(result.request.held_points, 1):
        yield name, f"landmark {number}"
    for field in (*IMAGE_FIELDS, *POINT_FIELDS, "initial_file", "continued"):
        yield from _called(getattr(result.request, field), field.replace("_", " "))
    for field, side in CONTRAST_FIELDS.items():
        for number, source in enumerate(getattr(result.request, field), 2):
            yield from _called(source, f"{side} {number}")
    for image, called in ((result.fixed, "fixed"), (result.moving, "moving")):
        for number, file in enumerate(image.files, 1):
            yield os.path.basename(file), f"file {number}" if len(image.files) > 1 else called
        yield image.name, called
    for labels in (result.fixed_labels, result.warped_labels):
        if labels is not None:
            yield labels.name, "labels"
    for number, name in result.label_names.items():
        yield name, f"structure {number}"
    yield from _names_in_files(result)


def _names_in_files(result: Result) -> Iterator[tuple[str, str]]:
    """Yield the names of segments and landmarks, also of those that were left out; one of digits alone is none."""
    for field in IMAGE_FIELDS:
        source = getattr(result.request, field)
        found = read_segmentation(source, field) if isinstance(source, str) else None
        for number, name in enumerate(found.names if found is not None else (), 1):
            yield name, f"segment {number}"
    for field in ("fixed_points", "moving_points"):
        source = getattr(result.request, field)
        labels = load_points(source, field).labels if isinstance(source, str) else ()
        for number, label in enumerate(labels, 1):
            if any(letter.isalpha() for letter in label):
                yield label, f"landmark {number}"
