"""Batches painted on label maps: pairs to register, and single images to segment.

A pair is two people's heads, or one person's twice, with contrasts of their own. Where every voxel of the fixed image
lies in the moving one is known: exactly for one person, and through the atlas (see ``atlas.py``) for two.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ...anatomy import STRUCTURES
from ...types import InputError
from ...warping.sample import resize
from ...warping.velocity import integrate
from ..rng import Rng, seed_of
from ..sources import TRAINING, Batch
from .atlas import Relation
from .frame import MIRRORED, SURROUNDINGS, LabelMap
from .paint import Head, Look, PaintSettings, frame_positions, paint


@dataclass(frozen=True)
class LabelMapSettings:
    """What is made of label maps. Values are uniform in their ranges; parts are probabilities.

    Attributes:
        one_person: part of the pairs that show one person, under a motion that is known.
        same_contrast: part of the pairs whose images have one contrast.
        flip: part of the pairs whose sides are exchanged, labels included.
        pose: largest rotation (degrees), change of scale and shift (mm) that both images of a pair share.
        apart: the same, by which they differ.
        elastic: (distance of nodes, largest standard deviation) of each velocity that deforms the fixed one, mm.
        paint: what images are like.
    """

    one_person: float = 0.2
    same_contrast: float = 0.6
    flip: float = 0.5
    pose: tuple[float, float, float] = (10.0, 0.1, 8.0)
    apart: tuple[float, float, float] = (3.0, 0.03, 2.0)
    elastic: tuple[tuple[float, float], ...] = ((24.0, 2.0), (48.0, 4.0))
    paint: PaintSettings = field(default_factory=PaintSettings)

    def __post_init__(self) -> None:
        for name in ("one_person", "same_contrast", "flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a part, from 0 to 1; it was {getattr(self, name)}.")


#: Of images to segment: any pose, and more of everything that scanners do.
FOR_SEGMENTATION = LabelMapSettings(
    pose=(20.0, 0.15, 15.0),
    elastic=((20.0, 2.0), (40.0, 4.0)),
    paint=PaintSettings(stripped=0.4, bias=0.4, noise=0.07, coarse=0.2, thick=0.2, lesions=0.2, cut=0.15),
)


class _Heads:
    """Heads of all people on one device, and how an image of one is posed."""

    def __init__(self, maps: Sequence[LabelMap], shape: Sequence[int], voxel_mm: float) -> None:
        if len(shape) != 3 or min(n for n in shape if n > 1) < 16:
            raise InputError(f"Label maps make images of axes of 16 voxels or more; the shape was {tuple(shape)}.")
        self.maps, self.shape, self.voxel_mm = tuple(maps), tuple(shape), voxel_mm
        self._on: dict[str, list[Head]] = {}

    def on(self, device: torch.device) -> list[Head]:
        """Return them on a device."""
        if str(device) not in self._on:
            self._on[str(device)] = [Head.of(one, device) for one in self.maps]
        return self._on[str(device)]

    def deformed(self, rng: Rng, elastic: Sequence[tuple[float, float]], device: torch.device) -> torch.Tensor:
        """Return the image's voxels moved by a random smooth flow, (3, K, J, I) LPS mm."""
        small = [max(8, (n + 1) // 2) for n in self.shape]
        velocity = sum(
            rng.noise(small, max(2.0, cell / (2 * self.voxel_mm)), 3, smooth=True)
            * (rng.uniform(0, largest) / (2 * self.voxel_mm))
            for cell, largest in elastic
        )
        flow = resize(integrate(velocity, squarings=5), self.shape)[0] * self.voxel_mm
        signs = flow.new_tensor([-1, -1, 1]).view(3, 1, 1, 1)
        return frame_positions(self.shape, self.voxel_mm, device) + flow * signs


class LabelMapSource:
    """Pairs to register.

    Args:
        maps: at least two people.
        relation: where voxels of one lie in another.
        shape: (K, J, I).
        voxel_mm: of the images.
        seed: of the training.
        settings: what pairs are like.
        stream: which of the streams of seeds, so that held-out pairs are others.
    """

    #: The classes that there are.
    labels = range(1, SURROUNDINGS)

    def __init__(
        self,
        maps: Sequence[LabelMap],
        relation: np.ndarray,
        shape: Sequence[int],
        voxel_mm: float,
        seed: int,
        settings: LabelMapSettings,
        stream: int = TRAINING,
    ) -> None:
        if len(maps) < 2:
            raise InputError("Pairs need the label maps of two people or more.")
        self.heads, self.velocities = _Heads(maps, shape, voxel_mm), relation
        self.shape, self.spacing_kji_mm = tuple(shape), (voxel_mm,) * 3
        self.seed, self.settings, self.stream = seed, settings, stream
        self._relation: Relation | None = None

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return what messages call the pairs at these positions."""
        return ["{} to {}".format(*(self.heads.maps[n].name for n in self._people(p))) for p in positions]

    def batches(self, positions_of_batches: Iterable[Sequence[int]], device: torch.device) -> Iterator[Batch]:
        """Yield one batch for each sequence of positions."""
        for positions in positions_of_batches:
            pairs = [self._pair(position, device) for position in positions]
            yield {name: torch.cat([pair[name] for pair in pairs]) for name in pairs[0]}

    def _people(self, position: int) -> tuple[int, int]:
        rng = Rng(seed_of(self.seed, self.stream, position, 1), torch.device("cpu"))
        first, second = rng.permutation(len(self.heads.maps))[:2]
        return (second, second) if rng.chance(self.settings.one_person) else (first, second)

    def _pose(self, rng: Rng) -> torch.Tensor:
        """Draw the motion that both images of a pair share, (4, 4)."""
        return rng_motion(rng, self.settings.pose)

    @torch.no_grad()
    def _pair(self, position: int, device: torch.device) -> Batch:
        s, voxel_mm = self.settings, self.heads.voxel_mm
        moving_one, fixed_one = self._people(position)
        rng = Rng(seed_of(self.seed, self.stream, position), device)
        pose = self._pose(rng)
        apart = rng_motion(rng, s.apart)
        positions = transformed(pose, self.heads.deformed(rng, s.elastic, device))
        of_moving = pose @ apart
        own = frame_positions(self.heads.shape, voxel_mm, device)
        heads = self.heads.on(device)
        if moving_one == fixed_one:
            there = positions
        else:
            self._relation = self._relation or Relation(self.velocities, device)
            there = self._relation.between(moving_one, fixed_one, positions)
        displacement = (transformed(torch.linalg.inv(of_moving), there) - own) / voxel_mm
        displacement = displacement * displacement.new_tensor([-1, -1, 1]).view(3, 1, 1, 1)
        moving_positions = transformed(of_moving, own)
        look = Look.draw(rng, s.paint)
        if look.stripped or not (heads[moving_one].whole_head and heads[fixed_one].whole_head):
            look = dataclasses.replace(look, stripped=True)
        same = rng.chance(s.same_contrast)
        other = look if same else look.with_other_contrast(rng, s.paint)
        moving, _ = paint(heads[moving_one], moving_positions, voxel_mm, other, rng, s.paint)
        fixed, seen = paint(heads[fixed_one], positions, voxel_mm, look, rng, s.paint)
        moving_labels, fixed_labels = heads[moving_one].at(moving_positions), heads[fixed_one].at(positions)
        known = (fixed_labels > 0) if moving_one == fixed_one and not look.stripped else structure(fixed_labels) > 0
        batch = {
            "moving": moving,
            "fixed": fixed,
            "moving_labels": structure(moving_labels)[None, None],
            "fixed_labels": structure(fixed_labels)[None, None],
            "displacement": displacement[None],
            "inside": (known & seen)[None, None].float(),
            "same_contrast": torch.tensor([same]),
        }
        return flipped(batch) if rng.chance(s.flip) else batch


class StructureSource:
    """Images to segment; the labels are classes of ``frame``, those of what is around the brain are 0.

    The arguments are those of :class:`LabelMapSource`. ``moving`` is the image, and ``fixed`` the same head in another
    contrast where ``twice``, else the image again.
    """

    labels = LabelMapSource.labels

    def __init__(
        self,
        maps: Sequence[LabelMap],
        shape: Sequence[int],
        voxel_mm: float,
        seed: int,
        settings: LabelMapSettings = FOR_SEGMENTATION,
        stream: int = TRAINING,
        twice: bool = False,
    ) -> None:
        self.heads = _Heads(maps, shape, voxel_mm)
        self.shape, self.spacing_kji_mm = tuple(shape), (voxel_mm,) * 3
        self.seed, self.settings, self.stream, self.twice = seed, settings, stream, twice

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return what messages call the images at these positions."""
        return [self.heads.maps[self._person(position)].name for position in positions]

    def batches(self, positions_of_batches: Iterable[Sequence[int]], device: torch.device) -> Iterator[Batch]:
        """Yield one batch for each sequence of positions."""
        for positions in positions_of_batches:
            images = [self._image(position, device) for position in positions]
            yield {name: torch.cat([image[name] for image in images]) for name in images[0]}

    def _person(self, position: int) -> int:
        rng = Rng(seed_of(self.seed, self.stream, position, 1), torch.device("cpu"))
        return rng.permutation(len(self.heads.maps))[0]

    @torch.no_grad()
    def _image(self, position: int, device: torch.device) -> Batch:
        s, voxel_mm = self.settings, self.heads.voxel_mm
        rng = Rng(seed_of(self.seed, self.stream, position), device)
        head = self.heads.on(device)[self._person(position)]
        pose = rng_motion(rng, s.pose)
        positions = transformed(pose, self.heads.deformed(rng, s.elastic, device))
        look = Look.draw(rng, s.paint)
        if not head.whole_head:
            look = dataclasses.replace(look, stripped=True)
        image, seen = paint(head, positions, voxel_mm, look, rng, s.paint)
        classes = head.at(positions)
        batch = {
            "moving": image,
            "fixed": image,
            "moving_labels": (structure(classes) * seen)[None, None],
            "inside": (classes > 0)[None, None].float(),
        }
        batch["fixed_labels"] = batch["moving_labels"]
        if self.twice:
            other = look.with_other_contrast(rng, s.paint)
            batch["fixed"], seen_too = paint(head, positions, voxel_mm, other, rng, s.paint)
            batch["fixed_labels"] = (structure(classes) * seen_too)[None, None]
        return flipped(batch) if rng.chance(s.flip) else batch


def structure(classes: torch.Tensor) -> torch.Tensor:
    """Return the classes of structures alone, int64; what is around the brain is 0."""
    return torch.where(classes < SURROUNDINGS, classes, torch.zeros_like(classes)).long()


def rng_motion(rng: Rng, largest: tuple[float, float, float]) -> torch.Tensor:
    """Draw an affine motion about the origin of the frame, (4, 4) double precision, mm."""
    matrix, shift = rng.motion(3, *largest)
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3], motion[:3, 3] = matrix, torch.tensor(shift, dtype=torch.float64)
    return motion


def transformed(motion: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return positions (3, ...) after an affine motion (4, 4)."""
    rows = motion.tolist()
    return torch.stack([sum(row[c] * positions[c] for c in range(3)) + row[3] for row in rows[:3]])


_MIRRORED = torch.tensor(MIRRORED)


def flipped(batch: Batch) -> Batch:
    """Exchange the sides of a batch: images, classes, and the field, whose first component changes its sign."""
    turned = {name: tensor.flip(-1) if tensor.ndim > 1 else tensor for name, tensor in batch.items()}
    for name in ("moving_labels", "fixed_labels"):
        turned[name] = _MIRRORED.to(turned[name].device)[turned[name]]
    if "displacement" in turned:
        turned["displacement"] = turned["displacement"] * turned["displacement"].new_tensor([-1, 1, 1]).view(
            1, 3, 1, 1, 1
        )
    return turned


def numbers_of(classes: np.ndarray) -> np.ndarray:
    """Return FreeSurfer's numbers of classes 0 to 32."""
    table = np.array([0, *(one.number for one in STRUCTURES)], np.int32)
    numbers: np.ndarray = table[classes]
    return numbers


def grid_size(voxel_mm: float) -> tuple[int, int, int]:
    """Return the shape (K, J, I) of images that hold a brain with what is around it, divisible by 16."""
    return tuple(16 * math.ceil(length / voxel_mm / 16) for length in (192, 224, 192))
