"""The table as the paper prints it, with the paper's figures beside ours."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..comparison.table import mean_and_deviation
from ..files.atomic import writing
from ..methods import method
from ..metrics import METRICS
from .papers import Figure, Paper, Row, Table
from .run import Cell, Measured

#: Columns of tables that are not metrics of a registration: title, the better direction, how a number is written.
COLUMNS = {
    "seconds": ("Seconds", "lower", "{:.3g}"),
    "parameters_m": ("Parameters (M)", "", "{:.3f}"),
    "operations_g": ("Operations (G)", "", "{:.1f}"),
    "minutes_per_epoch": ("Training (min/epoch)", "lower", "{:.3g}"),
    "segmentation_dice": ("Dice", "higher", "{:.3f}"),
    "segmentation_hd_mm": ("HD (mm)", "lower", "{:.2f}"),
    "segmentation_assd_mm": ("ASSD (mm)", "lower", "{:.2f}"),
}
NOT_RUN, AS_GIVEN = "not run", "as given"


@dataclass(frozen=True)
class Printed:
    """A table as text: the heading, a line for each row, and of each number of ours its mean and deviation."""

    heading: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def printed(table: Table, cells: Sequence[Cell], measured: Mapping[str, Measured], paper: Paper) -> Printed:
    """Return the table: for each data set and metric a column of ours and, where there is one, a column of the paper's.

    Args:
        cells: of the table.
        measured: what they gave, by their names; a cell that is missing is "not run".
    """
    several = len(table.test) > 1
    columns = []
    for test in table.test:
        for metric in table.metrics:
            title = f"{title_of(metric)}, {paper.data[test].title.partition(',')[0]}" if several else title_of(metric)
            theirs = any(metric in row.published.get(test, {}) for row in table.rows)
            columns.append((test, metric, title, theirs))
    heading = ["Method"]
    for _, _, title, theirs in columns:
        heading += [title, "paper"] if theirs else [title]
    by_place = {(cell.row.number, cell.test): cell for cell in cells}
    lines = [_as_given(columns, cells, measured)] if measured else []
    for row in table.rows:
        line = [row.title]
        for test, metric, _, theirs in columns:
            cell = by_place.get((row.number, test))
            line.append(_ours(metric, row, measured.get(cell.name) if cell else None))
            if theirs:
                line.append(shown_figure(row.published.get(test, {}).get(metric)))
        lines.append(tuple(line))
    return Printed(tuple(heading), tuple(lines))


def _as_given(
    columns: Sequence[tuple[str, str, str, bool]], cells: Sequence[Cell], measured: Mapping[str, Measured]
) -> tuple[str, ...]:
    """Return the line of the pairs before any registration."""
    line = [AS_GIVEN]
    for test, metric, _, theirs in columns:
        done = next((measured[cell.name] for cell in cells if cell.test == test and cell.name in measured), None)
        before = [outcome["metrics"].get("before", {}).get(metric) for outcome in done["outcomes"]] if done else []
        line += [_shown(metric, before), *([""] if theirs else [])]
    return tuple(line)


def title_of(name: str) -> str:
    """Return a column's heading with its unit and the better direction."""
    if name in COLUMNS:
        title, better, _ = COLUMNS[name]
    else:
        title, better = METRICS[name].heading, METRICS[name].better
    return f"{title} {'↑' if better == 'higher' else '↓'}" if better else title


def values_of(metric: str, row: Row, measured: Measured) -> list[float | None]:
    """Return a metric of each pair, or the one number of the training or network."""
    if metric == "parameters_m":
        count = measured.get("parameters")
        return [count / 1e6] if count else []
    if metric == "operations_g":
        count = None if row.set else method(row.method).card.operations
        return [count / 1e9] if count else []
    if metric == "minutes_per_epoch":
        return [measured["minutes_per_epoch"]] if measured.get("minutes_per_epoch") else []
    if metric == "seconds":
        return [outcome["seconds"].get("registration") for outcome in measured["outcomes"]]
    return [outcome["metrics"]["after"].get(metric) for outcome in measured["outcomes"]]


def _form(metric: str) -> str:
    return COLUMNS[metric][2] if metric in COLUMNS else METRICS[metric].form


def _ours(metric: str, row: Row, measured: Measured | None) -> str:
    if measured is None:
        return NOT_RUN
    return _shown(metric, values_of(metric, row, measured))


def _shown(metric: str, values: Sequence[float | None]) -> str:
    mean, deviation, count = mean_and_deviation(values)
    if mean is None:
        return ""
    return in_form(metric, mean, deviation if count > 1 and metric != "seconds" else None)


def in_form(metric: str, mean: float, deviation: float | None) -> str:
    """Return figures of ours as they stand in the column of a metric."""
    form = _form(metric)
    return form.format(mean) + (f" ± {form.format(deviation)}" if deviation is not None else "")


def shown_figure(figure: Figure | None) -> str:
    """Return a figure of a paper as text."""
    if figure is None:
        return ""
    if isinstance(figure, str):
        return figure
    if isinstance(figure, (int, float)):
        return f"{figure:.10g}"  # with the digits that the paper prints
    mean, deviation = figure
    return f"{mean:.10g} ± {deviation:.10g}"


def stage_lines(table: Table, cells: Sequence[Cell], measured: Mapping[str, Measured]) -> Printed | None:
    """Return Dice and folds of each field inside the networks, the last line being the result; None without stages."""
    lines = []
    for cell in cells:
        values = measured.get(cell.name)
        if values is None or not any(outcome.get("stages") for outcome in values["outcomes"]):
            continue
        names = list(values["outcomes"][0]["stages"])
        for name in [*names, "result"]:
            each = [
                outcome["metrics"]["after"] if name == "result" else outcome["stages"][name]
                for outcome in values["outcomes"]
            ]
            line = [cell.row.title, cell.test, name]
            for metric in ("dice", "folds_percent", "folds_whole_percent"):
                mean, _, _ = mean_and_deviation([one.get(metric) for one in each])
                line.append("" if mean is None else _form(metric).format(mean))
            lines.append(tuple(line))
    heading = ("Method", "Data", "Field", *(title_of(m) for m in ("dice", "folds_percent", "folds_whole_percent")))
    return Printed(heading, tuple(lines)) if lines else None


def as_markdown(table: Printed) -> str:
    """Return the table as Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(table.heading), line(["---"] * len(table.heading)), *map(line, table.lines)])


def write_table(
    folder: Path,
    paper: Paper,
    table: Table,
    tables: Sequence[Printed],
    about: Sequence[str],
) -> None:
    """Write table.md and table.csv into a folder.

    Args:
        tables: the table, and what else is printed below it.
        about: sentences for people: scale, machine, command.
    """
    with writing("The table", folder):
        folder.mkdir(parents=True, exist_ok=True)
        title = f"# {paper.title}, table {table.name}: {table.title}"
        body = [title, *about, *map(as_markdown, tables), *([table.note] if table.note else [])]
        (folder / "table.md").write_text("\n\n".join(body) + "\n", encoding="utf-8")
        with open(folder / "table.csv", "w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([tables[0].heading, *tables[0].lines])
