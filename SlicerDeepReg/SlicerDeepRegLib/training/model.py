"""What a training gives: a folder with card and weights, as ``slicerdeepreg models add`` takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..catalog import CARD_FILE, SEGMENTATION_CARD, WEIGHTS_FILE
from ..files.atomic import whole_files, writing
from ..files.jsonable import jsonable
from ..files.weights import write_weights
from .plan import Plan

LENGTHS = ((3600, 1, "hours"), (60, 0, "minutes"), (1, 0, "seconds"))
SHOWN = {
    "dice": ("Dice", ""),
    "dice_before": ("Dice before", ""),
    "hd95_mm": ("HD95", " mm"),
    "field": ("distance to the true field", " voxels"),
    "field_before": ("before", " voxels"),
    "ncc": ("NCC", ""),
    "ndv_percent": ("NDV", " %"),
}


def write_model(
    plan: Plan, weights: Mapping[str, torch.Tensor], step: int, seconds: float, device: str, metrics, folder: Path
) -> None:
    """Put card and weights into the folder; each file is whole or the one before.

    Args:
        metrics: of the last validation, or empty. seconds: of training. device: in words.

    Raises:
        InputError: the disk is full or cannot be written to.
    """
    _write(weights, lambda checksum: card_of(plan, step, seconds, device, metrics, checksum), CARD_FILE, folder)


def write_segmentation(
    plan: Plan, weights: Mapping[str, torch.Tensor], about: tuple[int, float, str], metrics, folder: Path
) -> None:
    """The same for the segmentation network of a joint training, as ``slicerdeepreg segment`` takes it."""
    shown = {"segmentation_dice": "Dice", "segmentation_hd95_mm": "HD95 in mm"}
    measured = [f"{title} {metrics[name]:.3f}" for name, title in shown.items() if name in metrics]
    values = {
        "name": plan.name,
        "segmentation": plan.joint["network"],
        "classes": list(plan.joint["classes"]),
        "dimensions": plan.dimensions,
        "slices": plan.joint.get("slices"),
        "recipe": dict(plan.recipe),
        "trained_on": _trained_on(plan, *about),
        "shown": f"On {metrics['pairs']:.0f} images held out: {', '.join(measured)}." if measured else None,
    }
    _write(weights, lambda checksum: {**values, "sha256": checksum}, SEGMENTATION_CARD, folder)


def _write(weights: Mapping[str, torch.Tensor], described, card_file: str, folder: Path) -> None:
    arrays = {name: t.detach().cpu().numpy() for name, t in weights.items()}
    # The writer of safetensors raises an error of its own kind for a full disk.
    with writing("The model", folder, "Free some space.", also=(Exception,)), whole_files(folder, card_file) as private:
        checksum = write_weights(private / WEIGHTS_FILE, arrays)
        text = json.dumps(jsonable(described(checksum)), indent=2, ensure_ascii=False)
        (private / card_file).write_text(text + "\n", encoding="utf-8")


def card_of(plan: Plan, step: int, seconds: float, device: str, metrics, checksum: str) -> dict[str, Any]:
    """The card of the model, as ``catalog.read_user_card`` takes it."""
    listed = [f"{title} {metrics[name]:.4g}{unit}" for name, (title, unit) in SHOWN.items() if name in metrics]
    shown = f"On {metrics['pairs']:.0f} pairs held out of the same data: {', '.join(listed)}." if listed else None
    return {
        "name": plan.name,
        "title": f"{plan.name} ({plan.network}, trained)",
        "network": plan.network,
        "configuration": dict(plan.configuration),
        "dimensions": [plan.dimensions],
        "recipe": dict(plan.recipe),
        "summary": f"{plan.network} with weights trained by SlicerDeepReg {__version__}.",
        "trained_on": _trained_on(plan, step, seconds, device),
        "shown": shown,
        "weights": WEIGHTS_FILE,
        "sha256": checksum,
    }


def _trained_on(plan: Plan, step: int, seconds: float, device: str) -> str:
    size = " x ".join(str(n) for n in plan.shape[::-1])
    length = next(f"{seconds / u:.{d}f} {word}" for u, d, word in LENGTHS if seconds >= 2 * u or u == 1)
    return (
        f"{plan.about_data}; {step} steps of {plan.pairs_per_step} pair{'s' if plan.pairs_per_step > 1 else ''} of "
        f"{size} voxels, {length} on {device}"
    )
