"""What memberships of structures add to `svf`, before and beside a network that gives them.

    python benchmarks/structures.py [--cases brain_patients_ab ...] [--dice 0.70 0.78 1] [--set NAME=VALUE ...]

The memberships are made from the true labels as a network of a given overlap would see them: on voxels of 2 mm, the
structures moved by a smooth random displacement and blurred, in both images independently, until the mean Dice with the
truth is the one asked for (1: the truth itself). `none` registers without them. Every case begins from one linear
transform; seconds are those of the method alone, CPU time. The weight was chosen on brain_patients. Writes into
RESULTS.md unless --set or --cases is given.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time

import numpy as np
import run
import torch
from scipy import ndimage

sys.path.insert(0, str(run.ROOT / "SlicerDeepReg"))
from SlicerDeepRegLib.anatomy import STRUCTURES  # noqa: E402
from SlicerDeepRegLib.files.images import read_image  # noqa: E402
from SlicerDeepRegLib.geometry.grids import on_grid, oriented, with_voxels  # noqa: E402
from SlicerDeepRegLib.methods import Context, method, settings_of  # noqa: E402
from SlicerDeepRegLib.metrics.labels import dice_by_label  # noqa: E402
from SlicerDeepRegLib.metrics.regularity import regularity_metrics  # noqa: E402
from SlicerDeepRegLib.metrics.surfaces import surface_by_label  # noqa: E402
from SlicerDeepRegLib.preparation.resample import resample, warp_labels  # noqa: E402
from SlicerDeepRegLib.preparation.structures import structure_codes  # noqa: E402
from SlicerDeepRegLib.processes.current import prepare_process  # noqa: E402
from SlicerDeepRegLib.training.label_maps.frame import classes_of  # noqa: E402
from SlicerDeepRegLib.types import Channels, Image, ImagePair, Transform  # noqa: E402
from SlicerDeepRegLib.warping.filters import gaussian  # noqa: E402
from SlicerDeepRegLib.warping.sample import warp  # noqa: E402

CASES = {
    "brain_patients_ab": ("brain_patients", "a", "b"),
    "brain_patients_ba": ("brain_patients", "b", "a"),
    "brain_oasis": ("brain_oasis", "fixed", "moving"),
}
MARKS = ("<!-- structures: begin -->", "<!-- structures: end -->")
#: Of the made memberships, in voxels of 2 mm: how smooth their displacement is, and how blurred they are.
SMOOTHNESS, BLUR, VOXEL_MM = 2.0, 0.7, 2.0


def truth(labels):
    """Return the true memberships, (33, K, J, I), and their grid of 2 mm voxels, axes as RAS."""
    grid = oriented(with_voxels(labels.grid, VOXEL_MM), "RAS")
    classes = classes_of(labels, labels.name)
    parts = [
        resample(Image((classes == n).astype(np.float32), labels.grid), grid, outside=float(n == 0))
        for n in range(len(STRUCTURES) + 1)
    ]
    members = np.stack(parts)
    return members / members.sum(0), grid


def mean_dice(members, true):
    """The mean Dice of the structures of two memberships."""
    found = dice_by_label(true.argmax(0).astype(np.int32), members.argmax(0).astype(np.int32))
    return float(np.mean(list(found.values())))


def seen(true, dice, seed):
    """Return the memberships as something with that mean Dice would see them, and the Dice they have."""
    if dice >= 1:
        return true, 1.0
    random = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(random.standard_normal(true.shape[1:]), SMOOTHNESS) for _ in range(3)]
    noise = torch.from_numpy(np.stack([part / part.std() for part in noise]).astype(np.float32))[None]
    given = torch.from_numpy(true)[None]

    def moved(amount):
        return gaussian(warp(given, amount * noise), [BLUR] * 3)[0].numpy()

    low, high = 0.0, 3.0  # voxels
    for _ in range(6):
        amount = (low + high) / 2
        members = moved(amount)
        reached = mean_dice(members, true)
        low, high = (amount, high) if reached > dice else (low, amount)
    return members, reached


class Case:
    """A pair, its labels and its linear transform."""

    def __init__(self, name):
        folder, *sides = CASES[name]
        self.images = [read_image(run.path(folder, f"{side}_t1")) for side in sides]
        self.labels = [read_image(run.path(folder, f"{side}_aseg")) for side in sides]
        self.linear = run.align_images(*self.images, "affine")
        self.true = [truth(labels) for labels in self.labels]
        self.wanted = (
            [int(n) for n in run.THIRTY.split()] if folder == "brain_oasis" else [s.number for s in STRUCTURES]
        )

    def channels(self, dice):
        """Return the channels of both images, and the mean Dice of what they are made from."""
        both = [seen(members, dice, 100 + n) for n, (members, _) in enumerate(self.true)]
        codes = [structure_codes(members) for members, _ in both]
        return Channels(*codes, *[grid for _, grid in self.true]), float(np.mean([reached for _, reached in both]))

    def row(self, channels, preset, values):
        """Register and measure."""
        svf = method("svf")
        settings = settings_of(svf, preset, values)
        pair = ImagePair(*self.images, channels=channels)
        began = time.process_time()
        outcome = svf.run(pair, self.linear, settings, Context(preset=preset, threads=torch.get_num_threads()))
        seconds = time.process_time() - began
        fixed = self.images[0]
        field = on_grid(outcome.displacement, fixed.grid)
        moved = warp_labels(self.labels[1], fixed, Transform(self.linear, field)).values.astype(np.int32)
        first = self.labels[0].values.astype(np.int32)
        dice = dice_by_label(first, moved)
        keep = [np.isin(values, self.wanted) * values for values in (first, moved)]
        hd95 = surface_by_label(*keep, tuple(fixed.grid.spacing_mm[::-1]))["hd95"]
        return {
            "dice": float(np.mean([dice[n] for n in self.wanted if n in dice])),
            "hd95_mm": float(np.mean(list(hd95.values()))),
            "cpu_s": seconds,
            **regularity_metrics(field, first > 0),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--dice", nargs="+", type=float, default=(0.70, 0.78, 1.0))
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--threads", type=int, default=run.THREADS)
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of svf, for one look")
    options = parser.parse_args()
    prepare_process()
    torch.set_num_threads(options.threads)
    values = dict(item.split("=") for item in options.set)
    rows = []
    for name in options.cases:
        case, alone = Case(name), None
        for dice in (None, *options.dice):
            channels, reached = (None, None) if dice is None else case.channels(dice)
            measured = case.row(channels, options.preset, values)
            alone = alone or measured["cpu_s"]
            shown = "none" if reached is None else f"{reached:.2f}"
            row = [name, shown, f"{measured['dice']:.3f}", f"{measured['hd95_mm']:.2f}", f"{measured['sdlogj']:.3f}"]
            row += [f"{measured['jacobian_min']:.3f}", f"{measured['ndv_percent']:.5f}", f"{measured['cpu_s']:.1f}"]
            rows.append([*row, f"{measured['cpu_s'] / alone:.2f}"])
            print(*rows[-1], flush=True)
    if values or tuple(options.cases) != tuple(CASES):
        return
    heading = [
        "pair",
        "Dice of the memberships",
        "Dice",
        "HD95 mm",
        "SDlogJ",
        "min J",
        "NDV %",
        "CPU s",
        "CPU s / none",
    ]
    command = " ".join(["python benchmarks/structures.py", *sys.argv[1:]])
    said = f"Command: `{command}`. Date: {datetime.date.today()}. Machine: {run.machine()}."
    block = "\n".join([MARKS[0], said, "", run.table(heading, rows), MARKS[1]])
    text = run.RESULTS.read_text(encoding="utf-8")
    if MARKS[0] in text:
        first, last = text.index(MARKS[0]), text.index(MARKS[1]) + len(MARKS[1])
        text = text[:first] + block + text[last:]
    else:
        text = f"{text.rstrip()}\n\n## Structures beside the intensities\n\n{block}\n"
    run.RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
