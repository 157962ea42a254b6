"""The comparison of every method that needs no training, and of every network fitted for the same seconds.

    python benchmarks/compare.py [--cases brain_oasis ct_lung brain2d_oasis] [--output FOLDER]

Runs ``slicerdeepreg compare`` on each case with 2 threads, one registration at a time, and puts its tables into
RESULTS.md. What is in FOLDER (benchmarks/work/compare) already is not run again; for one clean run, remove it first.
Networks work at half resolution (/fast) and are fitted from a random start, so their rows say how fast an architecture
fits one pair, and nothing about what it does when it is trained.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from results import put

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEEPREG_DATA", ROOT.parent / "shared" / "data")) / "open"
THREADS = 2
FREE = ("svf", "svf/fast", "demons", "lddmm", "ants", "elastix")
PLANAR = ("fmirnet", "voxelmorph", "lku-net", "udrsnet")
NETWORKS = ("msrd-net", "unfolding", "caml", "fmirnet", "wavemorph", "voxelmorph", "cyclemorph", "lku-net", "vit-v-net")
NETWORKS += ("transmorph", "transmatch", "xmorpher", "pivit", "rdp-net", "utsrmorph:small", "h-sganet", "udrsnet")
#: Case: files by column, methods, seconds that every network is fitted for.
CASES = {
    "brain_oasis": (
        {
            "fixed": "fixed_t1.nii.gz",
            "moving": "moving_t1.nii.gz",
            "fixed_labels": "fixed_aseg.nii.gz",
            "moving_labels": "moving_aseg.nii.gz",
        },
        [*FREE, *(f"{name}/fast" for name in NETWORKS)],
        60,
    ),
    "ct_lung": (
        {
            "fixed": "fixed_ct.nii.gz",
            "moving": "moving_ct.nii.gz",
            "fixed_points": "fixed_points_lps_mm.csv",
            "moving_points": "moving_points_lps_mm.csv",
        },
        [*FREE, *(f"{name}/fast" for name in NETWORKS)],
        60,
    ),
    "brain2d_oasis": (
        {
            "fixed": "fixed_t1.nii.gz",
            "moving": "moving_atlas_t1.nii.gz",
            "fixed_labels": "fixed_aseg.nii.gz",
            "moving_labels": "moving_atlas_aseg.nii.gz",
        },
        [*FREE, "svf/thorough", "demons:symmetric", *PLANAR],
        30,
    ),
}


def compare(case, folder):
    """Run the comparison; returns the lines of its table."""
    files, methods, seconds = CASES[case]
    folder.mkdir(parents=True, exist_ok=True)
    pairs = folder / "pairs.csv"
    with open(pairs, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", *files])
        writer.writerow([case, *(str(DATA / case / name) for name in files.values())])
    command = [
        sys.executable,
        "-m",
        "SlicerDeepRegLib",
        "compare",
        "--pairs",
        str(pairs),
        "--methods",
        ",".join(methods),
    ]
    command += [
        "--set",
        f"instance_seconds={seconds}",
        "--set",
        "instance_steps=5000",
        "--threads",
        str(THREADS),
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "SlicerDeepReg")}
    done = subprocess.run([*command, "--output", str(folder)], env=environment, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"{case} could not be compared.")
    lines = (folder / "table.md").read_text("utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| Method"))
    table = lines[start : next(n for n in range(start, len(lines)) if not lines[n].startswith("|"))]
    failed = [line for line in lines if line.startswith("- ") and f" on {case}: " in line]
    return [f"### {case}, networks fitted for {seconds} s", "", *table, "", *failed, *([""] if failed else [])]


def write(parts):
    import torch

    said = (
        f"Command: `python benchmarks/compare.py`. Date: {datetime.date.today()}. Machine: {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}; {THREADS} threads, one "
        "registration at a time. Networks: random start, half resolution, fitted to this one pair for the seconds "
        "named; that is no measure of what they do when they are trained."
    )
    put("compare", "Every method", [said, "", *[line for lines in parts for line in lines]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "work" / "compare")
    options = parser.parse_args()
    parts = []
    for case in options.cases:  # written after each, because all of them take long
        parts.append(compare(case, options.output / case))
        write(parts)


if __name__ == "__main__":
    main()
