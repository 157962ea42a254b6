"""All networks on 200 real hippocampi with one budget, and the ablations of the five papers there.

    python benchmarks/hippocampus.py --list                    rows, hours that are left
    python benchmarks/hippocampus.py                           all, the cheap ones first; may be stopped at any second
    python benchmarks/hippocampus.py --tables networks --networks msrd-net wavemorph --limit 120
    python benchmarks/hippocampus.py --job 2/4                 a fourth of the trainings, for one of four machines
    python benchmarks/hippocampus.py --write                   what is done, into RESULTS.md and hippocampus.json

It is `slicerdeepreg paper hippocampus TABLE`, row by row: 4,000 steps of one pair each, or until the validation has not
improved for 2,000 steps; 160 people to train on, 20 to validate on, 20 to test on, the same for all
(SlicerDeepReg/Resources/Papers/hippocampus.json). Data: Medical Decathlon, task 4 (CC BY-SA 4.0).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "SlicerDeepReg"), str(ROOT / "benchmarks")]

import run as others  # noqa: E402
import torch  # noqa: E402
from results import put  # noqa: E402
from SlicerDeepRegLib.comparison.table import mean_and_deviation  # noqa: E402
from SlicerDeepRegLib.experiments.papers import paper  # noqa: E402
from SlicerDeepRegLib.experiments.printed import AS_GIVEN, printed, values_of  # noqa: E402
from SlicerDeepRegLib.experiments.run import PaperRequest, cells_of, kept, run  # noqa: E402
from SlicerDeepRegLib.training.record import FINISHED_FILE  # noqa: E402

DATA = Path(os.environ.get("DEEPREG_DATA", ROOT.parent / "shared" / "data")) / "open" / "hippocampus"
FOLDER = ROOT.parent / "weights" / "hippocampus"
KEPT = ROOT / "benchmarks" / "hippocampus.json"
#: Seconds of a training step at 48 x 64 x 48 on one core of an AMD EPYC (2026), of the networks as they are.
STEP_S = {
    "pivit": 0.23, "cyclemorph": 0.48, "lku-net": 0.84, "msrd-net": 0.87, "wavemorph": 0.90, "voxelmorph": 1.12,
    "xmorpher": 2.02, "udrsnet": 2.08, "fmirnet": 2.16, "vit-v-net": 2.38, "unfolding": 3.77, "transmorph": 3.85,
    "caml": 5.07, "rdp-net": 5.09, "transmatch": 5.15, "h-sganet": 5.71, "utsrmorph": 29.69,
}  # fmt: skip
NICE = 12


def network_of(row):
    """The network of a row without its variant, or the method that is not trained."""
    return row.method.partition(":")[0]


def step_s(row):
    """Seconds of a training step of a row; 0 of a method that is not trained."""
    return STEP_S.get(network_of(row), 0.0)


def request_of(options, table, rows=()):
    """The request of some rows of a table."""
    chosen = paper("hippocampus")
    return PaperRequest(
        paper=chosen,
        table=chosen.tables[table],
        output=options.folder,
        data={"hippocampus": options.data},
        steps=options.steps,
        rows=tuple(rows),
        device=options.device,
        limit_minutes=options.limit,
    )


def waiting(options):
    """(table, row) of everything that is not done, the cheap ones first."""
    found = []
    for table in options.tables:
        request = request_of(options, table)
        found += [(table, cell.row) for cell in cells_of(request) if kept(request, cell) is None]
    if options.networks:
        found = [(table, row) for table, row in found if network_of(row) in options.networks]
    return sorted(found, key=lambda entry: (step_s(entry[1]), options.tables.index(entry[0])))


def show(options):
    """Print what is left."""
    left = waiting(options)
    for table, row in left:
        hours = 4000 * step_s(row) / 3600
        print(f"{table:22s} {row.title[:38]:38s} {row.method[:30]:30s} {hours:5.1f} h")
    print(f"{sum(4000 * step_s(row) for _, row in left) / 3600:.0f} hours of one core in all, {len(left)} rows")


def write(options):
    """Write the tables as far as they are done into RESULTS.md, and their figures into hippocampus.json."""
    summary = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    lines = [
        f"Command: `python benchmarks/hippocampus.py --write`. Date: {datetime.date.today()}. "
        f"Machine: {others.machine()}, torch {torch.__version__}. Twenty pairs of people who are in no training: each "
        "once as fixed, each once as moving. The crops are as the data give them, not aligned. Seconds are of one "
        "thread, of the network or method alone, on a machine that was busy; other columns inside what the fixed image "
        "shows."
    ]
    for name in options.tables:
        request = request_of(options, name)
        cells = cells_of(request)
        measured = {cell.name: kept(request, cell) for cell in cells}
        measured = {key: values for key, values in measured.items() if values is not None}
        for cell in cells:
            if cell.name in measured:
                summary[f"{name}/{cell.row.title}"] = figures(request, cell.row, measured[cell.name])
        if not measured:
            continue
        table = printed(request.table, cells, measured, request.paper)
        lines += ["", f"### {request.table.title}", ""]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in [table.heading]]
        lines.append("|" + " --- |" * len(table.heading))
        done = {AS_GIVEN, *(cell.row.title for cell in cells if cell.name in measured)}
        lines += [f"| {' | '.join(line)} |" for line in table.lines if line[0] in done]
        before = next(iter(measured.values()))["outcomes"]
        summary[f"{name}/{AS_GIVEN}"] = given(request, [outcome["metrics"]["before"] for outcome in before])
        left = [row.title for row in request.table.rows if row.title not in done]
        if left:
            lines += ["", f"Not run yet: {', '.join(left)}."]
    put("hippocampus", "All networks on real hippocampi", lines)
    KEPT.write_text(json.dumps(dict(sorted(summary.items())), indent=1) + "\n", encoding="utf-8")


def given(request, each):
    """The same of the pairs before registration."""
    found = {metric: mean_and_deviation([one.get(metric) for one in each]) for metric in request.table.metrics}
    return {metric: [round(v, 5) for v in values] for metric, values in found.items() if values[2]}


def figures(request, row, measured):
    """Mean, deviation and number of each metric of a row, with the length of its training."""
    found = {metric: mean_and_deviation(values_of(metric, row, measured)) for metric in request.table.metrics}
    ended = measured.get("training", {})
    return {
        **{metric: [None if v is None else round(v, 5) for v in values] for metric, values in found.items()},
        **({"steps": ended["step"], "hours": round(ended["seconds"] / 3600, 2)} if ended else {}),
    }


def main():
    tables = list(paper("hippocampus").tables)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the trainings lie (%(default)s)")
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    parser.add_argument("--networks", nargs="+", choices=list(STEP_S), help="rows of these networks alone")
    parser.add_argument("--steps", type=int, help="of each training, instead of 4000")
    parser.add_argument("--limit", type=float, metavar="MINUTES", help="of each training in this run")
    parser.add_argument("--job", default="1/1", metavar="N/M")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.list:
        show(options)
    elif options.write:
        write(options)
    else:
        if os.name == "posix":
            os.nice(NICE)
        number, count = map(int, options.job.split("/"))
        for table, row in waiting(options)[number - 1 :: count]:
            if run(request_of(options, table, [row.number]), lambda text: print(text, flush=True)).stopped:
                print(f"Stopped; {FINISHED_FILE} is missing there, and the same command goes on.")
                return


if __name__ == "__main__":
    main()
