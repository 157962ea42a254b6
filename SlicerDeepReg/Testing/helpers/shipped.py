"""Models with weights that come with the product: which there are, and what they say of the phantom."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from SlicerDeepRegLib.catalog import CARD_FILE, MODEL_FOLDERS, SEGMENTATION_CARD, WEIGHTS_FILE, Card, card
from SlicerDeepRegLib.files.weights import file_sha256, read_weights
from SlicerDeepRegLib.models.brain_atlas import ATLAS_FILE, read_atlas
from SlicerDeepRegLib.models.weights import built, fill
from SlicerDeepRegLib.networks.segmentation import SEGMENTATIONS, build_segmentation
from SlicerDeepRegLib.networks.structures import StructureNetwork

from .phantom import SEED, SIZE, Phantom, phantom

MODELS = MODEL_FOLDERS[0]
LIST_FILE, RECORD_FILE = "README.md", "recorded.json"
#: Begins the list in the README, which says NONE or names each model in a line of its own.
HEADING, NONE = "## Models with weights", "None yet."
#: How far what a model says of the phantom may be from what was recorded: voxels, or units of a score.
TOLERANCE = 1e-3
VOXELS = 20


def shipped_names(models: Path = MODELS) -> list[str]:
    """Return the names of the folders whose card speaks of weights, whether these are there or not."""
    names = []
    for folder in sorted(path for path in models.iterdir() if path.is_dir()):
        described = [folder / file for file in (CARD_FILE, SEGMENTATION_CARD) if (folder / file).is_file()]
        values = json.loads(described[0].read_text(encoding="utf-8")) if described else {}
        if values.get("weights") or values.get("sha256") or (folder / WEIGHTS_FILE).exists():
            names.append(folder.name)
    return names


def listed_names(models: Path = MODELS) -> list[str]:
    """Return the names in the README's list; it must say so where there are none."""
    text = (models / LIST_FILE).read_text(encoding="utf-8").split(HEADING)[1].strip()
    names = re.findall(r"^- `(.+?)`", text, re.MULTILINE)
    assert names or text == NONE, f"the list in {LIST_FILE} is empty and does not say: {NONE}"
    return names


def write_list(models: Path) -> None:
    """Write the README's list from the folders."""
    path = models / LIST_FILE
    lines = [f"- `{name}`: {described(models / name)['title']}" for name in shipped_names(models)]
    before = path.read_text(encoding="utf-8").split(HEADING)[0]
    path.write_text(before + HEADING + "\n\n" + ("\n".join(lines) or NONE) + "\n", encoding="utf-8")


def described(folder: Path) -> dict[str, Any]:
    """Return what the card of a model says, as plain values."""
    path = folder / (SEGMENTATION_CARD if (folder / SEGMENTATION_CARD).is_file() else CARD_FILE)
    return json.loads(path.read_text(encoding="utf-8"))


def card_of(values: dict[str, Any], folder: Path) -> Card:
    """Return the card of a model of a network, whatever its folder; what it does not say is as on the network's."""
    known = {field.name for field in dataclasses.fields(Card)}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in known}
    return dataclasses.replace(card(values["network"]), **{"folder": folder, "variants": {}, **values})


def network_of(values: dict[str, Any], folder: Path) -> torch.nn.Module:
    """Return the network that a card describes, without its weights."""
    if "network" in values:
        return built(card_of(values, folder), 3).eval()
    if values["segmentation"] in SEGMENTATIONS:
        return build_segmentation(values["segmentation"], values["dimensions"], len(values["classes"])).eval()
    return StructureNetwork(len(values["classes"]), values.get("features", 0)).eval()


@torch.no_grad()
def said(network: torch.nn.Module, arrays: dict[str, np.ndarray], pair: Phantom) -> np.ndarray:
    """Return what a network says with these weights, single precision on the CPU.

    Returns:
        (3, K, J, I): the displacement in voxels, order i, j, k; or, of a network that segments, (classes, K, J, I): its
        scores for the fixed image.
    """
    fill(network, arrays, "the model")
    moving, fixed = (torch.from_numpy(values)[None, None] for values in (pair.moving, pair.fixed))
    if hasattr(network, "estimate"):
        return network(moving, fixed).displacement[0].numpy()
    output = network(fixed)
    return getattr(output, "logits", output)[0].numpy()


def record(values: np.ndarray) -> dict[str, Any]:
    """Return what is kept of what a model says: its values at some voxels of the brain."""
    voxels = np.random.RandomState(SEED).randint(SIZE // 5, SIZE - SIZE // 5, (VOXELS, 3))
    at = [[float(f"{v:.6g}") for v in values[(slice(None), *voxel)]] for voxel in voxels.tolist()]
    return {
        "pair": f"Testing/helpers/phantom.py, {SIZE} voxels, seed {SEED}",
        "voxels_kji": voxels.tolist(),
        "said": at,
    }


def check_bytes(folder: Path) -> None:
    """The weights are those of the card, and the atlas where there is one."""
    values = described(folder)
    assert file_sha256(folder / WEIGHTS_FILE) == values["sha256"], f"{folder.name}: other weights"
    if "atlas" in values:
        read_atlas(folder / ATLAS_FILE, values["atlas"])


def check_recorded(folder: Path) -> None:
    """The model loads, and says of the phantom what it said when it was shipped."""
    values = described(folder)
    recorded = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    assert len(recorded["said"]) == len(recorded["voxels_kji"]) == VOXELS
    now = record(said(network_of(values, folder), read_weights(folder / WEIGHTS_FILE), phantom()))
    assert now["voxels_kji"] == recorded["voxels_kji"]
    np.testing.assert_allclose(now["said"], recorded["said"], rtol=0, atol=TOLERANCE, err_msg=folder.name)
