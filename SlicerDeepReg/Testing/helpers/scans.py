"""Small data sets on disk, as a lab has them, and small trainings."""

import csv
import dataclasses
import json

import numpy as np
import torch
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.training.start import TrainingRequest
from SlicerDeepRegLib.training.synthetic import SyntheticSettings, synthetic_pairs
from SlicerDeepRegLib.types import Grid, Image

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


def small(output, data=None, **changed):
    """Return the request of a training of a small 2D network that takes a second or two."""
    request = TrainingRequest(
        network="fmirnet:1",
        output=output,
        data=data,
        synthetic=None if data else "shapes",
        dimensions=2,
        size_ijk=None if data else (32, 32),
        steps=6,
        batch=2,
        learning_rate=1e-3,
        validation_pairs=3,
        validate_every=3,
        checkpoint_every=2,
        log_every=1,
        device="cpu",
        precision="fp32",
        ema=0.5,
    )
    return dataclasses.replace(request, **changed)


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def beating_heart(patient, frame, frames=12, size=64):
    """(image, labels) of one frame of a made short-axis film: 1 left chamber, 2 its muscle, 3 right chamber.

    Patients differ in place, size, shape and contrast; in a film the chamber shrinks and the muscle thickens.
    """
    random = np.random.default_rng(1000 + patient)
    y, x = np.mgrid[:size, :size] / size - 0.5
    turn = random.uniform(-0.5, 0.5)
    x, y = x - random.uniform(-0.08, 0.08), y - random.uniform(-0.08, 0.08)
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    phase = 0.5 - 0.5 * np.cos(2 * np.pi * frame / frames)
    radius, muscle = random.uniform(0.12, 0.16), random.uniform(0.05, 0.07)
    inner = radius * (1 - 0.45 * phase)
    outer = np.sqrt((radius + muscle) ** 2 - 0.6 * (radius**2 - inner**2))  # the muscle keeps most of its area
    shape = 1 + 0.08 * np.cos(2 * np.arctan2(y, x) + random.uniform(0, 6))
    distance = np.hypot(x, y) / shape
    right = ((x + radius + muscle + 0.05) / (0.13 * (1 - 0.3 * phase))) ** 2 + (y / (0.2 * (1 - 0.2 * phase))) ** 2 < 1
    labels = np.zeros((size, size), np.uint8)
    labels[right] = 3
    labels[distance < outer] = 2
    labels[distance < inner] = 1
    blood, wall, lung = random.uniform(0.7, 1), random.uniform(0.25, 0.45), random.uniform(0.1, 0.3)
    image = np.choose(labels, [lung, blood, wall, blood * random.uniform(0.85, 1)])
    for _ in range(10):  # vessels and fat, as bright as blood and of a chamber's size
        place, width = random.uniform(-0.5, 0.5, 2), random.uniform(0.03, 0.1)
        there = np.hypot(x - place[0], y - place[1] * (1 + 0.05 * phase)) < width
        image = np.where(there & (labels == 0), random.uniform(0.2, 1), image)
    noise = np.random.default_rng(patient * 100 + frame).normal(0, 0.06, image.shape)
    values = (1000 * np.clip(image + noise, 0, 1.2)).astype(np.float32)
    grid = Grid((size, size, 1), np.diag([2.0, 2.0, 2.0, 1.0]))
    return Image(values[None], grid, "frame", 2), Image(labels[None], grid, "labels", 2)


def films(folder, splits, frames=12, size=64):
    """A CSV of films on disk, one patient for each entry of ``splits``; every frame has its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient, split in enumerate(splits):
        for frame in range(frames):
            name = f"p{patient:02d}_{frame:02d}"
            image, labels = beating_heart(patient, frame, frames, size)
            write_image(image, folder / f"{name}.nii.gz")
            write_image(labels, folder / f"{name}_labels.nii.gz")
            files = {"image": f"{name}.nii.gz", "labels": f"{name}_labels.nii.gz"}
            rows.append({**files, "split": split, "group": f"p{patient:02d}"})
    return write_csv(folder / "films.csv", rows)
