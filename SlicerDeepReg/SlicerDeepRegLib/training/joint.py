"""Registration and segmentation trained together, from few annotated images.

After the joint learning of FMIRNet's paper (networks/fmirnet.py), for any registration network: the moving image is
annotated and the fixed one is not; the registration warps both the moving image and its labels to the fixed one, and
the segmentation network learns from the moving image with its labels and from the warped image with the warped labels.
RFCN and RUNet are this with an FCN and a U-Net. In use the segmentation network works alone.

A series (the slices of a volume, the frames of a film, the scans of a patient) is cut into groups of neighbors, and
the middle one of each group is the annotated one that is moved to the others. ``ratio`` is the part of the images that
are annotated. The paper's formula for r is not in the text at hand; this reading agrees with what it says of it (a
larger r makes moving and fixed image more alike).

Chosen here: the segmentation's loss is cross entropy plus 1 minus soft Dice, with weight 1 beside the registration's;
labels are warped linearly, one membership each; gradients of both losses reach both networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..metrics.labels import dice_by_label, surface_by_label
from ..networks import NetworkOutput
from ..networks.segmentation import build_segmentation
from ..types import InputError
from ..warping.sample import warp
from .dataset_index import Listing, Pair
from .model import write_model, write_segmentation
from .objective import Objective, soft_dice
from .plan import Plan
from .recipe import Prepared
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
        """(B, 1, ...) each; see :class:`JointOutput`."""
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

    def __call__(self, batch, output: JointOutput, seeds: Sequence[int]):
        """(what to lower, its terms by name, unweighted)."""
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
    """(B, classes, ...) 0 or 1; a label that is no class is background."""
    found = torch.cat([(labels == label).float() for label in classes], 1)
    found[:, 0] = 1 - found[:, 1:].sum(1)
    return found


def segmentation_loss(logits: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Cross entropy plus 1 minus the soft Dice of the classes, background left out of the second."""
    overlap = soft_dice(logits.softmax(1)[:, 1:], members[:, 1:])
    return F.cross_entropy(logits, members) + 1 - overlap


class JointTask(RegistrationTask):
    """Judged by the segmentation network alone on the fixed images."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.alone, self.classes = plan.joint["alone"], list(plan.joint["classes"])
        self.better = {"segmentation_dice": max, **super().better}

    def measure(self, network: JointNetwork, pair, output: JointOutput, spacing_kji_mm, surfaces: bool):
        found = {} if self.alone else metrics_of(pair, output.displacement, spacing_kji_mm, surfaces)
        if not pair["fixed_labels"].any():
            return found
        chosen = np.array(self.classes)[network.segmentation(pair["fixed"]).argmax(1)[0].cpu().numpy()]
        true = pair["fixed_labels"][0, 0].cpu().numpy()
        true = np.where(np.isin(true, self.classes), true, 0)
        dice = dice_by_label(true.astype(np.int64), chosen.astype(np.int64))
        # A structure that is there and was not found counts as 0.
        present = [label for label in self.classes[1:] if (true == label).any()]
        if present:
            found["segmentation_dice"] = float(np.mean([dice.get(label, 0.0) for label in present]))
        if surfaces and dice:
            hd95 = surface_by_label(true.astype(np.int32), chosen.astype(np.int32), tuple(spacing_kji_mm))[0]
            found["segmentation_hd95_mm"] = float(np.mean(list(hd95.values())))
        return found

    def write(self, weights, about: tuple[int, float, str], metrics: Mapping[str, float], folder: Path) -> None:
        parts: dict[str, dict[str, torch.Tensor]] = {"registration": {}, "segmentation": {}}
        for name, value in weights.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        if not self.alone:
            write_model(self.plan, parts["registration"], *about, metrics, folder)
        (folder / SEGMENTATION_FOLDER).mkdir(exist_ok=True)
        write_segmentation(self.plan, parts["segmentation"], about, metrics, folder / SEGMENTATION_FOLDER)


def build_joint(registration: nn.Module | None, plan: Plan) -> JointNetwork:
    """The networks of a plan; the registration network is given, or None for the segmentation alone."""
    segmentation = build_segmentation(plan.joint["network"], plan.dimensions, len(plan.joint["classes"]))
    return JointNetwork(registration, segmentation)


# ------------------------------------------------------------------------------------------ annotated and moved


def sliced(subjects: Mapping[str, Prepared], listing: Listing, axis: str) -> tuple[dict[str, Prepared], Listing]:
    """Every volume as its slices along an axis ("i", "j" or "k"), each volume a series.

    Raises:
        InputError: the images are slices already.
    """
    found: dict[str, Prepared] = {}
    named = {}
    for name, one in subjects.items():
        if len(one.shape) != 3:
            raise InputError(f"{name} is a slice already. Leave out --slices.")
        along = "kji".index(axis)
        for number in range(one.shape[along]):
            key = f"{name} {axis}={number:04d}"
            shape = one.shape[:along] + one.shape[along + 1 :]
            spacing = one.spacing_kji_mm[:along] + one.spacing_kji_mm[along + 1 :]
            found[key] = dataclasses.replace(
                one, name=key, shape=shape, spacing_kji_mm=spacing, cut=(along, number), orientation=""
            )
            named[key] = dataclasses.replace(listing.subjects[name], name=key, group=name)
    return found, Listing(named)


def annotated_pairs(
    listing: Listing, subjects: Mapping[str, Prepared], split: str, ratio: float | None
) -> tuple[list[Pair], list[str]]:
    """Pairs from each annotated image to the others of its group, and the names of the annotated ones.

    Args:
        ratio: the part of the images of a series that are annotated; None for all that have labels.

    Raises:
        InputError: no image has labels.
    """
    series: dict[Any, list[str]] = {}
    for name, one in listing.subjects.items():
        if one.split == split:
            series.setdefault(one.group, []).append(name)
    pairs, annotated = [], []
    for members in series.values():
        for group in _groups(members, ratio):
            with_labels = [name for name in group if "labels" in subjects[name].arrays and _holds(subjects[name])]
            if not with_labels:
                continue
            moved = with_labels if ratio is None else [_middle(group, with_labels)]
            others = [name for name in group if name not in moved] or list(group)
            made = [Pair(m, f, split) for m in moved for f in others if m != f]
            pairs += made
            annotated += moved if made else []  # one that is alone in its group teaches nothing here
    if not any("labels" in subjects[name].arrays for members in series.values() for name in members):
        if split == "train":
            raise InputError("No image for training has labels. Joint training needs a few: see docs/training.md.")
    if not pairs and split == "train":
        raise InputError(
            "Every annotated image is alone in its group, so there is nothing to move it to. Lower --ratio, or name "
            "the series in the column group."
        )
    return pairs, annotated


def _holds(subject: Prepared) -> bool:
    return bool(subject.array("labels").any())


def _groups(members: Sequence[str], ratio: float | None) -> list[list[str]]:
    if ratio is None:
        return [list(members)]
    count = min(len(members), max(1, round(ratio * len(members))))
    return [list(part) for part in np.array_split(np.array(members, dtype=object), count)]


def _middle(group: Sequence[str], with_labels: Sequence[str]) -> str:
    """The annotated image nearest to the middle of the group."""
    return min(with_labels, key=lambda name: abs(group.index(name) - (len(group) - 1) / 2))


def classes_of(subjects: Mapping[str, Prepared], annotated: Sequence[str]) -> list[int]:
    """Background and every label of the annotated images.

    Raises:
        InputError: there are too many to be structures.
    """
    found = set()
    for name in annotated:
        found |= set(np.unique(subjects[name].array("labels")).tolist())
    found.discard(0)
    if len(found) > 255:
        raise InputError(f"The labels have {len(found)} values; a segmentation network takes 255. Are they label maps?")
    return [0, *sorted(int(label) for label in found)]
