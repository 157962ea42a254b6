"""What a network does on pairs that it is not trained on: metrics and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import SimpleITK as sitk
import torch

from ..geometry.fields import to_lps
from ..geometry.jacobian import jacobian_of_field, non_diffeomorphic_volume
from ..metrics.labels import dice_by_label, surface_by_label
from ..types import Field, Grid
from ..warping.sample import warp
from .objective import mean_distance


@torch.no_grad()
def metrics_of(
    pair: Mapping[str, torch.Tensor], displacement: torch.Tensor, spacing_kji_mm: Sequence[float], surfaces: bool
) -> dict[str, float]:
    """Metrics of one pair; what cannot be measured is left out.

    Args:
        pair: a batch of one, see ``sources``.
        displacement: (1, n, ...) voxels.
        spacing_kji_mm: voxel size along the axes of the arrays.
        surfaces: HD95 too, which takes seconds for many structures.

    Returns:
        ``ncc``; ``dice``, ``dice_before`` (means over labels in both), ``hd95_mm``; ``field`` and ``field_before``
        (mean distance to the true field, voxels); ``ndv_percent``, ``folds_percent`` (inside, central differences).
    """
    inside = pair.get("inside", (pair["fixed"] > 0).float())
    mask = inside[0, 0].cpu().numpy() > 0.5
    warped = warp(pair["moving"], displacement)
    both = [t[0, 0].cpu().numpy()[mask].astype(np.float64) for t in (warped, pair["fixed"])]
    found: dict[str, float] = {}
    if mask.any() and all(values.std() > 0 for values in both):
        found["ncc"] = float(np.corrcoef(*both)[0, 1])
    if "moving_labels" in pair and pair["moving_labels"].any() and pair["fixed_labels"].any():
        moved = warp(pair["moving_labels"].float(), displacement, mode="nearest")
        labels = [t[0, 0].round().int().cpu().numpy() for t in (pair["fixed_labels"], moved, pair["moving_labels"])]
        found["dice"] = _mean(dice_by_label(labels[0], labels[1]))
        found["dice_before"] = _mean(dice_by_label(labels[0], labels[2]))
        if surfaces:
            found["hd95_mm"] = _mean(surface_by_label(labels[0], labels[1], tuple(spacing_kji_mm))[0])
    if "displacement" in pair:
        found["field"] = float(mean_distance(displacement, pair["displacement"], inside))
        found["field_before"] = float(mean_distance(torch.zeros_like(displacement), pair["displacement"], inside))
    found.update(_regularity(displacement, mask))
    return found


def _mean(by_label: Mapping[int, float]) -> float:
    return float(np.mean(list(by_label.values()))) if by_label else float("nan")


def _regularity(displacement: torch.Tensor, mask: np.ndarray) -> dict[str, float]:
    """In voxels, which for folds is as good as millimeters."""
    field = as_field(displacement)
    mask = mask.reshape(field.grid.shape_kji)
    if not mask.any():
        return {}
    return {
        "ndv_percent": non_diffeomorphic_volume(field, mask)[0],
        "folds_percent": float(100 * np.mean(jacobian_of_field(field)[mask] <= 0)),
    }


def as_field(displacement: torch.Tensor) -> Field:
    """The displacement (1, n, ...) as a field on a grid of voxels of 1 mm; a slice has one layer."""
    size_ijk = (*displacement.shape[:1:-1], 1)[:3]
    return to_lps(
        displacement[0].detach().float().cpu().numpy(), Grid(size_ijk, np.eye(4)), range(len(displacement[0]))
    )


def mean_metrics(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over the pairs that have it."""
    names = sorted({name for one in each for name in one})
    means = {}
    for name in names:
        values = [one[name] for one in each if name in one and np.isfinite(one[name])]
        if values:
            means[name] = float(np.mean(values))
    return means


def picture(pair: Mapping[str, torch.Tensor], displacement: torch.Tensor, orientation: str = "") -> np.ndarray:
    """(height, width, 3) uint8: moving, fixed, warped, difference, the bent grid, and the Jacobian; the middle slice.

    Difference: gray is none. Jacobian: white keeps its volume, blue shrinks, red grows (to a half and to twice), black
    is a fold. With the orientation known, front or top is up and the patient's left is on the right.
    """
    images = [pair["moving"], pair["fixed"], warp(pair["moving"], displacement)]
    planes = [_middle(t[0, 0]) for t in images]
    planes.append(0.5 + 0.5 * (planes[2] - planes[1]))
    gray = [np.repeat(plane[..., None].clip(0, 1), 3, -1) for plane in planes]
    bent = warp(_lines(pair["fixed"].shape, displacement.device), displacement)
    gray.append(np.repeat(_middle(bent[0, 0])[..., None].clip(0, 1), 3, -1))
    jacobian = jacobian_of_field(as_field(displacement))
    gray.append(_diverging(jacobian[len(jacobian) // 2]))
    if orientation and orientation[1] in "AS":
        gray = [one[::-1] for one in gray]
    if orientation and orientation[0] == "R":
        gray = [one[:, ::-1] for one in gray]
    row = np.concatenate([np.pad(one, ((2, 2), (2, 2), (0, 0)), constant_values=0.3) for one in gray], 1)
    return (255 * row).round().astype(np.uint8)


def _middle(volume: torch.Tensor) -> np.ndarray:
    plane = volume[volume.shape[0] // 2] if volume.ndim == 3 else volume
    return plane.detach().float().cpu().numpy()


def _lines(shape: Sequence[int], device: torch.device, step: int = 6) -> torch.Tensor:
    """(1, 1, ...) lines a few voxels apart along the last two axes."""
    j, i = (torch.arange(n, device=device) % step == 0 for n in shape[-2:])
    plane = (j[:, None] | i[None, :]).float()
    return plane.expand(1, 1, *shape[2:]).contiguous()


def _diverging(jacobian: np.ndarray) -> np.ndarray:
    amount = np.clip(np.log2(np.maximum(jacobian, 1e-6)), -1, 1)[..., None]
    red, blue, white = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.2, 0.8]), np.ones(3)
    color = np.where(amount > 0, white + amount * (red - white), white - amount * (blue - white))
    return np.where((jacobian <= 0)[..., None], 0.0, color)


def write_picture(rows: list[np.ndarray], path) -> np.ndarray | None:
    """The rows under one another as a PNG, twice their size; returns what was written."""
    if not rows:
        return None
    whole = np.concatenate(rows, 0).repeat(2, 0).repeat(2, 1)
    try:
        sitk.WriteImage(sitk.GetImageFromArray(whole, isVector=True), str(path))
    except RuntimeError as error:  # how SimpleITK says that a disk is full
        raise OSError(28, str(error).strip().splitlines()[-1], str(path)) from error
    return whole
