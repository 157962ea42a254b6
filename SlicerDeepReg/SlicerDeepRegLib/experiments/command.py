"""``slicerdeepreg evaluate`` and ``slicerdeepreg paper``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..comparison.command import make_output
from ..training.dataset.index import SPLITS
from ..training.dataset.pairs import PAIRINGS
from ..training.plan import PRECISIONS
from ..types import DEVICES, InputError
from .papers import ALL, LABEL_WARPS

UNFINISHED = 3


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add both commands."""
    _add_evaluate(commands)
    _add_paper(commands)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure trained models on a test split",
        description="Measure trained models, and methods beside them, on the pairs of a split. "
        "Write DIR/report.html, table.md, table.csv, cells.csv, results.json, box plots and montages.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="the folder of a training, or a name of slicerdeepreg models"
    )
    parser.add_argument("--data", required=True, type=Path, metavar="PATH", help="as for train")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    for name in ("images", "labels", "masks"):
        parser.add_argument(f"--{name}", metavar="PATTERN", help="as for train")
    parser.add_argument("--split", choices=(*SPLITS, ALL), default="test", help="which pairs (%(default)s)")
    parser.add_argument("--pairs", dest="pairing", choices=PAIRINGS, help="as for train")
    parser.add_argument("--atlas", metavar="NAME", help="as for train")
    parser.add_argument("--most-pairs", type=int, metavar="N", help="at most N pairs, spread over all (default: all)")
    parser.add_argument(
        "--size", dest="size_ijk", nargs="+", type=int, metavar="N", help="of the images (default: the training's)"
    )
    parser.add_argument("--voxel-mm", type=float, metavar="MM", help="of the images (default: the training's)")
    parser.add_argument("--orientation", metavar="RAS", help="of the images (default: the training's)")
    parser.add_argument(
        "--label-warp",
        choices=LABEL_WARPS,
        default="nearest",
        help="labels by the nearest neighbor, or each label's membership linearly and the largest wins, as in "
        "TransMorph's tables (%(default)s)",
    )
    parser.add_argument("--structures", nargs="+", type=int, metavar="N", help="the labels that count (default: all)")
    parser.add_argument("--stages", action="store_true", help="measure the fields inside the networks, too")
    parser.add_argument("--no-surfaces", dest="surfaces", action="store_false", help="no HD95, HD and ASSD")
    parser.add_argument("--reference", metavar="MODEL", help="that others are tested against (default: the first)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where prepared images are kept (default: in DIR)")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run_evaluate)


def _add_paper(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "paper",
        help="build a table of one of the papers: train its rows, evaluate them, print it",
        description="Train what the rows of a table need, evaluate it, and print the table with the paper's figures "
        "beside. It may be stopped and started again. Without PAPER it lists the papers, without TABLE its tables.",
    )
    parser.add_argument("paper", nargs="?", metavar="PAPER")
    parser.add_argument("table", nargs="?", metavar="TABLE")
    parser.add_argument(
        "--data", action="append", default=[], metavar="[NAME=]PATH", help="a data set of the paper, as for train"
    )
    for name, text in (("images", "pattern of its images"), ("labels", "of its labels"), ("atlas", "its atlas")):
        parser.add_argument(f"--{name}", action="append", default=[], metavar=f"[NAME=]{name.upper()}", help=text)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for all tables of the paper")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="X",
        help="0.1: a tenth of the voxels along each axis (32 at least), of the scans and of the epochs (%(default)s)",
    )
    parser.add_argument(
        "--size", dest="size_ijk", nargs="+", type=int, metavar="N", help="of the images, cut or padded"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="of each training, instead of the paper's epochs")
    parser.add_argument("--rows", nargs="+", type=int, default=[], metavar="N", help="only these rows, from 1 on")
    parser.add_argument(
        "--job", default="1/1", metavar="N/M", help="the N-th of M parts of the trainings (%(default)s)"
    )
    parser.add_argument("--slurm", action="store_true", help="print a SLURM script, a job for each training")
    parser.add_argument("--limit", dest="limit_minutes", type=float, metavar="MINUTES", help="stop after so long")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="as for train (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.set_defaults(run=run_paper)


# ------------------------------------------------------------------------------------------ evaluate


def run_evaluate(options: argparse.Namespace) -> int:
    """Do what the options ask; returns 0."""
    from .evaluate import EvaluationRequest, evaluate
    from .written import write_evaluation

    labels = [Path(one).resolve().name if Path(one).is_dir() else one for one in options.models]
    reference = options.reference or labels[0]
    if reference not in labels:
        raise InputError(f"--reference {reference} is not among the models: {', '.join(labels)}.")
    make_output(options.output)
    names = set(EvaluationRequest.__dataclass_fields__)
    given = {name: value for name, value in vars(options).items() if name in names}
    given.update(
        pairs=options.most_pairs,
        cache=options.cache or options.output / "prepared",
        structures=tuple(options.structures or ()),
        size_ijk=tuple(options.size_ijk) if options.size_ijk else None,
    )
    say = _say(options.quiet)
    evaluation = evaluate(EvaluationRequest(**given), say)
    table = write_evaluation(evaluation, options.output, reference, _command())
    say(table)
    say(f"Results: {options.output / 'report.html'}")
    return 0


def _say(quiet: bool) -> Callable[[str], None]:
    return lambda text: None if quiet else print(text, flush=True)


def _command() -> str:
    """Return what was typed, without folders."""
    shown = [part if not Path(part).is_absolute() else Path(part).name for part in sys.argv[1:]]
    return shlex.join(["slicerdeepreg", *shown])


# ------------------------------------------------------------------------------------------ paper


def run_paper(options: argparse.Namespace) -> int:
    """Do what the options ask; returns 0 where the table is complete, 1 where rows failed, 3 where it was stopped."""
    from ..processes.current import keep_children_safe, tune_memory
    from .papers import paper, papers, table_of

    if options.paper is None:
        print("\n".join(f"{name}: {one.title}; tables {', '.join(one.tables)}" for name, one in papers().items()))
        return 0
    chosen = paper(options.paper)
    if options.table is None:
        for name, table in chosen.tables.items():
            print(f"{name}: {table.title}; {len(table.rows)} rows; data {', '.join(table.test)}")
        return 0
    from .run import PaperRequest, run
    from .written import write_paper

    tune_memory()
    keep_children_safe()
    table = table_of(chosen, options.table)
    needed = table.data_sets
    if options.output is None:
        raise InputError("Say where the experiment goes: --output DIR.")
    if not 0 < options.scale <= 1:
        raise InputError("--scale must be above 0, and 1 at most.")
    request = PaperRequest(
        paper=chosen,
        table=table,
        output=options.output,
        data={name: Path(path) for name, path in _by_name("data", options.data, needed).items()},
        images=_by_name("images", options.images, needed),
        labels=_by_name("labels", options.labels, needed),
        atlas=_by_name("atlas", options.atlas, needed),
        scale=options.scale,
        size_ijk=tuple(options.size_ijk) if options.size_ijk else None,
        steps=options.steps,
        rows=tuple(options.rows),
        job=_job(options.job),
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        limit_minutes=options.limit_minutes,
    )
    if options.slurm:
        print(_slurm(request))
        return 0
    make_output(options.output)
    say = _say(False)
    ran = run(request, say)
    say(write_paper(request, ran, _command()))
    if ran.stopped:
        say("Stopped. The same command goes on.")
        return UNFINISHED
    return 0 if ran.finished or request.job != (1, 1) else 1


def _by_name(option: str, values: Sequence[str], needed: Sequence[str]) -> Mapping[str, str]:
    """Return NAME=VALUE as values by name; a value without a name is that of the only data set.

    Raises:
        InputError: a name is none of the table's, or a value lacks one where there are several.
    """
    found = {}
    for text in values:
        name, sign, value = text.partition("=")
        if not sign or name not in needed:
            if len(needed) > 1:
                raise InputError(f"--{option} needs NAME={option.upper()} here, NAME one of {', '.join(needed)}.")
            name, value = needed[0], text
        found[name] = value
    return found


def _job(text: str) -> tuple[int, int]:
    number, sign, count = text.partition("/")
    if not (sign and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"--job needs N/M with N from 1 to M, as 2/8; it was {text!r}.")
    return int(number), int(count)


def _slurm(request: Any) -> str:
    """Return a script that runs each training of the table as a job of an array, and prints the table in the end."""
    from .run import trainings_of

    count = len(trainings_of(request))
    typed = [part for part in sys.argv[1:] if part != "--slurm"]
    command = shlex.join([sys.executable, "-m", "SlicerDeepRegLib", *typed])
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name={request.paper.name}-{request.table.name}",
            f"#SBATCH --array=1-{count}",
            "#SBATCH --gpus=1",
            "#SBATCH --time=24:00:00",
            "#SBATCH --requeue",
            "# Folders must be on a disk that all nodes see. A stopped job goes on when it is started again.",
            f"{command} --job $SLURM_ARRAY_TASK_ID/{count}",
            "# When all jobs are done, print the table:",
            f"# {command}",
        ]
    )
