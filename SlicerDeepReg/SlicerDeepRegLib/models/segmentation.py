"""A segmentation network that was trained with a registration network, used alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from ..catalog import SEGMENTATION_CARD, STRUCTURES_NETWORK, WEIGHTS_FILE
from ..checks import check_image
from ..files.weights import file_sha256, read_weights
from ..networks.segmentation import SEGMENTATIONS, build_segmentation
from ..preparation.resample import resample
from ..preparation.single import grid_by_recipe, unit_values
from ..types import Image, InputError
from .weights import fill

_KINDS = {"segmentation": str, "classes": list, "dimensions": int, "recipe": dict, "sha256": str}


def segment(image: Image, model: Path, device: torch.device) -> Image:
    """Return the labels that the network sees in the image, on the image's voxels.

    Args:
        model: the folder "segmentation" of a joint training.

    Raises:
        InputError: there is no such model, its weights are others, or it does not take such images.
    """
    described = read_description(model)
    if described["segmentation"] not in SEGMENTATIONS:
        raise InputError(f"{model} sees the structures of a brain; it is used by models/structures.py.")
    network = build_segmentation(described["segmentation"], described["dimensions"], len(described["classes"]))
    load_described(network, described, model)
    network = network.to(device).eval()
    image = check_image(image, "image")
    recipe, cut = described["recipe"], described.get("slices")
    axes = 2 if image.grid.is_planar else 3
    if axes != (3 if cut else described["dimensions"]) and not (cut and axes == 2):
        raise InputError(
            f"{model} segments {described['dimensions']}D images and this one is {axes}D. Give another image or model."
        )
    grid = grid_by_recipe(image, recipe)
    values = torch.from_numpy(unit_values(image, grid))
    if axes == 2:
        stack = values.reshape(1, *(n for n in grid.shape_kji if n > 1))
    else:
        stack = values.movedim("kji".index(cut), 0) if cut else values[None]
    found = _labels(network, stack, device)
    if axes == 3 and cut:
        found = found.movedim(0, "kji".index(cut))
    labels = np.array(described["classes"])[found.reshape(grid.shape_kji).numpy()].astype(np.int32)
    on_image = resample(Image(labels, grid), image.grid, interpolator=sitk.sitkNearestNeighbor, outside=0)
    return Image(on_image.astype(np.int32), image.grid, f"labels of {image.name}", image.dimensions)


@torch.no_grad()
def _labels(network: torch.nn.Module, stack: torch.Tensor, device: torch.device) -> torch.Tensor:
    """(N, ...) the channel that is strongest, image by image, so that a volume of slices needs little memory."""
    parts = [network(one[None, None].to(device)).argmax(1).cpu() for one in stack]
    return torch.cat(parts)


def read_description(model: Path) -> dict[str, Any]:
    """Read and check the card of a segmentation network.

    Raises:
        InputError: there is none in the folder, or it lacks something.
    """
    path = model / SEGMENTATION_CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{model} contains no segmentation model ({SEGMENTATION_CARD} cannot be read: {error}). Give the folder "
            "'segmentation' of a joint training, or 'brain'."
        ) from error
    for name, kind in _KINDS.items():
        if not isinstance(values, dict) or not isinstance(values.get(name), kind):
            raise InputError(f'{path}: "{name}" is missing or of the wrong kind. Train the model again.')
    if values["segmentation"] not in (*SEGMENTATIONS, STRUCTURES_NETWORK):
        raise InputError(f"{path}: the network must be one of {', '.join((*SEGMENTATIONS, STRUCTURES_NETWORK))}.")
    return values


def load_described(network: torch.nn.Module, described: dict[str, Any], model: Path) -> None:
    """Put the weights beside the card into its network.

    Raises:
        InputError: they are not those of the card, or of another network.
    """
    path = model / WEIGHTS_FILE
    if path.is_file() and file_sha256(path) != described["sha256"]:
        raise InputError(f"The weights {path} are not those that {SEGMENTATION_CARD} names. Copy the model again.")
    fill(network, read_weights(path), f"the {described['segmentation']} in {model}")
