"""`svf`: training-free deformable registration by a product of velocity fields.

The deformation is ``(id + u) = exp(v_1) o exp(v_2) o ... o exp(v_L)``, one stationary velocity field for
each stage: an optional search, then each resolution from coarse to fine. Each factor is a diffeomorphism
and its inverse is the exponential of the negative, so the whole is one and its inverse is
``exp(-v_L) o ... o exp(-v_1)``. At each step:

* the gradient of the similarity is taken where it belongs in a composition: the gradient of the warped
  image times the derivative of the loss by the warped image (Vercauteren et al. 2009, Avants et al. 2008);
* the regularizer is the diffusion energy of the whole displacement, in mm, not of the factor;
* the step is Adam's, smoothed by a Gaussian after it was normalized, so that every factor stays smooth.

For images of one contrast ("lncc") the loss is squared local correlation plus the squared difference of
histogram-matched intensities over its own variance. For different contrasts ("mind") it is the squared
difference of MIND-SSC descriptors. The search is the coupled-convex scheme of Heinrich, Papiez, Schnabel
and Handels (2014) as ConvexAdam (Siebert et al., TMI 2024) uses it, on MIND-SSC, in both directions.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F

from ..geometry.grids import resized
from ..losses.similarity import LNCC, MSE, WeightedSum, mind_ssc
from ..preparation.plan import Level
from ..preparation.working import WorkingPair
from ..settings import SVFSettings, settings_for
from ..types import Field, Grid, Progress, Stage
from ..warping.filters import box_mean, box_sum, central_difference, gaussian, laplacian
from ..warping.sample import compose, resize, warp
from ..warping.velocity import correct_inverse, integrate
from .outcome import Outcome, room_to_leave


@dataclass
class Deformation:
    """Where the method stands: displacement and inverse on the grid of the last stage."""

    displacement: torch.Tensor  # (1, n, ...) voxels of its grid, order i, j(, k)
    inverse: torch.Tensor
    grid: Grid


@torch.no_grad()
def run(
    pair: WorkingPair,
    device: torch.device,
    report: Callable[[Progress], None],
    settings: Optional[SVFSettings] = None,
    search: bool = True,
) -> Outcome:
    """Register the prepared pair.

    Returns:
        The stages, and the field and its inverse on the working grid.
    """
    settings = settings or settings_for("svf", pair.preset)
    images, outcome = _Images(pair, device), Outcome()
    state = _search_stage(images, settings, outcome, report) if search else None
    return _optimize_levels(images, pair.levels, state, settings, outcome, report)


@torch.no_grad()
def refine(
    pair: WorkingPair,
    device: torch.device,
    report: Callable[[Progress], None],
    displacement: torch.Tensor,
    iterations: int,
) -> Outcome:
    """Go on from a displacement that something else found, at the two finest scales.

    What it starts from is the flow of a smooth velocity near that displacement, at the coarser of the two, smoothed
    further where it would fold: so it has an inverse, and the scales bring the detail back.

    Args:
        displacement: (1, n, ...) voxels of the working grid.
        iterations: at each scale.
    """
    settings = settings_for("svf", pair.preset)
    images = _Images(pair, device)
    levels = [dataclasses.replace(level, iterations=iterations) for level in pair.levels[-2:]]
    levels[0] = dataclasses.replace(levels[0], field_size_ijk=levels[0].size_ijk)  # what was found may be as fine
    grid = resized(pair.grid, levels[0].size_ijk)
    velocity = _logarithm(resize(displacement, tuple(grid.size_ijk[c] for c in images.axes)[::-1]))
    state, _ = _fold_free(None, velocity, grid, settings)
    return _optimize_levels(images, levels, state, settings, Outcome(), report)


def _optimize_levels(
    images: _Images,
    levels: Sequence[Level],
    state: Optional[Deformation],
    settings: SVFSettings,
    outcome: Outcome,
    report: Callable[[Progress], None],
) -> Outcome:
    """Scale by scale; then the field and its inverse on the finest grid."""
    pair, done = images.pair, 0
    total_work = sum(level.iterations * _voxels(level) for level in levels) + 1
    for level in levels:
        share = level.iterations * _voxels(level)

        def tell(fraction: float, loss: float, done=done, share=share, level=level) -> None:
            report(Progress(0.1 + 0.88 * (done + fraction * share) / total_work, _level_name(level, pair), loss))

        state = _optimize_level(images, level, state, settings, tell, outcome)
        done += share
    report(Progress(0.98, "inverse"))
    outcome.displacement = _as_field(pair, state.displacement, state.grid)
    outcome.inverse = _final_inverse(pair, state)
    return outcome


def _final_inverse(pair: WorkingPair, state: Deformation) -> Field:
    """The inverse on a grid wide enough for every x + u(x), most of its interpolation error taken out."""
    padding, grid = room_to_leave(pair, state.displacement, state.grid)
    forward = F.pad(state.displacement, padding, mode="replicate")
    backward = F.pad(state.inverse, padding, mode="replicate")
    return _as_field(pair, correct_inverse(forward, backward, rounds=1), grid)


class _Images:
    """Both images on the device, at any level, and how their grids relate."""

    def __init__(self, pair: WorkingPair, device: torch.device) -> None:
        self.pair, self.device = pair, device
        self.axes = list(pair.axes_ijk)
        self.fixed = self._tensor(pair.fixed)
        self.moving = self._tensor(pair.moving)
        self.inside = self._tensor(pair.inside.astype(np.float32))

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        """(1, 1, ...) without the axis of a single slice."""
        shape = [n for n in values.shape if n > 1] if len(self.axes) < 3 else values.shape
        tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32).reshape(1, 1, *shape))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def at(self, grid: Grid) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict]:
        """Fixed, moving and mask at the resolution of ``grid``, and warp's scale and offset for the moving one."""
        factor = np.array(self.pair.grid.size_ijk) / np.array(grid.size_ijk)
        sigma = [0.35 * np.sqrt(max(0.0, f**2 - 1)) for f in factor[self.axes]]
        fixed = self._shrunk(self.fixed, sigma, [grid.size_ijk[c] for c in self.axes])
        inside = self._shrunk(self.inside, sigma, [grid.size_ijk[c] for c in self.axes])
        wide = np.array(self.pair.grid.size_ijk) + 2 * np.array(self.pair.margin_ijk)
        moving_size = [max(1, int(round(wide[c] / factor[c]))) for c in self.axes]
        moving = self._shrunk(self.moving, sigma, moving_size)
        moving_factor = wide[self.axes] / np.array(moving_size)
        scale = factor[self.axes] / moving_factor
        offset = (0.5 * factor[self.axes] + np.array(self.pair.margin_ijk)[self.axes]) / moving_factor - 0.5
        return fixed, moving, inside, {"scale_ijk": scale.tolist(), "offset_ijk": offset.tolist()}

    @staticmethod
    def _shrunk(image: torch.Tensor, sigma_ijk: Sequence[float], size_ijk: Sequence[int]) -> torch.Tensor:
        shape = tuple(size_ijk[::-1])
        if tuple(image.shape[2:]) == shape:
            return image
        mode = "trilinear" if image.ndim == 5 else "bilinear"
        return F.interpolate(gaussian(image, sigma_ijk), size=shape, mode=mode, align_corners=False)


def _optimize_level(
    images: _Images,
    level: Level,
    state: Optional[Deformation],
    settings: SVFSettings,
    tell: Callable[[float, float], None],
    outcome: Outcome,
) -> Deformation:
    start = time.perf_counter()
    pair = images.pair
    grid = resized(pair.grid, level.size_ijk)
    fixed, moving, inside, relation = images.at(grid)
    # The field may be coarser than the images: what is measured in voxels is measured in those of the images.
    field_grid = resized(pair.grid, level.field_size_ijk)
    before = _resized(state, field_grid, images.axes)
    shape, field_shape = (tuple(g.size_ijk[c] for c in images.axes)[::-1] for g in (grid, field_grid))
    identity = fixed.new_zeros((1, len(images.axes), *field_shape))
    begin = resize(before.displacement if before is not None else identity, shape)
    finest_mm = grid.spacing_mm[images.axes].min()
    thickness, cell = (g.spacing_mm[images.axes] / finest_mm for g in (grid, field_grid))
    if pair.similarity == "mind":
        fixed, moving = mind_ssc(fixed), mind_ssc(moving)
    loss = _loss(pair.similarity, fixed, warp(moving, begin, **relation), inside, thickness, settings)
    weight = _regularity(settings, pair)
    velocity = identity
    adam = _Adam(velocity, settings, level.iterations)
    curve: List[float] = []
    voxels = float(inside.sum().clamp(min=1))
    for iteration in range(level.iterations):
        step = integrate(velocity, 1.0)
        whole = step if before is None else compose(before.displacement, step)
        warped = warp(moving, resize(whole, shape), **relation)
        value, by_warped = _value_and_gradient(loss, warped)
        gradient = _force(warped, by_warped.mul_(voxels), thickness)
        if field_shape != shape:  # the mean of the voxels around each value of the field
            gradient = F.interpolate(gradient, size=field_shape, mode="trilinear" if len(shape) == 3 else "bilinear")
        gradient -= _stiffness(whole, cell, weight)
        if field_shape == shape:  # that mean has smoothed as much
            gradient = gaussian(gradient, settings.gradient_sigma / cell)
        update = adam.update(gradient, iteration)
        update = gaussian(update, settings.step_sigma / cell)
        velocity = velocity - update / _per_channel(update, cell)
        curve.append(value)
        tell((iteration + 1) / level.iterations, value)
    after, smoothed = _fold_free(before, velocity, field_grid, settings)
    outcome.stages.append(
        Stage(
            _level_name(level, pair),
            time.perf_counter() - start,
            pair.linear_lps,
            _as_field(pair, after.displacement, field_grid),
            {"loss_before": curve[0], "loss_after": curve[-1], "smoothing_rounds": smoothed},
            tuple(curve),
        )
    )
    return after


#: A field on a coarser grid is stiffer by itself. With so much of the weight it changes volumes about as much as one at
#: full size does, and overlaps as well (chosen on the brains and the lung of benchmarks/RESULTS.md).
COARSE_FIELD = 0.6


def _regularity(settings: SVFSettings, pair: WorkingPair) -> float:
    if pair.similarity == "mind":
        return settings.regularity_mind
    coarse = pair.levels[-1].field_size_ijk != pair.levels[-1].size_ijk
    return settings.regularity_lncc * (COARSE_FIELD if coarse else 1.0)


#: From how many voxels on windows of local correlation are centered on every second one: fewer cost nothing.
STRIDED_FROM = 100_000


def _loss(similarity: str, fixed, warped, inside, thickness: np.ndarray, settings: SVFSettings):
    if similarity == "mind":
        return WeightedSum((0.5 * settings.mind_weight, MSE(fixed, 1.0, inside)))
    shape_ijk = fixed.shape[:1:-1]
    radius = [min(max(1, round(settings.window_radius / t)), (n - 1) // 2) for t, n in zip(thickness, shape_ijk)]
    content = inside * ((fixed > 0) | (warped > 0))
    spread = ((fixed - warped) ** 2 * content).sum() / content.sum().clamp(min=1)
    scale = max(float(spread) ** 0.5, settings.min_intensity_std)
    strided = fixed[0, 0].numel() > STRIDED_FROM
    stride = [2 if strided and r >= 3 else 1 for r in radius]
    return WeightedSum((1.0, LNCC(fixed, radius, inside, stride_ijk=stride)), (0.5, MSE(fixed, scale, inside)))


def _value_and_gradient(loss, warped: torch.Tensor) -> Tuple[float, torch.Tensor]:
    with torch.enable_grad():
        leaf = warped.detach().requires_grad_()
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), gradient


def _force(warped: torch.Tensor, by_warped: torch.Tensor, thickness: np.ndarray) -> torch.Tensor:
    """The derivative of the loss by a small displacement of the fixed points, (1, n, ...), per finest voxel."""
    parts = []
    for c, thick in enumerate(thickness):
        slope = central_difference(warped, warped.ndim - 1 - c).mul_(by_warped)
        parts.append(slope.sum(1, keepdim=True).div_(float(thick)))
    return torch.cat(parts, 1)


def _stiffness(whole: torch.Tensor, thickness: np.ndarray, weight: float) -> torch.Tensor:
    """Minus the derivative of the diffusion energy, displacement and distance both in finest voxels."""
    return laplacian(whole * _per_channel(whole, thickness), weight / thickness**2)


def _per_channel(like: torch.Tensor, values_ijk: np.ndarray) -> torch.Tensor:
    return like.new_tensor(values_ijk.tolist()).view(1, -1, *[1] * (like.ndim - 2))


class _Adam:
    """Adam (Kingma and Ba 2015) with a step that falls linearly; amounts are in finest voxels."""

    def __init__(self, like: torch.Tensor, settings: SVFSettings, iterations: int) -> None:
        self.first, self.second = torch.zeros_like(like), torch.zeros_like(like)
        self.settings, self.iterations = settings, iterations

    def update(self, gradient: torch.Tensor, iteration: int) -> torch.Tensor:
        self.first.mul_(0.9).add_(gradient, alpha=0.1)
        self.second.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        done = iteration / max(1, self.iterations - 1)
        length = self.settings.step * (1 - (1 - self.settings.final_step) * done) / (1 - 0.9 ** (iteration + 1))
        scale = (self.second / (1 - 0.99 ** (iteration + 1))).sqrt_().add_(self.settings.damping)
        return (self.first / scale).mul_(length)


def _fold_free(
    before: Optional[Deformation], velocity: torch.Tensor, grid: Grid, settings: SVFSettings, rounds: int = 15
) -> Tuple[Deformation, int]:
    """Compose the factor; where the whole would compress too far, smooth the factor and try again.

    In the continuum a product of flows cannot fold; sampled on a grid it can, where the flow is too
    sharp for the grid. Returns the deformation and the rounds of smoothing that were needed.
    """
    for smoothed in range(rounds + 1):
        forward = _forward(before, velocity)
        low = min_jacobian(forward) < settings.min_jacobian
        if smoothed == rounds or not bool(low.any()):
            break
        reach = settings.repair_reach * 2 ** (smoothed // 5)
        n = velocity.shape[1]
        around = gaussian(box_sum(low.to(velocity.dtype), [reach] * n).clamp_(max=1), [0.375 * reach] * n)
        velocity = velocity + around * (gaussian(velocity, [0.375 * reach] * n) - velocity)
    return Deformation(forward, _backward(before, velocity), grid), smoothed


def _forward(before: Optional[Deformation], velocity: torch.Tensor) -> torch.Tensor:
    factor = integrate(velocity, 0.25)
    return factor if before is None else compose(before.displacement, factor)


def _backward(before: Optional[Deformation], velocity: torch.Tensor) -> torch.Tensor:
    factor = integrate(-velocity, 0.25)
    return factor if before is None else compose(factor, before.inverse)


def min_jacobian(displacement: torch.Tensor) -> torch.Tensor:
    """The least of the determinants of one-sided differences around each voxel, (1, 1, ...).

    There are four in 2D and eight in 3D, as in the digital criterion (Liu et al., IJCV 2024); at the border a
    difference that does not exist counts as no change. ``displacement`` is (1, n, ...) voxels.
    """
    n = displacement.shape[1]
    edges = [[_one_sided(displacement, c, ahead) for ahead in (True, False)] for c in range(n)]
    least = None
    for first, second in itertools.product(edges[0], edges[1]):
        if n == 2:
            candidates = [first[:, :1] * second[:, 1:] - first[:, 1:] * second[:, :1]]
        else:
            normal = torch.linalg.cross(first, second, dim=1)
            candidates = [(normal * third).sum(1, keepdim=True) for third in edges[2]]
        for determinant in candidates:
            least = determinant if least is None else torch.minimum(least, determinant)
    return least


def _one_sided(displacement: torch.Tensor, c: int, ahead: bool) -> torch.Tensor:
    """(1, n, ...): where the step of one voxel along axis c leads, to the next voxel or from the one before."""
    axis = displacement.ndim - 1 - c
    length = displacement.shape[axis]
    step = torch.zeros_like(displacement)
    difference = displacement.narrow(axis, 1, length - 1) - displacement.narrow(axis, 0, length - 1)
    step.narrow(axis, 0 if ahead else 1, length - 1).copy_(difference)
    step[:, c] += 1
    return step


#: Of the search: each has a cost for each of 729 candidates in 3D, so that these take 180 MB.
MOST_CELLS = 60_000


def _search_stage(images: _Images, settings: SVFSettings, outcome: Outcome, report) -> Optional[Deformation]:
    """Large motion first: a discrete search in both directions, kept only where it helps."""
    start = time.perf_counter()
    pair = images.pair
    size = settings.search_cell / pair.levels[-1].factor  # in voxels of the working grid
    sides_mm = (pair.grid.size_ijk * pair.grid.spacing_mm)[images.axes]
    in_finest = np.prod(sides_mm / pair.grid.spacing_mm[images.axes].min())  # slices that are thick already are kept
    size = max(size, float(in_finest / MOST_CELLS) ** (1 / len(images.axes)))
    fine = resized(pair.grid, _cells(pair.grid, size / 3, images.axes))
    cells = resized(pair.grid, _cells(pair.grid, size, images.axes))
    if min(cells.size_ijk[c] for c in images.axes) < 4:
        return None
    report(Progress(0.02, "search"))
    fixed, moving, inside, relation = images.at(fine)
    still = fixed.new_zeros((1, len(images.axes), *fixed.shape[2:]))
    aligned = warp(moving, still, **relation)
    shape = tuple(cells.size_ijk[c] for c in images.axes)[::-1]
    pool = F.adaptive_avg_pool3d if len(images.axes) == 3 else F.adaptive_avg_pool2d
    first, second = pool(mind_ssc(fixed), shape), pool(mind_ssc(aligned), shape)
    there = _coupled_search(first, second, settings.search_radius)
    report(Progress(0.06, "search"))
    back = _coupled_search(second, first, settings.search_radius)
    for _ in range(10):  # each half-way to the inverse of the other
        there, back = (there - warp(back, there)) / 2, (back - warp(there, back)) / 2
    velocity = _logarithm(there)
    state = Deformation(_forward(None, velocity), _backward(None, velocity), cells)
    report(Progress(0.1, "search"))
    gain = _search_gain(images, state, settings)
    metrics = {"largest_mm": float(state.displacement.abs().max()) * float(cells.spacing_mm.max()), "gain": gain}
    kept = gain > 0
    note = "" if kept else "not kept: it did not bring the images closer"
    stage_field = _as_field(pair, state.displacement if kept else state.displacement * 0, cells)
    outcome.stages.append(
        Stage("search", time.perf_counter() - start, pair.linear_lps, stage_field, metrics, note=note)
    )
    return state if kept else None


def _search_gain(images: _Images, state: Deformation, settings: SVFSettings) -> float:
    """How much the search lowers the loss of the coarsest level; above 0 is better than without it."""
    pair = images.pair
    grid = resized(pair.grid, pair.levels[0].size_ijk)
    fixed, moving, inside, relation = images.at(grid)
    found = _resized(state, grid, images.axes).displacement
    thickness = grid.spacing_mm[images.axes] / grid.spacing_mm[images.axes].min()
    if pair.similarity == "mind":
        fixed, moving = mind_ssc(fixed), mind_ssc(moving)
    without, with_search = warp(moving, found * 0, **relation), warp(moving, found, **relation)
    loss = _loss(pair.similarity, fixed, without, inside, thickness, settings)
    return float(loss(without) - loss(with_search))


def _coupled_search(fixed: torch.Tensor, moving: torch.Tensor, radius: int) -> torch.Tensor:
    """(1, n, ...) displacement in cells: fixed(x) is like moving(x + d), d smooth, |d| <= radius per axis.

    Alternates between the best candidate near a smooth field and smoothing, the coupling growing.
    """
    n = fixed.ndim - 2
    costs = box_mean(_differences(fixed, moving, radius)[None], [1] * n, times=2)[0]
    costs /= (costs.mean(0) - costs.amin(0)).mean().clamp(min=1e-9)
    offsets = list(itertools.product(range(-radius, radius + 1), repeat=n))  # slowest axis first: k, j, i
    candidates = fixed.new_tensor([offset[::-1] for offset in offsets])  # i, j(, k)
    flat, squared = costs.flatten(1), (candidates**2).sum(1, keepdim=True)
    smooth, score = None, flat
    for coupling in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0):
        if smooth is not None:  # |c - s|^2 without the part that is the same for every candidate
            near = torch.cat([smooth[0].flatten(1), torch.ones_like(flat[:1])])
            score = torch.addmm(flat, coupling * torch.cat([-2 * candidates, squared], 1), near)
        chosen = candidates[score.min(0).indices]  # several times as fast as argmin
        smooth = box_mean(chosen.t().reshape(1, n, *costs.shape[1:]), [1] * n)
    return smooth


def _differences(fixed: torch.Tensor, moving: torch.Tensor, radius: int) -> torch.Tensor:
    """(candidates, ...): the mean squared difference of fixed(x) and moving(x + d), less what is the same for every d.

    ``|f - m|^2`` is ``m^2 - 2 f m`` but for ``f^2``, so that one product of matrices gives it for a row of voxels and
    all that they may move to along the row. Beyond the border the moving descriptors are repeated.
    """
    n, channels = fixed.ndim - 2, fixed.shape[1]
    wide = F.pad(moving, [radius] * (2 * n), mode="replicate")
    rows = torch.cat([fixed * (-2 / channels), torch.ones_like(fixed[:, :1])], 1)[0].movedim(0, -1).contiguous()
    others = torch.cat([wide, (wide * wide).mean(1, keepdim=True)], 1)[0].movedim(0, -1).contiguous()
    shape, side = rows.shape[:-1], 2 * radius + 1
    found = rows.new_empty((side ** (n - 1), side, *shape))
    for number, offset in enumerate(itertools.product(range(side), repeat=n - 1)):
        part = others
        for axis, start in enumerate(offset):
            part = part.narrow(axis, start, shape[axis])
        products = torch.matmul(rows, part.transpose(-1, -2))  # (..., i, i + d)
        *slow, row, column = products.stride()
        along = products.as_strided((*shape, side), (*slow, row + column, column))
        found[number].copy_(along.movedim(-1, 0))
    return found.flatten(0, 1)


def _logarithm(displacement: torch.Tensor, rounds: int = 20) -> torch.Tensor:
    """A smooth velocity whose flow is near the displacement, by fixed-point iteration."""
    sigma = [1.0] * displacement.shape[1]
    displacement = gaussian(displacement, sigma)
    velocity = torch.zeros_like(displacement)
    for _ in range(rounds):
        velocity = velocity + 0.5 * gaussian(displacement - integrate(velocity), [0.7] * displacement.shape[1])
    return velocity


def _cells(grid: Grid, size: float, axes: List[int]) -> Tuple[int, int, int]:
    smallest_mm = grid.spacing_mm[axes].min()
    return tuple(
        max(1, int(round(n * min(1.0, spacing / (smallest_mm * size)))))
        for n, spacing in zip(grid.size_ijk, grid.spacing_mm)
    )


def _resized(state: Optional[Deformation], grid: Grid, axes: List[int]) -> Optional[Deformation]:
    if state is None:
        return None
    shape = tuple(grid.size_ijk[c] for c in axes)[::-1]
    return Deformation(resize(state.displacement, shape), resize(state.inverse, shape), grid)


def _as_field(pair: WorkingPair, displacement: torch.Tensor, grid: Grid) -> Field:
    return pair.field_from_voxels(displacement[0].cpu().numpy(), grid)


def _level_name(level: Level, pair: WorkingPair) -> str:
    factor = level.factor
    return f"scale 1/{factor:g}" if factor > 1 else "scale 1"


def _voxels(level: Level) -> int:
    return int(np.prod(level.size_ijk))
