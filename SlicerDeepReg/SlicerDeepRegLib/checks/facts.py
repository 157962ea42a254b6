"""What the checks are told of a request: of files by the command, of the scene's nodes by the panel."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from ..preparation.gaps import Gaps
from ..types import Grid, Image, Request


@dataclass(frozen=True, eq=False)
class VolumeFacts:
    """One of the two images.

    Attributes:
        role: "fixed" or "moving".
        name: for messages.
        noun: "image" for a file, "volume" for a node.
        grid: where its voxels lie; None where it has none.
        geometry_error: why it has no valid grid, or "".
        dimensions: 2 when it came from a 2D file, otherwise 3.
        components: values of a voxel.
        is_complex: whether they are complex.
        low, high: the range of its values; None where it is not known.
        not_finite: how many voxels are NaN or infinite, as far as is known.
        gaps_in_body: how many of these lie in the body, as a part of its voxels; None where they have not been filled.
        parent: the name of the transform that the node is under, or "".
        parent_is_linear: whether that transform is linear.
        notes: what its reader changed or assumed.
        values: (K, J, I) its voxels, where they are in memory.
    """

    role: str
    name: str
    noun: str = "image"
    grid: Grid | None = None
    geometry_error: str = ""
    dimensions: int = 3
    components: int = 1
    is_complex: bool = False
    low: float | None = None
    high: float | None = None
    not_finite: int = 0
    gaps_in_body: float | None = None
    parent: str = ""
    parent_is_linear: bool = True
    notes: tuple[str, ...] = ()
    values: np.ndarray | None = None

    @property
    def called(self) -> str:
        """How messages call it."""
        return f"The {self.role} {self.noun} ({self.name})"

    @property
    def known_grid(self) -> Grid:
        """The grid of a volume that is known to have one.

        Raises:
            ValueError: it has none.
        """
        if self.grid is None:
            raise ValueError(f"the {self.role} {self.noun} has no grid")
        return self.grid


@dataclass(frozen=True)
class AttachmentFacts:
    """A mask, or a label map or segmentation, of one of the images.

    Attributes:
        control: the field of the request: "fixed_mask", "moving_labels", ...
        name, noun: for messages; the noun is "mask", "labels" or "segmentation".
        empty: whether no voxel of it is above 0 where its image is.
        is_planar: whether it is a single slice; None where that does not matter.
        whole: whether its values are whole numbers from 0 up.
        high: its largest value; None for a mask.
        segments: how many a segmentation has; None of others.
        same_transform: whether it is under the same transform as its image.
        volume: the name of its image.
        size_ijk: of the box around a mask, in voxels of its image; None where it is not known.
        voxels: how many of its image a mask selects.
    """

    control: str
    name: str
    noun: str
    empty: bool = False
    is_planar: bool | None = None
    whole: bool = True
    high: float | None = None
    segments: int | None = None
    same_transform: bool = True
    volume: str = ""
    size_ijk: tuple[int, ...] | None = None
    voxels: int = 0

    @property
    def called(self) -> str:
        """How messages call it."""
        return f"The {attachment_title(self.control, self.noun)} ({self.name})"


def attachment_title(control: str, noun: str) -> str:
    """Return what messages call what belongs to an image: "fixed mask", "moving mask of what to exclude"."""
    side, _, what = control.partition("_")
    return f"{side} {noun}" + (" of what to exclude" if what == "excluded" else "")


@dataclass(frozen=True)
class PointFacts:
    """The landmarks.

    Attributes:
        fixed, moving: how many there are; None where no list was given.
        fixed_outside, moving_outside: the indices of those outside their image.
        notes: how they were paired, and which were left out.
    """

    fixed: int | None = None
    moving: int | None = None
    fixed_outside: tuple[int, ...] = ()
    moving_outside: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PairFacts:
    """Everything that the checks are told.

    Attributes:
        fixed, moving: None where none was chosen.
        same_image: whether both are one and the same.
        attachments: masks, labels and segmentations.
        points: the landmarks.
        linear, preset, similarity: as in ``Request``.
        contrasts: how many of each image are compared.
        guided: whether the user guides it.
        started: whether it starts from a transform, so that the images need not lie on one another.
        free_bytes: of this computer's memory; None where it is not known.
        device_free_bytes: of the GPU's own memory where the method would compute there; None elsewhere.
    """

    fixed: VolumeFacts | None
    moving: VolumeFacts | None
    same_image: bool = False
    attachments: tuple[AttachmentFacts, ...] = ()
    points: PointFacts = field(default_factory=PointFacts)
    linear: str = Request.linear
    preset: str = Request.preset
    similarity: str = Request.similarity
    contrasts: int = 1
    guided: bool = False
    started: bool = False
    free_bytes: int | None = None
    device_free_bytes: int | None = None

    @property
    def chosen_fixed(self) -> VolumeFacts:
        """The fixed volume, once it is known that one was chosen.

        Raises:
            ValueError: none was.
        """
        return _chosen(self.fixed, "fixed")

    @property
    def chosen_moving(self) -> VolumeFacts:
        """The moving volume, once it is known that one was chosen.

        Raises:
            ValueError: none was.
        """
        return _chosen(self.moving, "moving")

    def with_parts(self, attachments: tuple[AttachmentFacts, ...], points: PointFacts) -> PairFacts:
        """Return the same with what was read later."""
        return dataclasses.replace(self, attachments=attachments, points=points)


def _chosen(volume: VolumeFacts | None, role: str) -> VolumeFacts:
    if volume is None:
        raise ValueError(f"no {role} volume was chosen")
    return volume


def facts_of_image(image: Image, role: str, gaps: Gaps | None = None) -> VolumeFacts:
    """Describe an image that was read; ``gaps`` are those that were filled in it."""
    values = image.values
    not_finite = 0
    if values.dtype.kind == "f":
        not_finite = values.size - int(np.count_nonzero(np.isfinite(values)))
    known = values.dtype.kind != "c" and not not_finite
    return VolumeFacts(
        role=role,
        name=image.name,
        grid=image.grid,
        dimensions=image.dimensions,
        is_complex=values.dtype.kind == "c",
        low=float(values.min()) if known else None,
        high=float(values.max()) if known else None,
        not_finite=not_finite if gaps is None else int(gaps.where.sum()),
        gaps_in_body=None if gaps is None else gaps.part_of_body,
        notes=image.notes,
        values=values,
    )
