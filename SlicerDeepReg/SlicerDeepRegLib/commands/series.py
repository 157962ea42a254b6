"""``slicerdeepreg series``: the frames of a 4D image registered to one of them, and a segmentation brought to all."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..types import CHAINS, PERSON, Image, InputError, Series
from .how import add_how, request_of, whole_labels
from .register import ProgressBar

#: What is written, beside the images and the transform of each frame.
TABLE, RESULT = "motion.csv", "series.json"


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "series",
        help="register the frames of a series (4D image) to one of them",
        description="Register every frame of a series to a reference frame, bring the segmentation of the reference "
        "to all frames, and write how volumes and points move: labels and stabilized (all frames as the reference "
        "lies) as 4D NIfTI and as sequences that Slicer plays, motion.csv, a transform for each frame and series.json.",
    )
    parser.add_argument(
        "--frames",
        required=True,
        nargs="+",
        metavar="FILE",
        help="a 4D image, the folder of a DICOM series in time, or the frames as images of their own",
    )
    parser.add_argument(
        "--reference", type=int, default=0, metavar="N", help="the reference frame, from 0 on (default: 0)"
    )
    parser.add_argument("--labels", metavar="FILE", help="label map of the reference, brought to every frame")
    parser.add_argument("--points", metavar="FILE", help="landmarks in the reference, whose motion is followed")
    parser.add_argument("--truth", metavar="FILE", help="label maps of all frames (4D), to measure the brought ones by")
    parser.add_argument(
        "--chain",
        choices=CHAINS,
        default=CHAINS[0],
        help="where a frame starts: each by itself, or from its neighbor's transform (motion too large for the first)",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_how(parser, PERSON)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    from ..checks.series import check_series
    from ..device import use_free_threads
    from ..files.frames import read_frames, write_frames, write_sequence
    from ..files.images import load
    from ..files.points import load_points
    from ..files.results import output_folder
    from ..files.transform_files import write_inverse, write_transform
    from ..pipeline.series import register_series
    from ..processes.current import prepare_process
    from ..processes.load import LoadMeter

    meter = LoadMeter()
    prepare_process()
    frames = read_frames(options.frames, "frames")
    labels = None if options.labels is None else whole_labels(load(options.labels, "labels", straight=False))
    truth = None if options.truth is None else read_frames([options.truth], "truth")
    if truth is not None and len(truth) != len(frames):
        raise InputError(f"There are {len(frames)} frames and {len(truth)} label maps to measure by. Give as many.")
    points = None if options.points is None else load_points(options.points, "points").positions_lps_mm
    request = request_of(options, frames[0], linear="none")
    series = Series(frames, options.reference, request, labels, points, options.chain)
    check_series(series)
    use_free_threads(meter)
    bar = None if options.quiet else ProgressBar(sys.stderr)
    rows: dict[int, dict[str, Any]] = {}
    brought: dict[int, Image] = {}
    stabilized: dict[int, Image] = {}
    with output_folder(options.output) as folder:
        for found in register_series(series, truth, bar):
            rows[found.number] = {"frame": found.number, **found.measured}
            if found.labels is not None:
                brought[found.number] = found.labels
            stabilized[found.number] = found.stabilized
            if found.transform is not None:
                name = f"frame_{found.number:02d}"
                write_transform(found.transform, folder / f"{name}.h5", frames[0].dimensions)
                write_inverse(found.transform, folder / f"{name}_inverse.h5", frames[0].dimensions)
        if bar is not None:
            bar.close()
        for name, images in (("labels", brought), ("stabilized", stabilized)):
            if images:
                in_order = [images[number] for number in sorted(images)]
                write_frames(in_order, folder / f"{name}.nii.gz")
                write_sequence(in_order, folder / f"{name}.seq.nrrd", labels=name == "labels")
        table = [rows[n] for n in sorted(rows)]
        columns = list(dict.fromkeys(name for row in table for name in row))
        with open(folder / TABLE, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(table)
        described = {"reference": options.reference, "chain": options.chain, "frames": table}
        (folder / RESULT).write_text(json.dumps(described, indent=2, default=float) + "\n", encoding="utf-8")
    if not options.quiet:
        dice = [row["dice"] for row in table if row.get("dice") is not None and row["frame"] != options.reference]
        if dice:
            print(f"Dice of the labels brought to {len(dice)} frames: {np.mean(dice):.3f}, lowest {min(dice):.3f}")
        print(f"Results: {options.output}")
    return 0
