"""What an evaluation, and a table of a paper, write: pages, tables, box plots, montages and loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..comparison.pages import write_pages
from ..comparison.pictures import available, box_plots, loss_curves, montages
from ..comparison.request import Cell as ComparedCell
from ..comparison.request import Method, Pair
from ..comparison.table import aligned, by_structure, lines_of, row_of
from ..training.record import read_curve
from .evaluate import Evaluation
from .printed import as_markdown, printed, stage_lines, write_table
from .run import PaperRequest, Ran


def write_evaluation(evaluation: Evaluation, folder: Path, reference: str, command: str) -> str:
    """Write the pages, tables and pictures of an evaluation; return the table as text.

    Args:
        reference: the label that others are tested against.
        command: what the evaluation was started by.

    Raises:
        InputError: the folder cannot be written.
    """
    labels = [one.label for one in evaluation.contenders]
    cells = [_cell(pair, label) for pair in evaluation.pairs for label in labels]
    places = {pair: number for number, pair in enumerate(evaluation.pairs)}
    outcomes = [evaluation.outcomes[cell.method.label][places[cell.pair.name]] for cell in cells]
    first = evaluation.outcomes[labels[0]]
    rows = [row_of("as given", "as given", first, "before")]
    for one in evaluation.contenders:
        own = evaluation.outcomes[one.label]
        rows.append(row_of(one.label, one.card.title, own, "after", one.parameters))
    pictures: dict[str, Path] = {}
    if available():
        pictures = box_plots(rows, by_structure(cells, outcomes, "dice_by_label"), folder)
        for pair in dict.fromkeys(pair for pair, _ in evaluation.planes):
            drawn = {label: evaluation.planes[pair, label] for label in labels}
            pictures.update(montages(_safe(pair), drawn, folder))
    write_pages(cells, outcomes, rows, folder, reference, command, pictures)
    return aligned(*lines_of(rows))


def _cell(pair: str, label: str) -> ComparedCell:
    """Return a cell as the pages of a comparison take it; there are no files to name."""
    return ComparedCell(Pair(pair, {}), Method(label, label, "", {}), "none", "", "", 0)


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def write_paper(request: PaperRequest, ran: Ran, command: str) -> str:
    """Write a table of a paper into ``tables/NAME`` of its folder; return it as text.

    Raises:
        InputError: the folder cannot be written.
    """
    table, folder = request.table, request.output / "tables" / request.table.name
    main = printed(table, ran.cells, ran.measured, request.paper)
    stages = stage_lines(table, ran.cells, ran.measured) if table.stages else None
    about = _about(request, ran, command)
    write_table(folder, request.paper, table, [main, *([stages] if stages else [])], about)
    if available():
        _draw(request, ran, folder)
    return "\n\n".join([*about, as_markdown(main), *([as_markdown(stages)] if stages else [])])


def _about(request: PaperRequest, ran: Ran, command: str) -> list[str]:
    done = next(iter(ran.measured.values()), None)
    lines = [f"Command: `{command}`"]
    if done is not None and done["outcomes"] and "versions" in done["outcomes"][0]:
        first = done["outcomes"][0]
        versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
        lines.append(f"Device: {first['device']}; {first['threads']} threads for torch; {versions}.")
    trained = [values["training"] for values in ran.measured.values() if "training" in values]
    if trained:
        steps = sorted({one["step"] for one in trained})
        hours = sum(one["seconds"] for one in trained) / 3600
        lines.append(
            f"Trainings: {len(trained)}, of {steps[0]}{f' to {steps[-1]}' if len(steps) > 1 else ''} steps, "
            f'{hours:.1f} hours in all. Scale {request.scale:g}. The columns "paper" are the paper\'s own figures, on '
            "its own data."
        )
    if any(request.size_ijk or request.paper.data[test].size_ijk for test in request.table.test):
        lines.append(
            'The row "as given" is of the images as they are compared: each cut or padded about its own content, which '
            "shifts it."
        )
    lines += [f"Not done: {name}: {text}" for name, text in ran.failed.items()]
    return lines


def _draw(request: PaperRequest, ran: Ran, folder: Path) -> None:
    """Draw box plots over pairs and structures, and the losses of the trainings."""
    for test in request.table.test:
        data = request.paper.data[test]
        cells = [cell for cell in ran.cells if cell.test == test and cell.name in ran.measured]
        rows, structures = [], {}
        for cell in cells:
            outcomes = ran.measured[cell.name]["outcomes"]
            rows.append(row_of(cell.row.title, cell.row.title, outcomes, "after"))
            structures[cell.row.title] = outcomes
        if rows:
            place = folder / test
            place.mkdir(parents=True, exist_ok=True)
            box_plots(rows, {data.name_of(key): values for key, values in _by_structure(structures).items()}, place)
    models = {cell.model: cell.row.title for cell in ran.cells if cell.model is not None}
    curves = {title: read_curve(request.output / "models" / model) for model, title in models.items()}
    loss_curves(curves, "loss", folder / "losses.png")


def _by_structure(outcomes: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, list[float | None]]]:
    """Return the Dice of each pair, by structure and row."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for title, each in outcomes.items():
        for number, outcome in enumerate(each):
            for structure, value in (outcome["metrics"]["after"].get("dice_by_label") or {}).items():
                rows = found.setdefault(structure, {name: [None] * len(each) for name in outcomes})
                if number < len(rows[title]):
                    rows[title][number] = value
    return found
