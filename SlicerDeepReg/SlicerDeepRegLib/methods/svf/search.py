"""A discrete search for large motion, before the first resolution."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...geometry.grids import resized, triple
from ...losses.similarity import mind_ssc
from ...similarity import Comparison, Similarity
from ...types import Grid, Stage
from ...warping.filters import box_mean, gaussian
from ...warping.sample import warp
from ...warping.velocity import integrate
from ..base import Context
from .contrasts import prepare
from .folds import backward, forward
from .plan import Level
from .pyramid import Deformation, Images, as_field, resized_to
from .settings import SVFSettings

#: Of the search: each has a cost for each of 729 candidates in 3D, so that these take 180 MB.
MAX_CELLS = 60_000


@dataclass(frozen=True, eq=False)
class Start:
    """What the search found.

    Attributes:
        stage: for the result.
        deformation: where the resolutions begin; None where the search did not help.
    """

    stage: Stage
    deformation: Deformation | None


def search(
    images: Images, level: Level, finest: Level, metric: Similarity, settings: SVFSettings, context: Context
) -> Start | None:
    """Search for large motion in both directions; the result is kept only where it lowers the loss.

    Args:
        images: the pair.
        level: the coarsest resolution, where the loss is compared.
        finest: the finest one, whose voxels the size of a cell is given in.

    Returns:
        None for images that are too small to be searched.
    """
    start = time.perf_counter()
    pair = images.pair
    size = settings.search_cell / finest.factor  # in voxels of the working grid
    sides_mm = (np.array(pair.grid.size_ijk) * pair.grid.spacing_mm)[images.axes]
    in_finest = np.prod(sides_mm / pair.grid.spacing_mm[images.axes].min())  # slices that are thick already are kept
    size = max(size, float(in_finest / MAX_CELLS) ** (1 / len(images.axes)))
    fine = resized(pair.grid, _cells(pair.grid, size / 3, images.axes))
    cells = resized(pair.grid, _cells(pair.grid, size, images.axes))
    if min(cells.size_ijk[c] for c in images.axes) < 4:
        return None
    context.report(0.02, "search")
    fixed, moving, _, relation = images.at(fine)
    still = fixed.new_zeros((1, len(images.axes), *fixed.shape[2:]))
    aligned = warp(moving, still, **relation)
    shape = images.shape(cells)
    first, second = (_pooled(_descriptors(image), shape) for image in (fixed, aligned))
    displacement = coupled_search(first, second, settings.search_radius)
    context.report(0.06, "search")
    inverse = coupled_search(second, first, settings.search_radius)
    for _ in range(10):  # each half-way to the inverse of the other
        displacement, inverse = (
            (displacement - warp(inverse, displacement)) / 2,
            (inverse - warp(displacement, inverse)) / 2,
        )
    velocity = logarithm(displacement)
    state = Deformation(forward(None, velocity), backward(None, velocity), cells)
    context.report(0.1, "search")
    gain = _gain(images, level, state, metric, settings)
    kept = gain > 0
    stage = Stage(
        name="search",
        seconds=time.perf_counter() - start,
        linear_lps=pair.linear_lps,
        field=as_field(pair, state.displacement if kept else state.displacement * 0, cells),
        metrics={"largest_mm": float(state.displacement.abs().max()) * float(cells.spacing_mm.max()), "gain": gain},
        note="" if kept else "not kept: it did not bring the images closer",
    )
    return Start(stage, state if kept else None)


def _descriptors(image: torch.Tensor) -> torch.Tensor:
    """Return MIND-SSC of each contrast, (1, 12 C, ...)."""
    return torch.cat([mind_ssc(contrast) for contrast in image.split(1, 1)], 1)


def _pooled(image: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Average an image over the cells of a grid of that shape."""
    if len(shape) == 3:
        return F.adaptive_avg_pool3d(image, (shape[0], shape[1], shape[2]))
    return F.adaptive_avg_pool2d(image, (shape[0], shape[1]))


def _gain(images: Images, level: Level, state: Deformation, metric: Similarity, settings: SVFSettings) -> float:
    """Return by how much the search lowers the loss of a level; above 0 is better than without it."""
    pair = images.pair
    grid = resized(pair.grid, level.size_ijk)
    fixed, moving, inside, relation = images.at(grid)
    displacement = resized_to(state, grid, images.axes).displacement
    thickness = grid.spacing_mm[images.axes] / grid.spacing_mm[images.axes].min()
    none = displacement * 0
    how = Comparison(
        settings.metrics[metric.name], thickness, lambda image: warp(image, none, **relation), images.bias_at(grid)
    )
    compared = prepare(metric, fixed, moving, inside, how, images.weights)
    without, with_search = (warp(compared.moving, u, **relation) for u in (none, displacement))
    return float(compared.term(without) - compared.term(with_search))


def coupled_search(fixed: torch.Tensor, moving: torch.Tensor, radius: int) -> torch.Tensor:
    """Return a displacement in cells, (1, n, ...): fixed(x) is like moving(x + d), d smooth, |d| <= radius per axis.

    Alternates between the best candidate near a smooth field and smoothing, the coupling growing.
    """
    n = fixed.ndim - 2
    costs = box_mean(differences(fixed, moving, radius)[None], [1] * n, times=2)[0]
    costs /= (costs.mean(0) - costs.amin(0)).mean().clamp(min=1e-9)
    offsets = list(itertools.product(range(-radius, radius + 1), repeat=n))  # slowest axis first: k, j, i
    candidates = fixed.new_tensor([offset[::-1] for offset in offsets])  # i, j(, k)
    flat, squared = costs.flatten(1), (candidates**2).sum(1, keepdim=True)

    def smoothed_best(score: torch.Tensor) -> torch.Tensor:
        chosen = candidates[score.min(0).indices]  # several times as fast as argmin
        return box_mean(chosen.t().reshape(1, n, *costs.shape[1:]), [1] * n)

    smooth = smoothed_best(flat)
    for coupling in (0.01, 0.03, 0.1, 0.3, 1.0):
        # |c - s|^2 without the part that is the same for every candidate
        near = torch.cat([smooth[0].flatten(1), torch.ones_like(flat[:1])])
        smooth = smoothed_best(torch.addmm(flat, coupling * torch.cat([-2 * candidates, squared], 1), near))
    return smooth


def differences(fixed: torch.Tensor, moving: torch.Tensor, radius: int) -> torch.Tensor:
    """Return the mean squared difference of fixed(x) and moving(x + d), less what is the same for every d.

    (candidates, ...), d in the order of ``itertools.product``, slowest axis first.

    ``|f - m|^2`` is ``m^2 - 2 f m`` but for ``f^2``, so that one product of matrices gives it for a row of voxels and
    all that they may move to along the row. Beyond the border the moving descriptors are repeated.
    """
    n, channels = fixed.ndim - 2, fixed.shape[1]
    wide = F.pad(moving, [radius] * (2 * n), mode="replicate")
    rows = torch.cat([fixed * (-2 / channels), torch.ones_like(fixed[:, :1])], 1)[0].movedim(0, -1).contiguous()
    others = torch.cat([wide, (wide * wide).mean(1, keepdim=True)], 1)[0].movedim(0, -1).contiguous()
    shape, side = rows.shape[:-1], 2 * radius + 1
    costs = rows.new_empty((side ** (n - 1), side, *shape))
    for number, offset in enumerate(itertools.product(range(side), repeat=n - 1)):
        part = others
        for axis, start in enumerate(offset):
            part = part.narrow(axis, start, shape[axis])
        products = torch.matmul(rows, part.transpose(-1, -2))  # (..., i, i + d)
        *slow, row, column = products.stride()
        along = products.as_strided((*shape, side), (*slow, row + column, column))
        costs[number].copy_(along.movedim(-1, 0))
    return costs.flatten(0, 1)


def logarithm(displacement: torch.Tensor, rounds: int = 20) -> torch.Tensor:
    """Return a smooth velocity whose flow is near the displacement, by fixed-point iteration; (1, n, ...) voxels."""
    sigma = [1.0] * displacement.shape[1]
    displacement = gaussian(displacement, sigma)
    velocity = torch.zeros_like(displacement)
    for _ in range(rounds):
        velocity = velocity + 0.5 * gaussian(displacement - integrate(velocity), [0.7] * displacement.shape[1])
    return velocity


def _cells(grid: Grid, size: float, axes: list[int]) -> tuple[int, int, int]:
    smallest_mm = grid.spacing_mm[axes].min()
    return triple(
        max(1, int(round(n * min(1.0, spacing / (smallest_mm * size)))))
        for n, spacing in zip(grid.size_ijk, grid.spacing_mm)
    )
