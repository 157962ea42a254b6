"""``slicerdeepreg template``: an unbiased average image of a cohort."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from ..types import PEOPLE, Request
from .how import add_how, how_it_was_made, print_notes, request_of, whole_labels
from .register import ProgressBar

#: What is written, beside the images and the transforms.
TABLE, RESULT = "rounds.csv", "template.json"
WRITTEN = ("labels.nii.gz", "template.*", "[0-9]*_*.h5", TABLE, RESULT)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "template",
        help="make the average image of a cohort",
        description="Make an unbiased template of several people's images: all are registered to the "
        "average of the round before, and what their deformations have in common is undone. Writes template.nii.gz, "
        "labels.nii.gz (where the most label maps agree), a transform from the template to each image with its "
        "inverse, rounds.csv and template.json.",
    )
    parser.add_argument("--images", required=True, nargs="+", metavar="FILE", help="one contrast, any place and size")
    parser.add_argument("--labels", nargs="+", default=[], metavar="FILE", help="a label map for each image")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="how often it is made anew (default: 4)")
    parser.add_argument(
        "--start", type=int, default=1, metavar="N", help="the image that decides the grid, from 1 on (default: 1)"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_how(parser, PEOPLE)
    parser.add_argument("--linear", default=Request.linear, metavar="NAME", help="same as for register")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    from ..device import use_free_threads
    from ..files.images import load, write_image
    from ..files.results import check_disk_space, check_output, output_folder
    from ..files.transform_files import write_inverse, write_transform
    from ..pipeline.template import check_cohort, make_template
    from ..processes.current import prepare_process
    from ..processes.load import LoadMeter

    meter = LoadMeter()
    prepare_process()
    check_output(options.output, [Path(file) for file in (*options.images, *options.labels)], WRITTEN)
    images = [load(source, "image") for source in options.images]
    labels = [whole_labels(load(source, "label map", straight=False)) for source in options.labels]
    check_cohort(images, labels, options.rounds, options.start)
    request = request_of(options, images[0], options.linear)
    use_free_threads(meter)
    bar = None if options.quiet else ProgressBar(sys.stderr)
    rows = []
    names = [f"{n:02d}_{Path(image.name).name.split('.')[0]}" for n, image in enumerate(images, 1)]
    check_disk_space(options.output, len(images) * images[options.start - 1].grid.voxels)
    with output_folder(options.output, RESULT) as folder:
        for made in make_template(images, request, labels, options.rounds, options.start, bar):
            row = {"round": made.number, "change_mm": made.change_mm, "spread_mm": made.spread_mm, "dice": made.dice}
            rows.append(row)
        if bar is not None:
            bar.close()
        write_image(made.template, folder / "template.nii.gz")
        if made.labels is not None:
            write_image(made.labels, folder / "labels.nii.gz")
        for name, transform in zip(names, made.transforms):
            write_transform(transform, folder / f"{name}.h5")
            write_inverse(transform, folder / f"{name}_inverse.h5")
        with open(folder / TABLE, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        sources = dict(zip(names, options.images))
        sources |= {f"labels of {name}": labels for name, labels in zip(names, options.labels)}
        described = {
            "images": names,
            "start": options.start,
            "rounds": rows,
            "notes": dict(zip(names, map(list, made.notes))),
            **how_it_was_made(request, sources),
        }
        (folder / RESULT).write_text(json.dumps(described, indent=2, default=float) + "\n", encoding="utf-8")
    print_notes(zip((image.name for image in images), made.notes), options.quiet)
    if not options.quiet:
        for row in rows:
            overlap = "" if row["dice"] is None else f"; Dice with the majority of the labels {row['dice']:.3f}"
            print(
                f"Round {row['round']}: the template changed by {row['change_mm']:.2f} mm; images differ from it by "
                f"{row['spread_mm']:.2f} mm{overlap}"
            )
        print(f"Results: {options.output}")
    return 0
