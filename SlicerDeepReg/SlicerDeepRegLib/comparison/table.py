"""The table of a comparison: what each method reached over the pairs, and whether two methods differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from .. import methods as registry
from ..metrics import METRICS
from .request import Cell

#: Metrics in the order of the papers' tables, by their names in METRICS.
COMPARED = (
    "dice",
    "hd95_mm",
    "hd_mm",
    "assd_mm",
    "topology_changes",
    "tre_mm",
    "ncc",
    "nmi",
    "nmi_unit",
    "ssim",
    "folds_percent",
    "folds_whole_percent",
    "ndv_percent",
    "sdlogj",
)
#: What a registration costs: title, the better direction, and definition.
COSTS = {
    "seconds": ("Seconds", "lower", "wall time of linear stage, preparation and method"),
    "cpu_seconds": ("CPU s", "lower", "time of all cores for the whole cell, reading and measuring too"),
    "peak_gb": ("Peak GB", "lower", "peak memory of the process"),
}
#: Metrics that are tested between methods.
TESTED = ("dice", "hd95_mm", "assd_mm", "tre_mm", "ncc", "ndv_percent", "sdlogj")
#: With fewer pairs no signed-rank test can come below 0.05.
LEAST_PAIRS = 6
#: What is not a method: the pair as it was given, and after the linear stage of the first method that has one.
STATES = {"before": "as given", "linear": "linear"}


@dataclass(frozen=True)
class Row:
    """One method: its metrics by name, one value for each pair, None where there is none."""

    label: str
    title: str
    values: Mapping[str, Sequence[float | None]]
    parameters: int | None
    operations: int | None
    failed: int


def rows_of(cells: Sequence[Cell], outcomes: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row for the pair as given, one for the linear stage, and one for each method.

    A pair without labels has no Dice, and a cell that failed has nothing; neither counts as zero.
    """
    pairs = list(dict.fromkeys(cell.pair.name for cell in cells))
    labels = list(dict.fromkeys(cell.method.label for cell in cells))
    by_cell = {(cell.pair.name, cell.method.label): outcome for cell, outcome in zip(cells, outcomes)}
    rows = []
    for state, title in STATES.items():
        firsts = [_first_good([by_cell[pair, label] for label in labels]) for pair in pairs]
        rows.append(Row(title, title, _metrics(firsts, state), None, None, 0))
    for label in labels:
        own = [by_cell[pair, label] for pair in pairs]
        chosen = registry.method(label.partition("/")[0]).card
        rows.append(row_of(label, chosen.title, own, "after", chosen.parameters, chosen.multiply_accumulates))
    return rows


def row_of(
    label: str,
    title: str,
    outcomes: Sequence[Mapping[str, Any]],
    state: str,
    parameters: int | None = None,
    operations: int | None = None,
) -> Row:
    """Return the row of a method, or of a state before it.

    Args:
        label, title: of the method.
        outcomes: of each pair, see ``run.Outcome``.
        state: whose metrics: "before", "linear" or "after"; what the method cost belongs to the last.
        parameters, operations: of its network, if it is one.
    """
    values = _metrics(outcomes, state)
    if state == "after":
        values["seconds"] = [_at(outcome, "seconds", "registration") for outcome in outcomes]
        values["cpu_seconds"] = [_at(outcome, "spent", "cpu_total") for outcome in outcomes]
        values["peak_gb"] = [outcome.get("peak_gb") for outcome in outcomes]
    failed = sum("error" in outcome for outcome in outcomes)
    return Row(label, title, values, parameters, operations, failed)


def _first_good(outcomes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((outcome for outcome in outcomes if "error" not in outcome), {})


def _metrics(outcomes: Sequence[Mapping[str, Any]], state: str) -> dict[str, list[float | None]]:
    return {name: [_at(outcome, "metrics", state, name) for outcome in outcomes] for name in COMPARED}


def _at(values: Any, *keys: str) -> float | None:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return None if values is None else float(values)


def by_structure(
    cells: Sequence[Cell], outcomes: Sequence[Mapping[str, Any]], metric: str
) -> dict[str, dict[str, list[float | None]]]:
    """Return the values of a metric of structures, as ``dice_by_label``: one for each pair, by structure and method.

    The result after the linear stage, where there was one, is there as the method "linear".
    """
    structures: dict[str, dict[str, list[float | None]]] = {}
    pairs = list(dict.fromkeys(cell.pair.name for cell in cells))
    aligned_first = any("linear" in outcome.get("metrics", {}) for outcome in outcomes)
    methods = [*(["linear"] if aligned_first else []), *dict.fromkeys(cell.method.label for cell in cells)]
    for cell, outcome in zip(cells, outcomes):
        for state, method in (("linear", "linear"), ("after", cell.method.label)):
            values = outcome.get("metrics", {}).get(state, {}).get(metric) or {}
            for structure, value in values.items():
                rows = structures.setdefault(structure, {name: [None] * len(pairs) for name in methods})
                if rows[method][pairs.index(cell.pair.name)] is None:
                    rows[method][pairs.index(cell.pair.name)] = value
    return dict(sorted(structures.items(), key=lambda item: (int(item[0]) if item[0].isdecimal() else 0, item[0])))


def mean_and_deviation(values: Sequence[float | None]) -> tuple[float | None, float | None, int]:
    """Return mean, standard deviation (n - 1; None for one value) and number of the values that are there."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None, None, 0
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return float(np.mean(known)), deviation, len(known)


@dataclass(frozen=True)
class Difference:
    """A metric of two methods over the pairs that have it for both.

    Attributes:
        metric: its name. first, second: labels of the methods.
        pairs: how many. difference: mean of first minus second.
        p: of the signed-rank test; None for too few pairs. corrected: p by Holm's procedure.
    """

    metric: str
    first: str
    second: str
    pairs: int
    difference: float
    p: float | None
    corrected: float | None


def differences_of(rows: Sequence[Row], reference: str) -> list[Difference]:
    """Test every method against the reference: Wilcoxon's signed-rank test over pairs, two-sided.

    For each metric the p values are corrected for the number of methods by Holm's procedure. With fewer than
    LEAST_PAIRS pairs the differences are given without p.
    """
    by_label = {row.label: row for row in rows}
    tests: list[Difference] = []
    for metric in TESTED:
        uncorrected: list[Difference] = []
        for row in rows:
            if row.label in (reference, *STATES.values()):
                continue
            both = zip(row.values[metric], by_label[reference].values[metric])
            known = [(a, b) for a, b in both if a is not None and b is not None]
            if known:
                differences = np.array([a - b for a, b in known])
                uncorrected.append(
                    Difference(
                        metric, row.label, reference, len(known), float(differences.mean()), _p(differences), None
                    )
                )
        corrected = holm([test.p for test in uncorrected])
        tests += [replace(test, corrected=value) for test, value in zip(uncorrected, corrected)]
    return tests


def _p(differences: np.ndarray) -> float | None:
    if len(differences) < LEAST_PAIRS:
        return None
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number (Holm 1979); None stays None and does not count."""
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (value, place) in enumerate(known):
        least = max(least, min(1.0, value * (len(known) - rank)))
        corrected[place] = least
    return corrected


# ------------------------------------------------------------------ as text


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of the metrics and costs that any row has."""
    return [
        name for name in (*COMPARED, *COSTS) if any(mean_and_deviation(row.values.get(name, ()))[2] for row in rows)
    ]


def title_of(name: str) -> str:
    """Return a column's heading with its unit and the better direction."""
    if name in COSTS:
        return f"{COSTS[name][0]} ↓"
    metric = METRICS[name]
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.title}{unit} {'↑' if metric.better == 'higher' else '↓'}"


def lines_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heading and cells of the table as the papers print it: mean ± standard deviation."""
    columns = columns_of(rows)
    heading = ["Method", *map(title_of, columns), "Parameters", "G MAC", "n"]
    lines = []
    for row in rows:
        cells = [row.label]
        for name in columns:
            mean, deviation, _ = mean_and_deviation(row.values.get(name, ()))
            cells.append(
                "" if mean is None else _shown(mean) + (f" ± {_shown(deviation)}" if deviation is not None else "")
            )
        size = "" if not row.parameters else f"{row.parameters / 1e6:.3f} M"
        operations = "" if not row.operations else f"{row.operations / 1e9:.0f}"
        counted = {mean_and_deviation(row.values.get(name, ()))[2] for name in columns}
        counts = counted - {0} or {0}  # some are not of this row at all
        done = f"{max(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"  # some have no labels
        lines.append([*cells, size, operations, done + (f" ({row.failed} failed)" if row.failed else "")])
    return heading, lines


def aligned(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return the table as text with columns of one width, the first of them to the left."""
    widths = [max(len(line[place]) for line in [heading, *lines]) for place in range(len(heading))]
    shown = []
    for line in [heading, *lines]:
        cells = [f"{cell:<{w}}" if place == 0 else f"{cell:>{w}}" for place, (cell, w) in enumerate(zip(line, widths))]
        shown.append("  ".join(cells))
    return "\n".join(shown)


def _shown(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) < 0.0005:
        return f"{value:.1g}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def best_of(rows: Sequence[Row], name: str) -> str | None:
    """Return the label of the method that is best in a column; the states before it do not count."""
    better = COSTS[name][1] if name in COSTS else METRICS[name].better
    known = [(mean_and_deviation(row.values.get(name, ()))[0], row.label) for row in rows]
    known = [(mean, label) for mean, label in known if mean is not None and label not in STATES.values()]
    if not known:
        return None
    return (max if better == "higher" else min)(known)[1]
