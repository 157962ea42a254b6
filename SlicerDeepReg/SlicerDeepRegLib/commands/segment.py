"""``slicerdeepreg segment``: the structures of a brain, or the segmentation network of a joint training."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..anatomy import STRUCTURE_BY_NUMBER
from ..catalog import BRAIN_MODEL, STRUCTURES_NETWORK, brain_model
from ..types import DEVICES, Image, InputError

if TYPE_CHECKING:
    import torch

SEGMENTATION_ENDING = ".seg.nrrd"


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "segment",
        help="segment the structures of a brain, or an image by a network from joint training",
        description="Write the labels of IMAGE, on its own voxels, as the network in MODEL sees them. MODEL is "
        f"'{BRAIN_MODEL}' (32 structures of a human brain, FreeSurfer's numbers, any contrast), or the folder "
        "'segmentation' that 'slicerdeepreg train --joint' wrote.",
    )
    parser.add_argument("--model", required=True, metavar="MODEL")
    parser.add_argument("--image", required=True, metavar="IMAGE")
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="LABELS",
        help="a label map (.nii.gz, .nrrd, .mha), or a segmentation of Slicer (.seg.nrrd) with names",
    )
    parser.add_argument(
        "--confidence", type=Path, metavar="FILE", help="also the probability of the label at each voxel (brain only)"
    )
    parser.add_argument("--mask", type=Path, metavar="FILE", help="also a mask of the brain (brain only)")
    parser.add_argument("--scene", type=Path, metavar="SCENE.mrb", help="also a scene with a segmentation node")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.set_defaults(run=run)


@dataclass(frozen=True, eq=False)
class _Found:
    """What a network saw: the labels, what to say of each, and further images by the option that asks for them."""

    labels: Image
    confidences: Mapping[int, float] = field(default_factory=dict)
    more: Mapping[str, Image] = field(default_factory=dict)
    note: str = ""


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    from ..processes.load import LoadMeter

    meter = LoadMeter()  # measures while torch is loaded
    from ..device import choose, use_free_threads
    from ..files.images import check_image_name, read_image
    from ..files.results import check_output
    from ..models.segmentation import read_description
    from .slicer_side import check_slicer, write_segmentation_scene

    if options.scene is not None:
        check_slicer()
    model = brain_model() if options.model == BRAIN_MODEL else Path(options.model)
    of_brains = read_description(model)["segmentation"] == STRUCTURES_NETWORK
    wanted = {name: getattr(options, name) for name in ("confidence", "mask") if getattr(options, name) is not None}
    if wanted and not of_brains:
        raise InputError(f"--{next(iter(wanted))} needs the structures of a brain. Give --model brain.")
    outputs = {"output": options.output, **wanted}
    if options.scene is not None:
        outputs["scene"] = options.scene
    for name, path in outputs.items():
        check_output(path, [Path(options.image), model])
        real = os.path.realpath(path)
        other = next((one for one, file in outputs.items() if os.path.realpath(file) == real), name)
        if other != name:
            raise InputError(f"--{other} and --{name} are the same file, {path}. Give each its own.")
        if name != "scene":
            check_image_name(path)
    image = read_image(options.image, "image")
    use_free_threads(meter)
    found = _see(image, model, choose(options.device), of_brains)
    _write(found.labels, options.output, of_brains)
    for name, path in wanted.items():
        _write(found.more[name], path, named=False)
    _say(found, float(np.prod(image.grid.spacing_mm)) / 1000)
    print(f"Labels: {options.output}")
    for name, path in wanted.items():
        print(f"{name.capitalize()}: {path}")
    if options.scene is not None:
        names, colors = (_names(), _colors()) if of_brains else (None, None)
        write_segmentation_scene(image, found.labels, options.scene, names, colors)
        print(f"Scene:  {options.scene}  (drop it onto 3D Slicer)")
    return 0


def _see(image: Image, model: Path, device: torch.device, of_brains: bool) -> _Found:
    from ..models.segmentation import segment
    from ..models.structures import StructureModel

    if not of_brains:
        return _Found(segment(image, model, device))
    seen = StructureModel(model, device).see(image)
    note = "" if seen.evidence.is_brain else f"{image.name} does not look like a human brain; do not trust the labels."
    return _Found(seen.labels, seen.confidences, {"confidence": seen.confidence, "mask": seen.brain_mask()}, note)


def _write(image: Image, path: Path, named: bool) -> None:
    from ..files.atomic import reason
    from ..files.images import write_image
    from ..files.segmentations import write_segmentation

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.lower().endswith(SEGMENTATION_ENDING):
            present = [int(label) for label in np.unique(image.values) if label]
            names, colors = (_names(), _colors()) if named else ({}, {})
            segments = [(n, names.get(n, f"Label {n}"), colors.get(n, (255, 215, 0))) for n in present]
            write_segmentation(image, segments, path)
        else:
            write_image(image, path)
    except OSError as error:
        raise InputError(f"{image.name} could not be written to {path} ({reason(error)}).") from error


def _say(found: _Found, voxel_ml: float) -> None:
    counts = dict(zip(*np.unique(found.labels.values, return_counts=True)))
    for label, count in counts.items():
        if label in found.confidences:
            name = STRUCTURE_BY_NUMBER[int(label)].name
            print(f"{label:>3} {name:<32}{count * voxel_ml:9.2f} ml   confidence {found.confidences[label]:.2f}")
        elif label:
            print(f"Label {label}: {count} voxels, {count * voxel_ml:.2f} ml")
    if len(counts) == 1:
        print("No structure was found.")
    if found.note:
        print(f"Note: {found.note}")


def _names() -> dict[int, str]:
    return {number: structure.name for number, structure in STRUCTURE_BY_NUMBER.items()}


def _colors() -> dict[int, tuple[int, int, int]]:
    return {number: structure.color for number, structure in STRUCTURE_BY_NUMBER.items()}
