"""Everything that a request names, read and checked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..files.images import load
from ..files.points import load_points
from ..geometry.points import apply_matrix
from ..preparation.gaps import Gaps, without_gaps
from ..preparation.resample import resample
from ..types import Image, ImagePair, Request
from .book import check_pair_alone, raise_error
from .facts import AttachmentFacts, PairFacts, PointFacts, facts_of_image


@dataclass(frozen=True, eq=False)
class Inputs:
    """What was read.

    Attributes:
        pair: the images, without gaps (``preparation.gaps``), and masks that leave these out.
        fixed_mask: (K, J, I) bool on the fixed grid, the mask as it was given, or None.
        fixed_gaps: (K, J, I) bool, the voxels of the fixed image that are no numbers, or None.
        fixed_labels: on the fixed grid, or None.
        moving_labels: on their own grid, or None.
        fixed_points, moving_points: (N, 3) LPS mm, or None.
        facts: what the checks are told of them.
        notes: what was changed or assumed.
    """

    pair: ImagePair
    fixed_mask: np.ndarray | None
    fixed_gaps: np.ndarray | None
    fixed_labels: Image | None
    moving_labels: Image | None
    fixed_points: np.ndarray | None
    moving_points: np.ndarray | None
    facts: PairFacts
    notes: tuple[str, ...]


def read_inputs(request: Request) -> Inputs:
    """Read what a request names, and check all that needs no method.

    Raises:
        InputError: a file cannot be read, or an image cannot be registered.
    """
    reader = _Reader()
    fixed, fixed_gaps = without_gaps(load(request.fixed, "fixed image", request.fixed_series))
    moving, moving_gaps = without_gaps(load(request.moving, "moving image", request.moving_series))
    facts = PairFacts(
        fixed=facts_of_image(fixed, "fixed", fixed_gaps),
        moving=facts_of_image(moving, "moving", moving_gaps),
        linear=request.linear,
        preset=request.preset,
        similarity=request.similarity,
    )
    raise_error(check_pair_alone(facts))  # before what belongs to the images is read and brought to their grids
    fixed_mask = reader.mask(request.fixed_mask, fixed, fixed_gaps, "fixed_mask")
    moving_mask = reader.mask(request.moving_mask, moving, moving_gaps, "moving_mask")
    fixed_labels = reader.labels(request.fixed_labels, "fixed_labels")
    moving_labels = reader.labels(request.moving_labels, "moving_labels")
    fixed_points, moving_points = _points(request.fixed_points, "fixed"), _points(request.moving_points, "moving")
    points = PointFacts(
        fixed=None if fixed_points is None else len(fixed_points),
        moving=None if moving_points is None else len(moving_points),
        fixed_outside=_outside(fixed_points, fixed),
        moving_outside=_outside(moving_points, moving),
    )
    facts = facts.with_parts(tuple(reader.facts), points)
    raise_error(check_pair_alone(facts))
    if fixed_labels is not None:
        fixed_labels = reader.on_grid(fixed_labels, fixed, "fixed labels")
    moving_mask = _without(moving_gaps, moving_mask)
    return Inputs(
        pair=ImagePair(
            fixed=fixed,
            moving=moving,
            fixed_mask=_without(fixed_gaps, fixed_mask),
            moving_mask=None
            if moving_mask is None
            else Image(moving_mask.astype(np.uint8), moving.grid, "moving mask"),
        ),
        fixed_mask=fixed_mask,
        fixed_gaps=None if fixed_gaps is None else fixed_gaps.where,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_points=fixed_points,
        moving_points=moving_points,
        facts=facts,
        notes=tuple(reader.notes),
    )


class _Reader:
    """Reads masks and labels, and keeps the facts about them."""

    def __init__(self) -> None:
        self.facts: list[AttachmentFacts] = []
        self.notes: list[str] = []

    def on_grid(self, image: Image, reference: Image, role: str) -> Image:
        if image.grid.same_as(reference.grid):
            return image
        self.notes.append(f"The {role} had another geometry than their image and were resampled to it.")
        values = resample(image, reference.grid, interpolator=sitk.sitkNearestNeighbor, outside=0)
        return Image(values, reference.grid, image.name, reference.dimensions)

    def mask(self, source: str | Image | None, image: Image, gaps: Gaps | None, control: str) -> np.ndarray | None:
        """Return (K, J, I) bool on the image's grid; it is empty where only gaps of the image are left."""
        if source is None:
            return None
        role = control.replace("_", " ")
        mask = load(source, role, straight=False)
        known = np.isfinite(mask.values)
        binary = Image((known & (mask.values > 0)).astype(np.uint8), mask.grid, mask.name)
        if not known.all():
            count = int(known.size - np.count_nonzero(known))
            self.notes.append(f"The {role} has {count} voxels that are NaN or infinite; they were taken as outside it.")
        inside = self.on_grid(binary, image, role).values > 0
        self.facts.append(AttachmentFacts(control, mask.name, "mask", empty=not np.any(_without(gaps, inside))))
        return inside

    def labels(self, source: str | Image | None, control: str) -> Image | None:
        if source is None:
            return None
        labels = load(source, control.replace("_", " "), straight=False)
        values = labels.values
        whole = bool(np.isfinite(values).all() and (values >= 0).all() and (values == np.round(values)).all())
        self.facts.append(
            AttachmentFacts(
                control=control,
                name=labels.name,
                noun="labels",
                empty=not bool(values.any()),
                # Those of the fixed image are brought to its grid, whatever their own is.
                is_planar=labels.grid.is_planar if control == "moving_labels" else None,
                whole=whole,
                high=float(values.max()) if whole else None,
            )
        )
        return Image(values.astype(np.int32), labels.grid, labels.name, labels.dimensions) if whole else labels


def _without(gaps: Gaps | None, mask: np.ndarray | None) -> np.ndarray | None:
    """Return the mask without the gaps; None for everywhere."""
    if gaps is None:
        return mask
    return ~gaps.where if mask is None else mask & ~gaps.where


def _points(source: str | np.ndarray | None, role: str) -> np.ndarray | None:
    return None if source is None else load_points(source, f"{role} points")


def _outside(points: np.ndarray | None, image: Image) -> tuple[int, ...]:
    """Return the indices of the points outside the image."""
    if points is None or not len(points):
        return ()
    ijk = apply_matrix(image.grid.lps_to_ijk, points)
    outside = ((ijk < -0.5) | (ijk > np.array(image.grid.size_ijk) - 0.5)).any(axis=1)
    return tuple(int(n) for n in np.flatnonzero(outside))
