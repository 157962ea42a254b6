"""Register small synthetic pairs by every method of the registry, and compare the results bit by bit.

    python tools/equal_results.py write FILE            checksums of every result, as JSON
    python tools/equal_results.py compare OLD NEW       exit code 1 where a result differs

Use it around a change that must not alter results: write before and after it, on one machine with the same version of
torch, then compare.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SLICERDEEPREG_MODELS", tempfile.mkdtemp())

import numpy as np  # noqa: E402

ROOT = Path(os.environ.get("DEEPREG_TREE", Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(ROOT / "SlicerDeepReg"))

import torch  # noqa: E402

try:
    from SlicerDeepRegLib import types as kinds
    from SlicerDeepRegLib.methods import methods

    def cards():
        return {name: method.card for name, method in methods().items()}

except ImportError:  # the tree before 0.2
    from SlicerDeepRegLib import contracts as kinds
    from SlicerDeepRegLib.catalogue import cards
from SlicerDeepRegLib.pipeline import register  # noqa: E402

OLD = hasattr(kinds, "EFFORTS")

#: Names of today and, where the tree is older, of then.
SVF, CENTER, PRESET = ("optimise", "centre", "effort") if OLD else ("svf", "center", "preset")
STEPS, RUNS = ("fit", "perturbed") if OLD else ("instance_steps", "uncertainty_runs")
#: Configurations of method.
ENGINES = ("ants", "elastix", "niftyreg")


def rotation(degrees) -> np.ndarray:
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


def image(size, spacing, direction, center, name, shift=0.0, contrast=False):
    matrix = np.eye(4)
    matrix[:3, :3] = direction * np.asarray(spacing, float)
    matrix[:3, 3] = np.asarray(center, float) - matrix[:3, :3] @ ((np.asarray(size) - 1) / 2)
    grid = kinds.Grid(tuple(size), matrix)
    k, j, i = np.indices(grid.shape_kji)
    points = np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3]
    x, y, z = np.moveaxis(points, -1, 0)
    moved = points + shift * np.stack([np.sin(y / 15 + 0.3), 0.8 * np.cos(x / 16), 0.7 * np.sin(x / 17 - y / 20)], -1)
    values = texture(moved).astype(np.float32)
    if contrast:
        values = np.where(values > 1, 110 - values, 0).astype(np.float32)
    return kinds.Image(values, grid, name)


def pair(axes: int, contrast: bool = False):
    depth_fixed, depth_moving = (28, 32) if axes == 3 else (1, 1)
    turned = rotation([12, -8, 6]) if axes == 3 else np.eye(3)
    return (
        image((30, 34, depth_fixed), (2.0, 2.0, 2.2), np.eye(3), (0, 0, 0), "fixed", shift=3.0),
        image((36, 32, depth_moving), (1.9, 2.3, 2.0), turned, (1, -2, 0.0), "moving", contrast=contrast),
    )


def like(source, values):
    return kinds.Image(values, source.grid, "like")


def requests() -> dict[str, Any]:
    found: dict[str, Any] = {}

    def add(name: str, axes: int = 3, contrast: bool = False, **values: Any) -> None:
        fixed, moving = pair(axes, contrast)
        values = {"method": SVF, PRESET: "fast", "device": "cpu", **values}
        found[name] = kinds.Request(fixed, moving, **values)

    for axes in (2, 3):
        for preset in ("fast", "standard", "thorough"):
            for metric in ("auto", "lncc", "mind"):
                add(f"svf {axes}D {preset} {metric}", axes, **{PRESET: preset, "similarity": metric})
        for linear in ("none", CENTER, "rigid", "affine"):
            add(f"svf {axes}D linear {linear.replace('centre', 'center')}", axes, linear=linear)
        add(f"svf {axes}D contrast", axes, contrast=True)
        fixed, moving = pair(axes)
        add(
            f"svf {axes}D everything",
            axes,
            fixed_mask=like(fixed, (fixed.values > 20).astype(np.uint8)),
            moving_mask=like(moving, (moving.values > 10).astype(np.uint8)),
            fixed_labels=like(fixed, (fixed.values / 25).astype(np.int32)),
            moving_labels=like(moving, (moving.values / 25).astype(np.int32)),
            fixed_points=np.array([[1.0, 2.0, 0.0], [-6.0, 4.0, 0.0]]),
            moving_points=np.array([[2.0, 1.0, 0.0], [-5.0, 4.5, 0.0]]),
            **{RUNS: 1},
        )
        for name, card in cards().items():
            if name == SVF or name in ENGINES or axes not in card.dimensions:
                continue
            if card.network:
                add(f"{name} {axes}D fitted", axes, method=name, settings={STEPS: 2})
                if name in ("voxelmorph", "fmirnet", "wavemorph"):
                    add(f"{name} {axes}D refined", axes, method=name, settings={STEPS: 2, "refine": 3})
            else:
                for variant in ["", *(f":{v}" for v in card.variants)]:
                    add(f"{name}{variant} {axes}D", axes, method=name + variant, settings={"iterations": 5})
    return found


def checksum(values) -> str:
    array = np.ascontiguousarray(values)
    return hashlib.sha256(str((array.shape, array.dtype)).encode() + array.tobytes()).hexdigest()[:16]


def summary(result) -> dict[str, Any]:
    measured = result.figures if OLD else result.metrics
    uncertainty = result.spread if OLD else result.uncertainty
    locations = result.places if OLD else result.locations
    fields = [result.transform.field, *result.transform.inverse_fields, *(s.field for s in result.stages), *result.path]
    numbers = {
        state: {k.replace("spread", "uncertainty"): v for k, v in values.items()} for state, values in measured.items()
    }
    numbers = {
        state: {k.replace("centre", "center"): v for k, v in values.items()} for state, values in numbers.items()
    }
    return {
        "linear": checksum(result.transform.linear_lps),
        "fields": [checksum(f.displacement_lps_mm) if f is not None else None for f in fields],
        "grids": [checksum(f.grid.ijk_to_lps) if f is not None else None for f in fields],
        "warped": checksum(result.warped.values),
        "labels": checksum(result.warped_labels.values) if result.warped_labels is not None else None,
        "jacobian": checksum(result.jacobian.values),
        "uncertainty": checksum(uncertainty.values) if uncertainty is not None else None,
        "curves": [checksum(np.array(stage.curve, float)) for stage in result.stages],
        "metrics": json.loads(json.dumps(numbers, sort_keys=True, default=str)),
        "locations": [[*location.position_lps_mm, location.value] for location in locations],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--only", default="", help="names that contain this")
    options = parser.parse_args()
    if options.action == "compare":
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in options.files)
        names = sorted({*old, *new}) if not options.only else sorted(n for n in new if options.only in n)
        differing = [name for name in names if old.get(name) != new.get(name)]
        for name in differing:
            a, b = old.get(name) or {}, new.get(name) or {}
            print(f"{name}: {', '.join(k for k in {**a, **b} if a.get(k) != b.get(k))}")
        print(f"{len(names) - len(differing)} of {len(names)} results are equal to the last bit.")
        return 1 if differing or not names else 0
    torch.set_num_threads(1)
    results = {}
    for name, request in requests().items():
        if options.only not in name:
            continue
        try:
            results[name] = summary(register(request))
        except Exception as error:  # a method that refuses must go on refusing
            results[name] = {"error": type(error).__name__}
        print(name, results[name].get("error", results[name].get("warped")), flush=True)
    options.files[0].write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
