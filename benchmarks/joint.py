"""Joint registration and segmentation beside segmentation alone, from the same few labels, on made films of a heart.

    python benchmarks/joint.py [--steps 600] [--device cpu]

Ten films of twelve frames for training, one frame of each annotated; six other films, every frame of them measured.
FCN and U-Net learn from the ten annotated frames alone; RFCN and RUNet from these and from what the registration
(FMIRNet) carries to the other frames. The same steps, batches, rates and start for all. Writes into RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import run

sys.path.insert(0, str(run.ROOT / "SlicerDeepReg" / "Testing"))
from helpers.scans import films  # noqa: E402

MARKS = ("<!-- joint: begin -->", "<!-- joint: end -->")
ROWS = {"FCN": ("fcn", True), "RFCN": ("fcn", False), "U-Net": ("unet", True), "RUNet": ("unet", False)}
KEYS = ("segmentation_dice", "segmentation_hd95_mm", "dice_before", "dice", "ndv_percent")


def trained(data, folder, network, alone, seed, options):
    """The metrics of the last validation."""
    asked = [sys.executable, "-m", "SlicerDeepRegLib", "train", "--network", "fmirnet", "--data", str(data)]
    asked += ["--joint", network, "--ratio", str(1 / 12), "--schedule", "ultrasound", "--regularity", "0.1"]
    asked += ["--steps", str(options.steps), "--learning-rate", "1e-3", "--decay", "poly", "--seed", str(seed)]
    asked += ["--validation-pairs", "1000", "--validate-every", "100000", "--checkpoint-every", "100000"]
    asked += ["--device", options.device, "--output", str(folder)]
    if alone:
        asked.append("--alone")
    subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    last = next(one for one in reversed(entries) if "held_out_segmentation_dice" in one)
    return {"seconds": last["seconds"], **{key: last.get(f"held_out_{key}") for key in KEYS}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3, help="how many starts, to see the spread")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        data = films(Path(place) / "films", ["train"] * 10 + ["val"] * 6)
        for title, (network, alone) in ROWS.items():
            each = [
                trained(data, Path(place) / f"{title}{n}", network, alone, n, options) for n in range(options.seeds)
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
    command = " ".join(["python benchmarks/joint.py", *sys.argv[1:]])
    said = f"Command: `{command}`. Date: {datetime.date.today()}. Machine: {run.machine()}. On {options.device}."
    block = "\n".join([MARKS[0], said, "", run.table(heading, rows), MARKS[1]])
    text = run.RESULTS.read_text(encoding="utf-8")
    if MARKS[0] in text:
        first, last = text.index(MARKS[0]), text.index(MARKS[1]) + len(MARKS[1])
        text = text[:first] + block + text[last:]
    else:
        text = f"{text.rstrip()}\n\n## Joint registration and segmentation\n\n{block}\n"
    run.RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
