"""A pretrained checkpoint of a known network, supplied by the user, as a model in the menu."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..catalog import CARD_FILE, WEIGHTS_FILE, Card, cards, divisor_of
from ..files.weights import read_weights, write_weights
from ..models.torch_files import read_tensors
from ..models.weights import install
from ..processes.folders import private_folder
from ..types import InputError
from .recognize import Pretrained, recognize

#: Files of TensorFlow and Keras, which are not read here.
TENSORFLOW_SUFFIXES = (".h5", ".hdf5", ".keras", ".index", ".meta", ".pb")


def install_pretrained(
    path: Path,
    name: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    orientation: str | None = None,
    voxel_mm: float | None = 1.0,
    intensity: str | None = None,
    replace: bool = False,
    taken: Collection[str] = (),
) -> tuple[Card, Pretrained]:
    """Recognize a checkpoint, convert it, check it against the network, and add it to the user's models.

    Args:
        path: a torch file of tensors by name (also inside ``state_dict`` or ``model_state``), or safetensors.
        name: of the model; the network's name and the file's when left out.
        configuration: arguments of the network that the file does not tell, or that replace what it tells.
        orientation: of the volumes that it was trained on, as "RAS"; what is known of the family when left out, "any"
            for axes as each fixed image stores them.
        voxel_mm: voxel size that it was trained at, mm; None for any.
        intensity: how its training scaled values, "unit" or "divide:255"; what is known of the family when left out.
        replace: take the place of a model of that name.
        taken: names that a model must not have, those of methods.

    Returns:
        The card of the model, and what was recognized.

    Raises:
        InputError: the file is of no known family, or is not whole, or what was said of it is wrong; then nothing was
            changed.
    """
    if path.suffix.lower() in TENSORFLOW_SUFFIXES:
        raise InputError(f"{path.name} is a file of TensorFlow. Only checkpoints of PyTorch are read.")
    if not path.is_file():
        raise InputError(f"{path} is not there.")
    arrays, settings = (read_weights(path), {}) if path.suffix == ".safetensors" else read_tensors(path)
    checkpoint = recognize(arrays, settings)
    base = cards()[checkpoint.network]
    arguments = {**checkpoint.configuration, **(configuration or {})}
    dimensions = arguments.pop("dimensions", None)
    stored = checkpoint.orientation if orientation is None else orientation
    if stored and stored != "any" and dimensions == 2:
        raise InputError(
            f"{path.name} registers slices, and slices go in with their axes as stored. Leave the orientation out."
        )
    recipe: dict[str, Any] = {
        "intensity": checkpoint.intensity if intensity is None else intensity,
        "voxel_mm": voxel_mm,
    }
    divisor_of(recipe["intensity"])  # later the error would name a card that nobody wrote
    if stored and stored != "any":
        recipe["orientation"] = stored
    card = {
        "name": name or _default_name(checkpoint.network, path),
        "title": f"{base.title}, pretrained weights",
        "network": checkpoint.network,
        "configuration": arguments,
        "dimensions": [dimensions] if dimensions else list(base.dimensions),
        "recipe": recipe,
        "summary": f"{base.title} with a pretrained checkpoint that you added ({path.name}).",
        "license": "see its authors' repository",
        "trained_on": "data described by its authors",
    }
    with private_folder("slicerdeepreg-") as folder:
        write_weights(folder / WEIGHTS_FILE, checkpoint.arrays)
        (folder / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
        return install(folder, replace, taken), checkpoint


def _default_name(network: str, path: Path) -> str:
    stem = path.name.split(".")[0] if path.name.endswith((".pth.tar", ".pt.tar")) else path.stem
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip("-.")
    return f"{network}-{kept}" if kept else network
