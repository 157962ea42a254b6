"""Joint registration and segmentation beside segmentation alone, from the same few labels.

    python benchmarks/joint.py [--steps 600] [--device cpu]                                made films of a heart
    python benchmarks/joint.py --hippocampus ../shared/data/open/hippocampus --ratios 0.1   crops of 200 people

Ten films of twelve frames for training, one frame of each annotated; six other films, every frame of them measured.
FCN and U-Net learn from the ten annotated frames alone; RFCN and RUNet from these and from what the registration
(FMIRNet) carries to the other frames. The same steps, batches, rates and start for all. Of the hippocampi 180 people
are for training, of whom a part (the ratio) is annotated, and 20, drawn by a seed and never looked at before the last
step, are measured. Writes into RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import run

sys.path.insert(0, str(run.ROOT / "SlicerDeepReg" / "Testing"))
from helpers.scans import films  # noqa: E402

MARKS = ("<!-- joint: begin -->", "<!-- joint: end -->")
HIPPOCAMPUS_MARKS = ("<!-- joint hippocampus: begin -->", "<!-- joint hippocampus: end -->")
#: People who are measured, and the seed that draws them.
TEST_PEOPLE, TEST_SEED = 20, 20
ROWS = {"FCN": ("fcn", True), "RFCN": ("fcn", False), "U-Net": ("unet", True), "RUNet": ("unet", False)}
#: What the two kinds of data ask for beside the common options.
FILMS = ["--ratio", str(1 / 12), "--schedule", "ultrasound", "--regularity", "0.1"]
CROPS = ["--size", "48", "64", "48", "--voxel-mm", "1", "--orientation", "RAS", "--regularity", "0.5", "--clip", "1"]
KEYS = ("segmentation_dice", "segmentation_hd95_mm", "dice_before", "dice", "ndv_percent")


def trained(data, folder, network, alone, seed, options, more):
    """The metrics of the last validation."""
    asked = [sys.executable, "-m", "SlicerDeepRegLib", "train", "--network", options.network, "--data", str(data)]
    asked += [
        "--joint",
        network,
        *more,
        "--steps",
        str(options.steps),
        "--learning-rate",
        "1e-3",
        "--decay",
        "poly",
        "--seed",
        str(seed),
    ]
    asked += ["--validation-pairs", "1000", "--validate-every", "100000", "--checkpoint-every", "100000"]
    asked += ["--device", options.device, "--output", str(folder)]
    if alone:
        asked.append("--alone")
    environment = {**os.environ, "OMP_NUM_THREADS": str(run.THREADS)}
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL, env=environment)
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    last = next(one for one in reversed(entries) if "held_out_segmentation_dice" in one)
    return {"seconds": last["seconds"], **{key: last.get(f"held_out_{key}") for key in KEYS}}


def people(folder, place):
    """A CSV of the crops, with 20 people as the ones that are measured."""
    images = sorted((folder / "images").glob("*.nii.gz"))
    measured = set(random.Random(TEST_SEED).sample([image.name for image in images], TEST_PEOPLE))
    lines = [
        f"{image.name[:-7]},{image},{folder / 'labels' / image.name},{'val' if image.name in measured else 'train'}"
        for image in images
    ]
    path = place / "people.csv"
    path.write_text("\n".join(["name,image,labels,split", *lines]) + "\n", encoding="utf-8")
    return path


def hippocampi(options):
    """The table over ratios: Dice of the segmentation alone and joint, of FCN and U-Net."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        data = people(options.hippocampus.resolve(), Path(place))
        for ratio in options.ratios:
            for title, (network, alone) in ROWS.items():
                if network not in options.segmentations:
                    continue
                more = [*CROPS, "--ratio", str(ratio), "--cache", str(Path(place) / "prepared")]
                folder = Path(place) / f"{title} {ratio}"
                one = trained(data, folder, network, alone, 0, options, more)
                registered = f"{one['dice']:.3f}" if one["dice"] is not None else "-"
                rows.append([str(ratio), title, f"{one['segmentation_dice']:.3f}"])
                rows[-1] += [f"{one['segmentation_hd95_mm']:.1f}", registered, f"{one['seconds']:.0f}"]
                print(*rows[-1], flush=True)
    heading = ["annotated part", "", "Dice of the segmentation", "HD95 mm", "Dice, registered", "s of training"]
    write_block(HIPPOCAMPUS_MARKS, "Joint training on hippocampi", run.table(heading, rows), options)


def write_block(marks, title, table, options):
    """Put a table between its marks in RESULTS.md."""
    command = " ".join(["python benchmarks/joint.py", *sys.argv[1:]])
    said = f"Command: `{command}`. Date: {datetime.date.today()}. Machine: {run.machine()}. On {options.device}."
    block = "\n".join([marks[0], said, "", table, marks[1]])
    text = run.RESULTS.read_text(encoding="utf-8")
    if marks[0] in text:
        first, last = text.index(marks[0]), text.index(marks[1]) + len(marks[1])
        text = text[:first] + block + text[last:]
    else:
        text = f"{text.rstrip()}\n\n## {title}\n\n{block}\n"
    run.RESULTS.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3, help="how many starts, to see the spread")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--network", default="fmirnet", help="the registration network")
    parser.add_argument("--hippocampus", type=Path, metavar="FOLDER", help="with images/ and labels/ of that name")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.05, 0.1, 0.2], help="annotated parts")
    parser.add_argument("--segmentations", nargs="+", default=["fcn", "unet"], choices=("fcn", "unet"))
    options = parser.parse_args()
    if options.hippocampus:
        hippocampi(options)
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        data = films(Path(place) / "films", ["train"] * 10 + ["val"] * 6)
        for title, (network, alone) in ROWS.items():
            each = [
                trained(data, Path(place) / f"{title}{n}", network, alone, n, options, FILMS)
                for n in range(options.seeds)
            ]
            dice = sorted(one["segmentation_dice"] for one in each)
            middle = {key: sum(one[key] for one in each) / len(each) for key in each[0] if each[0][key] is not None}
            row = [title, f"{middle['segmentation_dice']:.3f} ({dice[0]:.3f} to {dice[-1]:.3f})"]
            row += [f"{middle['segmentation_hd95_mm']:.1f}"]
            row += [f"{middle[key]:.3f}" if key in middle else "-" for key in ("dice_before", "dice")]
            rows.append([*row, f"{middle['seconds']:.0f}"])
            print(*rows[-1], flush=True)
    heading = [
        "",
        f"Dice of the segmentation, mean of {options.seeds} starts",
        "HD95 mm",
        "Dice of the annotated frame",
    ]
    heading += ["the same, registered", "s of training"]
    write_block(MARKS, "Joint registration and segmentation", run.table(heading, rows), options)


if __name__ == "__main__":
    main()
