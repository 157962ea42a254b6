"""Continue a registration from its result: only around the landmarks that correct it, so that it takes seconds.

With ``T`` the result and ``d`` a deformation that is none at the edge of a box around the landmarks, the corrected one
is ``T(x + d(x))``: what lies outside the box stays as it was. ``d`` is found as any deformation is,
between the fixed image and the moving one as ``T`` had warped it, and its inverse is one more field of the way back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import Inputs
from ..files.initial import read_initial
from ..files.transform_files import read_fields
from ..geometry.fields import to_lps, to_voxels
from ..geometry.grids import on_grid, triple, with_axes_of
from ..geometry.points import apply_matrix, displacement_at, points_before, voxel_centers_lps
from ..methods.base import Outcome
from ..methods.svf import VelocityFieldOptimization, local_correction
from ..methods.svf.folds import min_jacobian
from ..methods.svf.settings import SVFSettings
from ..metrics.landmarks import target_registration_errors
from ..preparation.resolution import MAX_DENSE_VOXELS
from ..similarity import similarities
from ..types import (
    AUTOMATIC,
    OUTPUT_FILES,
    PAIR_CHOICES,
    PEOPLE,
    Field,
    Grid,
    Image,
    ImagePair,
    InputError,
    ProgressCallback,
    Request,
    Stage,
    Transform,
)
from ..warping.filters import box_sum, gaussian
from ..warping.inverse import correction_of_inverse, inverse_of_field
from .align import Alignment, Plan
from .clock import Clock
from .decide import decide
from .initial import deformed_pair

#: What the stages are called.
BEFORE, CORRECTED = "continued result", "correction"
#: The box reaches this many times the reach of a landmark beyond the landmarks and their partners, and has so many
#: voxels along each axis at least.
REACHES, FEWEST_VOXELS = 3.0, 24
#: The smallest determinant of what is composed, how often it is smoothed for that, and over how many voxels.
LEAST_JACOBIAN, SMOOTHINGS, SMOOTHED_VOXELS = 0.01, 10, 4


@dataclass(frozen=True, eq=False)
class Base:
    """A result that is continued.

    Attributes:
        transform: its own; without the way back where that is not known.
        similarity, kind: its metric and what its pair was taken for; "" where that is not known.
    """

    transform: Transform
    similarity: str = ""
    kind: str = ""


def base_of(request: Request, inputs: Inputs, checksums: Mapping[str, str], device: torch.device) -> Base | None:
    """Return the result that a request continues, or None.

    A transform in memory without the way back stays without; that of a file is found, because it will be written.

    Raises:
        InputError: it cannot be read, or is one of other images, or nothing corrects it.
    """
    if request.continued is None:
        return None
    if inputs.guiding.guidance is None:
        raise InputError(
            "A result is continued where landmarks correct it, and none are given. Place a point in the fixed image "
            "and its partner in the moving one.",
            "fixed_points",
        )
    if isinstance(request.continued, Transform):
        return Base(request.continued, *_asked(request))
    path = Path(request.continued)
    if not path.exists():
        raise InputError(f"There is no result {path}. Give the folder of a result, or a transform file.", "continued")
    if not path.is_dir():
        transform, _ = read_initial(path, inputs.pair.fixed, inputs.pair.moving)
        return Base(_with_inverse(transform, device), *_asked(request))
    described = _described(path, checksums)
    try:
        transform = read_fields(path / OUTPUT_FILES["transform"], path / OUTPUT_FILES["inverse"])
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The result in {path} has no transform that can be read ({error}). Register again.", "continued"
        ) from error
    provenance = described["provenance"]
    return Base(transform, *_asked(request, provenance.get("similarity", ""), provenance.get("pair", {}).get("kind")))


def _asked(request: Request, similarity: str = "", kind: Any = "") -> tuple[str, str]:
    """Return the metric and the kind of the pair: as asked for, else as the result has them."""
    if request.similarity != AUTOMATIC:
        similarity = request.similarity
    if request.pair != AUTOMATIC:
        kind = request.pair
    return similarity if similarity in similarities() else "", kind if kind in PAIR_CHOICES[1:] else ""


def _described(path: Path, checksums: Mapping[str, str]) -> Mapping[str, Any]:
    file = path / OUTPUT_FILES["result"]
    try:
        described: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        known = described["provenance"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not the folder of a result: its {file.name} cannot be read. Give the folder that a "
            "registration wrote, or its transform.",
            "continued",
        ) from error
    for role in ("fixed", "moving"):
        if known.get(role) and known[role] != checksums.get(role):
            raise InputError(
                f"The result in {path} is one of another {role} image: the checksums differ. Give the images that it "
                "was made from.",
                role,
            )
    return described


def continued(inputs: Inputs, plan: Plan, base: Base, progress: ProgressCallback, clock: Clock) -> Alignment:
    """Return the result with a correction around the landmarks that guide: those far from one another in turn."""
    settings = plan.settings if isinstance(plan.settings, SVFSettings) else None
    numbers = settings or VelocityFieldOptimization.presets[plan.request.preset]
    pair, context = inputs.pair, plan.context(progress, clock)
    request = dataclasses.replace(plan.request, pair=base.kind or PEOPLE, similarity=base.similarity or AUTOMATIC)
    decision = decide(request, pair, Outcome(base.transform.linear_lps), context.part(0.02, 0.05))
    parts, transform, notes = _apart(pair, base.transform, numbers.guidance_reach_mm), base.transform, []
    for number, (part, box) in enumerate(parts):
        local = deformed_pair(_cropped(part, box), transform)
        share = context.part(0.1 + 0.8 * number / len(parts), 0.8 / len(parts))
        outcome = local_correction(local, numbers, decision.context(share))
        transform = _composed(transform, outcome, pair.fixed.grid, plan.device)
        size = " x ".join(f"{length:.0f}" for length in np.array(box.size_ijk) * box.spacing_mm)
        notes += [
            f"The result was continued in a box of {size} mm; outside it the transform is as it was.",
            *outcome.notes,
        ]
    clock.done("method")
    stages = (
        Stage(BEFORE, 0.0, base.transform.linear_lps, base.transform.field, note="as it was"),
        Stage(CORRECTED, clock.seconds.get("method", 0.0), transform.linear_lps, transform.field),
    )
    notes += _corrections(pair, base.transform, transform)
    return Alignment(transform, stages, decision.metric, decision, tuple(notes))


def _corrections(pair: ImagePair, before: Transform, after: Transform) -> list[str]:
    """Say of each landmark that guided how far it was off, and is."""
    if pair.guidance is None:
        return []
    fixed, moving = pair.guidance.fixed_points_lps_mm, pair.guidance.moving_points_lps_mm
    was, left = (target_registration_errors(one, fixed, moving) for one in (before, after))
    said = []
    for number, (place, first, last) in enumerate(zip(fixed, was, left), 1):
        x, y, z = place
        where = f"{'L' if x >= 0 else 'R'} {abs(x):.0f}, {'P' if y >= 0 else 'A'} {abs(y):.0f}, "
        where += f"{'S' if z >= 0 else 'I'} {abs(z):.0f} mm"
        said.append(f"Correction {number} at {where}: {first:.1f} mm off before, {last:.1f} mm after.")
    return said


def _apart(pair: ImagePair, transform: Transform, reach_mm: float) -> list[tuple[ImagePair, Grid]]:
    """Return the pair with the landmarks of each box, and the box; boxes that overlap are one."""
    guidance = pair.guidance
    if guidance is None:
        raise ValueError("nothing guides the pair")
    count = len(guidance.fixed_points_lps_mm)
    whole = guidance.rigid is not None or guidance.structures is not None or len(guidance.fixed_surface_lps_mm)
    groups = [list(range(count))] if whole else [[n] for n in range(count)]
    boxes = [_box(_of_points(pair, group), transform, reach_mm) for group in groups]
    merged = True
    while merged:
        merged = False
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                if not merged and _overlap(boxes[a], boxes[b], pair.fixed.grid):
                    groups[a] += groups.pop(b)
                    boxes.pop(b)
                    boxes[a] = _box(_of_points(pair, groups[a]), transform, reach_mm)
                    merged = True
                    break
    return [(_of_points(pair, group), box) for group, box in zip(groups, boxes)]


def _of_points(pair: ImagePair, chosen: list[int]) -> ImagePair:
    guidance = pair.guidance
    if guidance is None:
        return pair
    part = dataclasses.replace(
        guidance,
        fixed_points_lps_mm=guidance.fixed_points_lps_mm[chosen],
        moving_points_lps_mm=guidance.moving_points_lps_mm[chosen],
        uncertainty_mm=guidance.uncertainty_mm[chosen],
    )
    return dataclasses.replace(pair, guidance=part)


def _overlap(first: Grid, second: Grid, grid: Grid) -> bool:
    """Tell whether two boxes of one grid share voxels."""
    starts = [apply_matrix(grid.lps_to_ijk, box.origin_lps_mm[None])[0] for box in (first, second)]
    ends = [start + box.size_ijk for start, box in zip(starts, (first, second))]
    return bool((np.maximum(*starts) < np.minimum(*ends) - 1e-6).all())


def _box(pair: ImagePair, transform: Transform, reach_mm: float) -> Grid:
    """Return the part of the fixed grid around the landmarks and where their partners lie now."""
    guidance, grid = pair.guidance, pair.fixed.grid
    if guidance is None:
        raise ValueError("nothing guides the pair")
    places = np.concatenate(
        [
            guidance.fixed_points_lps_mm,
            points_before(transform, guidance.moving_points_lps_mm),
            guidance.fixed_surface_lps_mm,
        ]
    )
    if guidance.rigid is not None or guidance.structures is not None or not len(places):
        return grid
    ijk = apply_matrix(grid.lps_to_ijk, places)
    size, more = np.array(grid.size_ijk), REACHES * reach_mm / grid.spacing_mm
    low, high = np.floor(ijk.min(0) - more), np.ceil(ijk.max(0) + more) + 1
    lacking = np.maximum(0, np.minimum(FEWEST_VOXELS, size) - (high - low))
    low, high = np.clip(low - np.ceil(lacking / 2), 0, size - 1), np.clip(high + np.ceil(lacking / 2), 1, size)
    low, high = np.where(size == 1, 0, low), np.where(size == 1, 1, high)
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, :3] @ low
    return Grid((int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2])), matrix)


def _cropped(pair: ImagePair, box: Grid) -> ImagePair:
    """Return the pair with the fixed image and its mask in a box of its grid."""
    fixed = pair.fixed
    first = np.round(apply_matrix(fixed.grid.lps_to_ijk, box.origin_lps_mm[None])[0]).astype(int)
    part = tuple(slice(a, a + n) for a, n in zip(first[::-1], box.shape_kji))

    def cut(image: Image) -> Image:
        return dataclasses.replace(image, values=image.values[part], grid=box)

    return dataclasses.replace(
        pair,
        fixed=cut(fixed),
        fixed_mask=None if pair.fixed_mask is None else pair.fixed_mask[part],
        fixed_excluded=None if pair.fixed_excluded is None else pair.fixed_excluded[part],
        contrasts=tuple(dataclasses.replace(one, fixed=cut(one.fixed)) for one in pair.contrasts),
    )


def _composed(base: Transform, outcome: Outcome, fixed: Grid, device: torch.device) -> Transform:
    """Return ``T(x + d(x))`` with its inverse; ``d`` is smoothed where what is sampled of the two would fold."""
    correction, inverse = outcome.displacement, outcome.inverse
    if correction is None or inverse is None:
        raise ValueError("a correction is a deformation")
    before = base.field
    if before is None:
        zeros = np.zeros((*fixed.shape_kji, 3), np.float32)
        before = Field(zeros, fixed)
    before = with_axes_of(before, fixed)
    if not before.grid.same_as(fixed) and fixed.voxels <= MAX_DENSE_VOXELS:
        before = on_grid(before, fixed)
    correction = with_axes_of(correction, before.grid)
    part, places = _voxels_in(before.grid, correction.grid)
    inner = Grid(triple(places.shape[2::-1]), _moved_to(before.grid, places[0, 0, 0]))
    least = min(LEAST_JACOBIAN, _least(Field(before.displacement_lps_mm[part], inner), device)[0])
    for attempt in range(SMOOTHINGS + 1):
        moved = places.reshape(-1, 3)
        step = displacement_at(correction, moved)
        there = (displacement_at(before, moved + step) + step).astype(np.float32).reshape(places.shape)
        lowest, low = _least(Field(there, inner), device)
        if lowest >= least or attempt == SMOOTHINGS:
            break
        correction = _smoothed(correction, low, inner, device)
        inverse = inverse_of_field(correction, device)
    values = before.displacement_lps_mm.copy()
    values[part] = there
    inverses: tuple[Field, ...] = ()
    if base.inverse_fields or base.field is None:
        inverses = (*base.inverse_fields, _exact(inverse, base, moved + there.reshape(-1, 3), inner))
    return Transform(base.linear_lps, Field(values, before.grid), inverses)


def _exact(inverse: Field, base: Transform, ends: np.ndarray, grid: Grid, rounds: int = 2) -> Field:
    """Return the inverse of a correction such that, after the way back of ``base``, it leads to where points began.

    What is composed is sampled on the grid of the result, whose own interpolation the two inverses do not know.

    Args:
        inverse: about right.
        ends: (N, 3) where each voxel of the grid ends, before the linear part.
    """
    begins = voxel_centers_lps(grid).reshape(-1, 3)
    back = ends
    for field in base.inverse_fields:
        back = back + displacement_at(field, back)
    places = voxel_centers_lps(inverse.grid).reshape(-1, 3)
    for _ in range(rounds):
        error = (back + displacement_at(inverse, back) - begins).astype(np.float32)
        rest = Field(error.reshape(*grid.shape_kji, 3), grid)
        now = inverse.displacement_lps_mm.reshape(-1, 3)
        values = now - displacement_at(rest, places + now)
        inverse = Field(values.astype(np.float32).reshape(inverse.displacement_lps_mm.shape), inverse.grid)
    return inverse


def _moved_to(grid: Grid, origin_lps_mm: np.ndarray) -> np.ndarray:
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, 3] = origin_lps_mm
    return matrix


def _least(field: Field, device: torch.device) -> tuple[float, torch.Tensor]:
    """Return the smallest determinant of one-sided differences, and where it is too small, (1, 1, ...) of 0 or 1."""
    displacement = torch.from_numpy(to_voxels(field))[None].to(device)
    jacobian = min_jacobian(displacement)
    return float(jacobian.min()), (jacobian < LEAST_JACOBIAN).float()


def _smoothed(correction: Field, low: torch.Tensor, where: Grid, device: torch.device) -> Field:
    """Return a correction smoothed around the voxels that are low."""
    n = low.ndim - 2
    around = gaussian(box_sum(low, [SMOOTHED_VOXELS] * n).clamp_(max=1), [1.5] * n).cpu().numpy()
    mask = on_grid(Field(np.repeat(around.reshape(*where.shape_kji, 1), 3, axis=3), where), correction.grid)
    displacement = torch.from_numpy(to_voxels(correction))[None].to(device)
    smooth = to_lps(gaussian(displacement, [1.5] * n)[0].cpu().numpy(), correction.grid)
    part = mask.displacement_lps_mm
    values = correction.displacement_lps_mm + part * (smooth.displacement_lps_mm - correction.displacement_lps_mm)
    return Field(values.astype(np.float32), correction.grid)


def _voxels_in(grid: Grid, box: Grid) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the voxels of a grid whose centers lie in the box of another, and where they are, (K, J, I, 3) LPS mm."""
    corners = apply_matrix(
        grid.lps_to_ijk @ box.ijk_to_lps, np.array([[-0.5] * 3, np.array(box.size_ijk) - 0.5], float)
    )
    low = np.maximum(np.ceil(corners.min(0) - 1e-6), 0).astype(int)
    high = np.minimum(np.floor(corners.max(0) + 1e-6), np.array(grid.size_ijk) - 1).astype(int)
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, :3] @ low
    inner = Grid((int(high[0] - low[0] + 1), int(high[1] - low[1] + 1), int(high[2] - low[2] + 1)), matrix)
    return tuple(slice(a, b + 1) for a, b in zip(low[::-1], high[::-1])), voxel_centers_lps(inner)


def _with_inverse(transform: Transform, device: torch.device) -> Transform:
    """Return the transform with its way back, found anew where it is not known."""
    if transform.field is None or transform.inverse_fields:
        return transform
    inverse = inverse_of_field(transform.field, device, careful=True)
    inverses = (inverse, correction_of_inverse(transform.field, inverse, device))
    return dataclasses.replace(transform, inverse_fields=inverses)
