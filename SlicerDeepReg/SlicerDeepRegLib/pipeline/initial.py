"""Where a registration starts: nowhere, at a transform of the user's, or at what the landmarks say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch

from ..checks import Inputs
from ..files.initial import read_initial
from ..geometry.grids import sampled
from ..geometry.landmark_fit import fit_landmarks
from ..geometry.points import apply_matrix, fixed_to_moving, points_before, voxel_centers_lps
from ..methods import Method, linear_method
from ..preparation.filling import filled
from ..preparation.resample import warp_image
from ..preparation.resolution import MAX_DENSE_VOXELS
from ..types import (
    AUTOMATIC,
    LANDMARKS,
    Channels,
    Field,
    Grid,
    Guidance,
    Image,
    ImagePair,
    InputError,
    Request,
    Stage,
    Transform,
)
from ..warping.inverse import correction_of_inverse, inverse_of_field

#: The transforms that can be fitted to landmarks.
FITTED = ("rigid", "similarity", "affine")
#: What the stage is called.
STAGE = "initial"


def initial_transform(request: Request, inputs: Inputs, method: Method) -> tuple[Transform | None, tuple[str, ...]]:
    """Return the transform to start from, fixed to moving points, or None; and sentences about it.

    Raises:
        InputError: it cannot be read or does not fit the images or the method, or the landmarks do not suffice.
    """
    if request.initial is None:
        return None, ()
    if isinstance(request.initial, Transform):
        return request.initial, ()
    name, _, kind = str(request.initial).partition(":")
    if name == LANDMARKS:
        return _from_landmarks(kind or "rigid", inputs)
    transform, notes = read_initial(request.initial, inputs.pair.fixed, inputs.pair.moving)
    if transform.field is not None and method.kind == "linear":
        raise InputError(
            f"The initial transform is a deformation, and {method.title.lower()} registration cannot go on from one. "
            "Give a linear transform, or choose a deformable method.",
            "initial",
        )
    return transform, notes


def _from_landmarks(kind: str, inputs: Inputs) -> tuple[Transform, tuple[str, ...]]:
    if kind not in FITTED:
        raise InputError(f"Landmarks give a transform that is {', '.join(FITTED)}; it was {kind!r}.", "initial")
    if inputs.fixed_points is None or inputs.moving_points is None:
        raise InputError("To start from landmarks, give them in both images.", "fixed_points")
    grid = inputs.pair.fixed.grid
    normal = None
    if grid.is_planar:
        first, second = (grid.direction[:, c] for c in range(3) if grid.size_ijk[c] > 1)
        normal = np.cross(first, second)
    matrix, residuals_mm = fit_landmarks(inputs.fixed_points, inputs.moving_points, kind, normal)
    each = ", ".join(f"{residual:.1f}" for residual in residuals_mm)
    note = (
        f"The registration started from a {kind} transform fitted to {len(residuals_mm)} pairs of landmarks; what is "
        f"left between them is {each} mm."
    )
    return Transform(matrix), (note,)


def linear_after(request: Request, initial: Transform | None, asked: Method) -> Method:
    """Return the linear method that goes on from an initial transform: none from a deformation unless asked for."""
    deforms = initial is not None and initial.field is not None
    return linear_method("none") if deforms and request.linear == AUTOMATIC else asked


def deformed_pair(pair: ImagePair, initial: Transform) -> ImagePair:
    """Return the pair with the moving image, its mask and channels as the transform brings them to the fixed image."""
    fixed, moving = pair.fixed, pair.moving
    shown = filled(moving, pair.moving_excluded)  # at the voxels of the fixed image it could not be told any more
    present = pair.moving_mask or Image(np.ones(moving.grid.shape_kji, np.uint8), moving.grid)
    return dataclasses.replace(
        pair,
        moving=dataclasses.replace(warp_image(shown, fixed, initial), name=moving.name),
        moving_excluded=None,
        moving_mask=warp_image(present, fixed, initial, sitk.sitkNearestNeighbor),
        contrasts=tuple(
            dataclasses.replace(one, moving=warp_image(one.moving, fixed, initial)) for one in pair.contrasts
        ),
        channels=None if pair.channels is None else _deformed_channels(pair.channels, fixed, initial),
        start=None,
        guidance=None if pair.guidance is None else _pulled_back(pair.guidance, initial),
    )


def _deformed_channels(channels: Channels, fixed: Image, initial: Transform) -> Channels:
    """Return the moving channels as the transform brings them to the fixed image."""
    moved = [warp_image(Image(one, channels.moving_grid), fixed, initial).values for one in channels.moving]
    return dataclasses.replace(channels, moving=np.stack(moved), moving_grid=fixed.grid)


def _pulled_back(guidance: Guidance, initial: Transform) -> Guidance:
    """Return the guidance of a pair whose moving image was deformed: where its points lie in that."""
    return dataclasses.replace(
        guidance,
        moving_points_lps_mm=points_before(initial, guidance.moving_points_lps_mm),
        moving_surface_lps_mm=points_before(initial, guidance.moving_surface_lps_mm),
    )


def after_initial(initial: Transform, found: Transform, fixed: Grid, device: torch.device) -> Transform:
    """Return the whole transform: ``found``, then ``initial``, with its inverse."""
    grid = fixed if found.field is None or fixed.voxels <= MAX_DENSE_VOXELS else found.field.grid
    linear_lps = _affine_of(initial, fixed) @ found.linear_lps
    field = _composed(initial, found, grid, linear_lps)
    inverse = inverse_of_field(field, device)
    return Transform(linear_lps, field, (inverse, correction_of_inverse(field, inverse, device)))


def _affine_of(initial: Transform, fixed: Grid) -> np.ndarray:
    """Return the affine transform nearest to it over the fixed image: what is left is small, and can be inverted."""
    places = voxel_centers_lps(sampled(fixed, 20_000)).reshape(-1, 3)
    axes = [c for c in range(3) if fixed.size_ijk[c] > 1]
    known = np.c_[(places - fixed.center_lps_mm) @ fixed.direction[:, axes], np.ones(len(places))]
    change = np.linalg.lstsq(known, fixed_to_moving(initial, places) - places, rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3, :3] += (fixed.direction[:, axes] @ change[:-1]).T
    matrix[:3, 3] = change[-1] - (matrix[:3, :3] - np.eye(3)) @ fixed.center_lps_mm
    return matrix


def stages_after_initial(initial: Transform, stages: Sequence[Stage], fixed: Grid) -> list[Stage]:
    """Return the stages as the whole transform stood at the end of each, the initial one first."""
    coarse, affine = sampled(fixed, 200_000), _affine_of(initial, fixed)
    first = Stage(STAGE, 0.0, affine, _composed(initial, Transform(np.eye(4)), coarse, affine), note="as it was given")
    later = []
    for stage in stages:
        linear_lps, grid = affine @ stage.linear_lps, coarse if stage.field is None else stage.field.grid
        field = _composed(initial, Transform(stage.linear_lps, stage.field), grid, linear_lps)
        later.append(dataclasses.replace(stage, linear_lps=linear_lps, field=field))
    return [first, *later]


def _composed(initial: Transform, found: Transform, grid: Grid, linear_lps: np.ndarray) -> Field:
    """Return ``u`` of both, one after the other, with the linear part that stands in front of it."""
    places = voxel_centers_lps(grid).reshape(-1, 3)
    moved = fixed_to_moving(initial, fixed_to_moving(found, places))
    displacement = apply_matrix(np.linalg.inv(linear_lps), moved) - places
    return Field(displacement.astype(np.float32).reshape(*grid.shape_kji, 3), grid)
