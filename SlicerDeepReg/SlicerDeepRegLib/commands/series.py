"""``slicerdeepreg series``: the frames of a 4D image registered to one of them, and a segmentation brought to all."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..types import CHAINS, PERSON, FrameResult, Image, InputError, Series
from .how import add_how, how_it_was_made, print_notes, request_of, whole_labels
from .register import ProgressBar

#: What is written, beside the images and the transform of each frame.
TABLE, RESULT = "motion.csv", "series.json"
WRITTEN = ("labels.*", "stabilized.*", "frame_*.h5", TABLE, RESULT)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "series",
        help="register the frames of a series (4D image) to one of them",
        description="Register every frame of a series to a reference frame, bring the segmentation of the reference "
        "to all frames, and write how volumes and points move: labels and stabilized (all frames as the reference "
        "lies) as 4D NIfTI and as sequences that Slicer plays, motion.csv, series.json, and for each frame NN the "
        "transform frame_NN.h5 from its points to those of the reference, with its inverse.",
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
    from ..device import use_free_threads
    from ..files.frames import times_of
    from ..files.results import check_output, output_folder
    from ..files.transform_files import write_inverse, write_transform
    from ..pipeline.series import register_series
    from ..processes.current import prepare_process
    from ..processes.load import LoadMeter

    meter = LoadMeter()
    prepare_process()
    given = [*options.frames, options.labels, options.points, options.truth]
    check_output(options.output, [Path(file) for file in given if file is not None], WRITTEN)
    series, truth = _read(options)
    times = times_of(options.frames)
    use_free_threads(meter)
    bar = None if options.quiet else ProgressBar(sys.stderr)
    found: dict[int, FrameResult] = {}
    with output_folder(options.output, RESULT) as folder:
        for one in register_series(series, truth, bar):
            if one.transform is not None:
                name = f"frame_{one.number:02d}"
                write_transform(one.transform, folder / f"{name}.h5", series.frames[0].dimensions)
                write_inverse(one.transform, folder / f"{name}_inverse.h5", series.frames[0].dimensions)
            found[one.number] = dataclasses.replace(one, transform=None)  # it is written
        if bar is not None:
            bar.close()
        in_order = [found[number] for number in sorted(found)]
        sources = {f"frames {number}": source for number, source in enumerate(options.frames)}
        made = how_it_was_made(series.request, {**sources, "labels": options.labels, "points": options.points})
        _write(in_order, series, times, folder, made)
    if len(options.frames) > 1 and not options.quiet and not _in_order_of_names(options.frames):
        print("Note: The frames are in the order in which their files were given, which is not that of their names.")
    print_notes(((series.frames[one.number].name, one.notes) for one in in_order), options.quiet)
    if not options.quiet:
        rest = series.labels is not None
        measured = [one.measured.get("dice") for one in in_order if one.number != series.reference]
        dice = [value for value in measured if value is not None]
        if dice:
            print(f"Dice of the labels brought to {len(dice)} frames: {np.mean(dice):.3f}, lowest {min(dice):.3f}")
        print(f"Results: {options.output} (stabilized, {TABLE}, a transform for each frame{', labels' * bool(rest)})")
    return 0


def _read(options: argparse.Namespace) -> tuple[Series, list[Image] | None]:
    """Return what is to be registered, and what it is measured by, after all checks.

    Raises:
        InputError: a file cannot be read, or the series cannot be registered.
    """
    from ..checks.series import check_series, check_truth
    from ..files.frames import read_frames
    from ..files.images import load
    from ..files.points import load_points

    frames = read_frames(options.frames, "frames")
    labels = None if options.labels is None else whole_labels(load(options.labels, "labels", straight=False))
    points = None if options.points is None else load_points(options.points, "points").positions_lps_mm
    request = request_of(options, frames[0], linear="none")
    series = Series(frames, options.reference, request, labels, points, options.chain)
    check_series(series)
    still = frames[options.reference]
    for frame in frames:
        if not frame.grid.same_as(still.grid):
            raise InputError(
                f"{frame.name} lies elsewhere than the reference, {still.name}: their origins, directions or spacings "
                "differ, and a 4D image has one of each. Resample them to one grid.",
                "frames",
            )
    truth = None
    if options.truth is not None:
        truth = [whole_labels(one) for one in read_frames([options.truth], "truth", straight=False)]
        check_truth(series, truth)
    if not options.quiet:
        for note in dict.fromkeys(note for frame in frames for note in frame.notes):
            print(note, file=sys.stderr)
    return series, truth


def _in_order_of_names(files: Sequence[str]) -> bool:
    """Return whether files are sorted as people sort: f2 before f10."""
    keys = [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file)] for file in files]
    return keys == sorted(keys)


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def _write(
    found: Sequence[FrameResult], series: Series, times: Sequence[float] | None, folder: Path, made: dict[str, object]
) -> None:
    """Write everything but the transforms."""
    from ..files.frames import write_frames, write_sequence

    for name in ("labels", "stabilized"):
        images = [image for one in found if (image := getattr(one, name)) is not None]
        if images:
            write_frames(images, folder / f"{name}.nii.gz", times)
            write_sequence(images, folder / f"{name}.seq.nrrd", labels=name == "labels", times=times)
    table = []
    for one in found:
        row: dict[str, object] = {"frame": one.number, "file": series.frames[one.number].name}
        table.append({**row, **({} if times is None else {"time": times[one.number]}), **one.measured})
    columns = list(dict.fromkeys(name for row in table for name in row))
    with open(folder / TABLE, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows({name: _short(value) for name, value in row.items()} for row in table)
    notes = {str(one.number): list(one.notes) for one in found if one.notes}
    described = {"reference": series.reference, "chain": series.chain, "frames": table, "notes": notes, **made}
    (folder / RESULT).write_text(json.dumps(described, indent=2, default=float) + "\n", encoding="utf-8")
