"""Register small synthetic pairs by every method of the registry, and compare the results bit by bit.

    python tools/equal_results.py write FILE            checksums of every result, as JSON
    python tools/equal_results.py compare OLD NEW       exit code 1 where a result differs

Use it around a change that must not alter results: write before and after it, on one machine with the same version of
torch, then compare. DEEPREG_TREE names another checkout to take the library from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SLICERDEEPREG_MODELS", tempfile.mkdtemp())

import numpy as np  # noqa: E402
import torch  # noqa: E402

ROOT = Path(os.environ.get("DEEPREG_TREE", Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(ROOT / "SlicerDeepReg"))

from SlicerDeepRegLib.methods import methods  # noqa: E402
from SlicerDeepRegLib.pipeline import register  # noqa: E402
from SlicerDeepRegLib.types import Grid, Image, Request, Result  # noqa: E402

#: Methods that need what may not be installed.
ENGINES = ("ants", "elastix", "multigradicon", "niftyreg", "unigradicon")
#: Networks that are also refined.
REFINED = ("voxelmorph", "fmirnet", "wavemorph")


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = (n for n in range(3) if n != axis)
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def texture(points: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points, -1, 0)
    head = 1 / (1 + np.exp((np.sqrt((x / 24) ** 2 + (y / 28) ** 2 + (z / 22) ** 2) - 1) * 8))
    return head * (60 + 18 * np.sin(x / 4.5 + 0.4) * np.cos(y / 5.5) + 14 * np.sin(z / 4 + x / 9) + 6 * np.cos(y / 3.5))


def image(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    direction: np.ndarray,
    center: tuple[float, float, float],
    name: str,
    shift: float = 0.0,
    contrast: bool = False,
) -> Image:
    matrix = np.eye(4)
    matrix[:3, :3] = direction * np.asarray(spacing, float)
    matrix[:3, 3] = np.asarray(center, float) - matrix[:3, :3] @ ((np.asarray(size) - 1) / 2)
    grid = Grid(size, matrix)
    k, j, i = np.indices(grid.shape_kji)
    points = np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3]
    x, y, z = np.moveaxis(points, -1, 0)
    moved = points + shift * np.stack([np.sin(y / 15 + 0.3), 0.8 * np.cos(x / 16), 0.7 * np.sin(x / 17 - y / 20)], -1)
    values = texture(moved).astype(np.float32)
    if contrast:
        values = np.where(values > 1, 110 - values, 0).astype(np.float32)
    return Image(values, grid, name)


def pair(axes: int, contrast: bool = False) -> tuple[Image, Image]:
    depth_fixed, depth_moving = (28, 32) if axes == 3 else (1, 1)
    turned = rotation((12, -8, 6)) if axes == 3 else np.eye(3)
    fixed = image((30, 34, depth_fixed), (2.0, 2.0, 2.2), np.eye(3), (0, 0, 0), "fixed", shift=3.0)
    moving = image((36, 32, depth_moving), (1.9, 2.3, 2.0), turned, (1, -2, 0), "moving", contrast=contrast)
    return fixed, moving


def request(axes: int, contrast: bool = False, **options: Any) -> Request:
    fixed, moving = pair(axes, contrast)
    options.setdefault("preset", "fast")
    return Request(fixed, moving, device="cpu", **options)


def velocity_fields(axes: int) -> Iterator[tuple[str, Request]]:
    """Every preset, metric and linear method."""
    for preset in ("fast", "standard", "thorough"):
        for metric in ("auto", "lncc", "mind"):
            yield f"svf {axes}D {preset} {metric}", request(axes, preset=preset, similarity=metric)
    for linear in ("none", "center", "rigid", "affine"):
        yield f"svf {axes}D linear {linear}", request(axes, linear=linear)
    yield f"svf {axes}D contrast", request(axes, contrast=True)
    fixed, moving = pair(axes)
    everything = request(
        axes,
        fixed_mask=Image((fixed.values > 20).astype(np.uint8), fixed.grid),
        moving_mask=Image((moving.values > 10).astype(np.uint8), moving.grid),
        fixed_labels=Image((fixed.values / 25).astype(np.int32), fixed.grid),
        moving_labels=Image((moving.values / 25).astype(np.int32), moving.grid),
        fixed_points=np.array([[1.0, 2.0, 0.0], [-6.0, 4.0, 0.0]]),
        moving_points=np.array([[2.0, 1.0, 0.0], [-5.0, 4.5, 0.0]]),
        uncertainty_runs=1,
    )
    yield f"svf {axes}D everything", everything


def other_methods(axes: int) -> Iterator[tuple[str, Request]]:
    """Every network, a few steps; every engine and variant."""
    for name, method in methods().items():
        if name == "svf" or name in ENGINES or axes not in method.dimensions:
            continue
        if method.card.network:
            yield f"{name} {axes}D fitted", request(axes, method=name, settings={"instance_steps": 2})
            if name in REFINED:
                steps = {"instance_steps": 2, "refine": 3}
                yield f"{name} {axes}D refined", request(axes, method=name, settings=steps)
            continue
        for variant in ["", *(f":{variant}" for variant in method.card.variants)]:
            yield f"{name}{variant} {axes}D", request(axes, method=name + variant, settings={"iterations": 5})


def checksum(values: Any) -> str:
    array = np.ascontiguousarray(values)
    return hashlib.sha256(str((array.shape, array.dtype)).encode() + array.tobytes()).hexdigest()[:16]


def summary(result: Result) -> dict[str, Any]:
    fields = [result.transform.field, *result.transform.inverse_fields, *(s.field for s in result.stages), *result.path]
    return {
        "linear": checksum(result.transform.linear_lps),
        "fields": [checksum(f.displacement_lps_mm) if f is not None else None for f in fields],
        "grids": [checksum(f.grid.ijk_to_lps) if f is not None else None for f in fields],
        "warped": checksum(result.warped.values),
        "labels": checksum(result.warped_labels.values) if result.warped_labels is not None else None,
        "jacobian": checksum(result.jacobian.values),
        "uncertainty": checksum(result.uncertainty.values) if result.uncertainty is not None else None,
        "curves": [checksum(np.array(stage.curve, float)) for stage in result.stages],
        "metrics": json.loads(json.dumps(result.metrics, sort_keys=True, default=str)),
        "locations": [[*location.position_lps_mm, location.value] for location in result.locations],
    }


def write(file: Path, only: str) -> int:
    torch.set_num_threads(1)
    results = {}
    for axes in (2, 3):
        for name, asked in (*velocity_fields(axes), *other_methods(axes)):
            if only in name:
                results[name] = summary(register(asked))
                print(name, results[name]["warped"], flush=True)
    file.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def compare(old_file: Path, new_file: Path) -> int:
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (old_file, new_file))
    names = sorted({*old, *new})
    differing = [name for name in names if old.get(name) != new.get(name)]
    for name in differing:
        before, after = old.get(name, {}), new.get(name, {})
        print(f"{name}: {', '.join(k for k in {**before, **after} if before.get(k) != after.get(k))}")
    print(f"{len(names) - len(differing)} of {len(names)} results are equal to the last bit.")
    return 1 if differing or not names else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--only", default="", help="write those whose names contain this")
    options = parser.parse_args()
    return write(options.files[0], options.only) if options.action == "write" else compare(*options.files[:2])


if __name__ == "__main__":
    sys.exit(main())
