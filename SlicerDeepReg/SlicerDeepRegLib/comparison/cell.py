"""One cell of a comparison, in a process of its own: a crash or a full memory ends this cell alone.

The process (``launch.module_command("comparison.cell", FOLDER)``) reads ``cell.json`` in the folder and writes
``outcome.json`` and ``slices.npz`` there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files.anonymous import without_names
from ..files.jsonable import jsonable
from ..processes.folders import private_folder
from ..processes.launch import describe_exit, last_words, module_command, run
from ..types import InputError, Request, Result
from .request import Cell, read_cell

OUTCOME, SLICES = "outcome.json", "slices.npz"


def run_cell(values: Mapping[str, Any], keep: str | None = None) -> tuple[dict[str, Any], bytes]:
    """Run a cell in a new interpreter; this is what a worker does.

    Args:
        values: of the cell (``Cell.values``).
        keep: a folder for the warped image, transform and the rest, or None.

    Returns:
        The outcome: "metrics", "seconds", ... or, of a cell that failed, "error"; and the slices for pictures.
    """
    with private_folder("slicerdeepreg-") as folder:
        (folder / "cell.json").write_text(json.dumps({"cell": dict(values), "keep": keep}), encoding="utf-8")
        command = module_command("comparison.cell", str(folder))
        code = run(command, "The process of a comparison", folder / "log.txt", folder, values["threads"])
        outcome = folder / OUTCOME
        if not outcome.is_file():
            words = last_words(folder / "log.txt", lines=1, characters=300)
            return {"error": f"The process {describe_exit(code)}. Last output: {words}"}, b""
        slices = folder / SLICES
        return json.loads(outcome.read_text("utf-8")), slices.read_bytes() if slices.is_file() else b""


# ------------------------------------------------------------------ inside the process


def measure(cell: Cell, keep: str | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Register, and return what the table and the pictures need.

    Raises:
        InputError: see ``register``.
    """
    import torch

    from ..pipeline import register

    if cell.threads:
        torch.set_num_threads(cell.threads)
    method, files = cell.method, cell.pair.files
    request = Request(
        fixed=files["fixed"],
        moving=files["moving"],
        fixed_labels=files.get("fixed_labels"),
        moving_labels=files.get("moving_labels"),
        fixed_mask=files.get("fixed_mask"),
        moving_mask=files.get("moving_mask"),
        fixed_points=files.get("fixed_points"),
        moving_points=files.get("moving_points"),
        method=method.name,
        preset=method.preset,
        linear=cell.linear,
        similarity=cell.similarity,
        pair=cell.shows,
        device=cell.device,
        settings=dict(method.settings),
    )
    cpu, wall = _cpu_seconds(), time.perf_counter()
    result = register(request)
    spent = {"cpu_total": _cpu_seconds() - cpu, "wall_total": time.perf_counter() - wall}
    if cell.anonymous:
        result = without_names(result)
    if keep:
        from ..files.results import output_folder, write_result

        with output_folder(Path(keep)) as folder:
            write_result(result, folder)
    registering = ("linear", "pair", "affine", "prepare", "method", "evidence")
    outcome = {
        "metrics": {state: jsonable(_by_name(m, result.label_names)) for state, m in result.metrics.items()},
        "seconds": {**result.seconds, "registration": sum(result.seconds.get(part, 0.0) for part in registering)},
        "spent": spent,
        "peak_gb": max(filter(None, (_peak_gb(), result.most_gb())), default=None),
        "gpu_peak_gb": result.most_gb("gpu"),
        "notes": list(result.notes),
        "device": result.provenance["device"],
        "threads": result.provenance["threads"],
        "versions": result.provenance["versions"],
    }
    return outcome, slices_of(result)


def _by_name(metrics: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Return the metrics with those of structures by name: a name has another number in each pair of segmentations."""
    return {
        metric: {names.get(label, label): number for label, number in value.items()}
        if isinstance(value, Mapping) and "_by_label" in metric
        else value
        for metric, value in metrics.items()
    }


def _cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_gb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1e-9 if sys.platform == "darwin" else 1024e-9
    both = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(both) * unit


def slices_of(result: Result) -> dict[str, np.ndarray]:
    """Return planes of fixed, moving (by the linear part), warped, Jacobian, and where the transform leads."""
    from ..geometry.grids import on_grid
    from ..preparation.planes import planes_of
    from ..preparation.resample import warp_image
    from ..types import Transform

    linear = warp_image(result.moving, result.fixed, Transform(result.stages[0].linear_lps))
    pictures = {"fixed": result.fixed, "linear": linear, "warped": result.warped, "jacobian": result.jacobian}
    field = result.transform.field
    shift = on_grid(field, result.fixed.grid).displacement_lps_mm if field is not None else None
    return planes_of(pictures, shift)


def main() -> None:
    from .. import pipeline  # noqa: F401 - loaded before a thread waits for input
    from ..processes.current import end_with_parent, prepare_process

    prepare_process()
    end_with_parent()
    folder = Path(sys.argv[1])
    asked = json.loads((folder / "cell.json").read_text("utf-8"))
    try:
        outcome, slices = measure(read_cell(asked["cell"]), asked["keep"])
        np.savez_compressed(folder / SLICES, **slices)  # type: ignore[arg-type]  # numpy: may be its option allow_pickle
    except InputError as error:
        outcome = {"error": str(error)}
    except MemoryError:
        outcome = {"error": "Memory ran out. Use --preset fast, or a computer with more memory."}
    (folder / OUTCOME).write_text(json.dumps(jsonable(outcome)), encoding="utf-8")


if __name__ == "__main__":
    main()
