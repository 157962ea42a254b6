"""``slicerdeepreg compare``: every method on every pair, and the table as papers print it."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..methods import linear_methods
from ..similarity import names as similarity_names
from ..types import DEVICES, PAIR_CHOICES, PRESETS, InputError, Request
from .request import Cell, Method

DEFAULTS = {name: f.default for name, f in Request.__dataclass_fields__.items()}


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare methods on pairs of images",
        description="Run every method on every pair and write DIR/report.html, table.md, table.csv, cells.csv, "
        "results.json, box plots and montages. What is done stays: started again, it goes on with what is missing.",
    )
    parser.add_argument(
        "--pairs",
        required=True,
        type=Path,
        metavar="CSV",
        help="a heading with fixed and moving, and as far as there are any name, fixed_labels, moving_labels, "
        "fixed_mask, moving_mask, fixed_points, moving_points; a row for each pair",
    )
    parser.add_argument(
        "--methods",
        required=True,
        metavar="A,B,C",
        help="as slicerdeepreg models lists them: NAME or NAME:VARIANT; /PRESET after one for its own preset",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--reference", metavar="METHOD", help="the one that others are tested against (default: the first)"
    )
    for name, choices in (
        ("linear", linear_methods()),
        ("preset", PRESETS),
        ("similarity", similarity_names()),
        ("device", DEVICES),
    ):
        parser.add_argument(
            f"--{name}", choices=tuple(choices), default=DEFAULTS[name], help="as for register (%(default)s)"
        )
    parser.add_argument(
        "--pair", dest="shows", choices=PAIR_CHOICES, default=DEFAULTS["pair"], help="as for register (%(default)s)"
    )
    parser.add_argument(
        "--set",
        dest="changed",
        action="append",
        default=[],
        metavar="[METHOD.]NAME=VALUE",
        help="change a number of one method, or of all that have it: --set instance_seconds=120",
    )
    parser.add_argument("--threads", type=int, default=0, help="for each registration (default: all cores)")
    parser.add_argument("--workers", type=int, default=1, help="registrations at a time on this computer (1)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that runs them instead")
    parser.add_argument("--keep", action="store_true", help="keep warped images, transforms and the rest, too")
    parser.add_argument(
        "--anonymous",
        action="store_true",
        help="leave the names of pairs, files and images out of everything that is written; pairs get numbers",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do what the options ask; returns 0, or 1 where some cells failed."""
    from .pages import write_pages
    from .pictures import available, draw
    from .request import cells_of, read_methods, read_pairs
    from .run import outcomes as run_cells
    from .table import aligned, lines_of, rows_of

    pairs = read_pairs(options.pairs)
    if options.anonymous:
        pairs = [dataclasses.replace(pair, name=f"pair-{number:03d}") for number, pair in enumerate(pairs, start=1)]
    labels = [label.strip() for label in options.methods.split(",") if label.strip()]
    methods = read_methods(labels, options.preset, options.changed)
    if not methods:
        raise InputError("--methods is empty. Give at least one method; 'slicerdeepreg models' lists them.")
    reference = options.reference or methods[0].label
    if reference not in labels:
        raise InputError(f"--reference {reference} is not among --methods. Give one of those.")
    if options.workers < 1 or options.threads < 0:
        raise InputError("--workers must be 1 or more, and --threads 0 or more.")
    kept = ("linear", "similarity", "device", "threads", "anonymous", "shows")
    asked = {name: getattr(options, name) for name in kept}
    cells = cells_of(pairs, methods, **asked)
    _check_installed(methods)
    make_output(options.output)
    report = ProgressLines(len(cells), options.quiet)
    results = run_cells(cells, options.output / "cells", report, options.workers, options.scheduler, options.keep)
    rows = rows_of(cells, results)
    pictures = draw(cells, results, rows, options.output) if available() else {}
    write_pages(cells, results, rows, options.output, reference, _command(options), pictures)
    if not options.quiet:
        print(aligned(*lines_of(rows)))
        if not pictures:
            print('No pictures: matplotlib is not installed (pip install "SlicerDeepReg[compare]").')
        print(f"Results: {options.output / 'report.html'}")
    return 1 if any("error" in outcome for outcome in results) else 0


def _command(options: argparse.Namespace) -> str:
    """Return what the comparison was started by, without folders; without names where they are left out."""
    names = {options.pairs: "pairs.csv", options.output: "DIR"}
    shown = []
    for argument in sys.argv[1:]:
        option, sign, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        if Path(value) in names:
            value = names[Path(value)] if options.anonymous else os.path.basename(os.path.abspath(value))
        elif os.path.isabs(value):
            value = os.path.basename(value)
        shown.append(option + sign + value)
    return shlex.join(["slicerdeepreg", *(shown or ["compare"])])


def _check_installed(methods: Sequence[Method]) -> None:
    """Raise InputError, before any work, for a method that needs what is not installed."""
    from ..checks import raise_error
    from ..methods import method

    for column in methods:
        missing = method(column.name).missing()
        raise_error([missing] if missing is not None else [])


def make_output(output: Path) -> None:
    """Make the folder of the results.

    Raises:
        InputError: it is a file, or cannot be made.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"The output {output} is a file. Give a folder.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The output {output} cannot be made ({error.strerror or error}).") from error


class ProgressLines:
    """Prints a line for each cell that is done.

    Args:
        total: number of cells.
        quiet: print failures only.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self.total, self.done, self.quiet = total, 0, quiet

    def __call__(self, cell: Cell, outcome: Mapping[str, Any], before: bool) -> None:
        self.done += 1
        if self.quiet and "error" not in outcome:
            return
        if "error" in outcome:
            text = f"failed: {outcome['error']}"
        else:
            metrics: dict[str, Any] = outcome["metrics"].get("after", {})
            known = [(name, metrics.get(name)) for name in ("dice", "tre_mm", "ncc")]
            shown = ", ".join(f"{name} {value:.3f}" for name, value in known if value is not None)
            text = "done before" if before else f"{outcome['seconds']['registration']:.1f} s, {shown}"
        print(f"[{self.done}/{self.total}] {cell.pair.name}, {cell.method.label}: {text}", file=sys.stderr, flush=True)
