"""What a training is for: which metrics judge it, how a held-out pair is measured, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .model import write_model
from .plan import Plan
from .validation import metrics_of, picture


class RegistrationTask:
    """Registration alone."""

    #: Which way is better, for those that a training can be judged by; the first that was measured counts.
    better: Mapping[str, object] = {"dice": max, "field": min, "loss": min}

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def measure(
        self, network: nn.Module, pair, output, spacing_kji_mm: Sequence[float], surfaces: bool
    ) -> dict[str, float]:
        """Metrics of one held-out pair; see ``validation.metrics_of``."""
        return metrics_of(pair, output.displacement, spacing_kji_mm, surfaces)

    def draw(self, network: nn.Module, pair, output) -> np.ndarray | None:
        """A row of pictures of the pair."""
        return picture(pair, output.displacement, self.plan.recipe.get("orientation") or "")

    def write(self, weights: Mapping[str, torch.Tensor], about: tuple[int, float, str], metrics, folder: Path) -> None:
        """Keep the model; ``about`` is the step, the seconds of training, and the device in words."""
        write_model(self.plan, weights, *about, metrics, folder)
