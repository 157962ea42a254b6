"""Everything that decides what a training does: kept beside it, and compared when it goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..types import InputError

PLAN_FILE = "training.json"
OPTIMIZERS = ("adam", "amsgrad", "adamw")
DECAYS = ("constant", "poly")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        name: of the model. network, configuration, dimensions: what is trained.
        recipe: what is done to the images, as on the model's card.
        data: what it is trained on, as plain values, with a fingerprint of the files.
        about_data: the same in words, for the card.
        shape: (K, J, I) or (J, I) of the images.
        loss, weights: of the objective.
        steps: how often the weights are improved.
        pairs_per_step: over all processes and accumulated batches.
        optimizer, learning_rate, decay: see ``schedules.Schedule``. clip: largest norm of the gradient, 0 for any.
        ema: share of the old in the running mean of the weights, which is what is validated and kept; 0 for none.
        precision: "fp32", "bf16" or "fp16"; "auto" until the steps of the first two were timed.
        joint: None, or the segmentation network and its numbers.
        match: whether intensities are matched; None where pairs are made.
        resample: whether images were resampled to the shape; None where they were cut or padded to it, or made.
        augment, mirror: see ``augment``. start: checksum of the weights that it began with, if any.
    """

    name: str
    network: str
    configuration: Mapping[str, Any]
    dimensions: int
    recipe: Mapping[str, Any]
    data: Mapping[str, Any]
    about_data: str
    shape: tuple[int, ...]
    loss: Mapping[str, Any]
    weights: Mapping[str, float]
    steps: int
    pairs_per_step: int = 1
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    decay: str = "constant"
    clip: float = 0.0
    ema: float = 0.0
    precision: str = "fp32"
    seed: int = 0
    joint: Mapping[str, Any] | None = None
    schedule: str = "general"
    augment: str = "none"
    match: bool | None = None
    resample: bool | None = None
    mirror: str = ""
    start: str | None = None

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", OPTIMIZERS), ("decay", DECAYS), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}; it was {getattr(self, name)!r}.")
        if self.steps < 1 or self.pairs_per_step < 1 or not self.learning_rate > 0 or not 0 <= self.ema < 1:
            raise InputError("Steps and batch must be 1 or more, the learning rate above 0, and EMA from 0 to below 1.")

    def describe(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def write_plan(plan: Plan, folder: Path) -> None:
    (folder / PLAN_FILE).write_text(json.dumps(plan.describe(), indent=2) + "\n", encoding="utf-8")


def check_same(plan: Plan, folder: Path) -> None:
    """Raise InputError when the training in the folder was another one, with every difference."""
    differences = _differences(_kept(folder), plan.describe())
    if differences:
        raise InputError(
            f"The training in {folder} was another one, so it cannot go on: {'; '.join(differences)}. Give what it "
            "had, or another --output."
        )


def kept_precision(folder: Path) -> str | None:
    """Return the precision of the training in the folder, if it is one that every device has.

    Raises:
        InputError: the plan cannot be read.
    """
    kept = _kept(folder)
    precision = kept.get("precision") if isinstance(kept, dict) else None
    return precision if precision in ("fp32", "bf16") else None


def _kept(folder: Path) -> Any:
    path = folder / PLAN_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}), so it is not known what was trained there.") from error


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found: list[str] = []
        for key in sorted(set(before) | set(now)):
            found += _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
        return found
    return [] if before == now else [f"{where} was {before!r} and is now {now!r}"]
