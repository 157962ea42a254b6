"""What a comparison writes: table.csv, cells.csv, results.json, table.md, report.html, and pictures."""

from __future__ import annotations

import base64
import csv
import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..files.jsonable import jsonable
from ..metrics import METRICS
from ..types import InputError
from .request import Cell
from .table import (
    COSTS,
    LEAST_PAIRS,
    Difference,
    Row,
    best_of,
    by_structure,
    columns_of,
    differences_of,
    lines_of,
    mean_and_deviation,
    title_of,
)

#: Heading and lines of a table.
Table = tuple[list[str], list[list[Any]]]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1400px;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.6rem;margin-bottom:.2rem} h2{font-size:1.15rem;margin:2rem 0 .6rem} .wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem} td,th{padding:.25rem .7rem;border-bottom:1px solid #d9dee7}
td,th{text-align:right;white-space:nowrap} td:first-child,th:first-child{text-align:left;padding-left:0}
.best{font-weight:700} .no{color:#8a2b2b} img{max-width:100%;display:block} .small{color:#4a5568;font-size:.92rem}
"""


def write_pages(
    cells: Sequence[Cell],
    outcomes: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    folder: Path,
    reference: str,
    command: str,
    pictures: Mapping[str, Path],
) -> None:
    """Write the tables and the report.

    Args:
        reference: the method that the others are tested against.
        command: what the comparison was started by.
        pictures: file by title, in order.

    Raises:
        InputError: the folder cannot be written.
    """
    tests = differences_of(rows, reference)
    try:
        _write_csv(folder / "table.csv", *_wide(rows))
        _write_csv(folder / "cells.csv", *_long(cells, outcomes))
        (folder / "results.json").write_text(
            json.dumps(_values(cells, outcomes, rows, tests, command), indent=1), "utf-8"
        )
        (folder / "table.md").write_text(_markdown(rows, tests, outcomes, cells, command), "utf-8")
        (folder / "report.html").write_text(_page(rows, tests, cells, outcomes, command, pictures), "utf-8")
    except OSError as error:
        raise InputError(f"The tables could not be written to {folder} ({error.strerror or error}).") from error


def _write_csv(path: Path, heading: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(heading)
        writer.writerows([["" if value is None else value for value in line] for line in lines])


def _wide(rows: Sequence[Row]) -> Table:
    """Return heading and lines: for each method, mean, standard deviation and number of each metric."""
    columns = columns_of(rows)
    heading = ["method", *[f"{name}_{what}" for name in columns for what in ("mean", "sd", "n")]]
    lines = []
    for row in rows:
        cells = [value for name in columns for value in mean_and_deviation(row.values.get(name, ()))]
        lines.append([row.label, *cells, row.parameters, row.operations, row.failed])
    return [*heading, "parameters", "multiply_accumulates", "failed"], lines


def _long(cells: Sequence[Cell], outcomes: Sequence[Mapping[str, Any]]) -> Table:
    """Return heading and lines: one for each metric of each cell and structure."""
    lines = []
    for cell, outcome in zip(cells, outcomes):
        start = [cell.pair.name, cell.method.label]
        if "error" in outcome:
            lines.append([*start, "", "error", "", outcome["error"]])
        for state, metrics in outcome.get("metrics", {}).items():
            for name, value in metrics.items():
                if isinstance(value, Mapping) and name.endswith(("_by_label", "_by_label_mm")):
                    lines += [[*start, state, name, structure, number] for structure, number in value.items()]
                elif name in METRICS:
                    lines.append([*start, state, name, "", value])
        for name, value in outcome.get("seconds", {}).items():
            lines.append([*start, "", f"seconds_{name}", "", value])
    return ["pair", "method", "state", "metric", "structure", "value"], lines


def _values(
    cells: Sequence[Cell],
    outcomes: Sequence[Mapping[str, Any]],
    rows: Sequence[Row],
    tests: Sequence[Difference],
    command: str,
) -> dict[str, Any]:
    return jsonable(
        {
            "version": __version__,
            "command": command,
            "methods": [vars(row) for row in rows],
            "tests": [vars(test) for test in tests],
            "cells": [
                {"pair": cell.pair.name, "files": cell.shown_files(), "method": vars(cell.method), **outcome}
                for cell, outcome in zip(cells, outcomes)
            ],
        }
    )


# ------------------------------------------------------------------ for people


def _failed(cells: Sequence[Cell], outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f"{cell.method.label} on {cell.pair.name}: {outcome['error']}"
        for cell, outcome in zip(cells, outcomes)
        if "error" in outcome
    ]


def _notes(cells: Sequence[Cell], outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the results say about themselves, such as that nothing was deformed, with whose results they are."""
    whose: dict[str, dict[str, list[str]]] = {}  # pairs by method by note
    for cell, outcome in zip(cells, outcomes):
        for note in outcome.get("notes", ()):
            whose.setdefault(note, {}).setdefault(cell.method.label, []).append(cell.pair.name)
    pairs = len({cell.pair.name for cell in cells})
    lines = []
    for note, by_method in whose.items():
        many = {name for names in by_method.values() for name in names}
        where = ", ".join(sorted(many)) if len(many) <= 3 else f"{len(many)} of {pairs} pairs"
        lines.append(f"{', '.join(by_method)} ({where}): {note}")
    return lines


def _machine(outcomes: Sequence[Mapping[str, Any]]) -> str:
    done = next((outcome for outcome in outcomes if "error" not in outcome), None)
    if done is None:
        return "No cell was finished."
    versions = ", ".join(f"{name} {version}" for name, version in done["versions"].items())
    return f"Device: {done['device']}; {done['threads']} threads for torch; {versions}."


def _explained(rows: Sequence[Row]) -> list[str]:
    lines = []
    for name in columns_of(rows):
        text = COSTS[name][2] if name in COSTS else METRICS[name].definition
        lines.append(f"{title_of(name)[:-2]}: {text}.")
    return lines


def _about_tests(tests: Sequence[Difference], reference: str | None) -> str:
    text = (
        f"Against {reference}: mean difference over the pairs that both have; p by Wilcoxon's signed-rank test over "
        "pairs, two-sided, corrected by Holm's procedure for the number of methods."
    )
    if tests and all(test.p is None for test in tests):
        text += f" With fewer than {LEAST_PAIRS} pairs there is no test: it could not come below 0.05."
    return text


def _test_lines(tests: Sequence[Difference]) -> list[list[str]]:
    return [
        [
            test.first,
            title_of(test.metric),
            f"{test.difference:+.4f}",
            str(test.pairs),
            "" if test.p is None else f"{test.p:.4f}",
            "" if test.corrected is None else f"{test.corrected:.4f}",
        ]
        for test in tests
    ]


_TEST_HEADING = ["Method", "Metric", "Difference", "Pairs", "p", "p, corrected"]


def _markdown(
    rows: Sequence[Row],
    tests: Sequence[Difference],
    outcomes: Sequence[Mapping[str, Any]],
    cells: Sequence[Cell],
    command: str,
) -> str:
    heading, lines = lines_of(rows)
    parts = ["# Comparison", "", f"Command: `{command}`", "", _machine(outcomes), "", *_md(heading, lines)]
    failed = _failed(cells, outcomes)
    if failed:
        parts += ["", "## Not done", "", *[f"- {text}" for text in failed]]
    notes = _notes(cells, outcomes)
    if notes:
        parts += ["", "## Notes", "", *[f"- {text}" for text in notes]]
    if tests:
        parts += [
            "",
            "## Differences",
            "",
            _about_tests(tests, tests[0].second),
            "",
            *_md(_TEST_HEADING, _test_lines(tests)),
        ]
    parts += ["", "## What the columns are", "", *[f"- {text}" for text in _explained(rows)]]
    return "\n".join(parts) + "\n"


def _md(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(heading), line(["---"] * len(heading)), *[line(cells) for cells in lines]]


def _page(
    rows: Sequence[Row],
    tests: Sequence[Difference],
    cells: Sequence[Cell],
    outcomes: Sequence[Mapping[str, Any]],
    command: str,
    pictures: Mapping[str, Path],
) -> str:
    heading, lines = lines_of(rows)
    best = [None, *[best_of(rows, name) for name in columns_of(rows)], None, None, None]
    marked = [
        [(cell, place and place == row.label) for cell, place in zip(line, best)] for row, line in zip(rows, lines)
    ]
    pairs, methods = len({cell.pair.name for cell in cells}), len({cell.method.label for cell in cells})
    body = [
        f"<h1>{methods} method{'s' if methods > 1 else ''} measured on {pairs} pair{'s' if pairs > 1 else ''}</h1>",
        f'<p class="small">{html.escape(_machine(outcomes))}<br><code>{html.escape(command)}</code></p>',
        '<p class="small">Mean ± standard deviation over the pairs. ↑ more is better, ↓ less is better; the best '
        "method of a column is bold. Blank: not measured.</p>",
        f'<div class="wide">{_table(heading, marked)}</div>',
    ]
    failed = _failed(cells, outcomes)
    if failed:
        body += ["<h2>Not done</h2>", *[f'<p class="no">{html.escape(text)}</p>' for text in failed]]
    notes = _notes(cells, outcomes)
    if notes:
        body += ["<h2>Notes</h2>", *[f'<p class="small">{html.escape(text)}</p>' for text in notes]]
    if tests:
        plainly = [[(cell, False) for cell in line] for line in _test_lines(tests)]
        body += [
            "<h2>Differences</h2>",
            f'<p class="small">{html.escape(_about_tests(tests, tests[0].second))}</p>',
            _table(_TEST_HEADING, plainly),
        ]
    for title, path in pictures.items():
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        body += [
            f"<h2>{html.escape(title)}</h2>",
            f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">',
        ]
    structures = _structures(cells, outcomes)
    if structures:
        body += ["<h2>Dice of each structure</h2>", f'<div class="wide">{structures}</div>']
    body += [
        "<h2>What the columns are</h2>",
        *[f'<p class="small">{html.escape(text)}</p>' for text in _explained(rows)],
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Comparison of registrations</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _structures(cells: Sequence[Cell], outcomes: Sequence[Mapping[str, Any]]) -> str:
    structures = by_structure(cells, outcomes, "dice_by_label")
    if not structures:
        return ""
    methods = list(next(iter(structures.values())))
    lines = []
    for structure, values in structures.items():
        means = [mean_and_deviation(values[method])[0] for method in methods]
        top = max((m for m in means if m is not None), default=math.nan)
        lines.append([(structure, False), *[("" if m is None else f"{m:.3f}", m == top) for m in means]])
    return _table(["Structure", *methods], lines)


def _table(heading: Sequence[str], lines: Sequence[Sequence[tuple[str, Any]]]) -> str:
    """Return a table as HTML; a cell is its text and whether it is bold."""
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in heading)
    body = ""
    for line in lines:
        cells = "".join(f"<td{' class=best' if strong else ''}>{html.escape(str(cell))}</td>" for cell, strong in line)
        body += f"<tr>{cells}</tr>"
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
