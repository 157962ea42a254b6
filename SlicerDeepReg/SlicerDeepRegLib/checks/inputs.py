"""Everything that a request names, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..files.images import load
from ..files.points import load_points
from ..files.segmentations import Segmentation, read_segmentation
from ..geometry.points import apply_matrix, are_inside
from ..preparation.gaps import Gaps, without_gaps
from ..preparation.resample import resample
from ..types import Contrast, Image, ImagePair, InputError, Request, Source
from .book import check_pair_alone, raise_error
from .facts import AttachmentFacts, PairFacts, attachment_title, facts_of_image
from .guidance import Guiding, guiding_of
from .landmarks import Pairs, pair_landmarks

#: More than this part of an image is not excluded: then the mask is one of what to compare.
MOST_EXCLUDED = 0.6
#: The fewest voxels of a rigid body.
LEAST_BODY = 30
#: Labels up to this number are counted in a table.
MOST_COUNTED = 10_000_000


@dataclass(frozen=True, eq=False)
class Inputs:
    """What was read.

    Attributes:
        pair: the images, without gaps (``preparation.gaps``), and masks that leave these out.
        fixed_mask: (K, J, I) bool on the fixed grid, the mask as it was given, or None.
        fixed_gaps: (K, J, I) bool, the voxels of the fixed image that are not numbers or are excluded, or None.
        fixed_labels: on the fixed grid, or None.
        moving_labels: on their own grid, or None.
        fixed_points, moving_points: (N, 3) LPS mm, or None.
        guiding: what guides the registration.
        facts: what the checks are told of them.
        label_names: name of each label, where a segmentation named them.
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
    label_names: dict[int, str]
    notes: tuple[str, ...]
    guiding: Guiding = dataclasses.field(default_factory=Guiding)


def read_inputs(request: Request) -> Inputs:
    """Read what a request names, and check all that needs no method.

    Raises:
        InputError: a file cannot be read, or an image cannot be registered.
    """
    reader, outside = _Reader(request.allow_outside), request.allow_outside
    fixed, fixed_gaps = without_gaps(load(request.fixed, "fixed image", request.fixed_series, True, outside))
    moving, moving_gaps = without_gaps(load(request.moving, "moving image", request.moving_series, True, outside))
    facts = PairFacts(
        fixed=facts_of_image(fixed, "fixed", fixed_gaps),
        moving=facts_of_image(moving, "moving", moving_gaps),
        linear=request.linear,
        preset=request.preset,
        similarity=request.similarity,
        contrasts=1 + len(request.more_fixed),
        started=request.initial is not None or request.continued is not None,
    )
    raise_error(check_pair_alone(facts))  # before what belongs to the images is read and brought to their grids
    contrasts = _contrasts(request, facts, fixed, moving)
    fixed_mask = reader.mask(request.fixed_mask, fixed, fixed_gaps, "fixed_mask")
    moving_mask = reader.mask(request.moving_mask, moving, moving_gaps, "moving_mask")
    fixed_labels, moving_labels, names = reader.both_labels(request)
    pairs = _landmarks(request, fixed, moving)
    facts = facts.with_parts(tuple(reader.facts), pairs.facts)
    raise_error(check_pair_alone(facts))
    if fixed_labels is not None:
        given, fixed_labels = fixed_labels, reader.on_grid(fixed_labels, fixed, "fixed labels")
        reader.check_on_image(given, fixed_labels, "fixed")
    if moving_labels is not None:
        reader.check_on_image(moving_labels, _seen_by(moving, moving_labels), "moving")
    reader.note_common(fixed_labels, moving_labels)
    excluded = {
        side: reader.excluded(getattr(request, f"{side}_excluded"), image, f"{side}_excluded")
        for side, image in (("fixed", fixed), ("moving", moving))
    }
    rigid = reader.rigid(request.fixed_rigid, fixed)
    facts = facts.with_parts(tuple(reader.facts), pairs.facts)
    raise_error(check_pair_alone(facts))
    guiding = guiding_of(request, pairs, fixed_labels, moving_labels, names, rigid)
    facts = dataclasses.replace(facts, guided=guiding.guidance is not None)
    left_out = _both(fixed_gaps, excluded["fixed"])
    moving_mask = _without(_both(moving_gaps, excluded["moving"]), moving_mask)
    if fixed_mask is not None and left_out is not None and not (fixed_mask & ~left_out).any():
        raise _nothing_left("fixed", with_mask=True)
    if moving_mask is not None and not moving_mask.any():
        raise _nothing_left("moving", with_mask=request.moving_mask is not None)
    return Inputs(
        pair=ImagePair(
            fixed=fixed,
            moving=moving,
            fixed_mask=_without(left_out, fixed_mask),
            moving_mask=None
            if moving_mask is None
            else Image(moving_mask.astype(np.uint8), moving.grid, "moving mask"),
            contrasts=contrasts,
            channels=guiding.channels,
            guidance=guiding.guidance,
            fixed_excluded=excluded["fixed"],
            moving_excluded=excluded["moving"],
        ),
        fixed_mask=fixed_mask,
        fixed_gaps=left_out,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_points=pairs.fixed_lps_mm,
        moving_points=pairs.moving_lps_mm,
        facts=facts,
        label_names=names,
        notes=(*reader.notes, *pairs.facts.notes, *guiding.notes),
        guiding=guiding,
    )


def _contrasts(request: Request, facts: PairFacts, fixed: Image, moving: Image) -> tuple[Contrast, ...]:
    """Return the further contrasts, read and checked.

    Raises:
        InputError: one cannot be registered, or does not lie on the grid of the first image of its side.
    """
    weights = request.contrast_weights or (1.0,) * facts.contrasts
    found = []
    for number, sources in enumerate(zip(request.more_fixed, request.more_moving), 2):
        first, second = (
            _contrast(source, side, number, reference, request.allow_outside)
            for source, side, reference in zip(sources, ("fixed", "moving"), (fixed, moving))
        )
        both = dataclasses.replace(facts, fixed=facts_of_image(first, "fixed"), moving=facts_of_image(second, "moving"))
        raise_error(check_pair_alone(both))
        found.append(Contrast(first, second, weights[number - 1] / weights[0]))
    return tuple(found)


def _contrast(source: Source, side: str, number: int, reference: Image, allow_outside: bool) -> Image:
    role, control = f"{side} image {number}", side
    image, gaps = without_gaps(load(source, role, "", True, allow_outside))
    if not image.grid.same_as(reference.grid):
        raise InputError(
            f"The {role} ({image.name}) lies on another voxel grid than the first ({reference.name}): the contrasts of "
            "one side are compared voxel by voxel. Register it to the first and resample it onto that grid.",
            control,
        )
    if gaps is not None:
        raise InputError(
            f"The {role} ({image.name}) has {np.count_nonzero(gaps.where)} voxels that are NaN or infinite. Replace "
            "them, or leave that contrast out.",
            control,
        )
    return image


class _Reader:
    """Reads masks and labels, and keeps the facts about them."""

    def __init__(self, allow_outside: bool) -> None:
        self.allow_outside = allow_outside
        self.facts: list[AttachmentFacts] = []
        self.notes: list[str] = []

    def read(self, source: str | Image, role: str) -> Image:
        return load(source, role, straight=False, allow_outside=self.allow_outside)

    def segmentation(self, source: str | Image | None, role: str) -> Segmentation | None:
        """Return what a segmentation file holds; None for anything else."""
        if source is None or isinstance(source, Image):
            return None
        return read_segmentation(source, role, self.allow_outside)

    def on_grid(self, image: Image, reference: Image, role: str) -> Image:
        if image.grid.same_as(reference.grid):
            return image
        self.notes.append(
            f"The {role} had a different voxel grid from the image: resampled to the image's grid (nearest neighbor)."
        )
        values = resample(image, reference.grid, interpolator=sitk.sitkNearestNeighbor, outside=0)
        return Image(values, reference.grid, image.name, reference.dimensions)

    def mask(self, source: str | Image | None, image: Image, gaps: Gaps | None, control: str) -> np.ndarray | None:
        """Return (K, J, I) bool on the image's grid; it is empty where only gaps of the image are left."""
        if source is None:
            return None
        role = attachment_title(control, "mask")
        segmentation = self.segmentation(source, role)
        if segmentation is not None and len(segmentation.names) > 1:
            self.notes.append(f"The {role} is the union of the segments {', '.join(segmentation.names)}.")
        mask = self.read(source, role) if segmentation is None else segmentation.union()
        known = np.isfinite(mask.values)
        binary = Image((known & (mask.values > 0)).astype(np.uint8), mask.grid, mask.name)
        if not known.all():
            count = int(known.size - np.count_nonzero(known))
            self.notes.append(f"The {role} has {count} voxels that are NaN or infinite; they were taken as outside it.")
        inside = self.on_grid(binary, image, role).values > 0
        compared = inside if gaps is None else inside & ~gaps.where
        along_kji = [np.flatnonzero(compared.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
        self.facts.append(
            AttachmentFacts(
                control=control,
                name=mask.name,
                noun="mask",
                empty=not bool(compared.any()),
                size_ijk=tuple(int(n[-1] - n[0]) + 1 if len(n) else 0 for n in along_kji[::-1]),
                voxels=int(np.count_nonzero(compared)),
            )
        )
        return inside

    def excluded(self, source: Source | None, image: Image, control: str) -> np.ndarray | None:
        """Return (K, J, I) bool on the image's grid, where nothing is compared; of an image or a segmentation."""
        if source is None:
            return None
        inside = self.mask(source, image, None, control)
        self.facts[-1] = dataclasses.replace(self.facts[-1], size_ijk=None)  # it may be as small as it is
        if inside is not None and inside.mean() > MOST_EXCLUDED:
            raise InputError(
                f"{self.facts[-1].called} excludes {100 * inside.mean():.0f}% of the image. A mask of what to exclude "
                "covers a lesion or a cavity; to compare only inside of a mask, give it as the mask.",
                control,
            )
        return inside

    def check_on_image(self, given: Image, on_image: Image, side: str) -> None:
        """Raise InputError where labels do not lie on their image; note those that the image does not show.

        Args:
            on_image: those of the labels that are inside the image's grid.
        """
        if on_image is given:
            return
        lost = sorted(_present(given.values) - _present(on_image.values))
        if not on_image.values.any():
            raise InputError(
                f"The {side} labels ({given.name}) do not lie on the {side} image: no labeled voxel is inside of it. "
                "Give those of this image.",
                f"{side}_labels",
            )
        if lost:
            listed = ", ".join(map(str, lost[:10]))
            more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
            self.notes.append(
                f"The {side} labels {listed}{more} lie outside the {side} image, or are smaller than its voxels, and "
                "are not measured."
            )

    def note_common(self, fixed: Image | None, moving: Image | None) -> None:
        """Note where no label is in both maps: nothing can be measured by them."""
        if fixed is None or moving is None:
            return
        if not _present(fixed.values) & _present(moving.values):
            self.notes.append(
                "The labels of the two images have no number in common, so overlap and distances were not measured."
            )

    def rigid(self, source: Source | None, fixed: Image) -> Image | None:
        """Return the rigid bodies as labels on the fixed grid."""
        if source is None:
            return None
        segmentation = self.segmentation(source, "fixed rigid bodies")
        if segmentation is None:
            labels = self.labels(self.read(source, "fixed rigid bodies"), "fixed_rigid")
        else:
            numbers = {name: n for n, name in enumerate(segmentation.names, 1)}
            labels = self.labels(segmentation.labels(numbers), "fixed_rigid")
        there = self.on_grid(labels, fixed, "fixed rigid bodies")
        small = [int(n) for n in np.unique(there.values[there.values > 0]) if _is_too_small(there.values == n)]
        if small or not there.values.any():
            what = f"label {small[0]} of {labels.name}" if small else labels.name
            raise InputError(
                f"A rigid body needs at least {LEAST_BODY} voxels that are not in one row, and {what} "
                "has fewer inside the fixed image. Draw it larger, or leave it out.",
                "fixed_rigid",
            )
        return there

    def both_labels(self, request: Request) -> tuple[Image | None, Image | None, dict[int, str]]:
        """Return the labels of both images, and the name of each where a segmentation or the request names it.

        Raises:
            InputError: segments overlap, or share a name, or cannot be compared with a label map.
        """
        sources = {"fixed_labels": request.fixed_labels, "moving_labels": request.moving_labels}
        roles = {control: control.replace("_", " ") for control in sources}
        read = {control: self.segmentation(source, roles[control]) for control, source in sources.items()}
        given = [control for control, source in sources.items() if source is not None]
        named = {control: segmentation for control, segmentation in read.items() if segmentation is not None}
        numbers = _numbers([named[control] for control in reversed(given) if control in named], len(given))
        if len(named) == 2:
            self.notes += _by_name(*(segmentation.names for segmentation in named.values()))
        elif named and len(given) == 2:
            (other,) = set(given) - set(named)
            said = ", ".join(f"{number} is {name}" for name, number in numbers.items())
            self.notes.append(f"The {roles[other]} have no names, so structures were matched by label value: {said}.")
        images = {}
        for control, source in sources.items():
            segmentation, role = read[control], roles[control]
            if source is not None:
                try:
                    image = self.read(source, role) if segmentation is None else segmentation.labels(numbers)
                except InputError as error:
                    raise InputError(str(error), control) from error
                images[control] = self.labels(image, control)
        names = {**request.label_names, **{number: name for name, number in numbers.items()}}
        return images.get("fixed_labels"), images.get("moving_labels"), names

    def labels(self, labels: Image, control: str) -> Image:
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


def _present(labels: np.ndarray) -> set[int]:
    """Return the labels above 0 that an array of int32 holds; counted, which is quicker than sorting."""
    most = int(labels.max(initial=0))
    found = np.flatnonzero(np.bincount(labels.ravel())) if most < MOST_COUNTED else np.unique(labels)
    return set(found.tolist()) - {0}


def _seen_by(image: Image, labels: Image) -> Image:
    """Return labels without those of voxels whose centers lie outside an image, on their own grid."""
    if labels.grid.same_as(image.grid) or labels.grid.is_planar:
        return labels
    kji = np.argwhere(labels.values)
    inside = are_inside(image.grid, apply_matrix(labels.grid.ijk_to_lps, kji[:, ::-1].astype(float)))
    values = np.zeros_like(labels.values)
    kept = tuple(kji[inside].T)
    values[kept] = labels.values[kept]
    return Image(values, labels.grid, labels.name, labels.dimensions)


def _is_too_small(body: np.ndarray) -> bool:
    """Tell whether no rigid motion can be estimated from a body: it has too few voxels, or one row of them."""
    where = np.argwhere(body)
    return len(where) < LEAST_BODY or int((np.ptp(where, axis=0) > 0).sum()) < 2


def _nothing_left(side: str, with_mask: bool) -> InputError:
    both = f"The {side} mask and what is excluded" if with_mask else f"What is excluded of the {side} image"
    verb = "leave" if with_mask else "leaves"
    return InputError(f"{both} {verb} nothing to compare. Change {'one' if with_mask else 'it'}.", f"{side}_excluded")


def _both(gaps: Gaps | None, excluded: np.ndarray | None) -> np.ndarray | None:
    """Return the voxels that are left out."""
    where = None if gaps is None else gaps.where
    if where is None or excluded is None:
        return excluded if where is None else where
    return where | excluded


def _without(gaps: np.ndarray | None, mask: np.ndarray | None) -> np.ndarray | None:
    """Return the mask without the gaps; None for everywhere."""
    if gaps is None:
        return mask
    return ~gaps if mask is None else mask & ~gaps


def _numbers(segmentations: Sequence[Segmentation], label_files: int) -> dict[str, int]:
    """Return a number for each name of a segment: that of the first file where it can be, so that equal names agree.

    Raises:
        InputError: the numbers of the only segmentation are needed, and do not tell its segments apart.
    """
    if not segmentations:
        return {}
    first = segmentations[0]
    own = first.own_numbers()
    if own is None and len(segmentations) < label_files:
        raise InputError(
            f"Segments of {first.name} share a number, so they cannot be compared with a label map. Give both as "
            "segmentations (.seg.nrrd) or both as label maps."
        )
    numbers = own or {}
    for name in (name for segmentation in segmentations for name in segmentation.names):
        numbers.setdefault(name, max(numbers.values(), default=0) + 1)
    return numbers


def _by_name(fixed: Sequence[str], moving: Sequence[str]) -> list[str]:
    notes = ["The segments were compared by their names."]
    for role, names, others in (("fixed", fixed, moving), ("moving", moving, fixed)):
        alone = [name for name in names if name not in others]
        if alone:
            notes.append(f"Only the {role} labels have a segment of these names: {', '.join(alone)}.")
    return notes


def _landmarks(request: Request, fixed: Image, moving: Image) -> Pairs:
    """Read the landmarks and pair them; those in memory are paired already."""
    sources = request.fixed_points, request.moving_points
    lists = [
        None if source is None else load_points(source, f"{role} points")
        for source, role in zip(sources, ("fixed", "moving"))
    ]
    pairs = pair_landmarks(*lists)
    facts = dataclasses.replace(
        pairs.facts,
        fixed_outside=_outside(pairs.fixed_lps_mm, pairs.fixed_indices, fixed),
        moving_outside=_outside(pairs.moving_lps_mm, pairs.moving_indices, moving),
    )
    if not any(isinstance(source, (str, Path)) for source in sources):
        facts = dataclasses.replace(facts, notes=())
    return dataclasses.replace(pairs, facts=facts)


def _outside(points: np.ndarray | None, indices: Sequence[int], image: Image) -> tuple[int, ...]:
    """Return the indices in their list of the points outside the image."""
    if points is None or not len(points):
        return ()
    return tuple(indices[n] for n in np.flatnonzero(~are_inside(image.grid, points)))
