"""Uncertainty from registrations of perturbed inputs: how far their results lie from their mean."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..checks import Inputs
from ..geometry.grids import sampled
from ..geometry.points import apply_matrix, fixed_to_moving, spread_mm, voxel_centers_lps
from ..preparation.perturb import perturbed_pair
from ..types import Grid, Image, ImagePair, Progress, ProgressCallback, Transform
from .align import Alignment, Plan, align
from .clock import Clock

#: The map is computed at so many points at most: it is smooth, and to be looked at.
MAX_POINTS = 100_000


def uncertainty_map(
    inputs: Inputs, plan: Plan, alignment: Alignment, initial: Transform | None, progress: ProgressCallback
) -> Image:
    """Register perturbed inputs again and again, taken for what the inputs as given were taken for.

    Args:
        alignment: the result for the inputs as given.
        initial: where that started, or None.

    Returns:
        The root mean square distance of all results from their mean, mm, on a coarse grid over the fixed image.
    """
    fixed, count = inputs.pair.fixed, plan.request.uncertainty_runs
    grid = sampled(fixed.grid, MAX_POINTS)
    points = voxel_centers_lps(grid).reshape(-1, 3)
    plan = dataclasses.replace(plan, request=alignment.decision.request(plan.request))
    results = [fixed_to_moving(alignment.transform, points)]
    for number in range(count):
        name = f"perturbed {number + 1} of {count}"

        def named(p: Progress, number: int = number, name: str = name) -> None:
            progress(Progress((number + p.fraction) / count, name))

        pair, motion = _perturbed(inputs.pair, number)
        given = Transform(np.eye(4)) if initial is None and plan.request.linear == "none" else initial
        start = None if given is None else dataclasses.replace(given, linear_lps=motion @ given.linear_lps)
        moved = align(pair, plan, inputs.facts, named, Clock(None), start).transform
        results.append(apply_matrix(np.linalg.inv(motion), fixed_to_moving(moved, points)))
    values = spread_mm(np.stack(results)).astype(np.float32).reshape(grid.shape_kji)
    return Image(values, grid, "uncertainty", fixed.dimensions)


def _perturbed(pair: ImagePair, seed: int) -> tuple[ImagePair, np.ndarray]:
    """Return another look at the pair, and the (4, 4) motion of the moving image that must be taken out again."""
    fixed, moving, motion = perturbed_pair(pair.fixed, pair.moving, seed=seed)
    mask, channels = pair.moving_mask, pair.channels
    if channels is not None:  # they belong to the moving image, which was moved
        grid = Grid(channels.moving_grid.size_ijk, motion @ channels.moving_grid.ijk_to_lps)
        channels = dataclasses.replace(channels, moving_grid=grid)
    guidance = pair.guidance
    if guidance is not None:
        guidance = dataclasses.replace(
            guidance,
            moving_points_lps_mm=apply_matrix(motion, guidance.moving_points_lps_mm),
            moving_surface_lps_mm=apply_matrix(motion, guidance.moving_surface_lps_mm),
        )
    return ImagePair(
        fixed=fixed,
        moving=moving,
        fixed_mask=pair.fixed_mask,
        moving_mask=dataclasses.replace(mask, grid=moving.grid) if mask is not None else None,
        channels=channels,
        guidance=guidance,
        fixed_excluded=pair.fixed_excluded,
        moving_excluded=pair.moving_excluded,
        contrasts=tuple(
            dataclasses.replace(one, moving=dataclasses.replace(one.moving, grid=moving.grid)) for one in pair.contrasts
        ),
    ), motion
