"""One command for a computer with a CUDA device: `optimise` end to end and by stage, agreement with the CPU, networks.

    python benchmarks/gpu.py [--fixed F --moving M] [--output FILE.json]

Without images it registers a made pair of 160 x 192 x 224 voxels. Files are written to and read from a
temporary folder, so that reading and writing count as they do for a user. Of every network: the forward pass at
160 x 192 x 224 in single precision and bfloat16, and a fit of 200 steps at full resolution, end to end; where the
real brains are at hand (see run.py) with Dice.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import run
import torch
from SlicerDeepRegLib.contracts import Grid, Image, InputError, Request
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.files.results import write_result
from SlicerDeepRegLib.files.transforms import to_sitk_transform
from SlicerDeepRegLib.geometry.points import voxel_centres_lps
from SlicerDeepRegLib.networks import NETWORKS, build
from SlicerDeepRegLib.pipeline import register


def made_pair(folder: Path):
    """Two files: a textured ellipsoid, and the same seen through a smooth displacement."""
    matrix = np.diag([1.0, 1.0, 1.0, 1.0])
    matrix[:3, 3] = [-80, -96, -112]
    grid = Grid((160, 192, 224), matrix)
    points = voxel_centres_lps(grid)
    paths = []
    for name, amount in (("fixed", 5.0), ("moving", 0.0)):
        x, y, z = np.moveaxis(points + amount * np.sin(points[..., ::-1] / 30), -1, 0)
        head = 1 / (1 + np.exp((np.sqrt((x / 65) ** 2 + (y / 80) ** 2 + (z / 90) ** 2) - 1) * 20))
        values = head * (100 + 30 * np.sin(x / 6) * np.cos(y / 8) + 25 * np.sin(z / 7 + x / 15))
        paths.append(folder / f"{name}.nii.gz")
        write_image(Image(values.astype(np.float32), grid), paths[-1])
    return paths


def end_to_end(fixed, moving, device, effort, folder):
    """(seconds in all, the result); reading and writing included, figures not."""
    start = time.perf_counter()
    result = register(Request(str(fixed), str(moving), device=device, effort=effort, measure=False))
    write_result(result, folder)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def networks_alone():
    """Milliseconds and GB of one forward pass of each network, in both precisions."""
    rows = []
    image = torch.rand(1, 1, 160, 192, 224, device="cuda")
    for name in NETWORKS:
        for precision in (torch.float32, torch.bfloat16):
            network = build(name).cuda().eval().to(memory_format=torch.channels_last_3d)
            torch.cuda.reset_peak_memory_stats()
            seconds = []
            with torch.no_grad(), torch.autocast("cuda", precision, enabled=precision != torch.float32):
                for _ in range(6):
                    torch.cuda.synchronize()
                    start = time.perf_counter()
                    network(image, image)
                    torch.cuda.synchronize()
                    seconds.append(time.perf_counter() - start)
            peak = torch.cuda.max_memory_allocated() / 1e9
            row = {"network": name, "precision": str(precision), "ms": round(1000 * min(seconds[1:]), 1)}
            rows.append({**row, "first_ms": round(1000 * seconds[0], 1), "gpu_peak_gb": round(peak, 2)})
            print(json.dumps(rows[-1]), flush=True)
            del network
    return rows


def networks_fitted(pair):
    """A fit of 200 steps of each network at full resolution, on the real brains where they are at hand."""
    real = run.path("brain_oasis", "fixed_t1").exists()
    if real:
        pair = [run.path("brain_oasis", run.CASES["brain_oasis"][side]) for side in ("fixed", "moving")]
    rows = []
    for name in NETWORKS:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        asked = {"method": name, "settings": {"fit": 200}, "device": "cuda", "measure": False}
        start = time.perf_counter()
        try:
            result = register(Request(*map(str, pair), **asked))
        except InputError as error:  # too little memory is a result too
            rows.append({"network": name, "error": str(error)})
        else:
            row = {"network": name, "seconds": round(time.perf_counter() - start, 1), "notes": list(result.notes)}
            row["gpu_peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
            if real:
                row.update(run.measure("brain_oasis", to_sitk_transform(result.transform, 3), result.transform))
            rows.append(row)
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixed")
    parser.add_argument("--moving")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("No CUDA device here; this script measures one.")
    found = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "runs": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = (options.fixed, options.moving) if options.fixed else made_pair(folder)
        for effort in ("standard", "fast", "thorough"):
            for number in range(3):
                torch.cuda.reset_peak_memory_stats()
                seconds, result = end_to_end(*pair, "cuda", effort, folder)
                found["runs"].append(
                    {
                        "effort": effort,
                        "warm": number > 0,
                        "seconds": round(seconds, 3),
                        "parts": dict(result.seconds),
                        "stages": {stage.name: round(stage.seconds, 3) for stage in result.stages},
                        "gpu_peak_gb": round(result.most_gb("gpu"), 3),
                    }
                )
                print(json.dumps(found["runs"][-1]), flush=True)
            if effort == "fast":
                _, on_cpu = end_to_end(*pair, "cpu", effort, folder)
                difference = np.abs(
                    on_cpu.transform.field.displacement_lps_mm - result.transform.field.displacement_lps_mm
                )
                found["cpu_cuda_mean_mm"] = float(difference.mean())
                print(f"CPU and CUDA fields differ by {difference.mean():.4f} mm on average", flush=True)
        found["networks"] = networks_alone()
        found["fits"] = networks_fitted(pair)
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
