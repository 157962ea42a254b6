"""Memory of a registration by part, beside what is estimated before it, of a computer and of a GPU.

    python benchmarks/memory.py [--rows NAME ...] [--device cpu]

Each row is a process of its own, with all metrics measured. The brains and the lung are those of run.py; the lung is
resampled to cubes of 256 and 512 voxels a side. "By torch" is the most that torch's arrays took at once, counted by its
profiler on the CPU in a second process with few steps, which take as much memory as many: about what a GPU holds.
Writes its table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import run
from results import put

PARTS = ("read", "linear", "prepare", "method", "warp", "measure", "path")
#: Name: (case, side of the cube that it is resampled to, labels too, preset, similarity).
ROWS = {
    "brain fast": ("brain_oasis", None, False, "fast", "lncc"),
    "brain standard": ("brain_oasis", None, False, "standard", "lncc"),
    "brain standard with labels": ("brain_oasis", None, True, "standard", "lncc"),
    "brain standard mind": ("brain_oasis", None, False, "standard", "mind"),
    "brain thorough": ("brain_oasis", None, False, "thorough", "lncc"),
    "CT 256^3 standard": ("ct_lung", 256, False, "standard", "lncc"),
    "CT 512^3 fast": ("ct_lung", 512, False, "fast", "lncc"),
    "CT 512^3 standard": ("ct_lung", 512, False, "standard", "lncc"),
}


def resampled(path, side, folder):
    """The image on as many voxels along each axis, as whole numbers, in a file."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    spacing = [n * s / side for n, s in zip(image.GetSize(), image.GetSpacing())]
    pixels = [side] * 3, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing, image.GetDirection()
    target = folder / Path(path).name
    sitk.WriteImage(sitk.Cast(sitk.Resample(image, *pixels), sitk.sitkInt16), str(target))
    return target


def one(name, device, by_torch, folder):
    """Register that row's pair; what it took."""
    from SlicerDeepRegLib.methods import method
    from SlicerDeepRegLib.methods.svf.plan import levels
    from SlicerDeepRegLib.pipeline import register
    from SlicerDeepRegLib.processes.current import prepare_process
    from SlicerDeepRegLib.types import PairDescription, Request

    sys.path.insert(0, str(run.ROOT / "SlicerDeepReg" / "Testing"))
    from helpers.memory import most_gb, take_few_steps

    prepare_process()
    case, side, labels, preset, similarity = ROWS[name]
    known = run.CASES[case]
    files = {"fixed": known["fixed"], "moving": known["moving"]}
    if labels:
        files.update(zip(("fixed_labels", "moving_labels"), known["labels"]))
    pair = {key: folder / f"{file}.nii.gz" if side else run.path(case, file) for key, file in files.items()}
    request = Request(**{k: str(v) for k, v in pair.items()}, preset=preset, similarity=similarity, device=device)
    if by_torch:
        take_few_steps()
        return {"torch": most_gb(lambda: register(request))}
    result = register(request)
    grid = result.fixed.grid
    pair_of = functools.partial(PairDescription, grid, result.moving.grid, preset, similarity)
    host = method("svf").memory(pair_of(), None).host
    with_gpu = method("svf").memory(pair_of(on_gpu=True), None)
    return {
        "voxels": grid.voxels,
        "finest": levels(grid, preset)[-1].size_ijk,
        "parts": dict(result.peak_gb["computer"]),
        "gpu": max(result.peak_gb["gpu"].values()) if "gpu" in result.peak_gb else None,
        "estimated": host / 1e9,
        "estimated_gpu": with_gpu.device / 1e9,
    }


def in_process(*arguments):
    """What this file prints for a row, from a process of its own; None where it failed."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", *arguments], capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(options, folder):
    """The lines of the table; each is printed when it is there."""
    on_gpu = options.device == "cuda"
    lines = [f"| row | fixed voxels | finest level | {' | '.join(PARTS)} | estimated | by torch | estimated of a GPU |"]
    if on_gpu:
        lines[0] += " GPU's peak |"
    lines += ["|" + " --- |" * (lines[0].count("|") - 1)]
    print(*lines, sep="\n")
    made = set()
    for name in options.rows:
        case, side, *_ = ROWS[name]
        if side and (case, side) not in made:
            for key in ("fixed", "moving"):
                resampled(run.path(case, run.CASES[case][key]), side, folder)
            made = {(case, side)}  # one size at a time lies there
        found = in_process(name, options.device, "process", str(folder))
        torch_gb = in_process(name, "cpu", "torch", str(folder))
        if found is None or torch_gb is None:
            lines.append(f"| {name} | failed |" + " |" * (lines[0].count("|") - 3))
            print(lines[-1], flush=True)
            continue
        parts = " | ".join(f"{found['parts'].get(part, float('nan')):.2f}" for part in PARTS)
        cells = [
            name,
            f"{found['voxels'] / 1e6:.1f} M",
            " x ".join(map(str, found["finest"])),
        ]
        cells += [parts, f"{found['estimated']:.2f}", f"{torch_gb['torch']:.2f}", f"{found['estimated_gpu']:.2f}"]
        cells += [f"{found['gpu']:.2f}"] if on_gpu else []
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, device, what, folder = options.one
        print(json.dumps(one(name, device, what == "torch", Path(folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = table(options, Path(folder))
    if set(options.rows) != set(ROWS):
        return
    told = f"Command: `python benchmarks/memory.py --device {options.device}`. Date: {datetime.date.today()}."
    put(f"memory {options.device}", "Memory", [f"{told} Machine: {run.machine()}. GB of 10^9 bytes.", "", *lines])


if __name__ == "__main__":
    main()
