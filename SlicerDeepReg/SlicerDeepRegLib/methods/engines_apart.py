"""What runs in the process of its own that ``apart`` starts: engines of others, from arrays to arrays.

python -m SlicerDeepRegLib.methods.engines_apart FUNCTION FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np

from ..process import end_with_parent

Arrays = Dict[str, np.ndarray]


def ants(given: Arrays, values: Dict[str, Any]) -> Arrays:
    """SyN of antspyx: the displacement and its inverse, (..., n) mm along the axes."""
    import ants as library  # its extra: ants

    fixed, moving = (_ants_image(library, given[name], values["spacing_mm"]) for name in ("fixed", "moving"))
    found = library.registration(
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
    both = {}
    for name, side in (("displacement", "fwdtransforms"), ("inverse", "invtransforms")):
        path = next(path for path in found[side] if str(path).endswith(".nii.gz"))
        vectors = library.image_read(path).numpy()  # (I, J(, K), n)
        axes = vectors.ndim - 1
        both[name] = np.ascontiguousarray(vectors.transpose(*range(axes)[::-1], axes))
    return both


def _ants_image(library, array: np.ndarray, spacing_mm):
    return library.from_numpy(np.ascontiguousarray(array.T), spacing=tuple(spacing_mm))


def elastix(given: Arrays, values: Dict[str, Any]) -> Arrays:
    """B-splines of itk-elastix: the displacement, (..., n) mm along the axes."""
    import itk  # its extra: elastix

    pictures = []
    for name in ("fixed", "moving"):
        image = itk.image_from_array(given[name])
        image.SetSpacing(values["spacing_mm"])
        pictures.append(image)
    parameters = itk.ParameterObject.New()
    chosen = parameters.GetDefaultParameterMap("bspline", values["resolutions"], values["grid_mm"])
    chosen["MaximumNumberOfIterations"] = [str(values["iterations"])]
    chosen["NumberOfSpatialSamples"] = [str(values["samples"])]
    chosen["Metric"] = [*[values["metric"]], *chosen["Metric"][1:]]
    chosen["RandomSeed"] = ["1"]
    parameters.AddParameterMap(chosen)
    # Threads by the environment: its own argument for them ends the process (itk-elastix 0.25.4).
    _, found = itk.elastix_registration_method(*pictures, parameter_object=parameters)
    field = itk.transformix_deformation_field(pictures[1], found, output_directory=os.getcwd())
    return {"displacement": itk.array_from_image(field)}


FUNCTIONS = {"ants": ants, "elastix": elastix}


def main() -> None:
    end_with_parent()
    folder = Path(sys.argv[2])
    given = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
    values = json.loads((folder / "values.json").read_text(encoding="utf-8"))
    found = FUNCTIONS[sys.argv[1]](given, values)
    np.savez(folder / "unfinished.npz", **found)
    os.replace(folder / "unfinished.npz", folder / "done.npz")


if __name__ == "__main__":
    main()
