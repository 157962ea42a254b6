"""What a training is for: which metrics judge it, how a held-out pair is measured, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..networks import NetworkOutput
from .model import write_model
from .plan import Plan
from .sources import Batch
from .validation import image_row, metrics_of


class RegistrationTask:
    """Training of a registration network.

    Args:
        plan: of the training.
    """

    #: The better of two values, for the metrics that a training can be judged by; the first that was measured counts.
    better: Mapping[str, Callable[[float, float], float]] = {"dice": max, "epe_voxels": min, "loss": min}

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def measure(
        self, network: nn.Module, pair: Batch, output: NetworkOutput, spacing_kji_mm: Sequence[float], surfaces: bool
    ) -> dict[str, float]:
        """Measure one held-out pair; see ``validation.metrics_of``."""
        return metrics_of(pair, output.displacement, spacing_kji_mm, surfaces)

    def draw(self, network: nn.Module, pair: Batch, output: NetworkOutput) -> np.ndarray | None:
        """Return a row of images of the pair, (height, width, 3)."""
        return image_row(pair, output.displacement, self.plan.recipe.get("orientation") or "")

    def write(
        self,
        weights: Mapping[str, torch.Tensor],
        about: tuple[int, float, str],
        metrics: Mapping[str, float],
        folder: Path,
    ) -> None:
        """Write the model.

        Args:
            weights: of the network.
            about: the step, the seconds of training, and the device in words.
            metrics: of the last validation, or empty.
            folder: where to.
        """
        write_model(self.plan, weights, *about, metrics, folder)
