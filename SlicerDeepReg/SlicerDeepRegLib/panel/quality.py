"""What the panel says about the quality of a run, in words. No Qt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from ..metrics import METRICS
from ..metrics.status import (
    AMBER,
    CONSISTENCY,
    GRAY,
    GREEN,
    JACOBIAN_RANGE,
    LANDMARKS,
    OVERLAP,
    RED,
    SURFACES,
    UNCERTAINTY,
    Status,
    statuses,
)
from ..metrics.structures import structure_name
from ..metrics.table import change_percent, volume_text, written
from ..mrml.runs import Run

#: The words for a color, so that nobody needs to tell colors apart, and how the color is drawn.
STATUS_WORDS = {
    GREEN: (_("Within tolerance"), "#2e9e4f"),
    AMBER: (_("Check"), "#e09a1a"),
    RED: (_("Out of tolerance"), "#d43a3a"),
    GRAY: (_("Not measured"), "#8a8f98"),
}
UNMEASURED = _("not measured: measuring did not end")
#: The names of the measures, translated.
MEASURES = {
    LANDMARKS: _("Landmarks (TRE)"),
    OVERLAP: _("Overlap (Dice)"),
    SURFACES: _("Surface distance (HD95)"),
    JACOBIAN_RANGE: _("Jacobian"),
    CONSISTENCY: _("Inverse consistency"),
    UNCERTAINTY: _("Uncertainty"),
}
#: The metric whose values before and after stand beside a measure.
_BEFORE_AND_AFTER = {
    (LANDMARKS, MEASURES[LANDMARKS]): "tre_mm",
    (OVERLAP, MEASURES[OVERLAP]): "dice",
    (SURFACES, MEASURES[SURFACES]): "hd95_mm",
}
#: Findings at a location: what was found, and its value in words.
LOCATIONS = {
    "fold": (_("Fold: not invertible here"), _("minimum J = {value:.2f}")),
    "shrinks": (_("Maximum compression"), _("J = {value:.2f}")),
    "grows": (_("Maximum expansion"), _("J = {value:.2f}")),
    "differs": (_("Largest intensity difference"), _("{value:.0%} of the window")),
}


def run_statuses(run: Run) -> list[Status]:
    """Return the statuses of a run; inverse consistency is that of two registrations if it was measured since."""
    facts = run.facts
    kept, both_ways = [Status(**values) for values in facts.get("statuses", [])], facts.get("both_ways")
    if both_ways is not None:
        measured = {status.name: status for status in statuses(both_ways, facts["spacing_mm"])}
        kept = [measured[CONSISTENCY] if status.name == CONSISTENCY else status for status in kept]
    if not facts.get("is_measured", True):
        kept = [dataclasses.replace(status, value=UNMEASURED) if status.color == GRAY else status for status in kept]
    return [dataclasses.replace(status, name=MEASURES.get(status.name, status.name)) for status in kept]


def measure_text(status: Status, facts: Mapping[str, Any]) -> str:
    """Return the value of a measure in a few words, before and after registration where both are known."""
    table = {title: values for title, values in facts.get("table", [])}
    for names, key in _BEFORE_AND_AFTER.items():
        if status.name in names and METRICS[key].heading in table:
            before, _linear, after = table[METRICS[key].heading]
            if before != after and "-" not in (before, after):
                return f"{float(before):.3g} \u2192 {float(after):.3g}; {status.value}"
    return status.value


def run_facts(run: Run) -> dict[str, Any]:
    """Return everything about a run, its statuses as the panel shows them."""
    return {**run.facts, "statuses": [dataclasses.asdict(status) for status in run_statuses(run)]}


def location_cells(location: Mapping[str, Any]) -> tuple[str, str]:
    """Return the finding at a location and its value."""
    title, form = LOCATIONS[location["kind"]]
    return title, form.format(value=location["value"])


def structure_cells(structure: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return name, Dice, HD95 and volume of a structure, before and after registration."""
    return (
        structure_name(structure),
        _before_and_after(structure["dice"], "{:.2f}"),
        _before_and_after(structure["hd95_mm"], "{:.1f}"),
        _volumes(structure["fixed_ml"], structure["warped_ml"]),
    )


def _before_and_after(values: Mapping[str, float | None], form: str) -> str:
    return " \u2192 ".join(written(values.get(name), form) for name in ("before", "after"))


def _volumes(fixed_ml: float | None, warped_ml: float | None) -> str:
    """Return the volume of the fixed structure, and how much larger or smaller the warped one is."""
    if not fixed_ml or warped_ml is None:
        return volume_text(fixed_ml or None)
    return f"{volume_text(fixed_ml)}, {_('warped')} {change_percent(fixed_ml, warped_ml)}"
