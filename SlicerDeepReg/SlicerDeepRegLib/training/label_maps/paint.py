"""Images painted on label maps: sampling of a map in the frame, contrast, and what scanners do to an image.

After SynthSeg (Billot et al., Medical Image Analysis 2023) and SynthMorph (Hoffmann et al., IEEE TMI 2022). Chosen
here: classes are painted on voxels half as long and averaged, so that the border of two tissues looks as in a scan; the
table of contrasts beside random ones; lesions, cavities and cut fields of view.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...anatomy import STRUCTURES
from ...types import InputError
from ...warping.filters import gaussian
from ..rng import Rng, robust_unit
from .contrast import contrast
from .frame import SURROUNDINGS, LabelMap

#: The class of the fluid around the brain, which a skull-stripped image may lack.
OUTER_FLUID = 1 + [structure.number for structure in STRUCTURES].index(24)


@dataclass(frozen=True)
class PaintSettings:
    """What the images are like. Values are uniform in their ranges; parts are probabilities.

    Attributes:
        named_contrast, by_tissue: see ``contrast.contrast``.
        stripped: part of the images without what is around the brain.
        blur: standard deviation, largest, voxels.
        bias: standard deviation of the logarithm of the bias field, largest.
        gamma: standard deviation of the logarithm of the exponent.
        noise: standard deviation, largest.
        coarse: part of the images of a lower resolution, of voxels up to twice as long along each axis.
        thick: part of the images with thick slices, of up to ``thickest_mm`` along one axis.
        lesions: part of the images with lesions or a cavity.
        cut: part of the images whose field of view ends inside the head.
    """

    named_contrast: float = 0.5
    by_tissue: float = 0.6
    stripped: float = 0.6
    blur: float = 0.8
    bias: float = 0.3
    gamma: float = 0.2
    noise: float = 0.05
    coarse: float = 0.1
    thick: float = 0.1
    thickest_mm: float = 7.0
    lesions: float = 0.1
    cut: float = 0.05

    def __post_init__(self) -> None:
        for name in ("named_contrast", "by_tissue", "stripped", "coarse", "thick", "lesions", "cut"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a part, from 0 to 1; it was {getattr(self, name)}.")


@dataclass(frozen=True, eq=False)
class Head:
    """A label map as tensors.

    Attributes:
        classes: (K, J, I) uint8.
        frame_to_ijk: (3, 4) rows, from millimeters of the frame to voxels.
        whole_head: whether what is around the brain is labeled.
    """

    classes: torch.Tensor
    frame_to_ijk: tuple[tuple[float, ...], ...]
    whole_head: bool

    @classmethod
    def of(cls, one: LabelMap, device: torch.device) -> Head:
        """Put a label map on a device."""
        rows = tuple(tuple(float(v) for v in row) for row in one.frame_to_ijk[:3])
        return cls(torch.from_numpy(one.classes).to(device), rows, one.whole_head)

    def at(self, positions_mm: torch.Tensor) -> torch.Tensor:
        """Return the class at each position, (...) uint8; outside the map it is 0.

        Args:
            positions_mm: (3, ...) x, y, z of the frame.
        """
        return self._nearest(self._ijk(positions_mm), (0.0, 0.0, 0.0))

    def eighths(self, positions_mm: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the class in the middle of each eighth of each voxel, (K, J, I) uint8, eight times.

        Args:
            positions_mm: (3, K, J, I) where the voxels lie. How far neighbors lie apart is taken as the same in all of
                the image, which is right to a few hundredths of a voxel.
        """
        ijk = self._ijk(positions_mm)
        steps = []
        for axis in (1, 2, 3):
            n = ijk.shape[axis]
            first, last = ijk.select(axis, 0), ijk.select(axis, n - 1)
            steps.append([float(v) / max(1, n - 1) / 4 for v in (last - first).mean((1, 2))])
        for signs in itertools.product((-1, 1), repeat=3):
            yield self._nearest(ijk, [sum(s * step[c] for s, step in zip(signs, steps)) for c in range(3)])

    def _ijk(self, positions_mm: torch.Tensor) -> torch.Tensor:
        """Return voxel coordinates of the map, (3, ...) order i, j, k."""
        rows = self.frame_to_ijk
        return torch.stack([sum(row[c] * positions_mm[c] for c in range(3)) + row[3] for row in rows])

    def _nearest(self, ijk: torch.Tensor, shift_ijk: Sequence[float]) -> torch.Tensor:
        """Return the class of the voxel nearest to each place, moved by a shift."""
        index = torch.zeros(ijk.shape[1:], dtype=torch.int64, device=ijk.device)
        inside = torch.ones(ijk.shape[1:], dtype=torch.bool, device=ijk.device)
        for axis in (2, 1, 0):
            size = self.classes.shape[2 - axis]
            near = (ijk[axis] + shift_ijk[axis]).round_()
            inside &= (near >= 0) & (near <= size - 1)
            index.mul_(size).add_(near.clamp_(0, size - 1).to(torch.int64))
        return self.classes.reshape(-1)[index] * inside


def frame_positions(shape: Sequence[int], voxel_mm: float, device: torch.device) -> torch.Tensor:
    """Return where the voxels of an image around the frame's origin lie, (3, K, J, I) LPS mm; its axes grow as RAS."""
    k, j, i = (torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in shape)
    z, y, x = torch.meshgrid(k * voxel_mm, -j * voxel_mm, -i * voxel_mm, indexing="ij")
    return torch.stack([x, y, z])


def paint(
    head: Head, positions_mm: torch.Tensor, voxel_mm: float, look: Look, rng: Rng, settings: PaintSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint an image of a head.

    Args:
        head: whose.
        positions_mm: (3, K, J, I) where in the frame each voxel of the image looks.
        voxel_mm: of the image.
        look: its contrast, and what of the head is there.
        rng: of everything else.
        settings: what images are like.

    Returns:
        (1, 1, K, J, I) intensities 0..1, and (K, J, I) bool where something is shown.
    """
    brightness = torch.stack([look.means, look.deviations], 1).to(positions_mm.device)
    size = positions_mm.shape[1:]
    image, shown = positions_mm.new_zeros(size), positions_mm.new_zeros(size)
    for classes in head.eighths(positions_mm):
        if look.stripped:
            classes[classes >= SURROUNDINGS] = 0
            if not look.outer_fluid:
                classes[classes == OUTER_FLUID] = 0
        mean, deviation = F.embedding(classes.int(), brightness).unbind(-1)
        image += torch.addcmul(mean, deviation, rng.normal(*size))
        shown += classes > 0
    image, shown = (image / 8)[None, None], (shown / 8)[None, None]
    shape = list(image.shape[2:])
    if rng.chance(settings.lesions):
        image = _with_lesions(image, shown, voxel_mm, rng)
    image = gaussian(image, [rng.uniform(0, settings.blur)] * 3)
    image = (
        image * (rng.noise(shape, max(8.0, sorted(shape)[1] / 2.5), smooth=True) * rng.uniform(0, settings.bias)).exp()
    )
    if rng.chance(settings.coarse):
        image = _seen_at(image, [max(8, round(n / rng.uniform(1, 2))) for n in shape])
    if rng.chance(settings.thick):
        axis = rng.permutation(3)[0]
        thickness = max(1.0, rng.uniform(voxel_mm, settings.thickest_mm) / voxel_mm)
        image = _seen_at(image, [max(8, round(n / thickness)) if a == axis else n for a, n in enumerate(shape)])
    if not look.zero_outside:
        image = image + (shown < 0.5) * rng.uniform(0, 0.1)
    image = image + rng.normal(*image.shape) * rng.uniform(0, settings.noise)
    image = image.clamp(min=0) * (shown > 0.3) if look.zero_outside else image.abs()
    seen = shown[0, 0] > 0.3
    if rng.chance(settings.cut):
        seen = seen & _field_of_view(shape, rng, image.device)
        image = image * seen
    image = robust_unit(image)
    return image ** math.exp(settings.gamma * rng.gauss()), seen


@dataclass(frozen=True, eq=False)
class Look:
    """What an image shows and how bright.

    Attributes:
        means, deviations: (256,) of each class.
        stripped: without what is around the brain.
        outer_fluid: with the fluid around the brain, where it is stripped.
        zero_outside: exactly 0 where there is nothing.
    """

    means: torch.Tensor
    deviations: torch.Tensor
    stripped: bool
    outer_fluid: bool
    zero_outside: bool

    @classmethod
    def draw(cls, rng: Rng, settings: PaintSettings) -> Look:
        """Draw one."""
        means, deviations = contrast(rng, settings.named_contrast, settings.by_tissue)
        stripped = rng.chance(settings.stripped)
        return cls(means, deviations, stripped, rng.chance(0.5), rng.chance(0.9 if stripped else 0.3))

    def with_other_contrast(self, rng: Rng, settings: PaintSettings) -> Look:
        """Draw another contrast for the same extent."""
        means, deviations = contrast(rng, settings.named_contrast, settings.by_tissue)
        return dataclasses.replace(self, means=means, deviations=deviations)


def _with_lesions(image: torch.Tensor, shown: torch.Tensor, voxel_mm: float, rng: Rng) -> torch.Tensor:
    """Return the image with spots of another intensity: a few small ones, or one large."""
    shape = list(image.shape[2:])
    positions = frame_positions(shape, voxel_mm, image.device)
    many = rng.chance(0.6)
    wavy = 1 + 0.3 * rng.noise(shape, max(4.0, 9 / voxel_mm))[0]
    for _ in range(1 + int(rng.uniform(1, 6)) if many else 1):
        center = [rng.uniform(-reach, reach) for reach in (50, 65, 50)]
        radius = rng.uniform(3, 8) if many else rng.uniform(8, 25)
        away = sum((positions[a] - center[a]).square() for a in range(3)).sqrt()[None]
        spot = ((away * wavy < radius) & (shown[0] > 0.5))[None]
        image = torch.where(spot, rng.uniform(0, 1) + 0.05 * rng.noise(shape, 3.0), image)
    return image


def _seen_at(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the means over the voxels of a coarser image, interpolated back."""
    small = F.interpolate(image, size=tuple(shape), mode="area")
    return F.interpolate(small, size=tuple(image.shape[2:]), mode="trilinear", align_corners=False)


def _field_of_view(shape: Sequence[int], rng: Rng, device: torch.device) -> torch.Tensor:
    """Return where a field of view that ends early still sees something, (K, J, I) bool."""
    seen = torch.ones(tuple(shape), dtype=torch.bool, device=device)
    axis = (0, 0, 0, 1, 2)[rng.permutation(5)[0]]  # most often from below or above
    lost = int(shape[axis] * rng.uniform(0.1, 0.35))
    seen.narrow(axis, 0 if rng.chance(0.6) else shape[axis] - lost, lost).fill_(False)
    return seen
