"""The metrics of a result as a table for people."""

from __future__ import annotations

from typing import Any, List, Mapping, Tuple

from . import METRICS

STATES = (("before", "as given"), ("linear", "linear"), ("after", "result"))


def rows(metrics: Mapping[str, Mapping[str, Any]]) -> List[Tuple[str, List[str]]]:
    """(title with unit, the figure in each state) for every metric that was measured."""
    found = []
    for name, metric in METRICS.items():
        values = [metrics.get(state, {}).get(name) for state, _ in STATES]
        if all(value is None for value in values):
            continue
        title = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
        found.append((title, [shown(value) for value in values]))
    return found


def shown(value: Any) -> str:
    """Four significant digits; a dash where nothing was measured."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows, aligned, with a heading."""
    lines = [("", [title for _, title in STATES]), *rows(metrics)]
    width = max(len(title) for title, _ in lines)
    return "\n".join(f"{title:<{width}}  " + "".join(f"{value:>12}" for value in values) for title, values in lines)
