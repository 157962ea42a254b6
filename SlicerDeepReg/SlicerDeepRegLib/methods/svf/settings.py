"""The numbers of velocity-field optimization. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...settings import number
from ...similarity import similarities


def _of_metrics(preset: str) -> dict[str, Any]:
    return {name: metric.presets[preset] for name, metric in similarities().items()}


@dataclass(frozen=True)
class SVFSettings:
    """The numbers of velocity-field optimization. Lengths are in voxels of the level, along its finest axis.

    Attributes:
        metrics: the settings of each similarity metric, by its name.
    """

    metrics: Mapping[str, Any] = field(default_factory=lambda: _of_metrics("standard"))
    step: float = number(0.3, 0.02, 2.0, "First step (voxels)", "Length of the first step of each scale.")
    final_step: float = number(
        0.1, 0.01, 1.0, "Final step (fraction)", "The last step of a scale, as a fraction of the first."
    )
    damping: float = number(
        0.03, 0.0001, 1.0, "Damping", "Gradients much smaller than this hardly move anything: noise is not amplified."
    )
    gradient_sigma: float = number(
        0.5, 0.0, 5.0, "Gradient smoothing (voxels)", "Gaussian smoothing of the gradient, before the step is made."
    )
    step_sigma: float = number(
        1.5, 0.5, 5.0, "Step smoothing (voxels)", "Gaussian smoothing of each step. More is smoother and folds less."
    )
    structure_weight: float = number(
        3.0,
        0.0,
        100.0,
        "Weight of structures",
        "Pull of the structures of both images, where these are known, beside that of their intensities; 0 for none.",
    )
    guiding_weight: float = number(
        100.0,
        0.0,
        1000.0,
        "Weight of guiding structures",
        "Pull of the structures that guide the registration, beside that of the intensities; 0 for none.",
    )
    guidance_weight: float = number(
        1.0,
        0.0,
        100.0,
        "Weight of landmarks",
        "Pull of landmarks, curves, surfaces and rigid structures that guide the registration; 0 for none.",
    )
    guidance_reach_mm: float = number(
        10.0, 1.0, 100.0, "Reach of landmarks (mm)", "How far around it a landmark pulls at the deformation."
    )
    search_cell: int = number(
        6, 3, 16, "Search cell (voxels)", "Size of a cell of the first search for large motion, in voxels of the image."
    )
    search_radius: int = number(4, 1, 6, "Search radius (cells)", "How many cells that search looks each way.")
    min_jacobian: float = number(
        0.02, 0.0, 0.5, "Minimum Jacobian", "The deformation is smoothed where it would compress below this."
    )
    repair_reach: int = number(
        4, 1, 12, "Repair reach (voxels)", "How far around such locations to smooth; doubled if five rounds fail."
    )


PRESET_SETTINGS = {
    "fast": SVFSettings(metrics=_of_metrics("fast")),
    "standard": SVFSettings(metrics=_of_metrics("standard")),
    "thorough": SVFSettings(metrics=_of_metrics("thorough"), gradient_sigma=1.5, step_sigma=1.2, repair_reach=2),
}
