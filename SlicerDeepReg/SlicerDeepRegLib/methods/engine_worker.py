"""External engines, from arrays to arrays, in the process of their own that ``engine_process`` starts.

The process (``launch.module_command("methods.engine_worker", FUNCTION, FOLDER)``) reads ``values.json`` and the arrays
``*.npy`` in the folder and writes ``done.npz`` there, or ``refused.txt`` with a sentence about what it cannot use.
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
from ..types import InputError

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


def gradicon(arrays: Arrays, values: dict[str, Any]) -> Arrays:
    """Register by the network of uniGradICON's package; return the displacement on its grid, (K, J, I, 3) its voxels.

    The steps are those of its ``itk_wrapper.register_pair``; but without instance optimization only the way from
    fixed to moving points is computed, neither the way back nor the loss, of which nothing is used.

    Raises:
        InputError: the file of weights cannot be read, or holds those of another network.
    """
    import torch

    from ..models.torch_files import read_torch_file

    path, shape = Path(values["weights"]), [1, 1, *[values["size"]] * 3]
    weights = read_torch_file(path)
    import itk  # both of the extra "unigradicon"
    import unigradicon as library

    torch.manual_seed(1)  # its instance optimization draws the places where inverse consistency is measured
    library.config.device = torch.device(values["device"])
    network = library.make_network(shape, include_last_step=True, loss_fn=library.make_sim(values["similarity"]))
    try:
        network.regis_net.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:  # other names or shapes; no dictionary of tensors
        raise InputError(
            f"{path.name} does not hold the weights of {values['title']}. Give the file that its authors published, or "
            "one of the same network."
        ) from error
    network.to(library.config.device).eval()
    images = []
    for role in ("moving", "fixed"):
        scaled = np.array(library.preprocess(itk.image_from_array(arrays[role]), values[role]))
        tensor = torch.from_numpy(scaled)[None, None].to(library.config.device)
        images.append(torch.nn.functional.interpolate(tensor, shape[2:], mode="trilinear", align_corners=False))
    if values["steps"]:
        optimize = library.icon_registration.itk_wrapper.finetune_execute
        optimize(network, *images, values["steps"], values["learning_rate"])
    with torch.no_grad():
        identity = network.identity_map  # (1, 3, K, J, I), order k, j, i: 0 to 1 from the first voxel to the last
        transform = network.phi_AB if values["steps"] else network.regis_net(*images)
        displacement = (transform(identity) - identity)[0].flip(0) * (values["size"] - 1)
    return {"displacement": np.ascontiguousarray(displacement.cpu().numpy().transpose(1, 2, 3, 0))}


#: What can be asked for, by name.
FUNCTIONS: dict[str, Callable[[Arrays, dict[str, Any]], Arrays]] = {
    "ants": ants,
    "elastix": elastix,
    "gradicon": gradicon,
}


def main() -> None:
    """Run the function on the command line on the arrays of the folder."""
    end_with_parent()
    os.umask(0o077)
    folder = Path(sys.argv[2])
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
    values = json.loads((folder / "values.json").read_text(encoding="utf-8"))
    try:
        results = FUNCTIONS[sys.argv[1]](arrays, values)
    except InputError as error:
        (folder / "refused.txt").write_text(str(error), encoding="utf-8")
        return
    np.savez(folder / "unfinished.npz", **results)  # type: ignore[arg-type]  # numpy: may be its option allow_pickle
    os.replace(folder / "unfinished.npz", folder / "done.npz")


if __name__ == "__main__":
    main()
