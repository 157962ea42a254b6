"""Training measured: pairs made in a second, where the time of a step goes, and what the five networks learn.

    python benchmarks/training.py --parts generator steps          speed, minutes
    python benchmarks/training.py --parts train --minutes 10       each network for ten minutes more
    python benchmarks/training.py --parts table                    what was trained so far, on pairs it never saw

On a GPU the same, with --device cuda --size 96 --minutes 25: the trainings lie in benchmarks/work/training and go on
where they stopped, so slices of any length can follow one another. Each part writes its tables into RESULTS.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import run  # sets the number of threads before torch is imported

WORK = run.ROOT / "benchmarks" / "work" / "training"
NETWORKS = ("msrd-net", "unfolding", "caml", "fmirnet", "wavemorph")
#: For all alike. The rate is constant, because how many steps the time allows is not known before.
SCHEDULE = ["--synthetic", "--voxel-mm", "2.5", "--learning-rate", "5e-4", "--decay", "constant", "--ema", "0.99"]
SCHEDULE += ["--steps", "1000000", "--validation-pairs", "12", "--validate-every", "1000000", "--seed", "1"]
REFINE = 30
HELD_OUT_PAIRS = 16


def command(name, folder, options, *more):
    size = [str(options.size)] * 3
    where = ["--size", *size, "--device", options.device, "--output", str(folder)]
    return [sys.executable, "-m", "SlicerDeepRegLib", "train", "--network", name, *SCHEDULE, *where, *more]


# ------------------------------------------------------------------ speed


def generator(options):
    """Pairs in a second of each kind, 96 x 96 x 96."""
    import torch
    from SlicerDeepRegLib.processes.current import tune_memory
    from SlicerDeepRegLib.training.synthetic import KINDS, SyntheticSettings, synthetic_pairs

    tune_memory()
    torch.set_num_threads(run.THREADS)
    device, rows = torch.device(options.device), []
    for kind in KINDS:
        settings, count = SyntheticSettings(kind=kind), 10 if device.type == "cpu" else 100
        synthetic_pairs((96, 96, 96), [0, 1], device, settings)
        seconds = timed(lambda s=settings, n=count: synthetic_pairs_one_by_one(n, device, s), device)
        rows.append([kind, f"{count / seconds:.2f}", f"{seconds / count:.3f}"])
        print(*rows[-1], flush=True)
    return run.table(["pairs of 96 x 96 x 96", "pairs / s", "s / pair"], rows)


def synthetic_pairs_one_by_one(count, device, settings):
    from SlicerDeepRegLib.training.synthetic import synthetic_pairs

    for seed in range(count):
        synthetic_pairs((96, 96, 96), [seed + 10], device, settings)


def timed(work, device):
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def steps(options):
    """Mean seconds of the parts of a step, after the first ones."""
    rows = []
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            count = "12" if options.device == "cpu" else "60"
            more = ["--log-every", "4", "--steps", count, "--validation-pairs", "0"]  # the later of two counts
            asked = command(name, Path(folder) / "model", options, *more)
            subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
            lines = (Path(folder) / "model" / "log.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines][1:]
        parts = [sum(e[f"seconds_{p}"] for e in entries) / len(entries) for p in ("data", "forward", "backward")]
        rows.append([name, *(f"{p:.3f}" for p in parts), f"{sum(parts):.3f}", f"{100 * parts[0] / sum(parts):.0f}"])
        print(*rows[-1], flush=True)
    title = f"one pair of {options.size} x {options.size} x {options.size}"
    return run.table([title, "data s", "forward s", "backward s", "step s", "data % of the step"], rows)


# ------------------------------------------------------------------ training, and what came of it


def train(options):
    """Each network for so many minutes more."""
    for name in options.only or NETWORKS:
        folder = WORK / f"{options.size}" / name
        going_on = ["--resume"] if (folder / "checkpoint.pt").exists() else []
        folder.parent.mkdir(parents=True, exist_ok=True)
        more = ["--limit", str(options.minutes), "--name", f"{name}-trial", *going_on]
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        done = subprocess.run(command(name, folder, options, *more), check=False, env=environment)
        if done.returncode not in (0, 3):
            sys.exit(f"training {name} failed")


def row(name, options):
    """One registration of the two brains in a process of its own; prints its metrics as JSON."""
    from SlicerDeepRegLib.files.images import read_image
    from SlicerDeepRegLib.files.transforms import to_sitk_transform
    from SlicerDeepRegLib.geometry.grids import with_voxels
    from SlicerDeepRegLib.pipeline import register
    from SlicerDeepRegLib.preparation.resample import resample
    from SlicerDeepRegLib.processes.current import prepare_process
    from SlicerDeepRegLib.types import Request

    prepare_process()
    method, _, asked = name.partition("@")
    settings, preset = {}, "standard"
    voxel_mm = float(asked) if method == "svf" and asked[0].isdigit() else None
    if method == "svf" and voxel_mm is None:
        preset = asked
    elif method not in ("linear", "svf"):
        settings = {"instance_steps": 0, "refine": int(asked or 0)}
    case = "brain_oasis"
    fixed, moving = (read_image(run.path(case, run.CASES[case][side])) for side in ("fixed", "moving"))
    if voxel_mm is not None:  # the optimization is at the network's voxels
        coarser = with_voxels(fixed.grid, voxel_mm)
        fixed = dataclasses.replace(fixed, values=resample(fixed, coarser), grid=coarser)
    transform, timer = run.ours("linear")(case) if method == "linear" else (None, None)
    if transform is None:
        with run.Timer() as timer:
            request = Request(fixed, moving, method=method, preset=preset, device=options.device, measure=False)
            result = register(dataclasses.replace(request, settings=settings))
        transform = to_sitk_transform(result.transform, 3)
    metrics = run.measure(case, transform)
    kept = {key: metrics.get(key) for key in ("dice", "hd95_mm", "ndv_percent", "sdlogj")}
    print("METRICS " + json.dumps({**kept, "cpu_s": timer.cpu_s, "wall_s": timer.wall_s}))


def table(options):
    """Every trained model on held-out synthetic pairs and on the two brains, alone and refined, beside `svf` alone."""
    models = {}
    for folder in sorted(WORK.glob(f"{options.size}/*/card.json")):
        models[folder.parent.name] = folder.parent
    for extra in options.model or []:
        models[extra.name] = extra
    rows = []
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "SLICERDEEPREG_MODELS": place}
        names = ["linear", "svf@fast", "svf@2.5", "svf@5"]
        for name, folder in models.items():
            added = Path(place) / "given" / name
            added.mkdir(parents=True)
            for file in ("card.json", "weights.safetensors"):
                shutil.copy(folder / file, added / file)
            add = [sys.executable, "-m", "SlicerDeepRegLib", "models", "add", str(added)]
            subprocess.run(add, check=True, env=environment, stdout=subprocess.DEVNULL)
            model = json.loads((folder / "card.json").read_text())["name"]
            names += [f"{model}@0", f"{model}@{REFINE}"]
        for name in names:
            asked = [sys.executable, __file__, "--row", name, "--device", options.device]
            output = subprocess.run(asked, check=True, env=environment, capture_output=True, encoding="utf-8").stdout
            found = json.loads(output.split("METRICS ")[1])
            rows.append([shown(name), *numbers(found)])
            print(*rows[-1], flush=True)
    heading = ["brain_oasis", "Dice", "HD95 mm", "NDV %", "SDlogJ", "CPU s", "wall s"]
    return [run.table(heading, rows), "", learned(models, options)]


def shown(name):
    method, _, asked = name.partition("@")
    if method == "svf":
        return f"optimize, {asked}" if not asked[0].isdigit() else f"optimize, finest voxels {asked} mm"
    return (
        method if not asked else f"{method}, {'alone' if asked == '0' else f'then {asked} + {asked} steps of optimize'}"
    )


def numbers(found):
    formats = {"dice": ".3f", "hd95_mm": ".2f", "ndv_percent": ".5f", "sdlogj": ".3f", "cpu_s": ".1f", "wall_s": ".1f"}
    return ["-" if found[key] is None else format(found[key], form) for key, form in formats.items()]


def learned(models, options):
    """Each trained network on pairs that it did not see, made for it."""
    import torch
    from SlicerDeepRegLib.catalog import read_user_card
    from SlicerDeepRegLib.models.weights import built, load_weights
    from SlicerDeepRegLib.training.checkpoints import read_checkpoint
    from SlicerDeepRegLib.training.sources import HELD_OUT, SyntheticSource
    from SlicerDeepRegLib.training.synthetic import SyntheticSettings
    from SlicerDeepRegLib.training.validation import mean_metrics, metrics_of

    device, rows = torch.device(options.device), []
    for name, folder in models.items():
        card = read_user_card(folder)
        plan = json.loads((folder / "training.json").read_text())
        state = read_checkpoint(folder)
        network = built(card).to(device).eval()
        load_weights(network, card)
        pairs = SyntheticSource(plan["shape"], plan["seed"], SyntheticSettings(), stream=HELD_OUT)
        each = []
        for pair in pairs.batches([[n] for n in range(HELD_OUT_PAIRS)], device):
            with torch.no_grad():
                found = network(pair["moving"], pair["fixed"])
            each.append(metrics_of(pair, found.displacement, pairs.spacing_kji_mm, surfaces=False))
        metrics = mean_metrics(each)
        keys = ("epe_voxels_before", "epe_voxels", "dice_before", "dice", "ndv_percent")
        size = " x ".join(map(str, plan["shape"]))
        measured = [f"{metrics[key]:.3f}" for key in keys]
        rows.append([name, size, str(state["step"]), f"{state['seconds'] / 60:.1f}", *measured])
        print(*rows[-1], flush=True)
    heading = [
        f"{HELD_OUT_PAIRS} synthetic pairs, held out",
        "size",
        "steps",
        "minutes",
        "EPE before",
        "EPE",
        "Dice before",
    ]
    return run.table([*heading, "Dice", "NDV %"], rows)


# ------------------------------------------------------------------ writing


def write(part, lines, options):
    begin, end = (f"<!-- training {part}: {mark} -->" for mark in ("begin", "end"))
    shown_command = " ".join(["python benchmarks/training.py", *sys.argv[1:]])
    said = f"Command: `{shown_command}`. Date: {datetime.date.today()}. Machine: {run.machine()}. On {options.device}."
    if options.device == "cpu":
        said += f" {run.THREADS} threads."
    block = "\n".join([begin, said, "", *([lines] if isinstance(lines, str) else lines), end])
    text = run.RESULTS.read_text(encoding="utf-8")
    if begin in text:
        first, last = text.index(begin), text.index(end) + len(end)
        text = text[:first] + block + text[last:]
    else:
        heading = "" if "## Training" in text else "## Training\n\n"
        text = f"{text.rstrip()}\n\n{heading}{block}\n"
    run.RESULTS.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("generator", "steps", "train", "table"), default=["generator"])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--size", type=int, default=48, help="of the pairs, voxels along each axis (default: 48)")
    parser.add_argument("--minutes", type=float, default=10, help="of training for each network (default: 10)")
    parser.add_argument("--threads", type=int, default=run.THREADS, help="of each training (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=NETWORKS)
    parser.add_argument("--model", nargs="+", type=Path, help="further trainings to have in the table")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        return row(options.row, options)
    for part in options.parts:
        if part == "train":
            train(options)
        else:
            write(part, {"generator": generator, "steps": steps, "table": table}[part](options), options)


if __name__ == "__main__":
    main()
