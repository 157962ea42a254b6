"""How the cost grows: with the size of the images, and with the number of pairs that one worker registers.

    python benchmarks/scaling.py [--sides 64 96 128 ...] [--presets fast standard] [--pairs 100] [--device cpu]

Each size is a process of its own, on a synthetic pair of N x N x N voxels. By part: wall seconds, and the peak memory
of the process. The exponent is that of the voxels: the slope of a line through the logarithms, seconds of CPU
over voxels. Pairs are of 64 x 64 x 64 at the fast preset, one after the other. Writes its tables into RESULTS.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from results import put
from run import machine

SIDES = (64, 96, 128, 160, 192, 256, 320)
PARTS = ("read", "linear", "prepare", "method", "warp", "measure", "path")


def one(side, preset, device):
    """Register a synthetic pair of that side; what it cost."""
    from review import synthetic_pair
    from SlicerDeepRegLib.pipeline import register
    from SlicerDeepRegLib.processes.current import prepare_process
    from SlicerDeepRegLib.types import Request

    prepare_process()
    fixed, _, moving, _ = synthetic_pair((side, side, side))
    request = Request(fixed, moving, preset=preset, device=device, linear="rigid")
    cpu, wall = time.process_time(), time.perf_counter()
    result = register(request)
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {**spent, "seconds": dict(result.seconds), "peak_gb": {k: dict(v) for k, v in result.peak_gb.items()}}


def in_process(*arguments):
    """What this file prints for one size, from a process of its own; None where it failed."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", *map(str, arguments)], capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def exponent(sides, seconds):
    """Of the voxels, fitted; and its standard error, from three sizes on."""
    logs = np.log(np.array(sides, float) ** 3), np.log(np.array(seconds, float))
    if len(sides) < 3:
        return f"{np.polyfit(*logs, 1)[0]:.2f}"
    (slope, _), covariance = np.polyfit(*logs, 1, cov=True)
    return f"{slope:.2f} (standard error {covariance[0, 0] ** 0.5:.2f})"


def size_tables(options):
    """A table for each preset, as lines of Markdown."""
    lines = []
    for preset in options.presets:
        lines += [f"### Size of the images, {preset}, {options.device}", ""]
        lines += [
            "| side | CPU s | wall s | " + " | ".join(f"{part}: s, GB" for part in PARTS) + " | most GB | B a voxel |"
        ]
        lines += ["|" + "---|" * (len(PARTS) + 5)]
        sides, seconds = [], []
        for side in options.sides:
            found = in_process(side, preset, options.device)
            if found is None:
                lines.append(f"| {side} | failed |" + " |" * (len(PARTS) + 3))
                continue
            sides.append(side)
            seconds.append(found["cpu"])
            memory = found["peak_gb"].get("computer", {})
            cells = [f"{found['seconds'].get(part, 0):.1f}, {memory.get(part, float('nan')):.2f}" for part in PARTS]
            most = max(memory.values(), default=float("nan"))
            spent = f"{found['cpu']:.1f} | {found['wall']:.1f}"
            lines.append(f"| {side} | {spent} | {' | '.join(cells)} | {most:.2f} | {most * 1e9 / side**3:.0f} |")
            print(lines[-1], flush=True)
        if len(sides) > 1:
            lines += ["", f"CPU seconds grow with the voxels to the power of {exponent(sides, seconds)}.", ""]
    return lines


def pair_lines(count):
    """Seconds, and the worker's memory, after 1, 10, ... pairs in one worker."""
    from review import synthetic_pair
    from SlicerDeepRegLib.types import Request
    from SlicerDeepRegLib.worker.client import WorkerClient

    fixed, _, moving, _ = synthetic_pair((64, 64, 64))
    request = Request(fixed, moving, preset="fast", device="cpu", linear="rigid")
    client, marks, took = WorkerClient(), {1, 10, 100, count}, []
    lines = ["### Number of pairs in one worker, 64 x 64 x 64, fast, cpu", ""]
    lines += ["| pairs | seconds in all | seconds for the last | worker's memory, GB |", "|---|---|---|---|"]
    begin = time.perf_counter()
    try:
        for number in range(1, count + 1):
            start, job = time.perf_counter(), client.submit(request)
            _wait(client, job)
            took.append(time.perf_counter() - start)
            client.release(job)
            if number in marks:
                everything = time.perf_counter() - begin
                lines.append(f"| {number} | {everything:.1f} | {took[-1]:.2f} | {_resident_gb(client.pid)} |")
                print(lines[-1], flush=True)
    finally:
        client.close()
    middle = np.median(took[1:]) if len(took) > 1 else float("nan")
    return [
        *lines,
        "",
        f"The first, with starting and loading torch, took {took[0]:.1f} s; the median after it {middle:.2f} s.",
    ]


def _wait(client, job):
    while True:
        for event in client.poll():
            if event.get("job") == job and event["kind"] == "done":
                return
            if event["kind"] in ("failed", "died", "no_torch"):
                raise SystemExit(event["text"])
        time.sleep(0.002)


def _resident_gb(pid):
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # only Linux says it so
        return "-"
    return f"{int(text.split('VmRSS:')[1].split()[0]) * 1024e-9:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", nargs="*", type=int, default=SIDES)
    parser.add_argument("--presets", nargs="*", default=["fast", "standard"])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(int(options.one[0]), *options.one[1:])))
        return
    lines = [*(size_tables(options) if options.sides else []), *(pair_lines(options.pairs) if options.pairs else [])]
    given = " ".join(["python benchmarks/scaling.py", *sys.argv[1:]])
    head = [f"Command: `{given}`. Date: {datetime.date.today()}. Machine: {machine()}.", ""]
    put("scaling", "How the cost grows with size and number", [*head, *lines])


if __name__ == "__main__":
    main()
