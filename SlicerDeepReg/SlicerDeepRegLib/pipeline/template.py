"""Make the average image of a cohort: an unbiased template.

In each round every image is registered to the template of the round before. What is left of all transforms together
says how the template's shape differs from the mean shape of the cohort: undone, the transforms of the cohort are the
identity in the mean, and the average of the images, warped once by what is composed, is the next template (after
Joshi et al., NeuroImage 2004, and Guimond et al., CVIU 2000). Where people lie in the scanner is no shape: each
image's own rotation and shift are left out of the mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..checks.series import usable
from ..device import choose
from ..geometry.grids import padded
from ..geometry.points import apply_matrix, are_inside, fixed_to_moving, voxel_centers_lps
from ..metrics.labels import dice_by_label
from ..preparation.gaps import without_gaps
from ..preparation.intensity import robust_range, scaled
from ..preparation.resample import resample, warp_image, warp_labels
from ..processes.memory import check_room
from ..types import Field, Grid, Image, InputError, Progress, ProgressCallback, Request, Result, Transform
from ..warping.inverse import inverse_of_field
from .register import register

#: Part of its length by which the first image's grid is widened on each side, so that it holds larger people too.
MARGIN = 0.1
#: Bytes for each of its voxels that are kept of each image: a field and its inverse, and the field before these.
BYTES_EACH = 3 * 12


@dataclass(frozen=True, eq=False)
class Round:
    """What one round made.

    Attributes:
        number: from 1 on.
        template: the average, float32 of about 0..1.
        transforms: from the template to each image, with their inverses; the mean of their deformations is none.
        labels: where the most labels of the cohort agree, on the template; or None.
        change_mm: how far the template of the round before was from the mean shape, mean over its voxels.
        spread_mm: how far people are from the template, root mean square over its voxels.
        dice: mean overlap of the labels of the cohort, on the template, with ``labels``; or None.
        notes: sentences about the registration of each image.
    """

    number: int
    template: Image
    transforms: tuple[Transform, ...]
    labels: Image | None
    change_mm: float
    spread_mm: float
    dice: float | None
    notes: tuple[tuple[str, ...], ...]


def check_cohort(images: Sequence[Image], labels: Sequence[Image], rounds: int, start: int) -> None:
    """Refuse a cohort that no template can be made of.

    Raises:
        InputError: fewer than two images, another number of label maps, labels on other grids, or no such start.
    """
    if len(images) < 2:
        raise InputError("A template needs at least two images.", "images")
    if labels and len(labels) != len(images):
        raise InputError(f"There are {len(images)} images and {len(labels)} label maps. Give one for each.", "labels")
    for image, own in zip(images, labels):
        if not own.grid.same_as(image.grid):
            raise InputError(f"The labels {own.name} lie on another voxel grid than {image.name}.", "labels")
    for image in images:
        if image.dimensions != 3 or image.grid.is_planar:
            raise InputError(f"{image.name} is a single slice; a template is made of volumes.", "images")
        usable(image, "images")
    if not 1 <= rounds <= 20:
        raise InputError(f"The rounds must be from 1 to 20; they were {rounds}.", "rounds")
    if not 1 <= start <= len(images):
        raise InputError(f"There is no image {start}: there are {len(images)}, numbered from 1 on.", "start")
    check_room(_grid(images[start - 1]).voxels * len(images) * BYTES_EACH, f"template of {len(images)} images")


def make_template(
    images: Sequence[Image],
    request: Request,
    labels: Sequence[Image] = (),
    rounds: int = 4,
    start: int = 1,
    report: ProgressCallback | None = None,
) -> Iterator[Round]:
    """Make a template, and yield what each round made; the last one counts.

    Args:
        images: of one anatomy and one contrast, in any place and of any size.
        request: how to register; its images are not used.
        labels: of each image, or none at all.
        rounds: how often the template is made anew.
        start: number of the image that the first round begins with, from 1 on; what it decides is its grid.
        report: called with :class:`Progress` over all rounds.

    Raises:
        InputError: as of ``check_cohort`` and ``register``.
    """
    check_cohort(images, labels, rounds, start)
    unit = [_unit(image) for image in images]
    grid = _grid(images[start - 1])
    template = Image(resample(unit[start - 1], grid), grid, "template")
    device = choose(request.device)
    for number in range(1, rounds + 1):
        found, notes = [], []
        for n, image in enumerate(images):

            def told(progress: Progress, done: int = (number - 1) * len(images) + n, number: int = number) -> None:
                if report is not None:
                    fraction = (done + progress.fraction) / (rounds * len(images))
                    which = f"round {number}, image {done % len(images) + 1} of {len(images)}"
                    report(Progress(fraction, f"{which}, {progress.stage}", progress.loss))

            asked = dataclasses.replace(request, fixed=template, moving=image, fixed_labels=None, moving_labels=None)
            try:
                result = register(dataclasses.replace(asked, measure=False), told)
            except InputError as error:
                raise InputError(f"Round {number}, {image.name}, registered to the template: {error}") from error
            transform = result.transform
            found.append(Transform(transform.linear_lps, transform.field))  # its inverse is that of another template
            notes.append((*result.notes, *_contrast(result)))
        shape = np.zeros((*grid.shape_kji, 3), np.float32)
        for transform in found:
            shape += _shape(transform, grid) / len(found)
        back = inverse_of_field(Field(shape, grid), device)
        transforms = tuple(_composed(transform, back, grid, device) for transform in found)
        template = _average(unit, transforms, template)
        brought = [warp_labels(own, template, transform) for own, transform in zip(labels, transforms)]
        agreed = _agreed(brought, template) if brought else None
        yield Round(
            number,
            template,
            transforms,
            agreed,
            float(np.linalg.norm(shape, axis=-1).mean()),
            float(np.sqrt(np.mean([(_shape(one, grid) ** 2).sum(-1).mean() for one in transforms]))),
            None if agreed is None else float(np.mean([_overlap(agreed, one) for one in brought])),
            tuple(notes),
        )


def _contrast(result: Result) -> list[str]:
    """Say where an image was found to be of another contrast than the template."""
    if result.provenance["pair"].get("modality") != "different":
        return []
    return ["Its contrast is not that of the template: an average of both shows neither. Leave it out."]


def _grid(first: Image) -> Grid:
    """Return the grid of the template: that of an image, wider on all sides."""
    margins = [max(2, round(MARGIN * size)) for size in first.grid.size_ijk]
    return padded(first.grid, (margins[0], margins[1], margins[2]))


def _unit(image: Image) -> Image:
    """Return the image with its robust range as 0..1, so that no bright scan outweighs the others."""
    values = without_gaps(image)[0].values.astype(np.float32)
    return dataclasses.replace(image, values=scaled(values, *robust_range(values)))


def _shape(transform: Transform, grid: Grid) -> np.ndarray:
    """Return what a transform does beside the motion of its image as a whole, (K, J, I, 3) LPS mm of the template."""
    here = voxel_centers_lps(grid).reshape(-1, 3)
    there = fixed_to_moving(transform, here)
    u, _, vt = np.linalg.svd(transform.linear_lps[:3, :3])
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    undone = (there - there.mean(0)) @ turn + here.mean(0)  # the inverse of a rotation is its transpose
    shape: np.ndarray = (undone - here).astype(np.float32).reshape(*grid.shape_kji, 3)
    return shape


def _composed(transform: Transform, back: Field, grid: Grid, device: torch.device) -> Transform:
    """Return first ``id + back``, then ``transform``, on a grid, with its inverse."""
    here = voxel_centers_lps(grid).reshape(-1, 3)
    there = fixed_to_moving(transform, fixed_to_moving(Transform(np.eye(4), back), here))
    moved = apply_matrix(np.linalg.inv(transform.linear_lps), there) - here
    field = Field(moved.reshape(*grid.shape_kji, 3).astype(np.float32), grid)
    return Transform(transform.linear_lps, field, (inverse_of_field(field, device),))


def _average(unit: Sequence[Image], transforms: Sequence[Transform], template: Image) -> Image:
    """Return the mean of the images on the template's grid, each where it shows something."""
    total = np.zeros(template.grid.shape_kji, np.float64)
    count = np.zeros_like(total)
    here = voxel_centers_lps(template.grid).reshape(-1, 3)
    for image, transform in zip(unit, transforms):
        inside = are_inside(image.grid, fixed_to_moving(transform, here)).reshape(total.shape)
        total += np.where(inside, warp_image(image, template, transform).values, 0)
        count += inside
    values = (total / np.maximum(count, 1)).astype(np.float32)
    return Image(values, template.grid, "template")


def _agreed(brought: Sequence[Image], template: Image) -> Image:
    """Return the label that most of the label maps have at each voxel; the smaller one of two that are as many."""
    stacked = np.stack([one.values.astype(np.int32) for one in brought])
    best, votes = np.zeros(stacked.shape[1:], np.int32), np.zeros(stacked.shape[1:], np.int32)
    for label in np.unique(stacked).tolist():
        of_label = (stacked == label).sum(0)
        best[of_label > votes] = label
        votes = np.maximum(votes, of_label)
    return Image(best, template.grid, "labels")


def _overlap(agreed: Image, one: Image) -> float:
    by_label = dice_by_label(agreed.values, one.values.astype(np.int32))
    return float(np.mean(list(by_label.values()))) if by_label else 0.0
