"""The report of a result in a folder: report.html, and report.pdf where fpdf2 is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..report import paper
from ..report.content import Picture, content_of
from ..report.facts import facts_of
from ..types import Result

#: Picture file, and what a reader should look for in it.
CAPTIONS = {
    "fixed.png": "Fixed image, three planes through one point. Outlines are the labels, where there are some.",
    "moving_before.png": "Moving image before registration, on the same planes.",
    "warped_after.png": "Moving image after registration. Each structure should lie where it lies in the fixed image.",
    "difference_before.png": "Moving minus fixed before, each scaled to its display range. Black is no difference.",
    "difference_after.png": "Warped minus fixed. Edges in red and blue are what was not brought together.",
    "grid.png": "The deformation drawn as a grid on the warped image. Lines must not cross.",
    "jacobian.png": "Change of volume from fixed to moving: white none, red the moving structure is larger than the "
    "fixed one, blue smaller; 0 or less would be a fold.",
}


def write_report(
    result: Result,
    folder: Path,
    pictures: list[str],
    identifiers: bool = False,
    truth: Mapping[str, str] | None = None,
) -> list[str]:
    """Write the report into ``folder``, the pictures found there inside it; returns the names of its files.

    Args:
        identifiers: call the images by their names.
        truth: further metrics as title to text.
    """
    shown = [Picture((folder / name).read_bytes(), CAPTIONS[name]) for name in pictures if name in CAPTIONS]
    return paper.write_report(content_of(facts_of(result), shown, identifiers, truth), folder)
