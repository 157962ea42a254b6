"""``slicerdeepreg segment``: the segmentation network of a joint training, used alone."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..types import DEVICES, InputError


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "segment",
        help="segment an image by a network from joint training",
        description="Write the labels of IMAGE, on its own voxels, as the network in MODEL sees them. MODEL is the "
        "folder 'segmentation' that 'slicerdeepreg train --joint' wrote.",
    )
    parser.add_argument("--model", required=True, type=Path, metavar="MODEL")
    parser.add_argument("--image", required=True, metavar="IMAGE")
    parser.add_argument("--output", required=True, type=Path, metavar="LABELS.nii.gz")
    parser.add_argument("--scene", type=Path, metavar="SCENE.mrb", help="also a scene with a segmentation node")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    from ..device import choose
    from ..files.atomic import reason
    from ..files.images import read_image, write_image
    from ..models.segmentation import segment
    from .slicer_side import check_slicer, write_segmentation_scene

    if options.scene is not None:
        check_slicer()
    image = read_image(options.image, "image")
    labels = segment(image, options.model, choose(options.device))
    try:
        write_image(labels, options.output)
    except OSError as error:
        raise InputError(f"The labels could not be written to {options.output} ({reason(error)}).") from error
    counts = dict(zip(*np.unique(labels.values, return_counts=True)))
    milliliters = float(np.prod(image.grid.spacing_mm)) / 1000
    for label, count in counts.items():
        if label:
            print(f"Label {label}: {count} voxels, {count * milliliters:.2f} ml")
    if len(counts) == 1:
        print("No structure was found.")
    print(f"Labels: {options.output}")
    if options.scene is not None:
        write_segmentation_scene(image, labels, options.scene)
        print(f"Scene:  {options.scene}  (drop it onto 3D Slicer)")
    return 0
