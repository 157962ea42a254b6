"""Small data sets on disk, as a lab has them, and small trainings."""

import csv
import json

import numpy as np
import torch
from SlicerDeepRegLib.contracts import Grid, Image
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.training.start import TrainingRequest
from SlicerDeepRegLib.training.synthetic import SyntheticSettings, synthetic_pairs

#: Sizes (k, j, i) of the images: those of a slice, and of a volume.
SLICE, VOLUME = (32, 40), (24, 28, 20)


def scan(seed, shape=SLICE, spacing=1.0):
    """(image, labels) of one subject; subjects of one shape show one structure, each bent in its own way."""
    pure = SyntheticSettings(kind="shapes", labels=6, same_contrast=1, thick=0, noise=0.02, motion=((16, 2.0),))
    torch.manual_seed(seed)
    pair = synthetic_pairs(shape, [seed], torch.device("cpu"), pure)
    size_ijk = tuple(shape[::-1]) + (1,) * (3 - len(shape))
    grid = Grid(size_ijk, np.diag([spacing] * 3 + [1.0]))
    dimensions = len(shape)
    values = (900 * pair.fixed[0, 0].numpy() + 20).astype(np.float32).reshape(grid.shape_kji)
    labels = pair.fixed_labels[0, 0].numpy().astype(np.uint8).reshape(grid.shape_kji)
    return Image(values, grid, "scan", dimensions), Image(labels, grid, "labels", dimensions)


def folder_of_scans(folder, count=4, shape=SLICE, labels=True):
    """``count`` subjects as sub-NN.nii.gz and sub-NN_seg.nii.gz."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, segmentation = scan(number, shape)
        write_image(image, folder / f"sub-{number:02d}.nii.gz")
        if labels:
            write_image(segmentation, folder / f"sub-{number:02d}_seg.nii.gz")
    return folder


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def small(output, **changed):
    """A training of a small 2D network that takes a second or two."""
    asked = {
        "network": "fmirnet:1",
        "output": output,
        "synthetic": None if changed.get("data") else "shapes",
        "dimensions": 2,
        "size_ijk": None if changed.get("data") else (32, 32),
        "steps": 6,
        "batch": 2,
        "learning_rate": 1e-3,
        "validation_pairs": 3,
        "validate_every": 3,
        "checkpoint_every": 2,
        "log_every": 1,
        "device": "cpu",
        "ema": 0.5,
    }
    return TrainingRequest(**{**asked, **changed})


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
