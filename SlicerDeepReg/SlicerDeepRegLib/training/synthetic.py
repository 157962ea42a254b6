"""Synthetic pairs of images whose deformation is known: no scan is needed.

A pair is made on the device that trains, from one number: a label map (shapes of noise, or a brain-like structure),
a smooth diffeomorphism, and two images of it with contrasts of their own. The moving image shows the label map
itself and the fixed image shows it through ``T = id + u``, so ``u`` is exactly the field that a network is to find.

Sources: shapes of noise, random contrast, bias, blur and gamma after SynthMorph (Hoffmann et al., IEEE TMI 2022); that
shapes and contrast are what matters: Kolenbrander et al., MELBA 2025:013. The brain-like structure, the thick slices
and the mixture are ours. All lengths are in voxels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..types import InputError
from ..warping.filters import gaussian
from ..warping.sample import compose, resize, warp
from ..warping.velocity import integrate
from .rng import Rng, affine_displacement, robust_unit, seed_of

KINDS = ("mixed", "brains", "shapes")
#: Labels of a brain-like map; the pairs (left, right) look alike.
CSF, GRAY, WHITE, VENTRICLE, NUCLEI, CEREBELLUM, SKULL, SKIN = 1, (2, 3), (4, 5), (6, 7), 8, 16, 17, 18
NUCLEUS_PAIRS = 4
BRAIN_LABELS = 18


@dataclass(frozen=True)
class SyntheticSettings:
    """What the pairs are like. Values are uniform in their ranges; parts are probabilities.

    Attributes:
        kind: "shapes", "brains", or "mixed": each half of the time.
        labels: how many shapes a map of shapes has.
        shape_cell: size of the shapes, as a part of the image's mean length.
        motion: (distance of nodes, largest standard deviation) of each velocity that is added, voxels.
        rotation_degrees, scaling, shift: of the small affine motion that is added, largest.
        same_contrast: part of the pairs whose images have one contrast.
        texture: standard deviation inside a structure, largest (intensities are 0 to 1).
        blur: standard deviation, largest.
        bias: standard deviation of the logarithm of the bias field, largest.
        gamma: standard deviation of the logarithm of the exponent.
        noise: standard deviation, largest.
        coarse: part of the images of a lower resolution, of voxels up to twice as long along each axis.
        thick: part of the images with thick slices, of 2 to ``thickest`` voxels along one axis.
        stripped: part of the brains without skull.
        background: part of the maps of shapes with nothing around them.
        outside_zero: part of the images that are exactly 0 outside, as after skull stripping.
    """

    kind: str = "mixed"
    labels: int = 20
    shape_cell: tuple[float, float] = (0.12, 0.4)
    motion: tuple[tuple[float, float], ...] = ((8, 0.8), (16, 1.5), (32, 2.5))
    rotation_degrees: float = 5.0
    scaling: float = 0.05
    shift: float = 2.0
    same_contrast: float = 0.5
    texture: float = 0.08
    blur: float = 1.0
    bias: float = 0.3
    gamma: float = 0.25
    noise: float = 0.05
    coarse: float = 0.25
    thick: float = 0.25
    thickest: int = 4
    stripped: float = 0.7
    background: float = 0.5
    outside_zero: float = 0.8

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"Synthetic pairs are of the kind {', '.join(KINDS)}; it was {self.kind!r}.")
        for name in ("same_contrast", "coarse", "thick", "stripped", "background", "outside_zero"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a part, from 0 to 1; it was {getattr(self, name)}.")
        if self.labels < 2 or self.thickest < 2 or any(cell < 2 or size < 0 for cell, size in self.motion):
            raise InputError(
                "Synthetic pairs need 2 labels, thick slices of 2 voxels and nodes 2 voxels apart or more."
            )


@dataclass
class SyntheticPair:
    """Images and truth, tensors of one device.

    Attributes:
        moving, fixed: (B, 1, K, J, I) or (B, 1, J, I), intensities 0..1.
        moving_labels, fixed_labels: the same shape, whole numbers; 0 is background. The fixed ones are the moving ones
            seen through the field, by the nearest neighbor.
        displacement: (B, n, ...) voxels, order i, j(, k): ``fixed(x) = moving(x + u(x))`` but for the contrast.
        inside: (B, 1, ...) 1 where there is something to see in the fixed image.
        same_contrast, brain: (B,) bool, on the CPU, where they are asked for.
    """

    moving: torch.Tensor
    fixed: torch.Tensor
    moving_labels: torch.Tensor
    fixed_labels: torch.Tensor
    displacement: torch.Tensor
    inside: torch.Tensor
    same_contrast: torch.Tensor
    brain: torch.Tensor


def synthetic_pairs(
    shape: Sequence[int], seeds: Sequence[int], device: torch.device, settings: SyntheticSettings | None = None
) -> SyntheticPair:
    """Make one pair for each seed; the same seed gives the same pair on the same kind of device, whatever the batch.

    Args:
        shape: (K, J, I) or (J, I).

    Raises:
        InputError: an axis has fewer than 16 voxels.
    """
    if len(shape) not in (2, 3) or min(shape) < 16:
        raise InputError(f"Synthetic images need 2 or 3 axes of 16 voxels or more; the shape was {tuple(shape)}.")
    pairs = [_Maker(tuple(shape), seed, device, settings or SyntheticSettings()).pair() for seed in seeds]
    return SyntheticPair(
        **{f.name: torch.cat([getattr(pair, f.name) for pair in pairs]) for f in dataclasses.fields(SyntheticPair)}
    )


class _Maker:
    """Makes one pair; everything random in it comes from the seed, in a fixed order."""

    def __init__(self, shape: tuple[int, ...], seed: int, device: torch.device, settings: SyntheticSettings) -> None:
        self.shape, self.n, self.device, self.settings = shape, len(shape), device, settings
        rng = Rng(seed, device)
        self._uniform, self._chance, self._normal = rng.uniform, rng.chance, rng.normal
        self._rng, self._resolutions = rng, Rng(seed_of(seed, 1), device)

    def _noise(
        self, cell: float, channels: int = 1, shape: Sequence[int] | None = None, smooth: bool = False
    ) -> torch.Tensor:
        return self._rng.noise(shape or self.shape, cell, channels, smooth)

    @torch.no_grad()
    def pair(self) -> SyntheticPair:
        """Make the pair."""
        s = self.settings
        brain = s.kind == "brains" or (s.kind == "mixed" and self._chance(0.5))
        stripped = brain and self._chance(s.stripped)
        labels = self._brain(stripped) if brain else self._shapes()
        displacement = self._displacement()
        fixed_labels = warp(labels, displacement, mode="nearest")
        texture = self._noise(self._uniform(2, 5))
        fixed_texture = warp(texture, displacement)
        same = self._chance(s.same_contrast)
        contrast = self._contrast(brain)
        other = contrast if same else self._contrast(brain)
        moving = self._image(labels, texture, contrast)
        fixed = self._image(fixed_labels, fixed_texture, other)
        return SyntheticPair(
            moving,
            fixed,
            labels.round().long(),
            fixed_labels.round().long(),
            displacement,
            (fixed_labels > 0.5).float(),
            torch.tensor([same]),
            torch.tensor([brain]),
        )

    # ---------------------------------------------------------------- the deformation

    def _displacement(self) -> torch.Tensor:
        """(1, n, ...) voxels: the flow of smooth velocities, after a small affine motion."""
        small = tuple(max(8, (size + 1) // 2) for size in self.shape)
        velocity = sum(
            self._noise(cell / 2, self.n, small, smooth=True) * (0.5 * self._uniform(0, largest))
            for cell, largest in self.settings.motion
        )
        flow = resize(integrate(velocity, squarings=6), self.shape)
        s = self.settings
        matrix, shift = self._rng.motion(self.n, s.rotation_degrees, s.scaling, s.shift)
        return compose(flow, affine_displacement(matrix, shift, self.shape, self.device))

    # ---------------------------------------------------------------- label maps

    def _shapes(self) -> torch.Tensor:
        low, high = self.settings.shape_cell
        length = sum(self.shape) / self.n
        noise = self._noise(self._uniform(low, high) * length, self.settings.labels)
        labels = noise.argmax(1, keepdim=True).float() + 1
        if self._chance(self.settings.background):
            c = self._coordinates()
            labels = labels * (c.square().sum(1, keepdim=True).sqrt() + 0.25 * self._noise(length / 4) < 0.85)
        return labels

    def _coordinates(self) -> torch.Tensor:
        """(1, n, ...) -1 to 1 across the image, order of the tensor's axes."""
        lines = [torch.linspace(-1, 1, size, device=self.device) for size in self.shape]
        return torch.stack(torch.meshgrid(*lines, indexing="ij"))[None]

    def _brain(self, stripped: bool) -> torch.Tensor:
        """Nested shells with folds, two ventricles, pairs of nuclei and a cerebellum, turned in any way."""
        c = self._placed()
        length = sum(self.shape) / self.n
        radius = c.square().sum(1, keepdim=True).sqrt() + 0.05 * self._noise(length / 5)
        fold = self._noise(max(3.0, length * self._uniform(0.05, 0.09))).abs()
        cleft = c[:, :1].abs()
        depth = 1 - radius
        sulcus = (depth < self._uniform(0.16, 0.26)) & (fold < self._uniform(0.12, 0.28))
        ribbon = (depth < self._uniform(0.24, 0.34)) & (fold < self._uniform(0.55, 0.9))
        cortex = depth < self._uniform(0.06, 0.11)
        right = (c[:, :1] > 0).float()
        labels = torch.full_like(radius, float(WHITE[0])) + right
        labels = torch.where(ribbon | cortex, GRAY[0] + right, labels)
        split = (cleft < 0.03) & (depth < 0.45)
        labels = torch.where(sulcus | split | (depth < 0.025), float(CSF), labels)
        labels = self._inner(c, labels)
        labels = torch.where(depth < 0, float(SKULL), labels)
        labels = torch.where(radius > self._uniform(1.06, 1.1), float(SKIN), labels)
        edge = self._uniform(1.12, 1.2)
        return labels * (depth >= 0) if stripped else labels * (radius < edge)

    def _placed(self) -> torch.Tensor:
        """Coordinates of the brain's own axes, left to right first: 1 is its surface."""
        order = self._rng.permutation(self.n)
        c = self._coordinates()[:, order]
        for a in range(self.n):
            for b in range(a):
                angle = math.radians(self._uniform(-12, 12))
                first, second = c[:, a].clone(), c[:, b].clone()
                c[:, a], c[:, b] = (
                    math.cos(angle) * first - math.sin(angle) * second,
                    math.sin(angle) * first + math.cos(angle) * second,
                )
        signs = [1.0 if self._chance(0.5) else -1.0 for _ in range(self.n)]
        lengths = [self._uniform(0.7, 0.88) for _ in range(self.n)]
        for a, shift in enumerate([self._uniform(-0.06, 0.06) for _ in range(self.n)]):
            c[:, a] = (c[:, a] - shift) * (signs[a] / lengths[a])
        return c

    def _inner(self, c: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        right = c[:, :1] > 0
        mirrored = torch.cat([c[:, :1].abs(), c[:, 1:]], 1) + 0.03 * self._noise(max(3, min(self.shape) / 8), self.n)

        def ellipsoid(center: Sequence[float], lengths: Sequence[float]) -> torch.Tensor:
            axes = zip(mirrored.unbind(1), center, lengths)
            return (sum(((x - place) / size).square() for x, place, size in axes) < 1)[:, None]

        def wobble(value: float) -> float:
            return value * self._uniform(0.8, 1.2)

        tail = ellipsoid([0.45, -0.75, -0.62], [wobble(0.5), wobble(0.3), wobble(0.3)])
        labels = torch.where(tail & (labels > 0), float(CEREBELLUM), labels)
        centers = ((0.17, -0.1, -0.05), (0.2, 0.25, 0.05), (0.35, 0.12, -0.05), (0.33, -0.15, -0.3))
        sizes = ((0.13, 0.2, 0.15), (0.07, 0.22, 0.14), (0.11, 0.2, 0.16), (0.1, 0.24, 0.1))
        for number, (place, size) in enumerate(zip(centers, sizes)):
            nucleus = ellipsoid([p + self._uniform(-0.03, 0.03) for p in place], [wobble(v) for v in size])
            labels = torch.where(nucleus, NUCLEI + 2.0 * number + right.float(), labels)
        ventricle = ellipsoid([0.09, 0.05, 0.16], [wobble(0.08), wobble(0.42), wobble(0.12)])
        return torch.where(ventricle, VENTRICLE[0] + right.float(), labels)

    # ---------------------------------------------------------------- images

    def _contrast(self, brain: bool) -> torch.Tensor:
        """Return the mean intensity of each label; 0 for the background."""
        count = BRAIN_LABELS if brain else self.settings.labels
        means = self._rng.rand(count + 1) * 0.9 + 0.1
        means[0] = 0
        if brain:  # left and right alike
            pairs = [GRAY, WHITE, VENTRICLE, *((NUCLEI + 2 * k, NUCLEI + 2 * k + 1) for k in range(NUCLEUS_PAIRS))]
            for left, right in pairs:
                means[right] = means[left]
            means[VENTRICLE[0]] = means[VENTRICLE[1]] = means[CSF]
            if self._chance(0.5):  # gray between fluid and white, as in T1 and T2
                gray, fluid, white = means[GRAY[0]].clone(), means[CSF].clone(), means[WHITE[0]].clone()
                low, middle, high = torch.stack([gray, fluid, white]).sort().values
                means[CSF] = means[VENTRICLE[0]] = means[VENTRICLE[1]] = torch.where(fluid < white, low, high)
                means[WHITE[0]] = means[WHITE[1]] = torch.where(fluid < white, high, low)
                means[GRAY[0]] = means[GRAY[1]] = middle
        return means

    def _image(self, labels: torch.Tensor, texture: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        s = self.settings
        present = labels > 0.5
        image = contrast[labels.round().long()] + texture * (self._uniform(0, s.texture) * present)
        image = gaussian(image, [self._uniform(0, s.blur)] * self.n)
        length = sum(self.shape) / self.n
        image = image * (self._noise(max(8.0, length / 3), smooth=True) * self._uniform(0, s.bias)).exp()
        if self._resolutions.chance(s.coarse):
            image = self._seen_at(image, [round(size / self._resolutions.uniform(1, 2)) for size in self.shape])
        if self._chance(s.thick):
            image = self._thick(image)
        image = image + self._normal(1, 1, *self.shape) * self._uniform(0, s.noise)
        image = image.clamp(min=0) * present if self._chance(s.outside_zero) else image.abs()
        image = robust_unit(image)
        return image ** math.exp(s.gamma * self._rng.gauss())

    def _thick(self, image: torch.Tensor) -> torch.Tensor:
        """Thick slices along one axis, interpolated back."""
        axis = 2 + int(self._uniform(0, self.n))
        slices = round(image.shape[axis] / self._uniform(2, self.settings.thickest))
        shape = list(image.shape[2:])
        shape[axis - 2] = max(4, slices)
        return self._seen_at(image, shape)

    def _seen_at(self, image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Return the means over the voxels of a coarser image, interpolated back."""
        small = F.interpolate(image, size=tuple(shape), mode="area")
        kind = "trilinear" if self.n == 3 else "bilinear"
        return F.interpolate(small, size=self.shape, mode=kind, align_corners=False)
