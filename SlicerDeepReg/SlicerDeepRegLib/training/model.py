"""What a training gives: a folder with card and weights, as ``slicerdeepreg models add`` takes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..anatomy import STRUCTURES
from ..catalog import CARD_FILE, SEGMENTATION_CARD, WEIGHTS_FILE
from ..files.atomic import whole_files, writing
from ..files.jsonable import jsonable
from ..files.weights import write_weights
from ..metrics import METRICS
from ..models.brain_atlas import ATLAS_FILE, write_atlas
from .plan import Plan

#: Units of the length of a training: seconds, digits, name.
LENGTHS = ((3600, 1, "hours"), (60, 0, "minutes"), (1, 0, "seconds"))
#: Metrics of ``METRICS`` that the card of a model gives, with their value before registration where that was measured.
SHOWN = ("dice", "hd95_mm", "epe_voxels", "ncc", "ndv_percent")


def write_model(
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    step: int,
    seconds: float,
    device: str,
    metrics: Mapping[str, float],
    folder: Path,
) -> None:
    """Write card and weights into the folder; each file is whole or the one before.

    Args:
        metrics: of the last validation, or empty. seconds: of training. device: in words.

    Raises:
        InputError: the disk is full or cannot be written to.
    """
    _write(weights, lambda checksum: card_of(plan, step, seconds, device, metrics, checksum), CARD_FILE, folder)


def write_segmentation(
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    about: tuple[int, float, str],
    metrics: Mapping[str, float],
    folder: Path,
) -> None:
    """Write the segmentation network of a joint training, as ``slicerdeepreg segment`` takes it."""
    prefix = "segmentation_"
    own = {name[len(prefix) :]: value for name, value in metrics.items() if name.startswith(prefix)}
    measured = [_shown(name, own) for name in ("dice", "hd95_mm") if name in own]
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


def write_structures(
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    about: tuple[int, float, str],
    metrics: Mapping[str, float],
    folder: Path,
    atlas: torch.Tensor | None,
) -> None:
    """Write the network that sees the structures of a brain, as ``slicerdeepreg segment`` takes it.

    Args:
        plan, weights, about, metrics, folder: those of ``RegistrationTask.write``.
        atlas: (33, K, J, I), see ``models.brain_atlas``; None where the network goes alone.
    """
    measured = [_shown(name, metrics) for name in ("dice", "hd95_mm") if name in metrics]
    values = {
        "name": plan.name,
        "segmentation": plan.network,
        "classes": [0, *(structure.number for structure in STRUCTURES)],
        "features": plan.configuration["features"],
        "dimensions": plan.dimensions,
        "slices": None,
        "recipe": dict(plan.recipe),
        "trained_on": _trained_on(plan, *about, "image"),
        "shown": f"On {metrics['pairs']:.0f} synthetic images held out: {', '.join(measured)}." if measured else None,
    }
    _write(weights, lambda checksum: {**values, "sha256": checksum}, SEGMENTATION_CARD, folder, atlas)


def _write(
    weights: Mapping[str, torch.Tensor],
    card_by_checksum: Callable[[str], dict[str, Any]],
    card_file: str,
    folder: Path,
    atlas: torch.Tensor | None = None,
) -> None:
    arrays = {name: t.detach().cpu().numpy() for name, t in weights.items()}
    # The writer of safetensors raises an error of its own kind for a full disk.
    with writing("The model", folder, "Free some space.", also=(Exception,)), whole_files(folder, card_file) as private:
        checksum = write_weights(private / WEIGHTS_FILE, arrays)
        card = card_by_checksum(checksum)
        if atlas is not None:
            card["atlas"] = write_atlas(private / ATLAS_FILE, atlas)
        text = json.dumps(jsonable(card), indent=2, ensure_ascii=False)
        (private / card_file).write_text(text + "\n", encoding="utf-8")


def card_of(
    plan: Plan, step: int, seconds: float, device: str, metrics: Mapping[str, float], checksum: str
) -> dict[str, Any]:
    """Return the card of the model, as ``catalog.read_user_card`` takes it."""
    listed = [_shown(name, metrics) for name in SHOWN if name in metrics]
    shown = f"On {metrics['pairs']:.0f} pairs held out of the same data: {', '.join(listed)}." if listed else None
    painted = "label_maps" in plan.data
    return {
        "name": plan.name,
        "title": f"{plan.name} ({plan.network}, trained)",
        "network": plan.network,
        "configuration": dict(plan.configuration),
        "dimensions": [plan.dimensions],
        # Painted pairs are of any two contrasts.
        "recipe": {**plan.recipe, **({"match": False} if painted or plan.match is False else {})},
        **({"regime": "brain"} if painted else {}),
        "summary": f"{plan.network} with weights trained by SlicerDeepReg {__version__}.",
        "trained_on": _trained_on(plan, step, seconds, device),
        "shown": shown,
        "weights": WEIGHTS_FILE,
        "sha256": checksum,
    }


def _shown(name: str, metrics: Mapping[str, float]) -> str:
    metric = METRICS[name]
    unit = f" {metric.unit}" if metric.unit else ""
    before = f" (before: {metrics[f'{name}_before']:.4g}{unit})" if f"{name}_before" in metrics else ""
    return f"{metric.title} {metrics[name]:.4g}{unit}{before}"


def _trained_on(plan: Plan, step: int, seconds: float, device: str, what: str = "pair") -> str:
    size = " x ".join(str(n) for n in plan.shape[::-1])
    length = next(f"{seconds / u:.{d}f} {word}" for u, d, word in LENGTHS if seconds >= 2 * u or u == 1)
    return (
        f"{plan.about_data}; {step} steps of {plan.pairs_per_step} {what}{'s' if plan.pairs_per_step > 1 else ''} of "
        f"{size} voxels, {length} on {device}"
    )
