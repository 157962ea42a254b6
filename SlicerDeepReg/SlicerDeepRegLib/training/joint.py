"""Registration and segmentation trained together, from few annotated images.

After the joint learning of FMIRNet's paper (networks/fmirnet.py), for any registration network: the moving image is
annotated and the fixed one is not; the registration warps both the moving image and its labels to the fixed one, and
the segmentation network learns from the moving image with its labels and from the warped image with the warped labels.
RFCN and RUNet are this with an FCN and a U-Net. In use the segmentation network works alone. ``annotated.py`` says
which images are annotated, and which pairs are made.

Chosen here: the segmentation's loss is cross entropy plus 1 minus soft Dice, with weight 1 beside the registration's;
labels are warped linearly, one membership each; gradients of both losses reach both networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..metrics.labels import dice_by_label
from ..metrics.surfaces import surface_by_label
from ..networks import NetworkOutput
from ..networks.segmentation import build_segmentation
from ..warping.sample import warp
from .model import write_model, write_segmentation
from .objective import Objective, soft_dice
from .plan import Plan
from .sources import Batch
from .task import RegistrationTask
from .validation import metrics_of

SEGMENTATION_FOLDER = "segmentation"


@dataclass
class JointOutput(NetworkOutput):
    """A registration's output with what the segmentation says of the two images.

    Attributes:
        moving_logits, warped_logits: (B, classes, ...); the warped ones None where there is no registration.
    """

    moving_logits: torch.Tensor | None = None
    warped_logits: torch.Tensor | None = None


class JointNetwork(nn.Module):
    """A registration network and a segmentation network; without the first, the second alone."""

    def __init__(self, registration: nn.Module | None, segmentation: nn.Module) -> None:
        super().__init__()
        self.registration, self.segmentation = registration, segmentation

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> JointOutput:
        """Register and segment two images, (B, 1, ...) each; see :class:`JointOutput`."""
        if self.registration is None:
            nothing = moving.new_zeros((len(moving), moving.ndim - 2, *moving.shape[2:]))
            return JointOutput(nothing, moving_logits=self.segmentation(moving).float())
        output = self.registration(moving, fixed)
        warped = warp(moving, output.displacement)
        both = self.segmentation(torch.cat([moving, warped])).float()
        values = {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}
        return JointOutput(**values, moving_logits=both[: len(moving)], warped_logits=both[len(moving) :])


class JointObjective:
    """The registration's objective, plus ``weight`` times the segmentation's loss on the moving and the warped image.

    Args:
        registration: None for the segmentation alone.
        classes: the label that each channel stands for, 0 first.
    """

    def __init__(self, registration: Objective | None, classes: Sequence[int], weight: float) -> None:
        self.registration, self.classes, self.weight = registration, tuple(classes), weight

    def __call__(
        self, batch: Batch, output: JointOutput, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss, and its terms by name, unweighted."""
        total, parts = 0.0, {}
        if self.registration is not None:
            total, parts = self.registration(batch, output, seeds)
        members = memberships(batch["moving_labels"], self.classes)
        losses = [segmentation_loss(output.moving_logits, members)]
        if output.warped_logits is not None:
            losses.append(segmentation_loss(output.warped_logits, warp(members, output.displacement)))
        loss = sum(losses) / len(losses)
        return total + self.weight * loss, {**parts, "segmentation": loss.detach()}


def memberships(labels: torch.Tensor, classes: Sequence[int]) -> torch.Tensor:
    """Return the labels as (B, classes, ...) of 0 or 1; a label that is no class is background."""
    members = torch.cat([(labels == label).float() for label in classes], 1)
    members[:, 0] = 1 - members[:, 1:].sum(1)
    return members


def segmentation_loss(logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Compute cross entropy plus 1 minus the soft Dice of the classes, background left out of the second."""
    overlap = soft_dice(logits.softmax(1)[:, 1:], members[:, 1:])
    return F.cross_entropy(logits, members) + 1 - overlap


class JointTask(RegistrationTask):
    """Joint training, judged by the segmentation network on the fixed images, which it sees alone."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.alone, self.classes = plan.joint["alone"], list(plan.joint["classes"])
        self.better = {"segmentation_dice": max, **super().better}

    def measure(
        self, network: nn.Module, pair: Batch, output: NetworkOutput, spacing_kji_mm: Sequence[float], surfaces: bool
    ) -> dict[str, float]:
        """Measure one held-out pair, its registration and its segmentation.

        Args:
            network: a :class:`JointNetwork`.
        """
        metrics = {} if self.alone else metrics_of(pair, output.displacement, spacing_kji_mm, surfaces)
        if not pair["fixed_labels"].any():
            return metrics
        seen = np.array(self.classes)[network.segmentation(pair["fixed"]).argmax(1)[0].cpu().numpy()]
        true = pair["fixed_labels"][0, 0].cpu().numpy()
        return {**metrics, **segmentation_metrics(true, seen, self.classes, spacing_kji_mm, surfaces)}

    def write(
        self,
        weights: Mapping[str, torch.Tensor],
        about: tuple[int, float, str],
        metrics: Mapping[str, float],
        folder: Path,
    ) -> None:
        """Write the models of both networks; the arguments are those of ``RegistrationTask.write``."""
        parts: dict[str, dict[str, torch.Tensor]] = {"registration": {}, "segmentation": {}}
        for name, value in weights.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        if not self.alone:
            write_model(self.plan, parts["registration"], *about, metrics, folder)
        (folder / SEGMENTATION_FOLDER).mkdir(exist_ok=True)
        write_segmentation(self.plan, parts["segmentation"], about, metrics, folder / SEGMENTATION_FOLDER)


def segmentation_metrics(
    true: np.ndarray, seen: np.ndarray, classes: Sequence[int], spacing_kji_mm: Sequence[float], surfaces: bool
) -> dict[str, float]:
    """Compute means over the structures of an image: Dice, and with ``surfaces`` HD95, HD and ASSD in mm.

    Args:
        true: (K, J, I) or (J, I), the labels that are right; those that are no class are background.
        seen: of that shape, the labels that a network saw.
        classes: the labels, 0 first.
        spacing_kji_mm: voxel size along the axes of the arrays.
    """
    true = np.where(np.isin(true, classes), true, 0)
    dice = dice_by_label(true.astype(np.int64), seen.astype(np.int64))
    # A structure that is there and was not segmented counts as 0.
    present = [label for label in classes[1:] if (true == label).any()]
    metrics: dict[str, float] = {}
    if present:
        metrics["segmentation_dice"] = float(np.mean([dice.get(label, 0.0) for label in present]))
    if surfaces and dice:
        distances = surface_by_label(true.astype(np.int32), seen.astype(np.int32), tuple(spacing_kji_mm))
        for name, by_label in distances.items():
            metrics[f"segmentation_{name}_mm"] = float(np.mean(list(by_label.values())))
    return metrics


def build_joint(registration: nn.Module | None, plan: Plan) -> JointNetwork:
    """Return the networks of a plan.

    Args:
        registration: the registration network, or None for the segmentation alone.
    """
    segmentation = build_segmentation(plan.joint["network"], plan.dimensions, len(plan.joint["classes"]))
    return JointNetwork(registration, segmentation)
