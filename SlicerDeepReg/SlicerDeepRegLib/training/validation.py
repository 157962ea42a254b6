"""What a network does on pairs that it is not trained on: metrics and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..geometry.fields import to_lps
from ..geometry.jacobian import jacobian_of_field, non_diffeomorphic_volume
from ..metrics.labels import dice_by_label, labels_of
from ..metrics.surfaces import surface_by_label
from ..types import Field, Grid
from ..warping.sample import warp
from .objective import mean_distance


@torch.no_grad()
def metrics_of(
    pair: Mapping[str, torch.Tensor], displacement: torch.Tensor, spacing_kji_mm: Sequence[float], surfaces: bool
) -> dict[str, float]:
    """Measure one pair; what cannot be measured is left out.

    Args:
        pair: a batch of one, see ``sources``.
        displacement: (1, n, ...) voxels.
        spacing_kji_mm: voxel size along the axes of the arrays.
        surfaces: HD95 too, which takes seconds for many structures.

    Returns:
        ``ncc``; ``dice``, ``dice_before`` (means over labels in both), ``hd95_mm``; ``epe_voxels`` and
        ``epe_voxels_before`` (mean distance to the true field); ``ndv_percent``, ``folds_percent`` (inside,
        central differences).
    """
    inside = pair.get("inside", (pair["fixed"] > 0).float())
    mask = inside[0, 0].cpu().numpy() > 0.5
    warped = warp(pair["moving"], displacement)
    both = [t[0, 0].cpu().numpy()[mask].astype(np.float64) for t in (warped, pair["fixed"])]
    metrics: dict[str, float] = {}
    if mask.any() and all(values.std() > 0 for values in both):
        metrics["ncc"] = float(np.corrcoef(*both)[0, 1])
    if "moving_labels" in pair and pair["moving_labels"].any() and pair["fixed_labels"].any():
        moved = warp(pair["moving_labels"].float(), displacement, mode="nearest")
        labels = [t[0, 0].round().int().cpu().numpy() for t in (pair["fixed_labels"], moved, pair["moving_labels"])]
        metrics["dice"] = _mean(dice_by_label(labels[0], labels[1], labels_of(labels[2])))
        metrics["dice_before"] = _mean(dice_by_label(labels[0], labels[2]))
        if surfaces:
            metrics["hd95_mm"] = _mean(surface_by_label(labels[0], labels[1], tuple(spacing_kji_mm))["hd95"])
    if "displacement" in pair:
        metrics["epe_voxels"] = float(mean_distance(displacement, pair["displacement"], inside))
        metrics["epe_voxels_before"] = float(
            mean_distance(torch.zeros_like(displacement), pair["displacement"], inside)
        )
    metrics.update(_regularity(displacement, mask))
    return metrics


def _mean(by_label: Mapping[int, float]) -> float:
    return float(np.mean(list(by_label.values()))) if by_label else float("nan")


def _regularity(displacement: torch.Tensor, mask: np.ndarray) -> dict[str, float]:
    """Measure folds in voxels, which give the same as millimeters."""
    field = as_field(displacement)
    mask = mask.reshape(field.grid.shape_kji)
    if not mask.any():
        return {}
    return {
        "ndv_percent": non_diffeomorphic_volume(field, mask)[0],
        "folds_percent": float(100 * np.mean(jacobian_of_field(field)[mask] <= 0)),
    }


def as_field(displacement: torch.Tensor) -> Field:
    """Return a displacement, (1, n, ...) voxels, as a field on a grid of voxels of 1 mm; a slice has one layer."""
    size_ijk = (*displacement.shape[:1:-1], 1)[:3]
    return to_lps(
        displacement[0].detach().float().cpu().numpy(), Grid(size_ijk, np.eye(4)), range(len(displacement[0]))
    )


def mean_metrics(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the pairs that have it."""
    names = sorted({name for metrics in each for name in metrics})
    means = {}
    for name in names:
        values = [metrics[name] for metrics in each if name in metrics and np.isfinite(metrics[name])]
        if values:
            means[name] = float(np.mean(values))
    return means


def image_row(pair: Mapping[str, torch.Tensor], displacement: torch.Tensor, orientation: str = "") -> np.ndarray:
    """Draw the middle slice: moving, fixed, warped, difference, the deformed grid, and the Jacobian, side by side.

    Difference: gray is none. Jacobian: white keeps its volume, blue shrinks, red grows (to a half and to twice), black
    is a fold. With the orientation known, front or top is up and the patient's left is on the right.

    Args:
        pair: a batch of one, see ``sources``.
        displacement: (1, n, ...) voxels.
        orientation: three letters, or "" where it is not known.

    Returns:
        (height, width, 3) uint8.
    """
    images = [pair["moving"], pair["fixed"], warp(pair["moving"], displacement)]
    planes = [_middle(t[0, 0]) for t in images]
    planes.append(0.5 + 0.5 * (planes[2] - planes[1]))
    panels = [np.repeat(plane[..., None].clip(0, 1), 3, -1) for plane in planes]
    bent = warp(_lines(pair["fixed"].shape, displacement.device), displacement)
    panels.append(np.repeat(_middle(bent[0, 0])[..., None].clip(0, 1), 3, -1))
    jacobian = jacobian_of_field(as_field(displacement))
    panels.append(_diverging(jacobian[len(jacobian) // 2]))
    if orientation and orientation[1] in "AS":
        panels = [panel[::-1] for panel in panels]
    if orientation and orientation[0] == "R":
        panels = [panel[:, ::-1] for panel in panels]
    row = np.concatenate([np.pad(panel, ((2, 2), (2, 2), (0, 0)), constant_values=0.3) for panel in panels], 1)
    return (255 * row).round().astype(np.uint8)


def _middle(volume: torch.Tensor) -> np.ndarray:
    plane = volume[volume.shape[0] // 2] if volume.ndim == 3 else volume
    return plane.detach().float().cpu().numpy()


def _lines(shape: Sequence[int], device: torch.device, step: int = 6) -> torch.Tensor:
    """Return lines a few voxels apart along the last two axes, (1, 1, ...)."""
    j, i = (torch.arange(n, device=device) % step == 0 for n in shape[-2:])
    plane = (j[:, None] | i[None, :]).float()
    return plane.expand(1, 1, *shape[2:]).contiguous()


def _diverging(jacobian: np.ndarray) -> np.ndarray:
    amount = np.clip(np.log2(np.maximum(jacobian, 1e-6)), -1, 1)[..., None]
    red, blue, white = np.array([0.8, 0.1, 0.1]), np.array([0.1, 0.2, 0.8]), np.ones(3)
    color = np.where(amount > 0, white + amount * (red - white), white - amount * (blue - white))
    return np.where((jacobian <= 0)[..., None], 0.0, color)


def write_image_rows(rows: Sequence[np.ndarray], path: Path) -> np.ndarray | None:
    """Write the rows under one another as a PNG, at twice their size.

    Returns:
        What was written, or None where there is no row.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    if not rows:
        return None
    whole = np.concatenate(rows, 0).repeat(2, 0).repeat(2, 1)
    try:
        sitk.WriteImage(sitk.GetImageFromArray(whole, isVector=True), str(path))
    except RuntimeError as error:  # how SimpleITK says that a disk is full
        raise OSError(28, str(error).strip().splitlines()[-1], str(path)) from error
    return whole
