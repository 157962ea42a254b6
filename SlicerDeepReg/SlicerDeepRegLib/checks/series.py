"""What can be known of several images before any is registered: the frames of a series, the people of a cohort."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from ..geometry.points import are_inside
from ..preparation.gaps import without_gaps
from ..types import CHAINS, Image, InputError, Series
from .book import image_findings, raise_error
from .facts import facts_of_image
from .landmarks import listed


def check_series(series: Series) -> None:
    """Refuse a series that cannot be registered.

    Raises:
        InputError: fewer than two frames, no such reference, frames of another size or that cannot be used, labels on
            another grid, points outside, or a chain that there is none of.
    """
    frames, reference, labels = series.frames, series.reference, series.labels
    if len(frames) < 2:
        raise InputError("A series needs at least two frames. Give a 4D image, or several images.", "frames")
    if not 0 <= reference < len(frames):
        raise InputError(
            f"There is no frame {reference}: the series has {len(frames)}, numbered from 0 on.", "reference"
        )
    still = frames[reference]
    for frame in frames:
        if frame.grid.size_ijk != still.grid.size_ijk:
            raise InputError(
                f"{frame.name} has {_size(frame)} voxels and the reference, {still.name}, {_size(still)}. Resample "
                "them to one grid.",
                "frames",
            )
        usable(frame, "frames")
    if labels is not None and not labels.grid.same_as(still.grid):
        raise InputError(
            f"The labels lie on another voxel grid than {still.name}, the reference. Give the labels of that frame.",
            "labels",
        )
    if series.points_lps_mm is not None:
        unplaced = np.flatnonzero(np.isnan(series.points_lps_mm).any(1))
        if unplaced.size:
            raise InputError(
                f"Landmark {unplaced[0] + 1} was not placed. Place it in {still.name}, or leave it out.", "points"
            )
        outside = ~are_inside(still.grid, series.points_lps_mm)
        if outside.any():
            numbers = ", ".join(str(n + 1) for n in np.flatnonzero(outside)[:5])
            raise InputError(
                f"Landmarks lie outside the reference, {still.name} (number {numbers}): nothing is known of their "
                "motion. Leave them out, or give those of that frame.",
                "points",
            )
    if series.chain not in CHAINS:
        raise InputError(f"chain must be one of {', '.join(CHAINS)}; it was {series.chain!r}.", "chain")


def check_truth(series: Series, truth: Sequence[Image]) -> None:
    """Refuse segmentations that those of a series cannot be measured by.

    Raises:
        InputError: there are no labels to measure, or they are not as many, or of another size.
    """
    if series.labels is None:
        raise InputError("There are no labels to be measured. Give those of the reference.", "labels")
    if len(truth) != len(series.frames):
        raise InputError(
            f"There are {len(series.frames)} frames and {len(truth)} label maps to measure by. Give as many.", "truth"
        )
    for one, frame in zip(truth, series.frames):
        if not one.grid.same_as(frame.grid):
            raise InputError(
                f"{one.name} lies on another voxel grid than {frame.name}: sizes, origins, directions or spacings "
                "differ. Resample the labels to that frame's grid.",
                "truth",
            )


def notes_of_several(named: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """Return what was noted of several images, each sentence once, after the names of those it was said of."""
    names: dict[str, list[str]] = {}
    for name, notes in named:
        for note in notes:
            names.setdefault(note, []).append(name)
    return [f"{listed(of)}: {note}" for note, of in names.items()]


def usable(image: Image, control: str) -> Image:
    """Return one of several images with its gaps filled, where it can be registered.

    Raises:
        InputError: it is constant, too small, complex, or has too many voxels that are not numbers; its name is said.
    """
    filled, gaps = without_gaps(image)
    facts = dataclasses.replace(facts_of_image(filled, "given", gaps), notes=())
    try:
        raise_error(list(image_findings(facts)))
    except InputError as error:
        raise InputError(str(error), control) from error
    return filled


def _size(image: Image) -> str:
    return " x ".join(map(str, image.grid.size_ijk))
