"""The facts about a registration, as plain values: a run in Slicer stores them, a report prints them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..methods import method
from ..metrics.status import statuses
from ..metrics.structures import structures_of
from ..metrics.table import rows
from ..types import InputError, Result


def facts_of(result: Result, label_names: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Return the facts of a result.

    Args:
        label_names: name of each label, where the result does not have them.

    Returns:
        method, title, summary, preset, linear, similarity, device, seconds (in all), seconds_by_part, peak_gb, metrics
        (of the end, single numbers), table (title and the value in each state), statuses, structures, stages, locations
        (LPS mm), spacing_mm, size_ijk, versions, platform, sha256, weights_sha256, references, license, names (of the
        images) and notes.
    """
    label_names = label_names or result.label_names
    after = result.metrics.get("after", {})
    provenance = result.provenance
    grid = result.fixed.grid
    spacing = [float(side) for side, size in zip(grid.spacing_mm, grid.size_ijk) if size > 1]  # a slice has no depth
    facts = {
        "method": result.request.method,
        "preset": result.request.preset,
        "linear": result.stages[0].note or result.request.linear,
        "similarity": provenance["similarity"],
        "device": provenance["device"],
        "seconds": sum(result.seconds.values()),
        "seconds_by_part": dict(result.seconds),
        "peak_gb": {where: dict(peaks) for where, peaks in result.peak_gb.items()},
        **measured_facts(after, spacing, label_names),
        "table": rows(result.metrics),
        "structures": structures_of(result.metrics, label_names),
        "stages": [
            {
                "name": stage.name,
                "seconds": stage.seconds,
                "curve": list(stage.curve),
                "metrics": {name: value for name, value in stage.metrics.items() if _simple(value)},
                "note": stage.note,
            }
            for stage in result.stages
        ],
        "locations": [dataclasses.asdict(place) for place in result.locations],
        "spacing_mm": spacing,
        "size_ijk": list(grid.size_ijk),
        "versions": provenance["versions"],
        "platform": provenance["platform"],
        "sha256": provenance["sha256"],
        "names": {"fixed": result.fixed.name, "moving": result.moving.name},
        "notes": list(result.notes),
    }
    return {**facts, **_of_method(result.request.method)}


def measured_facts(
    after: Mapping[str, Any], spacing_mm: Sequence[float], label_names: Mapping[int, str]
) -> dict[str, Any]:
    """Return the facts "metrics" and "statuses".

    Args:
        after: the metrics of the end that are known, with those by label.
        spacing_mm: of the fixed image, along the axes that it has.
    """
    return {
        "metrics": {name: value for name, value in after.items() if not isinstance(value, (dict, list))},
        "statuses": [dataclasses.asdict(line) for line in statuses(after, spacing_mm, label_names)],
    }


def _of_method(name: str) -> dict[str, Any]:
    try:
        card = method(name).card
    except InputError:  # a model that was taken away while it ran
        return {"title": name, "summary": "", "references": [], "license": "", "weights_sha256": None}
    return {
        "title": card.title,
        "summary": card.summary,
        "references": list(card.references),
        "license": card.license,
        "weights_sha256": card.sha256,
    }


def _simple(value: Any) -> bool:
    return value is None or isinstance(value, (int, float, str, bool))
