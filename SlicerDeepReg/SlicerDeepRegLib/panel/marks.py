"""Findings beside the control that they are about. Qt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slicer.i18n import tr as _

from ..types import Finding
from .text import as_text

SIGNS = {"error": "\u26d4", "warning": "\u26a0", "note": "\u2139"}


class TitleMarks:
    """The titles of a section's controls: a finding puts its sign before the title, and its text into the tooltip.

    The control of the field ``fixed_mask`` of a request has the title ``fixedMaskTitle`` in the .ui file.

    Args:
        widgets: the widgets of the .ui file, as attributes.
    """

    def __init__(self, widgets: Any) -> None:
        titles = {name: widget for name, widget in vars(widgets).items() if name.endswith("Title")}
        self._titles = {name: (widget, widget.text, widget.toolTip) for name, widget in titles.items()}

    def show(self, findings: Iterable[Finding]) -> None:
        """Mark the titles of these findings, errors first, and no others."""
        by_title: dict[str, list[Finding]] = {}
        for finding in findings:
            by_title.setdefault(_title_of(finding.control), []).append(finding)
        for name, (widget, text, tip) in self._titles.items():
            about = by_title.get(name, [])
            widget.text = f"{SIGNS[about[0].severity]} {text}" if about else text
            widget.toolTip = as_text("\n".join(_(finding.sentence) for finding in about)) or tip


def _title_of(control: str) -> str:
    first, *rest = control.replace("labels", "segmentation").split("_")
    return first + "".join(word.capitalize() for word in rest) + "Title"
