"""A pretrained checkpoint of a compared network, supplied by the user, as a model in the menu."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple

from ..catalog import CARD_FILE, WEIGHTS_FILE, Card, cards
from ..files.weights import read_weights, write_weights
from ..pretrained import Pretrained, recognize
from ..processes.folders import private_folder
from ..types import InputError
from .torch_files import read_tensors
from .weights import install

#: What TensorFlow and Keras write; nothing here reads it.
OF_TENSORFLOW = (".h5", ".hdf5", ".keras", ".index", ".meta", ".pb")


def install_pretrained(
    path: Path,
    name: Optional[str] = None,
    configuration: Optional[Mapping[str, Any]] = None,
    orientation: Optional[str] = None,
    voxel_mm: Optional[float] = 1.0,
    replace: bool = False,
) -> Tuple[Card, Pretrained]:
    """Recognize a checkpoint, convert it, check it against the network, and put it where the menu finds it.

    Args:
        path: a torch file of tensors by name (also inside ``state_dict`` or ``model_state``), or safetensors.
        name: of the model; the network's name and the file's when left out.
        configuration: arguments of our network that the file cannot tell, or that are to be others.
        orientation: of the images it learned from, as "RAS"; what is known of the family when left out, "any" for none.
        voxel_mm: of the images it learned from; None for any.
        replace: a model of that name may be there already.

    Raises:
        InputError: the file is of no family that is known, or is not whole; then nothing was changed.
    """
    if path.suffix.lower() in OF_TENSORFLOW:
        raise InputError(f"{path.name} is a file of TensorFlow. Only checkpoints of PyTorch are read.")
    if not path.is_file():
        raise InputError(f"{path} is not there.")
    arrays, settings = (read_weights(path), {}) if path.suffix == ".safetensors" else read_tensors(path)
    found = recognize(arrays, settings)
    told = {**found.configuration, **(configuration or {})}
    turned = found.orientation if orientation is None else None if orientation == "any" else orientation
    base = cards()[found.network]
    dimensions = told.pop("dimensions", None)
    card = {
        "name": name or _name(found.network, path),
        "title": f"{base.title}, pretrained weights",
        "network": found.network,
        "configuration": told,
        "dimensions": [dimensions] if dimensions else list(base.dimensions),
        "recipe": {"intensity": "unit", "voxel_mm": voxel_mm, **({"orientation": turned} if turned else {})},
        "summary": f"{base.title} with a checkpoint that others released and you added ({path.name}).",
        "license": "that of whoever released it",
        "trained_on": "what its authors say",
    }
    with private_folder("slicerdeepreg-") as folder:
        write_weights(folder / WEIGHTS_FILE, found.arrays)
        (folder / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
        return install(folder, replace), found


def _name(network: str, path: Path) -> str:
    stem = path.name.split(".")[0] if path.name.endswith((".pth.tar", ".pt.tar")) else path.stem
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip("-.")
    return f"{network}-{kept}" if kept else network
