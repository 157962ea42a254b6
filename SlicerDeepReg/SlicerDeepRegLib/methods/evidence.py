"""What a pair is, found out from its images: whether anything is left to deform, whether one person is shown, and
whether both images are of one modality.

All is read from the directions of edges, whatever their height or sign (normalized gradient fields), after the linear
alignment:

* **moved**: the part of the image in which a shift of a voxel or more makes the edges around it agree better, by a
  tenth. Of two scans of one visit a few hundredths are left, of two people a third or more.
* **sharpness**: how much of the agreement is lost by a shift of two voxels more, after a coarse deformation. Only
  edges of one anatomy fall onto one another so closely.
* **sign**: whether the edges that agree then also have one sign, as those of one modality do (1), or the other (-1).

The part of the image within two voxels of its background is left out: where a brain was cut out of its head says
nothing about the anatomy. The three limits stand in the gaps between the pairs that benchmarks/pairs.py prints,
where they were chosen.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from ..geometry.grids import level_size, resized
from ..losses.multimodal import NormalizedGradientFields
from ..preparation.working import WorkingPair, working_pair
from ..similarity import for_modality, similarities
from ..types import PEOPLE, PERSON, VISIT, Grid, ImagePair
from ..warping.filters import box_sum, gaussian
from ..warping.sample import resize, warp
from .svf.optimizer import optimize_level
from .svf.plan import levels
from .svf.pyramid import Deformation, Images
from .svf.settings import PRESET_SETTINGS

#: Below the first part nothing moved. Below the second little did, and two modalities are one person's, too: pairs of
#: one visit have up to 0.11, where slices are thick; deforming these stiffly costs less than passing over the swelling
#: of a part of the image would. In one modality a free deformation does no harm.
NOTHING_MOVED, LITTLE_MOVED = 0.05, 0.2
#: From the first on it is one person, from the second on one modality.
LEAST_SHARPNESS, LEAST_SIGN = 0.33, 0.65
#: Below it hardly anything corresponds: two people in two contrasts have 0.14 and more, noise in a head's outline 0.04.
LEAST_RELATED = 0.08
#: Where shifts are longer than this, because the voxels are so large, it cannot be told whether anything moved.
LONGEST_SHIFT_MM = 2.5
#: The preset on whose grids images of small voxels are looked at, the metric that needs no modality, the steps of each
#: resolution and the weight of the diffusion energy.
PRESET, METRIC, STEPS, REGULARITY = "fast", "ngf", 30, 1.6
#: The largest voxels that such grids may have, in mm.
LARGEST_VOXEL_MM = 2.5
#: Lengths in mm: of a shift (at most a 30th of the image), and the deviation of the window around a place (a 12th).
SHIFT_MM, WINDOW_MM = 2.0, 8.0
#: How many shifts each way are tried along each axis; what counts as better; and the shift of the sharpness, in voxels.
REACH, BETTER, BLUR = 4, 0.1, 2
#: The most voxels that shifts are tried on.
MOST_VOXELS = 400_000
#: What counts as background of an image of 0..1, and how many voxels from it are left out.
BACKGROUND, RIM = 0.02, 2
#: Places with less of the image's edges around them than this part of the most are not looked at.
LEAST_EDGES = 0.1
#: From fewer places nothing can be told.
FEWEST_PLACES = 200


@dataclass(frozen=True)
class PairEvidence:
    """What was seen of a pair; see the head of the file.

    Attributes:
        moved: 0..1.
        sign: -1..1.
        shift_mm: the smallest shift that was tried.
        sharpness: at most 1; None where the other two decide.
        held: whether the edges agree better than if the images were shifted: else nothing of them corresponds.
    """

    moved: float
    sign: float
    shift_mm: float
    sharpness: float | None = None
    held: bool = True

    @property
    def modality(self) -> str:
        """Whether both are of the "same" or of "different" modality."""
        return "same" if self.sign >= LEAST_SIGN else "different"

    @property
    def kind(self) -> str:
        """What the pair is taken for."""
        if self.moved < NOTHING_MOVED and self.shift_mm <= LONGEST_SHIFT_MM:
            return VISIT
        sharp = self.sharpness is not None and self.sharpness >= LEAST_SHARPNESS
        one_person = self.modality == "different" and (sharp or self.moved < LITTLE_MOVED)
        return PERSON if one_person else PEOPLE

    @property
    def cannot_tell(self) -> bool:
        """Whether the voxels are too large to see whether anything moved."""
        return self.moved < NOTHING_MOVED and self.shift_mm > LONGEST_SHIFT_MM

    def metric(self, kind: str) -> str:
        """Return the name of the metric that fits the pair, if it is of that kind."""
        if self.modality == "same":
            return for_modality("same").name
        return METRIC if kind in (VISIT, PERSON) else for_modality("different").name

    @property
    def sentence(self) -> str:
        """What was seen, for people."""
        if not self.held:
            return (
                "Nothing in the two images corresponds: their edges agree no better than if one of them were shifted. "
                "Check that both show the same part of the body."
            )
        if self.cannot_tell:
            return (
                f"Whether anything moved cannot be told at voxels of {_mm(self.shift_mm)} mm; the images were taken "
                f"for those of {'one person in two states' if self.kind == PERSON else 'different people'}."
            )
        percent = "less than 1%" if self.moved < 0.01 else f"{100 * self.moved:.0f}%"
        if self.kind == VISIT:
            return (
                f"The images look like one person at one time: {percent} of the image would fit better if "
                f"shifted by {_mm(self.shift_mm)} mm or more."
            )
        after = f"{percent} of the image would fit better if shifted by {_mm(self.shift_mm)} mm or more"
        if self.kind == PERSON:
            return f"The images look like one person in two states: {after}."
        said = f"The images do not look like one person at one time: {after}."
        if self.sharpness is not None and self.sharpness < LEAST_RELATED:
            said += " Hardly anything in them corresponds: check that both show the same part of the body."
        return said


def _mm(length: float) -> str:
    return f"{length:.0f}" if length >= 1 else f"{length:.1g}"


@torch.no_grad()
def look_at(pair: ImagePair, linear_lps: np.ndarray, device: str) -> PairEvidence:
    """Find out what a pair is.

    Args:
        linear_lps: (4, 4) the linear alignment, fixed to moving points.
        device: for ``torch.device``.

    Raises:
        InputError: one of the images has one value where they overlap.
    """
    work = looked_at_pair(pair, linear_lps)
    images = Images(work, torch.device(device))
    moved, shift_mm = _moved(images)
    state, grid = _coarse(images)
    edges = Edges(images, grid)
    displacement = resize(state.displacement, images.shape(grid))
    agreement, weight = edges.cosines(displacement)
    square = agreement**2 * weight
    before, weight = edges.cosines(torch.zeros_like(displacement))
    if float((before**2 * weight).sum()) > float(square.sum()):  # it made it worse, as where half of an image is empty
        displacement, agreement, square = torch.zeros_like(displacement), before, before**2 * weight
    total = max(float(square.sum()), 1e-12)
    sign = float((square * agreement.sign()).sum()) / total
    seen = PairEvidence(1.0 if moved is None else moved, sign, shift_mm, held=moved is not None)
    if seen.kind != PEOPLE or seen.modality == "same" or not square.any():
        return seen
    return dataclasses.replace(seen, sharpness=1 - _blurred(edges, displacement) / total)


def _blurred(edges: Edges, displacement: torch.Tensor) -> float:
    """Return the agreement of the edges at shifts of two voxels, mean over the axes and both ways."""
    found = []
    for axis in range(displacement.shape[1]):
        for step in (-BLUR, BLUR):
            further = displacement.clone()
            further[:, axis] += step
            cosines, weight = edges.cosines(further)
            found.append(float((cosines**2 * weight).sum()))
    return float(np.mean(found))


def looked_at_pair(pair: ImagePair, linear_lps: np.ndarray) -> WorkingPair:
    """Return the pair on the grid that it is looked at: its own voxels where twice as large ones are too large.

    Raises:
        InputError: one of the images has one value where they overlap.
    """
    grid = pair.fixed.grid
    smallest = float(grid.spacing_mm[np.array(grid.size_ijk) > 1].min())
    return working_pair(pair, linear_lps, PRESET if 2 * smallest <= LARGEST_VOXEL_MM else "standard", METRIC)


class Edges:
    """The edges of both images at a resolution."""

    def __init__(self, images: Images, grid: Grid, contrast: int = 0) -> None:
        fixed, moving, self.inside, self.relation = images.at(grid)
        self.fixed, self.moving = fixed[:, contrast : contrast + 1], moving[:, contrast : contrast + 1]
        self.metric = NormalizedGradientFields(self.fixed, grid.spacing_mm[images.axes].tolist(), self.inside)
        self.rim = _inner(self.fixed), _inner(self.moving)
        counted = self.inside * self.rim[0]
        if float(counted.sum()) < 0.1 * float((self.inside * (self.fixed > BACKGROUND)).sum()):
            # Nothing but rim, as in a thin or hollow shape: then that is what there is to compare.
            self.rim = torch.ones_like(self.fixed), torch.ones_like(self.moving)
        self.weight = self.inside * self.rim[0]

    def cosines(self, displacement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the cosines of the angles between the edges, -1..1, and their weights, 0..1; both (1, 1, ...).

        Args:
            displacement: (1, n, ...) voxels.
        """
        directions, rim = self.moved(displacement)
        return (self.metric.fixed * directions).sum(1, keepdim=True), self.weight * rim

    def moved(self, displacement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the edges of the moved image, (1, n, ...), and where they count, (1, 1, ...)."""
        moved = warp(self.moving, displacement, **self.relation)
        return self.metric.direction(moved), warp(self.rim[1], displacement, **self.relation)


def _shifted(image: torch.Tensor, axis: int, step: int) -> torch.Tensor:
    """Return ``image(x + step)`` along an axis, its border repeated."""
    length = image.shape[axis]
    index = (torch.arange(length, device=image.device) + step).clamp_(0, length - 1)
    return image.index_select(axis, index)


def _inner(image: torch.Tensor) -> torch.Tensor:
    """Return 1 where all voxels within the rim show something, else 0."""
    return (box_sum((image <= BACKGROUND).to(image.dtype), [RIM] * (image.ndim - 2)) < 0.5).to(image.dtype)


def fine_grid(images: Images) -> tuple[Grid, float]:
    """Return the grid on which small shifts are looked at, and their length in mm."""
    pair, axes = images.pair, images.axes
    smallest = float(pair.grid.spacing_mm[axes].min())
    sides_mm = (np.array(pair.grid.size_ijk) * pair.grid.spacing_mm)[axes]
    fewest_mm = float(np.prod(sides_mm) / MOST_VOXELS) ** (1 / len(axes))
    step_mm = max(min(SHIFT_MM, float(sides_mm.min()) / 30), smallest, fewest_mm)
    return resized(pair.grid, level_size(pair.grid, step_mm / smallest)), step_mm


def window_of(images: Images, grid: Grid) -> list[float]:
    """Return the deviation of the window around a place, in voxels of a grid along each axis."""
    axes = images.axes
    sides_mm = (np.array(grid.size_ijk) * grid.spacing_mm)[axes]
    window_mm = min(WINDOW_MM, float(sides_mm.min()) / 12)
    return [window_mm / float(length) for length in grid.spacing_mm[axes]]


def _moved(images: Images) -> tuple[float | None, float]:
    """Return the part of the image that fits better elsewhere, and the length in mm of the shifts that were tried.

    The part is None where the edges agree no better than if they were shifted: nothing holds them.
    """
    axes, (grid, step_mm) = images.axes, fine_grid(images)
    edges, voxel_mm, sigma = Edges(images, grid), grid.spacing_mm[axes], window_of(images, grid)
    moving = torch.cat(edges.moved(edges.fixed.new_zeros((1, len(axes), *edges.fixed.shape[2:]))), 1)

    def around(shifted: torch.Tensor) -> torch.Tensor:
        cosines = (edges.metric.fixed * shifted[:, :-1]).sum(1, keepdim=True)
        return gaussian(cosines**2 * (edges.weight * shifted[:, -1:]), sigma)

    fixed_edges = gaussian((edges.metric.fixed**2).sum(1, keepdim=True) * edges.weight, sigma)
    looked_at = (fixed_edges > LEAST_EDGES * fixed_edges.max()) & (edges.weight > 0.5)
    if int(looked_at.sum()) < FEWEST_PLACES:
        return 1.0, step_mm
    here, gain, far = around(moving), torch.zeros_like(edges.fixed), []
    level = float(here[looked_at].mean())  # little agreement is chance, and so is what is better than it
    for axis, length in enumerate(voxel_mm):
        voxels = max(1, round(step_mm / length))  # slices that are thicker than the shift: one of them
        for step in (*range(-REACH, 0), *range(1, REACH + 1)):
            there = around(_shifted(moving, moving.ndim - 1 - axis, step * voxels))
            gain = torch.maximum(gain, (there - here) / there.clamp(min=max(level, 1e-9)))
            if abs(step) == REACH:
                far.append(float(there[looked_at].mean()))
    if level <= (1 + BETTER) * float(np.mean(far)):
        return None, step_mm
    return float((gain[looked_at] > BETTER).float().mean()), step_mm


def _coarse(images: Images) -> tuple[Deformation, Grid]:
    """Return a deformation of the two coarsest resolutions, and the finest grid."""
    settings, plan = PRESET_SETTINGS[PRESET], levels(images.pair.content_grid, images.pair.preset)
    metric, state = similarities()[METRIC], None
    for level in plan[:2]:
        level = dataclasses.replace(level, field_size_ijk=level.size_ijk, iterations=STEPS)
        state, _ = optimize_level(images, level, state, metric, REGULARITY, settings, lambda part, loss: None)
    if state is None:
        raise ValueError("a plan needs at least one level")
    return state, resized(images.pair.grid, plan[-1].size_ijk)
