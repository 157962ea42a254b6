"""The content of a report, before it becomes a page or a PDF."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..metrics.stages import stage_title, stage_values
from ..metrics.status import Status, overall
from ..metrics.structures import structure_name
from ..metrics.table import STATES, change_percent, volume_text, written
from ..similarity import similarities

#: The kinds of locations, in words.
KINDS = {
    "fold": "folding",
    "shrinks": "maximum compression (J)",
    "grows": "maximum expansion (J)",
    "differs": "largest difference",
}


@dataclass(frozen=True)
class Picture:
    """A PNG image, and what a reader should look for in it."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Table:
    """A heading and lines of text; the first column is the name of the line."""

    title: str
    heading: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Content:
    """Everything of a report, in its order.

    Attributes:
        title, summary: at the top.
        statuses: one line each, and ``verdict``, all of them in one.
        tables: metrics, structures, locations, stages, how it was made.
        curves: (stage, loss at each iteration).
        bars: (structure, Dice before or None, Dice after or None).
        warnings: sentences.
    """

    title: str
    summary: str
    verdict: Status
    statuses: tuple[Status, ...]
    pictures: tuple[Picture, ...] = ()
    tables: dict[str, Table] = field(default_factory=dict)
    curves: tuple[tuple[str, tuple[float, ...]], ...] = ()
    bars: tuple[tuple[str, float | None, float | None], ...] = ()
    warnings: tuple[str, ...] = ()


def content_of(
    facts: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    identifiers: bool = False,
    truth: Mapping[str, str] | None = None,
) -> Content:
    """Return the content of a report on a registration.

    Args:
        facts: as ``facts_of`` makes them.
        identifiers: name the images as they are called; names that come from DICOM may tell who the patient is, so
            they are left out of title and notes otherwise. Notes are searched for the names only, and for none of one
            or two letters or of digits alone: those are in any sentence.
        truth: further metrics as title to text.
    """
    neutral = _neutral(facts, identifiers)
    lines = tuple(Status(**status) for status in facts["statuses"])
    names = facts.get("names", {})
    title = "Registration report"
    if identifiers:
        title = f"{names['moving']} registered to {names['fixed']}"
    tables = {"metrics": Table("Metrics", ("", *[state for _, state in STATES]), _lines(facts["table"]))}
    if truth:
        tables["truth"] = Table("Against the known truth", ("", ""), tuple(truth.items()))
    if facts.get("structures"):
        tables["structures"] = _structures(facts["structures"])
    if facts.get("locations"):
        tables["locations"] = _locations(facts["locations"])
    tables["stages"] = _stages(facts["stages"], neutral)
    tables["method"] = _method(facts)
    bars = [(structure_name(row), row["dice"]["before"], row["dice"]["after"]) for row in facts.get("structures", [])]
    return Content(
        title,
        _summary(facts),
        overall(lines, facts.get("is_measured", True)),
        lines,
        tuple(pictures),
        tables,
        tuple(
            (stage_title(stage["name"]), tuple(stage["curve"])) for stage in facts["stages"] if len(stage["curve"]) > 1
        ),
        tuple(bar for bar in bars if bar[1] is not None or bar[2] is not None),
        tuple(neutral(note) for note in facts["notes"]),
    )


def _neutral(facts: Mapping[str, Any], identifiers: bool) -> Callable[[str], str]:
    """Return a function that replaces the names of the images, and of what belongs to them, in a sentence."""
    names = [] if identifiers else sorted(facts.get("names", {}).items(), key=lambda item: -len(item[1]))

    def clean(text: str) -> str:
        for role, name in names:
            if len(name) > 2 and not name.isdigit() and name.lower() not in (role, "image"):
                called = f"the {role} image" if role in ("fixed", "moving") else f"the {role}"
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", called, text)
        return text

    return clean


def _summary(facts: Mapping[str, Any]) -> str:
    similarity = facts["similarity"]
    similarity = similarity.upper() if similarity in similarities() else similarity
    return (
        f"{facts['title']}, {facts['preset']} preset, linear alignment {facts.get('linear', 'none')}, {similarity}, on "
        f"{facts['device']}: {facts['seconds']:.0f} s."
    )


def _lines(rows: Sequence[tuple[str, Sequence[str]]]) -> tuple[tuple[str, ...], ...]:
    return tuple((title, *values) for title, values in rows)


def _structures(rows: Sequence[Mapping[str, Any]]) -> Table:
    lines = []
    for row in rows:
        fixed, warped = row["fixed_ml"], row["warped_ml"]
        change = change_percent(fixed, warped) if fixed and warped is not None else "-"
        lines.append(
            (
                structure_name(row),
                *(written(row["dice"][state], "{:.3f}") for state in ("before", "after")),
                *(written(row["hd95_mm"][state], "{:.1f}") for state in ("before", "after")),
                volume_text(fixed),
                volume_text(warped),
                change,
            )
        )
    heading = ("", "Dice before", "after", "HD95 before (mm)", "after", "fixed (ml)", "warped (ml)", "difference")
    return Table("Structures", heading, tuple(lines))


def _locations(locations: Sequence[Mapping[str, Any]]) -> Table:
    lines = []
    for place in locations:
        x, y, z = place["position_lps_mm"]
        where = f"{abs(x):.0f} {'L' if x >= 0 else 'R'}, {abs(y):.0f} {'P' if y >= 0 else 'A'}, "
        where += f"{abs(z):.0f} {'S' if z >= 0 else 'I'}"
        lines.append((KINDS[place["kind"]], f"{place['value']:.2f}", where))
    return Table("Where to look", ("Finding", "Value", "Location (mm)"), tuple(lines))


def _stages(stages: Sequence[Mapping[str, Any]], neutral: Callable[[str], str]) -> Table:
    lines = []
    for stage in stages:
        measured = stage_values(stage["metrics"])
        lines.append((stage_title(stage["name"]), f"{stage['seconds']:.1f}", measured, neutral(stage["note"])))
    return Table("Stages", ("", "seconds", "metrics", ""), tuple(lines))


def _method(facts: Mapping[str, Any]) -> Table:
    size, spacing = facts.get("size_ijk"), facts["spacing_mm"]
    lines: list[tuple[str, str]] = [("Method", f"{facts['title']} ({facts['method']})")]
    lines += [("Paper", text) for text in facts.get("references", [])]
    lines.append(("License", facts.get("license") or "-"))
    if facts.get("weights_sha256"):
        lines.append(("SHA-256 of the weights", facts["weights_sha256"]))
    if size:
        voxels = " x ".join(f"{side:.2f}" for side in spacing)
        lines.append(("Fixed image", f"{' x '.join(map(str, size))} voxels of {voxels} mm"))
    lines += [(name, version) for name, version in facts["versions"].items()]
    if facts.get("platform"):
        lines.append(("System", facts["platform"]))
    lines += [(f"SHA-256 of {name.replace('_', ' ')}", value) for name, value in facts["sha256"].items()]
    memory = facts.get("peak_gb", {})
    for part, value in facts.get("seconds_by_part", {}).items():
        peaks = [f"{peaks[part]:.2f} GB ({where})" for where, peaks in memory.items() if part in peaks]
        lines.append((f"To {part}", f"{value:.1f} s" + (f", at most {', '.join(peaks)}" if peaks else "")))
    return Table("Provenance", ("", ""), tuple(lines))
