"""External engines, from arrays to arrays, in the process of their own that ``engine_process`` starts.

The process (``launch.module_command("methods.engine_worker", FUNCTION, FOLDER)``) reads ``values.json`` and the arrays
``*.npy`` in the folder and writes ``done.npz`` there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..processes.current import end_with_parent

Arrays = dict[str, np.ndarray]


def ants(arrays: Arrays, values: dict[str, Any]) -> Arrays:
    """Register by SyN of antspyx; return the displacement and its inverse, (..., n) mm along the axes."""
    import ants as library  # the extra "ants"

    fixed, moving = (_ants_image(library, arrays[name], values["spacing_mm"]) for name in ("fixed", "moving"))
    result = library.registration(
        fixed,
        moving,
        type_of_transform="SyNOnly",
        initial_transform="Identity",
        syn_metric=values["metric"],
        syn_sampling=values["sampling"],
        grad_step=values["step"],
        flow_sigma=values["flow_sigma"],
        total_sigma=values["total_sigma"],
        reg_iterations=tuple(values["iterations"]),
        random_seed=1,
    )
    fields = {}
    for name, side in (("displacement", "fwdtransforms"), ("inverse", "invtransforms")):
        path = next(path for path in result[side] if str(path).endswith(".nii.gz"))
        vectors = library.image_read(path).numpy()  # (I, J(, K), n)
        axes = vectors.ndim - 1
        fields[name] = np.ascontiguousarray(vectors.transpose(*range(axes)[::-1], axes))
    return fields


def _ants_image(library: ModuleType, array: np.ndarray, spacing_mm: Sequence[float]) -> Any:
    return library.from_numpy(np.ascontiguousarray(array.T), spacing=tuple(spacing_mm))


def elastix(arrays: Arrays, values: dict[str, Any]) -> Arrays:
    """Register by B-splines of itk-elastix; return the displacement, (..., n) mm along the axes."""
    import itk  # the extra "elastix"

    images = []
    for name in ("fixed", "moving"):
        image = itk.image_from_array(arrays[name])
        image.SetSpacing(values["spacing_mm"])
        images.append(image)
    fixed, moving = images
    parameters = itk.ParameterObject.New()
    parameter_map = parameters.GetDefaultParameterMap("bspline", values["resolutions"], values["grid_mm"])
    parameter_map["MaximumNumberOfIterations"] = [str(values["iterations"])]
    parameter_map["NumberOfSpatialSamples"] = [str(values["samples"])]
    parameter_map["Metric"] = [values["metric"], *parameter_map["Metric"][1:]]
    parameter_map["RandomSeed"] = ["1"]
    parameters.AddParameterMap(parameter_map)
    # Threads by the environment: its own argument for them ends the process (itk-elastix 0.25.4).
    _, transform = itk.elastix_registration_method(fixed, moving, parameter_object=parameters)
    field = itk.transformix_deformation_field(moving, transform, output_directory=os.getcwd())
    return {"displacement": itk.array_from_image(field)}


#: What can be asked for, by name.
FUNCTIONS: dict[str, Callable[[Arrays, dict[str, Any]], Arrays]] = {"ants": ants, "elastix": elastix}


def main() -> None:
    """Run the function on the command line on the arrays of the folder."""
    end_with_parent()
    os.umask(0o077)
    folder = Path(sys.argv[2])
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
    values = json.loads((folder / "values.json").read_text(encoding="utf-8"))
    results = FUNCTIONS[sys.argv[1]](arrays, values)
    np.savez(folder / "unfinished.npz", **results)  # type: ignore[arg-type]  # numpy: may be its option allow_pickle
    os.replace(folder / "unfinished.npz", folder / "done.npz")


if __name__ == "__main__":
    main()
