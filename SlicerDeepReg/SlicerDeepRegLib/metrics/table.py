"""The metrics of a result as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import METRICS

STATES = (("before", "as given"), ("linear", "linear"), ("after", "result"))


def rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return (heading, the value in each state) for every metric that was measured."""
    lines = []
    for name, metric in METRICS.items():
        values = [metrics.get(state, {}).get(name) for state, _ in STATES]
        if all(value is None for value in values):
            continue
        lines.append((metric.heading, [shown(value) for value in values]))
    return lines


def shown(value: Any) -> str:
    """Write a value with four significant digits, or a dash if it was not measured."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value + 0.0:.4g}"


def written(value: float | None, form: str) -> str:
    """Write a value as ``str.format`` takes it, or a dash if it was not measured."""
    return "-" if value is None else form.format(value)


def beside(value: float, digits: int, *limits: float) -> str:
    """Write a value with so many decimals, or with more where it would seem to be on another side of a limit."""
    for decimals in range(digits, digits + 4):
        text = f"{value:.{decimals}f}"
        if all(np.sign(float(text) - limit) == np.sign(value - limit) for limit in limits):
            break
    return f"{float(text) + 0.0:.{decimals}f}"  # no minus before a zero


def change_percent(before: float, after: float) -> str:
    """Write by how much a value has grown or shrunk."""
    text = f"{100 * (after / before - 1):+.0f}%"
    return "0%" if text in ("+0%", "-0%") else text


def volume_text(ml: float | None) -> str:
    """Write a volume in milliliters with one decimal, a small one with two digits that count."""
    return "-" if ml is None else f"{ml:.1f}" if ml >= 0.95 or ml == 0 else f"{ml:.2g}"


def table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the rows as aligned text, with a heading."""
    lines = [("", [title for _, title in STATES]), *rows(metrics)]
    width = max(len(title) for title, _ in lines)
    return "\n".join(f"{title:<{width}}  " + "".join(f"{value:>12}" for value in values) for title, values in lines)
