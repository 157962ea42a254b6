"""What the command costs around the method: seconds as ratios to the method's, megabytes, and beside a busy program.

    python benchmarks/around.py             prints the table
    python benchmarks/around.py --write     and puts it into RESULTS.md

The command itself is run, from files to files, on brain_oasis with the preset standard: alone, with the labels of both
brains, at 320 x 320 x 320 voxels, and beside one program that keeps a processor busy. All in one run, so that the
ratios are of one machine; no row is the best of several.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import run
from results import put
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.geometry.grids import resized
from SlicerDeepRegLib.preparation.resample import resample
from SlicerDeepRegLib.processes.load import DECIDED_BY
from SlicerDeepRegLib.types import Image

HEADING = "Around the method"
#: What is asked for: the whole command and its measuring, in seconds of the method; and of both transforms.
AIMS = {"alone": (1.7, 1 / 3), "45 labels": (2.0, 1 / 3), "320 x 320 x 320": (1.7, 1 / 3)}
MEGABYTES, BUSY = 60, 1.5
LARGE = (320, 320, 320)


def command(folder, pair, labels=()):
    """Run the command; returns its wall seconds, and its result.json."""
    given = [f"--{side}={path}" for side, path in zip(("fixed", "moving"), pair)]
    given += [f"--{side}-labels={path}" for side, path in zip(("fixed", "moving"), labels)]
    output = folder / "out"
    begin = time.perf_counter()
    command = [sys.executable, "-m", "SlicerDeepRegLib", "register", *given, f"--output={output}", "--quiet"]
    environment = {name: value for name, value in os.environ.items() if name not in DECIDED_BY}  # it chooses threads
    subprocess.run([*command, "--device=cpu", "--pair=people", "--similarity=lncc"], env=environment, check=True)
    return time.perf_counter() - begin, json.loads((output / "result.json").read_text(encoding="utf-8"))


def enlarged(folder, pair):
    """The same images on many voxels."""
    paths = []
    for path in pair:
        image = read_image(path)
        grid = resized(image.grid, LARGE)
        paths.append(folder / f"large_{path.name}")
        write_image(Image(resample(image, grid), grid, image.name), paths[-1])
    return paths


def row(name, wall_s, described, aims):
    seconds = described["seconds"]
    method, measure = seconds["method"], seconds["measure"]
    rest = wall_s - sum(seconds.values())
    aim_command, aim_measure = ("-", "-") if aims is None else (f"{aims[0]:.1f}", f"{aims[1]:.2f}")
    return [
        name,
        *(f"{seconds.get(part, 0):.1f}" for part in ("linear", "pair", "affine", "method", "warp", "measure")),
        f"{rest:.1f}",
        f"{wall_s:.1f}",
        f"{wall_s / method:.2f}",
        aim_command,
        f"{measure / method:.2f}",
        aim_measure,
        str(described["provenance"]["threads"]),
    ]


def measured():
    """The rows, and sentences."""
    data = run.DATA / "brain_oasis"
    pair = [data / f"{side}_t1.nii.gz" for side in ("fixed", "moving")]
    labels = [data / f"{side}_aseg.nii.gz" for side in ("fixed", "moving")]
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone_s, alone = command(folder, pair)
        rows.append(row("alone", alone_s, alone, AIMS["alone"]))
        sizes = [(folder / "out" / file).stat().st_size / 1e6 for file in ("transform.h5", "inverse.h5")]
        whole = sum(file.stat().st_size for file in (folder / "out").iterdir()) / 1e6
        notes.append(
            f"Both transforms: {sum(sizes):.0f} MB (aim {MEGABYTES}); the whole folder {whole:.0f} MB, 567 before."
        )
        labeled = [int(n) for n in np.unique(read_image(labels[0]).values) if n]
        wall_s, described = command(folder, pair, labels)
        rows.append(row(f"{len(labeled)} labels", wall_s, described, AIMS["45 labels"]))
        wall_s, described = command(folder, enlarged(folder, pair))
        rows.append(row("320 x 320 x 320", wall_s, described, AIMS["320 x 320 x 320"]))
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            time.sleep(1)
            wall_s, described = command(folder, pair)
            busy.kill()
        rows.append(row("beside a busy program", wall_s, described, None))
        ratio = described["seconds"]["method"] / alone["seconds"]["method"]
        notes.append(
            f"Beside a busy program the command takes {wall_s / alone_s:.2f} times as long, the method {ratio:.2f} "
            f"(aim {BUSY}; 2.65 before)."
        )
    return rows, notes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    rows, notes = measured()
    heading = ["", "linear", "pair", "affine", "method", "warp", "measure and write", "start and rest", "command s"]
    heading += ["command / method", "aim", "measure and write / method", "aim", "threads"]
    lines = [*run.table(heading, rows).splitlines(), "", *notes]
    print("\n".join(lines))
    if options.write:
        introduction = (
            f"Command: `python benchmarks/around.py --write`. Date: {datetime.date.today()}. Machine: {run.machine()}. "
            "Seconds of wall time, brain_oasis, preset standard, from files to files."
        )
        put("around", HEADING, [introduction, "", *lines])


if __name__ == "__main__":
    main()
