"""What the classical engines share: the prepared pair as images with straight axes, and a displacement as the outcome.

An engine sees the pair with the linear part applied, on the working grid with straight axes: it works in millimeters
along the axes of the voxels, whatever the orientation of the image. What it finds comes back as ``u`` on that grid and
goes through the same composition, inversion and checks as every other method's. No torch before an engine runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from ..preparation.working import WorkingPair, working_pair
from ..similarity import for_modality, similarity
from ..types import Grid, ImagePair, InputError, Stage
from .base import BaseMethod, Context, Outcome

if TYPE_CHECKING:
    import torch

#: What is said where a method that compares one modality gets images that look like two.
OTHER_MODALITY = (
    "The images look like different modalities, and this method assumes one: the result may be wrong. For different "
    "modalities, choose velocity-field optimization with the MIND metric."
)


@dataclass(frozen=True, eq=False)
class Displacement:
    """What an engine found.

    Attributes:
        vectors_mm: (K, J, I, 3) or (J, I, 2) mm along the axes i, j(, k) of the working grid: from fixed to moving.
        inverse_mm: the inverse, where the engine has it.
        metrics: what it measured, by name.
        curve: its loss at each iteration.
    """

    vectors_mm: np.ndarray
    inverse_mm: np.ndarray | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    curve: Sequence[float] = ()


@dataclass(frozen=True, eq=False)
class StraightPair:
    """The working pair as an engine takes it, without the axes that do not exist.

    Attributes:
        fixed, moving: (K, J, I) or (J, I) float32, 0..1.
        inside: bool, where they count.
        spacing_mm: along i, j(, k).
        one_modality: whether they are compared as images of one modality.
        preset: of the request.
    """

    fixed: np.ndarray
    moving: np.ndarray
    inside: np.ndarray
    spacing_mm: list[float]
    one_modality: bool
    preset: str

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return moving, fixed and where they count on a device, float32 (1, 1, ...)."""
        import torch

        arrays = (self.moving, self.fixed, self.inside.astype(np.float32))
        moving, fixed, inside = (torch.from_numpy(values)[None, None].to(device) for values in arrays)
        return moving, fixed, inside


class Engine(BaseMethod):
    """A method without weights that gives one displacement. Subclasses write ``find``."""

    def find(self, pair: StraightPair, settings: Any, context: Context) -> Displacement:
        """Find the displacement from fixed to moving points."""
        raise NotImplementedError

    def run(self, pair: ImagePair, start: np.ndarray, settings: Any, context: Context) -> Outcome:
        """See :class:`~.base.Method`."""
        import torch

        from .inverse import in_voxels

        work = self.prepare(pair, start, context)
        began = time.perf_counter()
        straight, device = straightened(work), torch.device(context.device)
        result = self.find(straight, settings, context)
        inverse = None
        if result.inverse_mm is not None:
            inverse = in_voxels(result.inverse_mm, straight.spacing_mm, device)
        displacement = in_voxels(result.vectors_mm, straight.spacing_mm, device)
        return self.outcome(work, displacement, inverse, result.metrics, result.curve, began, context)

    def prepare(self, pair: ImagePair, start: np.ndarray, context: Context) -> WorkingPair:
        """Bring both images to the working grid, their intensities matched where the engine compares these."""
        metric = for_modality("same").name if self.modalities == ("same",) else context.similarity
        work = working_pair(pair, start, context.preset, metric)
        context.done("prepare")
        return work

    def outcome(
        self,
        work: WorkingPair,
        displacement: torch.Tensor,
        inverse: torch.Tensor | None,
        metrics: Mapping[str, Any],
        curve: Sequence[float],
        began: float,
        context: Context,
        grid: Grid | None = None,
    ) -> Outcome:
        """Make the outcome of a displacement and, where it is known, its inverse.

        Args:
            displacement, inverse: (1, n, ...) voxels of the grid, order i, j(, k).
            began: when the engine began, by ``time.perf_counter``.
            grid: where they are known; the working grid when left out.

        Raises:
            InputError: the displacement holds NaN or infinite values.
        """
        from .inverse import inverse_of

        if not bool(displacement.isfinite().all()):
            raise InputError(f"{self.title} gave a field with NaN or infinite values. Try another method.")
        seconds = time.perf_counter() - began
        context.report(0.98, "inverse")
        grid = grid or work.grid
        field_lps = work.field_from_voxels(displacement[0].cpu().numpy(), grid)
        stage = Stage(
            name=self.name,
            seconds=seconds,
            linear_lps=work.linear_lps,
            field=field_lps,
            metrics=metrics,
            curve=tuple(curve),
        )
        return Outcome(
            linear_lps=work.linear_lps,
            stages=[stage],
            displacement=field_lps,
            inverse=inverse_of(work, displacement, inverse, grid),
            notes=modality_notes(context.modality) if self.modalities == ("same",) else [],
        )


def straightened(work: WorkingPair) -> StraightPair:
    """Return the working pair without the axes that do not exist."""
    shape = [n for n in work.grid.shape_kji if n > 1]
    fixed, moving = (np.ascontiguousarray(v, np.float32).reshape(shape) for v in (work.fixed, work.moving_inside))
    return StraightPair(
        fixed=fixed,
        moving=moving,
        inside=work.inside.reshape(shape),
        spacing_mm=[float(work.grid.spacing_mm[c]) for c in work.axes_ijk],
        one_modality=similarity(work.similarity).modality == "same",
        preset=work.preset,
    )


def straight_image(values: np.ndarray, spacing_mm: Sequence[float]) -> sitk.Image:
    """Return an array as an image with straight axes whose origin is 0."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(list(spacing_mm))
    return image


def modality_notes(modality: str) -> list[str]:
    """Say where images that are compared as one modality are of two."""
    return [] if modality == "same" else [OTHER_MODALITY]
