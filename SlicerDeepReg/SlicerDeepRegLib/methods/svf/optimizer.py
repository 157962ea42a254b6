"""The solver: a product of velocity fields, resolution by resolution."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ...geometry.grids import resized
from ...preparation.working import WorkingPair
from ...similarity import Comparison, Similarity, similarities
from ...types import Field, Stage
from ...warping.filters import gaussian, laplacian
from ...warping.sample import compose, resize, warp
from ...warping.velocity import correct_inverse, integrate
from ..base import Context, Outcome
from ..inverse import padding_for_inverse
from .adam import Adam
from .channels import ChannelTerm, slope_times
from .contrasts import prepare
from .folds import fold_free
from .guidance import Anchors, GuidanceTerm, anchors_of, fade, led, settle
from .plan import Level, levels
from .pyramid import Deformation, Images, as_field, resized_to
from .search import logarithm, search
from .settings import PRESET_SETTINGS, SVFSettings

#: A correction begins at voxels of so many finest ones: what it corrects is near already.
COARSEST_CORRECTION = 4.5
#: A level with fewer voxels along an axis is left out: nothing of it would be away from its border.
FEWEST_VOXELS = 12


@torch.no_grad()
def optimize(pair: WorkingPair, settings: SVFSettings, context: Context) -> Outcome:
    """Register a prepared pair; returns the stages, and the field and its inverse on the working grid."""
    images, metric, plan = Images(pair, torch.device(context.device)), similarities()[pair.similarity], _plan(pair)
    begin = search(images, plan[0], plan[-1], metric, settings, context)
    stages = [begin.stage] if begin is not None else []
    state = begin.deformation if begin is not None else None
    state = led(state, pair, resized(pair.grid, plan[0].field_size_ijk), settings, images.device)
    return _solve(images, plan, state, settings, context, stages)


@torch.no_grad()
def refine(pair: WorkingPair, displacement: torch.Tensor, iterations: int, context: Context) -> Outcome:
    """Go on from a displacement that something else found, at the two finest scales.

    What it starts from is the flow of a smooth velocity near that displacement, at the coarser of the two, smoothed
    further where it would fold: so it has an inverse, and the scales bring the detail back.

    Args:
        displacement: (1, n, ...) voxels of the working grid.
        iterations: at the coarser of the two; at the finer as many in proportion as the preset has there.
    """
    settings, images = PRESET_SETTINGS[pair.preset], Images(pair, torch.device(context.device))
    plan = _plan(pair)[-2:]
    share = iterations / plan[0].iterations
    plan = [dataclasses.replace(level, iterations=max(1, round(share * level.iterations))) for level in plan]
    plan[0] = dataclasses.replace(plan[0], field_size_ijk=plan[0].size_ijk)  # the displacement may be as fine
    grid = resized(pair.grid, plan[0].size_ijk)
    velocity = logarithm(resize(displacement, images.shape(grid)))
    state, _ = fold_free(None, velocity, grid, settings)
    return _solve(images, plan, state, settings, context, [])


@torch.no_grad()
def correct(pair: WorkingPair, settings: SVFSettings, context: Context) -> Outcome:
    """Go on from a pair that is aligned but for the places of its guidance; the deformation is none at its border."""
    images = Images(pair, torch.device(context.device))
    fewest = [min(level.field_size_ijk[c] for c in pair.axes_ijk) for level in _plan(pair)]
    plan = [
        level
        for level, size in zip(_plan(pair), fewest)
        if level.factor <= COARSEST_CORRECTION and size >= FEWEST_VOXELS
    ] or _plan(pair)[-1:]
    return _solve(images, plan, None, settings, context, [], fading=True)


def _plan(pair: WorkingPair) -> list[Level]:
    return levels(pair.content_grid, pair.preset)


def _solve(
    images: Images,
    plan: Sequence[Level],
    state: Deformation | None,
    settings: SVFSettings,
    context: Context,
    stages: list[Stage],
    fading: bool = False,
) -> Outcome:
    """Work scale by scale, then give the field and its inverse on the finest grid.

    Args:
        fading: whether the deformation is to be none at the border.
    """
    pair, done = images.pair, 0
    metric, weight = similarities()[pair.similarity], _regularity(settings, pair) * context.stiffness
    total, anchors = sum(level.work for level in plan) + 1, anchors_of(pair)
    for level in plan:

        def tell(fraction: float, loss: float, done: int = done, level: Level = level) -> None:
            context.report(0.1 + 0.88 * (done + fraction * level.work) / total, level.name, loss)

        state, stage = optimize_level(images, level, state, metric, weight, settings, tell, anchors, fading)
        stages.append(stage)
        done += level.work
    if state is None:
        raise ValueError("a plan needs at least one level")
    state, notes = settle(state, pair, settings, images.device, fading)
    if stages[-1].field is not None and pair.guidance is not None:
        stages[-1] = dataclasses.replace(stages[-1], field=as_field(pair, state.displacement, state.grid))
    context.report(0.98, "inverse")
    return Outcome(
        linear_lps=pair.linear_lps,
        stages=stages,
        displacement=as_field(pair, state.displacement, state.grid),
        inverse=_final_inverse(pair, state),
        similarity=pair.similarity,
        notes=notes,
    )


def _regularity(settings: SVFSettings, pair: WorkingPair) -> float:
    """Return the weight of the diffusion energy."""
    finest, metric = _plan(pair)[-1], similarities()[pair.similarity]
    coarse = finest.field_size_ijk != finest.size_ijk
    return settings.metrics[metric.name].regularity * (metric.stiffness_on_coarse_field if coarse else 1.0)


def _final_inverse(pair: WorkingPair, state: Deformation) -> Field:
    """Return the inverse on a grid wide enough for every x + u(x), most of its interpolation error taken out."""
    padding, grid = padding_for_inverse(pair, state.displacement, state.grid)
    forward = F.pad(state.displacement, padding, mode="replicate")
    backward = F.pad(state.inverse, padding, mode="replicate")
    return as_field(pair, correct_inverse(forward, backward, rounds=1), grid)


def optimize_level(
    images: Images,
    level: Level,
    state: Deformation | None,
    metric: Similarity,
    weight: float,
    settings: SVFSettings,
    tell: Callable[[float, float], None],
    anchors: Sequence[Anchors] = (),
    fading: bool = False,
) -> tuple[Deformation, Stage]:
    """Optimize one velocity field, composed with the deformation so far.

    Args:
        state: the deformation so far; None at the beginning.
        weight: of the diffusion energy.
        tell: told the part of the level that is done, and the loss.
        anchors: what guides it beside the images.
        fading: whether the deformation is to be none at the border.
    """
    start = time.perf_counter()
    pair = images.pair
    grid = resized(pair.grid, level.size_ijk)
    fixed, moving, inside, relation = images.at(grid)
    # The field may be coarser than the images: what is measured in voxels is measured in those of the images.
    field_grid = resized(pair.grid, level.field_size_ijk)
    before = resized_to(state, field_grid, images.axes) if state is not None else None
    shape, field_shape = images.shape(grid), images.shape(field_grid)
    identity = fixed.new_zeros((1, len(images.axes), *field_shape))
    begin = resize(before.displacement if before is not None else identity, shape)
    finest_mm = grid.spacing_mm[images.axes].min()
    thickness, cell = (g.spacing_mm[images.axes] / finest_mm for g in (grid, field_grid))
    how = Comparison(
        settings.metrics[metric.name], thickness, lambda image: warp(image, begin, **relation), images.bias_at(grid)
    )
    compared = prepare(metric, fixed, moving, inside, how, images.weights)
    velocity = identity
    channels = None
    channel_weight = settings.guiding_weight if images.guided else settings.structure_weight
    if images.channels is not None and channel_weight > 0:
        channels = ChannelTerm(images, grid, field_grid, channel_weight)
    window = fade(field_shape, images.device) if fading else None
    guide = None
    if anchors:
        guide = GuidanceTerm(anchors, field_grid, images.axes, float(finest_mm), settings, images.device)
    adam = Adam(velocity, settings, level.iterations)
    curve: list[float] = []
    voxels = float(inside.sum().clamp(min=1))
    for iteration in range(level.iterations):
        step = integrate(velocity, 1.0)
        whole = step if before is None else compose(before.displacement, step)
        warped = warp(compared.moving, resize(whole, shape), **relation)
        value, by_warped = _value_and_gradient(compared.term, warped)
        gradient = _on(field_shape, slope_times(warped, by_warped.mul_(voxels), thickness))
        if channels is not None:
            other, pull = channels(whole)
            value, gradient = value + other, gradient + _on(field_shape, pull)
        if guide is not None:
            other, pull = guide(whole)
            value, gradient = value + other, gradient + pull
        gradient -= _stiffness(whole, cell, weight)
        if field_shape == shape:  # that mean has smoothed as much
            gradient = gaussian(gradient, settings.gradient_sigma / cell)
        update = adam.update(gradient, iteration)
        update = gaussian(update, settings.step_sigma / cell)
        if window is not None:
            update = update * window
        velocity = velocity - update / _per_channel(update, cell)
        curve.append(value)
        tell((iteration + 1) / level.iterations, value)
    after, smoothed = fold_free(before, velocity, field_grid, settings, window=window)
    stage = Stage(
        name=level.name,
        seconds=time.perf_counter() - start,
        linear_lps=pair.linear_lps,
        field=as_field(pair, after.displacement, field_grid),
        metrics={"loss_before": curve[0], "loss_after": curve[-1], "smoothing_rounds": smoothed},
        curve=tuple(curve),
    )
    return after, stage


def _value_and_gradient(
    term: Callable[[torch.Tensor], torch.Tensor], warped: torch.Tensor
) -> tuple[float, torch.Tensor]:
    with torch.enable_grad():
        leaf = warped.detach().requires_grad_()
        value = term(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), gradient


def _on(shape: tuple[int, ...], gradient: torch.Tensor) -> torch.Tensor:
    """Return a derivative on the voxels of the field: the mean of those around each where these are larger."""
    if tuple(gradient.shape[2:]) == shape:
        return gradient
    return F.interpolate(gradient, size=shape, mode="trilinear" if len(shape) == 3 else "bilinear")


def _stiffness(whole: torch.Tensor, thickness: np.ndarray, weight: float) -> torch.Tensor:
    """Return minus the derivative of the diffusion energy, displacement and distance both in finest voxels."""
    return laplacian(whole * _per_channel(whole, thickness), list(weight / thickness**2))


def _per_channel(like: torch.Tensor, values_ijk: np.ndarray) -> torch.Tensor:
    return like.new_tensor(values_ijk.tolist()).view(1, -1, *[1] * (like.ndim - 2))
