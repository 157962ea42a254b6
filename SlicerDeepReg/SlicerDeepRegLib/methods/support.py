"""What of a deformation is kept: where the images agree less with it than without it, it is taken back.

The agreement is measured by something that the deformation was not found by, so that it is evidence and no repetition:
the directions of edges (normalized gradient fields) where the metric was another, the squared local correlation where
it was these. Both do not mind what contrast an image has.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..geometry.fields import to_voxels
from ..geometry.grids import on_grid, with_axes_of
from ..geometry.jacobian import jacobian_of_field
from ..preparation.resample import resample
from ..types import Field, Grid, Image, ImagePair, Stage
from ..warping.filters import gaussian
from ..warping.inverse import inverse_of_field
from ..warping.sample import warp
from .base import OWN_MEASURE, Outcome
from .evidence import BETTER, METRIC, PRESET, Edges, fine_grid, looked_at_pair, window_of
from .svf.guidance import guided_region
from .svf.pyramid import Images
from .svf.settings import PRESET_SETTINGS

#: What the stage is called.
STAGE = "kept by evidence"
#: Below this part nothing is taken back: it would be chance.
LEAST_TAKEN = 0.03
#: Added to the variances of intensities of 0..1, so that flat windows do not correlate.
EPSILON = 1e-4


@torch.no_grad()
def supported(pair: ImagePair, outcome: Outcome, device: str) -> Outcome:
    """Return an outcome whose deformation is shrunk towards the linear part where nothing supports it.

    A method with a measure of its own (a network alone, an engine of others) is reproduced as it is: its users compare
    it with what its authors published.

    Args:
        pair: the images.
        outcome: what a method found; its metric is not the judge of it.
        device: for ``torch.device``.

    Returns:
        The same outcome where there is nothing to take back.
    """
    found = outcome.displacement
    if found is None or outcome.similarity == OWN_MEASURE:
        return outcome
    work = looked_at_pair(pair, outcome.linear_lps)
    images = Images(work, torch.device(device))
    grid, _ = fine_grid(images)
    there = on_grid(with_axes_of(found, grid), grid)
    displacement = torch.from_numpy(to_voxels(there, axes=work.axes_ijk))[None].to(images.device)
    measure = _correlation if outcome.similarity.startswith(METRIC) else _edges
    sigma = window_of(images, grid)
    without = after = weight = torch.zeros((), device=images.device)
    for contrast, share in enumerate(images.weights):
        edges = Edges(images, grid, contrast)
        without = without + share * measure(edges, torch.zeros_like(displacement), sigma)
        after = after + share * measure(edges, displacement, sigma)
        weight = weight + share * edges.weight
    inside = weight > 0.5
    if not inside.any():
        return outcome
    level = float(without[inside].mean())
    worse = ((without - after) / without.clamp(min=max(level, 1e-9)) > BETTER).to(without.dtype) * weight
    led = torch.zeros_like(worse)
    if pair.guidance is not None:  # the user knows better than the edges do
        region = guided_region(pair.guidance, grid, PRESET_SETTINGS[PRESET].guidance_reach_mm)
        led = (2 * torch.from_numpy(region.reshape(worse.shape)).to(worse)).clamp_(max=1)
        worse = worse * (1 - led)
    taken = float(worse.sum() / weight.sum())
    if taken < LEAST_TAKEN:
        return outcome
    field = _shrunk(found, worse, led, sigma, grid)
    return dataclasses.replace(
        outcome,
        displacement=field,
        inverse=inverse_of_field(field, images.device),
        stages=[
            *outcome.stages,
            Stage(STAGE, 0.0, outcome.linear_lps, field=field, metrics={"taken_back_percent": 100 * taken}),
        ],
        notes=[
            *outcome.notes,
            f"In {100 * taken:.0f}% of the image the deformation was taken back toward the linear alignment, because "
            f"the fit was worse by {'local correlation' if measure is _correlation else 'the directions of edges'}, "
            "a measure that the registration did not optimize.",
        ],
    )


def _shrunk(found: Field, worse: torch.Tensor, led: torch.Tensor, sigma: list[float], grid: Grid) -> Field:
    """Return the displacement shrunk where it is worse, more smoothly where that would fold it, and none at last.

    Args:
        led: where the user leads it, 0..1: there nothing is taken back.
    """
    least = min(0.0, float(jacobian_of_field(found).min()))
    for wider in (1, 2, 4):
        kept = 1 - gaussian(worse, [wider * length for length in sigma]).mul_(2).clamp_(max=1)
        kept = torch.maximum(kept, led)
        image = Image(kept.cpu().numpy().reshape(grid.shape_kji).astype(np.float32), grid)
        factor = np.clip(resample(image, found.grid), 0, 1)[..., None]
        field = Field((found.displacement_lps_mm * factor).astype(np.float32), found.grid)
        if float(jacobian_of_field(field).min()) > least:
            return field
    return found if bool(led.any()) else Field(np.zeros_like(found.displacement_lps_mm), found.grid)


def _edges(edges: Edges, displacement: torch.Tensor, sigma: list[float]) -> torch.Tensor:
    """Return how far the edges around each place have one direction, (1, 1, ...), 0..1."""
    cosines, weight = edges.cosines(displacement)
    return gaussian(cosines**2 * weight, sigma)


def _correlation(edges: Edges, displacement: torch.Tensor, sigma: list[float]) -> torch.Tensor:
    """Return the mean squared local correlation around each place, (1, 1, ...), 0..1."""
    moved, half = warp(edges.moving, displacement, **edges.relation), [0.5 * length for length in sigma]
    images = torch.cat([edges.fixed, moved, edges.fixed**2, moved**2, edges.fixed * moved], 1)
    fixed, other, fixed_square, other_square, product = gaussian(images, half).split(1, 1)
    covariance = product - fixed * other
    variances = (fixed_square - fixed**2 + EPSILON) * (other_square - other**2 + EPSILON)
    return gaussian(covariance**2 / variances * edges.weight, sigma)
