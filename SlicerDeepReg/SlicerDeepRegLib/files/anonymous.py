"""A request without names: what is written about it does not say whose images they were."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from ..types import IMAGE_FIELDS, POINT_FIELDS, Image, Request, Source
from .images import load
from .points import load_points


def anonymous(request: Request) -> Request:
    """Return the request with its files read, each called by what it is ("fixed", "moving labels").

    Raises:
        InputError: a file cannot be read.
    """
    given: dict[str, Any] = {}
    for field in IMAGE_FIELDS:
        source = getattr(request, field)
        if source is not None:
            series = getattr(request, f"{field}_series", "")
            given[field] = _renamed(source, field.replace("_", " "), series)
    for field in POINT_FIELDS:
        source = getattr(request, field)
        if source is not None:
            given[field] = load_points(source, field.replace("_", " "))
    return dataclasses.replace(request, fixed_series="", moving_series="", **given)


def _renamed(source: Source, role: str, series: str) -> Image:
    is_image = role in ("fixed", "moving")
    image = load(source, f"{role} image" if is_image else role, series, straight=is_image)
    names = [image.name] if isinstance(source, Image) else [source, os.path.basename(source), image.name]
    names += [os.path.basename(file) for file in image.files]
    notes = image.notes
    for name in filter(None, names):
        notes = tuple(note.replace(name, role) for note in notes)
    return dataclasses.replace(image, name=role, notes=notes, files=())
