"""One command for a computer with a CUDA device: `svf` end to end and by stage, agreement with the CPU, networks.

    python benchmarks/gpu.py [--parts PART ...] [--fixed F --moving M] [--output FILE.json]

Without images it registers a synthetic pair of 160 x 192 x 224 voxels. Files are written to and read from a
temporary folder, so that reading and writing count as they do for a user. Of every network: the forward pass at
160 x 192 x 224 in single precision and bfloat16, and a fit of `--steps` steps at full resolution, end to end; where
the real brains are at hand (see run.py) with Dice. What one part finds is printed and written before the next begins,
and a part that fails is told and passed over.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import run
import torch
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.files.results import write_result
from SlicerDeepRegLib.geometry.points import fixed_to_moving, voxel_centers_lps
from SlicerDeepRegLib.methods.network_solver import INSTANCE_STAGE
from SlicerDeepRegLib.metrics.labels import dice_by_label
from SlicerDeepRegLib.metrics.regularity import regularity_metrics
from SlicerDeepRegLib.networks import NETWORKS, build
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.preparation.resample import warp_labels
from SlicerDeepRegLib.types import Grid, Image, InputError, Request

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def synthetic_pair(folder: Path):
    """Two files: a textured ellipsoid, and the same seen through a smooth displacement."""
    matrix = np.diag([1.0, 1.0, 1.0, 1.0])
    matrix[:3, 3] = [-80, -96, -112]
    grid = Grid((160, 192, 224), matrix)
    points = voxel_centers_lps(grid)
    paths = []
    for name, amount in (("fixed", 5.0), ("moving", 0.0)):
        x, y, z = np.moveaxis(points + amount * np.sin(points[..., ::-1] / 30), -1, 0)
        head = 1 / (1 + np.exp((np.sqrt((x / 65) ** 2 + (y / 80) ** 2 + (z / 90) ** 2) - 1) * 20))
        values = head * (100 + 30 * np.sin(x / 6) * np.cos(y / 8) + 25 * np.sin(z / 7 + x / 15))
        paths.append(folder / f"{name}.nii.gz")
        write_image(Image(values.astype(np.float32), grid), paths[-1])
    return tuple(map(str, paths))


def real_pair():
    """The two brains of run.py, or None where they are not at hand."""
    paths = [run.path("brain_oasis", run.CASES["brain_oasis"][side]) for side in ("fixed", "moving")]
    return tuple(map(str, paths)) if all(path.exists() for path in paths) else None


def end_to_end(request: Request, folder: Path):
    """(seconds in all, the result); reading and writing included, metrics not."""
    start = time.perf_counter()
    result = register(dataclasses.replace(request, measure=False))
    write_result(result, folder)
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def optimize(pair, folder, options):
    """Every preset several times, of which the first is cold; the fast one on the CPU too."""
    for preset in ("standard", "fast", "thorough"):
        for number in range(options.repeats):
            torch.cuda.reset_peak_memory_stats()
            seconds, result = end_to_end(Request(*pair, device="cuda", preset=preset), folder)
            yield {
                "preset": preset,
                "warm": number > 0,
                "seconds": round(seconds, 3),
                "parts": {name: round(value, 3) for name, value in result.seconds.items()},
                "stages": {stage.name: round(stage.seconds, 3) for stage in result.stages},
                "gpu_peak_gb": round(result.most_gb("gpu"), 3),
            }
        if preset == "fast":
            _, on_cpu = end_to_end(Request(*pair, device="cpu", preset=preset), folder)
            points = voxel_centers_lps(on_cpu.fixed.grid)[::4, ::4, ::4].reshape(-1, 3)
            moved = [fixed_to_moving(one.transform, points) for one in (on_cpu, result)]
            difference = np.linalg.norm(moved[0] - moved[1], axis=-1)
            yield {
                "cpu_seconds": dict(on_cpu.seconds),
                "cpu_cuda_mean_mm": round(float(difference.mean()), 5),
                "cpu_cuda_p99_mm": round(float(np.quantile(difference, 0.99)), 4),
            }
    if real_pair():
        for preset in ("standard", "thorough"):
            _, result = end_to_end(Request(*real_pair(), device="cuda", preset=preset), folder)
            yield {"brain_oasis": preset, "parts": dict(result.seconds), **measured(result)}


def measured(result):
    """Dice over the 30 labels of run.py, and how regular the field is; its other metrics take a minute of the CPU."""
    fixed, moving = (read_image(run.path("brain_oasis", name)) for name in run.CASES["brain_oasis"]["labels"])
    found = dice_by_label(fixed.values, warp_labels(moving, fixed, result.transform).values)
    labels = [int(label) for label in run.THIRTY.split()]
    regular = regularity_metrics(result.transform.field, fixed.values > 0, fixed.grid)
    kept = {name: float(f"{regular[name]:.4g}") for name in ("ndv_percent", "sdlogj")}
    return {"dice": round(float(np.mean([found[label] for label in labels if label in found])), 4), **kept}


def profile(pair, folder, options):
    """What the GPU itself does in one registration of standard preset: its own time, and the longest kernels."""
    request = Request(*pair, device="cuda", linear="none", measure=False)
    register(request)
    result = None

    def work():
        nonlocal result
        result = register(request)

    rows = list(kernels_of(work))
    yield {**rows[0], "method_wall_seconds": round(result.seconds["method"], 3)}
    yield from rows[1:]


def network_profile(pair, folder, options):
    """The same of one forward pass of each network in single precision."""
    image = torch.rand(1, 1, 160, 192, 224, device="cuda")
    for name in options.networks:
        network = build(name).cuda().eval()
        with torch.no_grad():
            network(image, image)
            rows = list(kernels_of(lambda network=network: network(image, image), 12))
        yield from ({"network": name, **row} for row in rows)


def kernels_of(work, most=25):
    """Seconds and number of all kernels that ``work`` runs on the GPU, then the longest of them."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as found:
        work()
        torch.cuda.synchronize()
    kernels = {}
    for event in found.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            seconds, count = kernels.get(event.name, (0.0, 0))
            kernels[event.name] = (seconds + event.time_range.elapsed_us() / 1e6, count + 1)
    total, count = (sum(entry[n] for entry in kernels.values()) for n in (0, 1))
    yield {"device_seconds": round(total, 4), "kernels": count}
    for name, (seconds, count) in sorted(kernels.items(), key=lambda entry: -entry[1][0])[:most]:
        yield {"kernel": name[:110], "ms": round(1000 * seconds, 2), "count": count}


def networks(pair, folder, options):
    """Milliseconds and GB of one forward pass of each network, in both precisions and both layouts."""
    image = torch.rand(1, 1, 160, 192, 224, device="cuda")
    for name in options.networks:
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            for precision, kind in PRECISIONS.items():
                row = {"network": name, "layout": str(layout)[6:], "precision": precision}
                try:
                    network = build(name).cuda().eval().to(memory_format=layout)
                    yield {**row, **forward(network, image, kind)}
                except RuntimeError as error:
                    yield {**row, "error": str(error)[:300]}
                network = None
                torch.cuda.empty_cache()


def forward(network, image, kind):
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    with torch.no_grad(), torch.autocast("cuda", kind, enabled=kind != torch.float32):
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            network(image, image)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 1e9
    return {
        "ms": round(1000 * min(seconds[1:]), 1),
        "first_ms": round(1000 * seconds[0], 1),
        "gpu_peak_gb": round(peak, 2),
    }


def fits(pair, folder, options):
    """A fit of each network at full resolution, on the real brains where they are at hand."""
    real = real_pair()
    for name in options.networks:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        settings = {"instance_steps": options.steps}
        if options.instance_seconds:
            settings["instance_seconds"] = options.instance_seconds
        try:
            result = register(Request(*(real or pair), method=name, settings=settings, device="cuda", measure=False))
        except (InputError, MemoryError) as error:  # too little memory is a result too
            yield {"network": name, "error": str(error)}
            continue
        fit = next(stage for stage in result.stages if stage.name == INSTANCE_STAGE)
        yield {
            "network": name,
            "steps": fit.metrics["steps"],
            "seconds": round(result.seconds["method"], 1),
            "s_per_step": round(fit.seconds / fit.metrics["steps"], 4),
            "gpu_peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
            "notes": list(result.notes),
            **(measured(result) if real else {}),
        }


def large(pair, folder, options):
    """A synthetic pair of 512^3 where torch may take 12 GB of the GPU: seconds and peaks by part."""
    size, random = options.large, torch.Generator("cuda").manual_seed(0)
    coarse = torch.rand(1, 1, *[size // 8] * 3, device="cuda", generator=random)
    values = torch.nn.functional.interpolate(coarse, size=[size] * 3, mode="trilinear")[0, 0] * 1000
    fixed = values.short().cpu().numpy()
    moving = values.roll((3, -5, 7), (0, 1, 2)).short().cpu().numpy()
    del values, coarse
    torch.cuda.empty_cache()
    grid = Grid((size,) * 3, np.diag([0.7, 0.7, 0.7, 1.0]))
    asked = Request(Image(fixed, grid, "fixed"), Image(moving, grid, "moving"), device="cuda", linear="none")
    torch.cuda.set_per_process_memory_fraction(12e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        result = register(asked)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    yield {
        "size": size,
        "parts": dict(result.seconds),
        "peak_gb": result.peak_gb,
        "ncc": result.metrics["after"]["ncc"],
    }


PARTS = {
    "svf": optimize,
    "profile": profile,
    "networks": networks,
    "network-profile": network_profile,
    "fits": fits,
    "large": large,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=200, help="of each fit")
    parser.add_argument("--instance-seconds", type=float, help="the most that a fit may take")
    parser.add_argument("--repeats", type=int, default=3, help="of each preset")
    parser.add_argument("--large", type=int, default=512, help="side of the large pair")
    parser.add_argument("--fixed")
    parser.add_argument("--moving")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("No CUDA device here; this script measures one.")
    found = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    failed = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = (options.fixed, options.moving) if options.fixed else synthetic_pair(folder)
        for part in options.parts:
            rows = found.setdefault(part, [])
            try:
                for row in PARTS[part](pair, folder, options):
                    rows.append(row)
                    print(part, json.dumps(row), flush=True)
                    if options.output:
                        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            except Exception:
                traceback.print_exc()
                failed.append(part)
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
