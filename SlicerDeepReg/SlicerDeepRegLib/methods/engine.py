"""What the classical engines share: the prepared pair as pictures, and a displacement as the outcome.

An engine sees the pair with the linear part applied, on the working grid with straight axes: it works in millimeters
along the axes of the voxels, whatever the orientation of the image. What it finds comes back as ``u`` on that grid and
goes through the same composition, inversion and checks as every other method's.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ..catalog import Card
from ..preparation.checks import check_memory
from ..preparation.working import WorkingPair, choose_similarity
from ..settings import settings_for
from ..types import Field, Grid, InputError, Progress, Stage
from ..warping.inverse import inverted
from .outcome import Outcome, room_to_leave

Report = Callable[[Progress], None]


class Engine:
    """A method that is an engine of others or ours, without weights. Subclasses write ``find``.

    Attributes:
        one_contrast: whether it compares intensities as they are: then they are matched before, and images of
            different contrast are refused.
        planar: whether it takes single slices.
        bytes_per_voxel: of the working grid, that it needs; rounded up from benchmarks.
        on_device: whether it computes on the device of the registration, else always on the CPU.
    """

    one_contrast = True
    planar = True
    bytes_per_voxel = 300
    on_device = False

    def __init__(self, card: Card) -> None:
        self.card = card

    def check(self, grid: Grid, settings: Any, similarity: str = "auto") -> None:
        """Before any work: whether it is there, and can do what is asked for a fixed image on that grid.

        Raises:
            InputError: it is not installed, or does not take such images.
        """
        self.available()
        if similarity == "mind" and self.one_contrast:
            raise InputError(
                f"{self.card.title} compares images of one contrast. Choose svf, ants or elastix for others."
            )
        if grid.is_planar and not self.planar:
            raise InputError(
                f"{self.card.title} takes 3D images. Choose Velocity-field optimization for single slices."
            )

    def available(self) -> None:
        """Raise InputError where what it needs is not installed, with how to install it."""

    def check_memory(self, grid: Grid, settings: Any, preset: str, free: int, where: str) -> None:
        """Whether the memory will do.

        Raises:
            InputError: it will not, with how much is needed and what to try. DeviceMemoryError: on the GPU.
        """
        check_memory(grid, preset, self.bytes_per_voxel, free, where)

    def find(
        self, pair: WorkingPair, device: torch.device, report: Report, settings: Any
    ) -> Tuple[torch.Tensor, Optional[torch.Tensor], Dict[str, Any], Sequence[float]]:
        """The displacement in voxels of the working grid, (1, n, ...), order i, j(, k).

        Returns:
            It, its inverse where the engine has it (else None), metrics, and the curve of its loss.
        """
        raise NotImplementedError

    def run(self, pair: WorkingPair, device: torch.device, report: Report, settings: Any = None) -> Outcome:
        """Register the prepared pair.

        Raises:
            InputError: the engine failed, with its last words.
        """
        settings = settings or settings_for(self.card.module, pair.preset, defaults=self.card.settings)
        start = time.perf_counter()
        found, back, metrics, curve = self.find(pair, device, report, settings)
        if not torch.isfinite(found).all():
            raise InputError(f"{self.card.title} gave a field that holds values that are not numbers.")
        seconds = time.perf_counter() - start
        report(Progress(0.98, "inverse"))
        field = pair.field_from_voxels(found[0].cpu().numpy(), pair.grid)
        outcome = Outcome(notes=self._notes(pair))
        outcome.stages = [Stage(self.card.name, seconds, pair.linear_lps, field, metrics, tuple(curve))]
        outcome.displacement, outcome.inverse = field, inverse_of(pair, found, back)
        return outcome

    def _notes(self, pair: WorkingPair) -> List[str]:
        fixed, moving = both_on_grid(pair)
        if self.one_contrast and choose_similarity(fixed[pair.inside], moving[pair.inside]) == "mind":
            return ["The images look like different contrasts, and this method compares intensities."]
        return []


def inverse_of(pair: WorkingPair, found: torch.Tensor, start: Optional[torch.Tensor] = None) -> Field:
    """The inverse by fixed-point iteration, on a grid wide enough for every x + u(x)."""
    padding, grid = room_to_leave(pair, found, pair.grid)
    wide = F.pad(found, padding, mode="replicate")
    start = F.pad(start, padding, mode="replicate") if start is not None else None
    return pair.field_from_voxels(inverted(wide, start=start)[0].cpu().numpy(), grid)


def both_on_grid(pair: WorkingPair) -> Tuple[np.ndarray, np.ndarray]:
    """(K, J, I) fixed and moving on the working grid, 0 to 1."""
    core = tuple(slice(m, m + n) for m, n in zip(pair.margin_ijk[::-1], pair.grid.shape_kji))
    return pair.fixed, pair.moving[core]


def arrays(pair: WorkingPair) -> Tuple[np.ndarray, np.ndarray, np.ndarray, List[float]]:
    """Fixed, moving, where they count, and the spacing along i, j(, k) in mm; without the axes that do not exist."""
    shape = [n for n in pair.grid.shape_kji if n > 1]
    spacing = [float(pair.grid.spacing_mm[c]) for c in pair.axes_ijk]
    fixed, moving = (np.ascontiguousarray(one, np.float32).reshape(shape) for one in both_on_grid(pair))
    return fixed, moving, pair.inside.reshape(shape), spacing


def picture(values: np.ndarray, spacing_mm: Sequence[float]) -> sitk.Image:
    """An array as a picture with straight axes that begins at 0."""
    found = sitk.GetImageFromArray(values)
    found.SetSpacing(list(spacing_mm))
    return found


def in_voxels(vectors_mm: np.ndarray, spacing_mm: Sequence[float], device: torch.device) -> torch.Tensor:
    """(..., n) millimeters along the axes to (1, n, ...) voxels."""
    voxels = np.moveaxis(np.asarray(vectors_mm, np.float32) / np.array(spacing_mm, np.float32), -1, 0)
    return torch.from_numpy(np.ascontiguousarray(voxels))[None].to(device)
