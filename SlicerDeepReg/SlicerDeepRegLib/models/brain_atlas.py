"""Structures of a brain by an atlas that is fitted to the image: no contrast has to be known before.

An atlas says how likely each structure is at each place of the mean person's brain. It is moved and deformed until the
intensities of the image are explained best, each group of structures having a normal distribution of its own, whose
mean and spread are found in the image along with the deformation and a smooth bias field (Ashburner and Friston,
NeuroImage 2005; Puonti et al., NeuroImage 2016). What is around the brain may have any intensities: a histogram.
The structures of each place follow by Bayes' rule.

Chosen here: the groups; normal distributions share a part of their spread, so that none becomes a spike in images whose
white matter has one value; a deformation on nodes 4 mm apart by Adam on samples of the voxels, which is fast on a CPU.
Numbers were chosen on four T1 brains, see benchmarks/RESULTS.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ..anatomy import STRUCTURES
from ..files.weights import file_sha256, read_weights, write_weights
from ..geometry.grids import triple
from ..preparation.intensity import robust_range
from ..preparation.resample import resample
from ..types import Grid, Image, InputError
from ..warping.filters import gaussian
from ..warping.sample import at_points, warp

ATLAS_FILE = "atlas.safetensors"
#: The box of the mean person's frame, along i, j, k, around its origin (mm), and the size of its voxels.
BOX_MM, VOXEL_MM = (160.0, 224.0, 192.0), 2.0
CLASSES = len(STRUCTURES) + 1
#: Structures that look alike in any contrast: one normal distribution each. What is around the brain is group 0.
GROUPS = (
    (4, 43, 5, 44, 14, 15, 24),
    (3, 42, 17, 53, 18, 54),
    (8, 47),
    (2, 41),
    (7, 46),
    (10, 49),
    (11, 50, 26, 58, 12, 51),
    (13, 52),
    (16, 28, 60),
)
#: The robust range of the image becomes 0 to this, so that what is brighter is kept apart, too.
BRIGHT, DARKEST, BRIGHTEST, BINS = 0.7, -0.1, 1.5, 256
#: Part of the spread of each group that is the mean one of all, and what is added to it (standard deviation).
SHARED, LEAST_SPREAD = 0.3, 0.03
#: Density of intensities that belong to no group, so that a lesion does not draw the deformation.
STRANGE = 0.02
#: Weight of the mean squared difference of neighboring nodes of the displacement (voxels).
STIFFNESS = 2.0
#: Iterations of the affine motion at each smoothing, of the deformation on means of 4 mm, and on voxels of 2 mm; and
#: Adam's step.
AFFINE, COARSE, FINE = (20, 0.025), (30, 0.3), (15, 0.2)
#: Voxels of each iteration at most.
SAMPLE = 40_000  # a third of it for the affine motion
#: Smoothing of the atlas while the affine motion is found (voxels of 2 mm), and of the bias field (of 4 mm).
BLURS, BIAS_SMOOTHING = (3.0, 1.5), 7.0
#: Weight of the sum of squares of what the affine motion changes in lengths and angles.
AFFINE_STIFFNESS = 0.2
#: How what was seen before weighs beside the intensities while the affine motion is found: as its square root; and the
#: part of it that is taken as known nowhere.
TRUST, DOUBT = 0.5, 0.04
#: What the rounding of the structures to 8 bits may leave for nothing.
ROUNDED = 0.02
#: So many voxels inside the brain there is always something.
DEEP = 4
_GROUP_OF_NUMBER = {number: place for place, group in enumerate(GROUPS, start=1) for number in group}
#: Of nothing, and of each structure.
GROUP_OF_CLASS = torch.tensor([0] + [_GROUP_OF_NUMBER[structure.number] for structure in STRUCTURES])


class BrainAtlas:
    """How likely each structure is at each place of the mean person's brain.

    Args:
        priors: (33, K, J, I) float32 on ``grid``, nothing and the 32 structures; sum 1.
        device: where it computes.
    """

    def __init__(self, priors: torch.Tensor, device: torch.device) -> None:
        self.device = device
        self.grid, self.voxel_mm = frame_grid(), VOXEL_MM
        self.priors = priors.to(device)
        groups = priors.new_zeros((len(GROUPS) + 1, *priors.shape[1:]))
        self.groups = groups.index_add_(0, GROUP_OF_CLASS, priors).to(device)

    def fit(self, image: Image, to_image_lps: np.ndarray, seen: tuple[np.ndarray, Grid] | None = None) -> AtlasFit:
        """Fit the atlas to an image.

        Args:
            image: a volume.
            to_image_lps: (4, 4), from the frame to the image, LPS mm, as nearly as is known.
            seen: probabilities (33, K, J, I) that a network saw, and their grid. They help to find the affine motion,
                where skin and skull may look like the brain, and not the borders.
        """
        values = resample(image, self.grid, to_image_lps, outside=float(image.values.min()))
        low, high = robust_range(values)
        fit = _Fit(self, torch.from_numpy(_scaled(values, low, high)).to(self.device))
        fit.affine(None if seen is None else self._in_the_frame(*seen, to_image_lps))
        fit.deform(coarse=True)
        fit.deform(coarse=False)
        return AtlasFit(self, fit, to_image_lps, (low, high))

    @torch.no_grad()
    def _in_the_frame(self, members: np.ndarray, grid: Grid, to_image_lps: np.ndarray) -> torch.Tensor:
        """Return probabilities of an image's grid as those of groups in the frame, (groups, K/2, J/2, I/2)."""
        given = torch.from_numpy(members).float().to(self.device)
        groups = given.new_zeros((len(self.groups), *given.shape[1:]))
        groups.index_add_(0, GROUP_OF_CLASS.to(self.device), given)
        small = _halved(voxel_indices(self.grid.shape_kji, self.device))
        matrix = torch.from_numpy(grid.lps_to_ijk @ to_image_lps @ self.grid.ijk_to_lps).float().to(self.device)
        points = matrix[:3, :3] @ small.flatten(1) + matrix[:3, 3:]
        inside = (points.T > -0.5) & (points.T < points.new_tensor(grid.size_ijk) - 0.5)
        found = at_points(groups[None], points.T)
        found[:, ~inside.all(1)] = groups.new_tensor([1.0] + [0.0] * (len(groups) - 1))[:, None]
        return found.view(-1, *small.shape[1:])


@dataclass
class _Densities:
    """How likely each intensity is in each group: a table, (groups, ``BINS``)."""

    table: torch.Tensor
    means: torch.Tensor
    spreads: torch.Tensor

    @classmethod
    def of(cls, values: torch.Tensor, members: torch.Tensor) -> _Densities:
        """Find them from intensities, (N,), and what belongs to which group, (groups, N)."""
        count = members.sum(1) + 1e-6
        means = (members * values).sum(1) / count
        variances = (members * (values - means[:, None]).square()).sum(1) / count
        mean_variance = (count[1:] * variances[1:]).sum() / count[1:].sum()
        variances = (1 - SHARED) * variances + SHARED * mean_variance + LEAST_SPREAD**2
        middles = torch.linspace(DARKEST, BRIGHTEST, BINS, device=values.device)
        away = (middles - means[:, None]).square() / variances[:, None]
        table = torch.exp(-away / 2) / (2 * math.pi * variances[:, None]).sqrt() + STRANGE
        histogram = torch.zeros_like(middles).scatter_add_(0, bins(values), members[0])
        smooth = gaussian(histogram[None, None, None], [4.0, 0.0])[0, 0, 0]
        table[0] = (smooth / smooth.sum().clamp(min=1e-6) + 1e-3 / BINS) * BINS / (BRIGHTEST - DARKEST)
        return cls(table, means, variances.sqrt())


def bins(values: torch.Tensor) -> torch.Tensor:
    """Return the bin of each intensity, int64."""
    step = (BRIGHTEST - DARKEST) / (BINS - 1)
    known = values.nan_to_num(nan=DARKEST, posinf=BRIGHTEST, neginf=DARKEST)  # as an empty image has them
    return ((known - DARKEST) / step).round().clamp(0, BINS - 1).long()


class _Fit:
    """What is found while an atlas is fitted.

    Attributes:
        matrix, shift: of the affine motion, about the middle of the box: I + matrix / 5, and 10 shift voxels.
        nodes: (1, 3, K/2, J/2, I/2) of the displacement, voxels of 4 mm, before it is smoothed.
        bias: (K/2, J/2, I/2), what intensities are divided by.
        densities: of the intensities.
    """

    def __init__(self, atlas: BrainAtlas, values: torch.Tensor) -> None:
        shape, device = values.shape, values.device
        self.atlas, self.values = atlas, values
        self.own = voxel_indices(shape, device)
        self.middle = (torch.tensor(shape[::-1], dtype=torch.float32, device=device) - 1) / 2
        self.small_values, self.small_own = (_halved(x) for x in (values[None], self.own))
        self.matrix, self.shift = torch.zeros((3, 3), device=device), torch.zeros(3, device=device)
        small = [n // 2 for n in shape]
        self.nodes = torch.zeros((1, 3, *small), device=device)
        self.bias = torch.ones(small, device=device)
        self.densities: _Densities | None = None
        near = F.max_pool3d((atlas.groups[:1] < 0.995).float()[None], 5, 1, 2)[0]
        self.near, self.small_near = near[0] > 0, _halved(near)[0] > 0.4

    def displacement(self) -> torch.Tensor:
        """Return it on the nodes, (1, 3, ...) voxels of 2 mm."""
        return 2 * gaussian(self.nodes, [1.0] * 3)

    def moved(self, points: torch.Tensor) -> torch.Tensor:
        """Return where points of the box, (N, 3) voxels i, j, k, lie after the affine motion."""
        return points + (points - self.middle) @ self.matrix.T / 5 + 10 * self.shift

    def affine(self, seen: torch.Tensor | None) -> None:
        """Find the affine motion; ``seen`` are probabilities of groups, (groups, K/2, J/2, I/2)."""
        points, values = self.small_own[:, self.small_near].T, self.small_values[0][self.small_near]
        some = _shuffled(len(points), points.device)[: SAMPLE // 3]
        points, values, known = points[some], values[some], points.new_ones(())
        if seen is not None:
            known = (DOUBT + (1 - DOUBT) * seen[:, self.small_near][:, some]) ** TRUST
        iterations, step = AFFINE
        leaves = [x.requires_grad_() for x in (self.matrix, self.shift)]
        adam = torch.optim.Adam(leaves, lr=step)
        for blur in BLURS:
            groups = gaussian(self.atlas.groups[None], [blur] * 3)
            for _ in range(iterations):
                penalty = AFFINE_STIFFNESS * (self.matrix / 5).square().sum()
                self._step(adam, at_points(groups, self.moved(points)) * known, values, penalty)
        self.matrix, self.shift = (x.detach() for x in leaves)

    def deform(self, coarse: bool) -> None:
        """Find the deformation, and the bias field where ``coarse``."""
        near = self.small_near if coarse else self.near
        all_points = (self.small_own if coarse else self.own)[:, near].T.contiguous()
        all_values = (self.small_values[0] if coarse else self.values)[near]
        if not coarse:
            all_values = all_values / at_points(self.bias[None, None], (all_points - 0.5) / 2)[0]
        order = _shuffled(len(all_points), near.device)
        iterations, step = COARSE if coarse else FINE
        nodes = self.nodes.requires_grad_()
        adam = torch.optim.Adam([nodes], lr=step)
        for iteration in range(iterations):
            chosen = slice(None) if coarse else order.roll(-SAMPLE * iteration)[:SAMPLE]
            points, values, displacement = all_points[chosen], all_values[chosen], self.displacement()
            if coarse:  # points are nodes
                values, displacement = values / self.bias[near], displacement[0][:, near]
            else:
                displacement = at_points(displacement, (points - 0.5) / 2)
            moved = self.moved(points + displacement.T)
            slope = sum(nodes.diff(dim=axis).square().mean() for axis in (2, 3, 4))
            members = self._step(adam, at_points(self.atlas.groups[None], moved), values, STIFFNESS * slope)
            if coarse and iteration % 3 == 2:
                self._find_bias(all_values, members)
        self.nodes = nodes.detach()

    @torch.no_grad()
    def information(self) -> float:
        """Return how much the atlas explains of the intensities inside the brain, nats for each voxel.

        The mean logarithm of how likely an intensity is at its place over how likely it is anywhere in the brain.
        """
        assert self.densities is not None
        near = self.small_near
        moved = self.moved((self.small_own + self.displacement()[0])[:, near].T)
        priors = at_points(self.atlas.groups[None], moved)
        inside = priors[0] < 0.5
        priors = priors[1:, inside] / priors[1:, inside].sum(0)
        place = bins((self.small_values[0] / self.bias)[near][inside])
        table = self.densities.table[1:]
        anywhere = (priors.mean(1) @ table)[place]
        return float(((priors * table[:, place]).sum(0) / anywhere).log().mean())

    def _step(
        self, adam: torch.optim.Adam, priors: torch.Tensor, values: torch.Tensor, more: torch.Tensor | float = 0.0
    ) -> torch.Tensor:
        """Renew the densities, go one step, and return what belongs to which group, (groups, N)."""
        place = bins(values)
        with torch.no_grad():
            known = priors if self.densities is None else priors * self.densities.table[:, place]
            members = known / known.sum(0).clamp(min=1e-9)
            self.densities = _Densities.of(values, members)
        likely = (priors * self.densities.table[:, place]).sum(0)
        loss = more - likely.clamp(min=1e-9).log().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        return members

    def _find_bias(self, values: torch.Tensor, members: torch.Tensor) -> None:
        """Renew the bias field: the smooth factor that brings each group nearest to its mean."""
        d, near = self.densities, self.small_near
        assert d is not None
        weight = members[1:] / d.spreads[1:, None].square()
        sums = values.new_zeros((2, *self.bias.shape))
        sums[0, near] = (weight * d.means[1:, None]).sum(0) * values
        sums[1, near] = (weight * d.means[1:, None].square()).sum(0)
        seen, wanted = gaussian(sums[None], [BIAS_SMOOTHING] * 3)[0]
        least = 0.02 * wanted.mean()
        bias = (seen + least) / (wanted + least)
        self.bias = bias / bias[near].mean()


class AtlasFit:
    """An atlas after it was fitted to an image."""

    def __init__(self, atlas: BrainAtlas, fit: _Fit, to_image_lps: np.ndarray, range_: tuple[float, float]) -> None:
        self._atlas, self._fit, self._range = atlas, fit, range_
        self._to_frame = atlas.grid.lps_to_ijk @ np.linalg.inv(to_image_lps)
        assert fit.densities is not None
        #: How much the atlas explains; see ``geometry.structures.BrainEvidence``.
        self.information = fit.information()
        #: (33, ``BINS``) how likely each intensity is in each class.
        self.likely = fit.densities.table[GROUP_OF_CLASS.to(fit.values.device)]

    @torch.no_grad()
    def priors_on(self, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the deformed atlas and the bias field on a grid, (33, K, J, I) and (K, J, I); beyond the box nothing.

        Args:
            grid: in the image's space.
        """
        fit, device = self._fit, self._atlas.device
        to_frame = torch.from_numpy(self._to_frame @ grid.ijk_to_lps).float().to(device)
        flat = voxel_indices(grid.shape_kji, device).flatten(1)
        points = (to_frame[:3, :3] @ flat + to_frame[:3, 3:]).T
        on_nodes = (points - 0.5) / 2
        moved = fit.moved(points + at_points(fit.displacement(), on_nodes).T)
        bias = at_points(fit.bias[None, None], on_nodes)[0].view(grid.shape_kji)
        nothing = torch.zeros((CLASSES, 1, 1, 1), device=device)
        nothing[0] = 1
        displacement = (moved.T - flat).view(1, 3, *grid.shape_kji)
        priors = warp((self._atlas.priors - nothing)[None], displacement, outside="zeros")[0] + nothing
        return priors, bias

    def intensities(self, values: np.ndarray) -> torch.Tensor:
        """Return values of the image as the atlas knows them, before the bias field is taken out."""
        return torch.from_numpy(_scaled(values, *self._range)).to(self._atlas.device)


def posteriors(priors: torch.Tensor, likely: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the probability of each class at each voxel.

    Args:
        priors: (33, K, J, I).
        likely: (33, ``BINS``).
        values: (K, J, I) intensities, without bias.
    """
    place = bins(values)
    members = torch.stack([prior * density[place] for prior, density in zip(priors, likely)])
    return members / members.sum(0).clamp(min=1e-9)


def voxel_indices(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return i, j, k of each voxel, (3, K, J, I) float32."""
    lines = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1])


def frame_grid() -> Grid:
    """Return the voxels of the atlas: a box around the frame's origin, whose axes grow as RAS."""
    size = [round(length / VOXEL_MM) for length in BOX_MM]
    matrix = np.diag([-VOXEL_MM, -VOXEL_MM, VOXEL_MM, 1.0])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(size) - 1) / 2)
    return Grid(triple(size), matrix)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(BRIGHT / max(high - low, 1e-12))
    return np.clip(scaled, DARKEST, BRIGHTEST, out=scaled)


def _shuffled(count: int, device: torch.device) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0)).to(device)


def _halved(x: torch.Tensor) -> torch.Tensor:
    """Return means over two voxels along each axis, (C, K/2, J/2, I/2)."""
    return F.avg_pool3d(x[None], 2)[0]


# ------------------------------------------------------------------------------------------ files


def write_atlas(path: Path, priors: torch.Tensor) -> str:
    """Write an atlas whose sides are mirror images, as 8-bit probabilities where they are not 0.

    Args:
        priors: (33, K, J, I); of each side the left is kept.

    Returns:
        The SHA-256 of the file.
    """
    half = (priors[1:, ..., : priors.shape[-1] // 2] * 255).round().to(torch.uint8).flatten(1)
    index = [torch.nonzero(row)[:, 0] for row in half]
    arrays = {
        "count": np.array([len(i) for i in index], np.int64),
        "index": torch.cat(index).to(torch.int32).numpy(),
        "value": torch.cat([row[i] for row, i in zip(half, index)]).numpy(),
    }
    return write_weights(path, arrays)


def read_atlas(path: Path, sha256: str) -> torch.Tensor:
    """Read an atlas, (33, K, J, I) float32.

    Raises:
        InputError: it is not there, damaged, or another one.
    """
    if path.is_file() and file_sha256(path) != sha256:
        raise InputError(f"The atlas {path} is not the one that its card names. Copy the model again.")
    arrays = read_weights(path)
    k, j, i = frame_grid().shape_kji
    half = k * j * (i // 2)
    try:
        count, index, value = (arrays[name] for name in ("count", "index", "value"))
        row = np.repeat(np.arange(CLASSES - 1), count)
        left = np.zeros((CLASSES - 1, half), np.float32)
        left[row, index] = value.astype(np.float32) / 255
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"The atlas {path} is damaged. Copy the model again.") from error
    place = {s.number: n for n, s in enumerate(STRUCTURES)}
    lefts = torch.from_numpy(left).view(-1, k, j, i // 2)
    rights = lefts[[place[s.mirror] for s in STRUCTURES]].flip(-1)
    structures = torch.cat([lefts, rights], -1)
    nothing = 1 - structures.sum(0, keepdim=True)
    # Else a dark ventricle would be taken for what is dark around the head: choroid plexus has no label in the maps.
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray((nothing[0] > 0.5).byte().numpy())))
    outside = torch.from_numpy(sitk.GetArrayFromImage(parts) == 1)
    near_outside = F.max_pool3d(outside.float()[None, None], 2 * DEEP + 1, 1, DEEP)[0] > 0
    nothing[(nothing < ROUNDED) | ~near_outside] = 0
    return torch.cat([nothing, structures]) / (nothing + structures.sum(0, keepdim=True))
