"""The structures of a brain in an image of any contrast: a network finds the brain, an atlas is fitted to it.

The network (``networks/structures.py``) was trained on images of about the size of a head with the brain near their
middle. Larger images are seen twice: as a whole, to find the brain, and then in a window around it. Where the network
sees structures brings the atlas (``brain_atlas.py``) to the image, which finds the borders by the image's own
intensities. Labels are made on the image's own voxels, so that borders are finer than the voxels of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from ..anatomy import MEAN_CENTERS_MM, STRUCTURES
from ..catalog import SEGMENTATION_CARD, STRUCTURES_NETWORK
from ..checks import check_image
from ..files.images import to_sitk
from ..geometry.grids import content_box, oriented, triple
from ..geometry.points import apply_matrix
from ..geometry.structures import BrainEvidence, brain_evidence, centers_of, cut_cm2, distance_between, motion_between
from ..metrics.content import background_level
from ..networks.structures import StructureNetwork
from ..preparation.intensity import robust_range, scaled
from ..preparation.resample import resample
from ..types import Grid, Image, InputError
from .brain_atlas import ATLAS_FILE, AtlasFit, BrainAtlas, bins, posteriors, read_atlas
from .segmentation import load_described, read_description

#: The axes of what the networks see.
ORIENTATION = "RAS"
#: What the network was trained on, left to right, back to front and bottom to top.
WINDOW_MM = (192.0, 224.0, 192.0)
#: An image that shows more than this beyond the window is seen as a whole first (mm, both sides together).
SLACK_MM = 24.0
#: How far the middle of the brain may lie from that of the window: training shifts images by so much.
FARTHEST_MM = 20.0
#: By how much the window is shifted to see whether the brain stays where it was: as much as training shifts images.
SHIFT_MM = (14.0, 14.0, 14.0)
#: Most voxels of an image that is seen as a whole; larger ones are seen on larger voxels.
MOST_VOXELS = 2_500_000
#: A probability below this is taken as 0 where a structure is drawn: less than any that can win.
LEAST_PROBABILITY = 0.02
_NUMBERS = np.array([0, *(structure.number for structure in STRUCTURES)], np.int32)


@dataclass(frozen=True, eq=False)
class Structures:
    """What was seen in an image.

    Attributes:
        labels: int32, FreeSurfer's numbers (``anatomy``), on the image's voxels.
        confidence: float32, on the image's voxels, the probability of the label there; 1 beyond the window that was
            looked at, where nothing is labeled.
        memberships: (33, K, J, I) float32 on ``grid``, the probability of nothing and of each of the 32 structures.
        grid: a window about the brain along the axes of the image, in the order of RAS.
        volumes_ml, confidences: of each structure that was seen, by number; its mean confidence.
        centers: of the compact ones, LPS mm.
        evidence: whether it is a brain.
    """

    labels: Image
    confidence: Image
    memberships: np.ndarray
    grid: Grid
    volumes_ml: Mapping[int, float]
    confidences: Mapping[int, float]
    centers: Mapping[int, np.ndarray]
    evidence: BrainEvidence

    def brain_mask(self) -> Image:
        """Return 1 inside the brain with the fluid in and around it, holes filled, else 0, uint8."""
        inside = sitk.BinaryFillhole(to_sitk(Image((self.labels.values > 0).astype(np.uint8), self.labels.grid), 3))
        values = sitk.GetArrayFromImage(inside)
        return Image(values, self.labels.grid, "brain mask", self.labels.dimensions)


class StructureModel:
    """The network of a folder, with its weights, and the atlas beside it.

    Args:
        folder: card, weights and atlas, as ``training/structures.py`` writes them. A card that names no atlas is of a
            network alone, whose structures are taken as they are.
        device: where it computes.

    Raises:
        InputError: there is no such model, or its weights or its atlas are others.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        described = read_description(folder)
        self.network, self.voxel_mm = _loaded(described, folder, device)
        self.atlas: BrainAtlas | None = None
        if described.get("atlas"):
            self.atlas = BrainAtlas(read_atlas(folder / ATLAS_FILE, described["atlas"]), device)

    def see(self, image: Image) -> Structures:
        """Return the structures of the brain in a volume.

        Raises:
            InputError: it is a single slice, or one that :func:`check_image` refuses.
        """
        image = check_image(image, "image")
        if image.grid.is_planar:
            raise InputError(f"{image.name} is a single slice. The structures of a brain are seen in volumes only.")
        window, classes, members = self._around_the_brain(image)
        centers = centers_of(classes, window.ijk_to_lps, members.max(0))
        shifted = _shifted(window, SHIFT_MM)
        again = centers_of(self._classes(image, shifted)[0], shifted.ijk_to_lps)
        moved_mm = distance_between(centers, again)
        found = motion_between({n: np.array(c) for n, c in MEAN_CENTERS_MM.items()}, centers, affine=False)
        information = math.inf
        if self.atlas is None or found is None:
            labels, confidence = _on_image(members, window, image)
        else:
            fit = self.atlas.fit(image, found[0], (members, window))
            information = fit.information
            window = _box(window, (np.array(window.size_ijk) - 1) / 2, WINDOW_MM, self.atlas.voxel_mm)
            labels, confidence, classes, members = _by_atlas(fit, image, window)
            centers = centers_of(classes, window.ijk_to_lps, members.max(0))
        voxel_ml = abs(float(np.linalg.det(image.grid.ijk_to_lps[:3, :3]))) / 1000
        count = np.bincount(labels.ravel(), minlength=len(_NUMBERS))
        sums = np.bincount(labels.ravel(), confidence.ravel(), len(_NUMBERS))
        seen = [k for k in range(1, len(_NUMBERS)) if count[k]]
        volumes_ml = {int(_NUMBERS[k]): float(count[k] * voxel_ml) for k in seen}
        inside = float(sums[1:].sum() / max(1, count[1:].sum()))
        return Structures(
            labels=Image(_NUMBERS[labels], image.grid, f"structures of {image.name}", image.dimensions),
            confidence=Image(confidence, image.grid, f"confidence of {image.name}", image.dimensions),
            memberships=members,
            grid=window,
            volumes_ml=volumes_ml,
            confidences={int(_NUMBERS[k]): float(sums[k] / count[k]) for k in seen},
            centers=centers,
            evidence=brain_evidence(
                centers,
                moved_mm,
                volumes_ml,
                inside,
                information,
                cut_cm2(labels > 0, image.grid.ijk_to_lps),
            ),
        )

    def _around_the_brain(self, image: Image) -> tuple[Grid, np.ndarray, np.ndarray]:
        """Return a window around the brain, and there (K, J, I) the likeliest classes and (33, K, J, I) all."""
        straight = oriented(image.grid, ORIENTATION)
        low, high = content_box(image.values > background_level(image.values))
        ends = apply_matrix(straight.lps_to_ijk @ image.grid.ijk_to_lps, np.array([low, high], float))
        ends = np.sort(ends, axis=0) + np.array([[-0.5], [0.5]])
        spacing_mm = straight.spacing_mm
        extent_mm = (ends[1] - ends[0]) * spacing_mm
        middle_ijk = ends.mean(axis=0)
        window = _box(straight, middle_ijk, WINDOW_MM, self.voxel_mm)
        if (extent_mm > np.array(WINDOW_MM) + SLACK_MM).any():
            voxel_mm = max(self.voxel_mm, float(np.prod(extent_mm) / MOST_VOXELS) ** (1 / 3))
            whole = _box(straight, middle_ijk, extent_mm, voxel_mm)
            classes, _ = self._classes(image, whole)
            window = _box(straight, _middle_of_brain(classes, whole, straight, middle_ijk), WINDOW_MM, self.voxel_mm)
        classes, members = self._classes(image, window)
        middle_ijk = apply_matrix(straight.lps_to_ijk, window.center_lps_mm[None])[0]
        found_ijk = _middle_of_brain(classes, window, straight, middle_ijk)
        if np.linalg.norm((found_ijk - middle_ijk) * spacing_mm) > FARTHEST_MM:
            window = _box(straight, found_ijk, WINDOW_MM, self.voxel_mm)
            classes, members = self._classes(image, window)
        return window, classes, members

    @torch.no_grad()
    def _classes(self, image: Image, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Return the likeliest class of each voxel of a grid, and the probabilities of all, in one connected brain."""
        members = _probabilities(self.network, image, grid, self.device)
        return _connected(members.cpu().numpy())


@torch.no_grad()
def _probabilities(
    network: StructureNetwork,
    image: Image,
    grid: Grid,
    device: torch.device,
) -> torch.Tensor:
    """Return the probability of each class, (33, K, J, I), of an image sampled on a grid."""
    values = resample(image, grid, outside=float(image.values.min()))
    values = scaled(values, *robust_range(values))
    logits = network(torch.from_numpy(values)[None, None].to(device)).logits[0]
    return logits.softmax(0)


def _loaded(described: dict[str, Any], folder: Path, device: torch.device) -> tuple[StructureNetwork, float]:
    """Return a network with its weights, and its voxel size (mm).

    Raises:
        InputError: it is another network, or its weights are others.
    """
    path, recipe = folder / SEGMENTATION_CARD, described["recipe"]
    voxel_mm, features = recipe.get("voxel_mm"), described.get("features", 0)
    if described["segmentation"] != STRUCTURES_NETWORK or described["classes"] != _NUMBERS.tolist():
        raise InputError(f"{path} is not of a network that sees the structures of a brain. Give another model.")
    if not (_positive(voxel_mm) and recipe.get("orientation") == ORIENTATION):
        raise InputError(
            f'{path}: "voxel_mm" of the recipe must be a positive number, and the orientation RAS. Copy the model '
            "again."
        )
    if not isinstance(features, int) or features < 0:
        raise InputError(f'{path}: "features" must be a whole number from 0. Copy the model again.')
    network = StructureNetwork(len(_NUMBERS), features)
    load_described(network, described, folder)
    return network.to(device).eval(), float(voxel_mm)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _box(straight: Grid, middle_ijk: np.ndarray, extent_mm: Any, voxel_mm: float) -> Grid:
    """Return a grid of such voxels along the axes of another, about a point of it; sizes are multiples of 16."""
    size = np.maximum(2, np.ceil(np.array(extent_mm) / voxel_mm / 16 - 1e-6)).astype(int) * 16
    matrix = straight.ijk_to_lps.copy()
    matrix[:3, :3] *= voxel_mm / straight.spacing_mm
    middle_lps_mm = apply_matrix(straight.ijk_to_lps, np.asarray(middle_ijk)[None])[0]
    matrix[:3, 3] = middle_lps_mm - matrix[:3, :3] @ ((size - 1) / 2)
    return Grid(triple(size), matrix)


def _shifted(grid: Grid, shift_mm: Any) -> Grid:
    """Return the grid moved along its axes."""
    matrix = grid.ijk_to_lps.copy()
    matrix[:3, 3] += grid.direction @ np.array(shift_mm)
    return Grid(grid.size_ijk, matrix)


def _connected(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return classes and probabilities without what is not connected with the largest part that was seen."""
    classes = members.argmax(0).astype(np.uint8)
    apart = _apart(classes)
    members[:, apart] = 0
    members[0, apart] = 1
    classes[apart] = 0
    return classes, members


def _apart(classes: np.ndarray) -> np.ndarray:
    """Return what is not connected with the largest part of what is not 0, bool."""
    parts = sitk.ConnectedComponent(sitk.GetImageFromArray((classes > 0).astype(np.uint8)))
    apart: np.ndarray = sitk.GetArrayFromImage(sitk.RelabelComponent(parts)) > 1
    return apart


def _middle_of_brain(classes: np.ndarray, grid: Grid, straight: Grid, otherwise_ijk: np.ndarray) -> np.ndarray:
    """Return where the mean person's middle lies by the structures that were seen, in voxels of another grid."""
    centers = centers_of(classes, grid.ijk_to_lps)
    found = motion_between({n: np.array(c) for n, c in MEAN_CENTERS_MM.items()}, centers)
    if found is None:
        return otherwise_ijk
    middle_ijk: np.ndarray = apply_matrix(straight.lps_to_ijk, found[0][None, :3, 3])[0]
    return middle_ijk


def _by_atlas(fit: AtlasFit, image: Image, window: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return class and probability at each voxel of the image, and classes and all probabilities in the window."""
    priors, bias = fit.priors_on(window)
    labels, confidence = _on_image(priors.cpu().numpy(), window, image, fit, bias.cpu().numpy())
    values = fit.intensities(resample(image, window, outside=float(image.values.min())))
    return (labels, confidence, *_connected(posteriors(priors, fit.likely, values / bias).cpu().numpy()))


def _on_image(
    members: np.ndarray, grid: Grid, image: Image, fit: AtlasFit | None = None, bias: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return class (uint8) and its probability (float32) at each voxel of the image, both (K, J, I).

    Linear interpolation between the voxels of the grid, class by class and only where it occurs.

    Args:
        members: (33, ...) on the grid: probabilities; with ``fit`` those of its atlas, before the image was looked at.
        fit: the atlas that then weighs them by the image's intensities.
        bias: (...) on the grid, what intensities are divided by.
    """
    straight = oriented(image.grid, ORIENTATION)
    to_grid = grid.lps_to_ijk @ straight.ijk_to_lps
    positions = [to_grid[c, c] * np.arange(straight.size_ijk[c]) + to_grid[c, 3] for c in (2, 1, 0)]
    looked = [slice(*np.searchsorted(position, (-0.5, n - 0.5))) for position, n in zip(positions, grid.shape_kji)]
    rows = [_rows(position[part], n) for position, part, n in zip(positions, looked, grid.shape_kji)]
    place: np.ndarray | None = None
    if fit is not None and bias is not None:
        values = resample(image, straight, interpolator=sitk.sitkNearestNeighbor, outside=0)[tuple(looked)]
        place = bins(fit.intensities(values).cpu() / torch.from_numpy(_interpolated(bias, rows))).numpy()
        likely = fit.likely.cpu().numpy()
    best = _interpolated(members[0], rows)
    if place is not None:
        best *= likely[0][place]
    total = best.copy()
    labels = np.zeros(best.shape, np.uint8)
    for number in range(1, len(members)):
        present = members[number] > LEAST_PROBABILITY
        if not present.any():
            continue
        low, high = (ends[::-1] for ends in content_box(present))
        inner = [slice(max(0, a - 1), b + 2) for a, b in zip(low, high)]
        own = [row[:, part] for row, part in zip(rows, inner)]
        there = [np.flatnonzero(row.any(axis=1)) for row in own]
        if any(len(t) == 0 for t in there):
            continue
        outer = tuple(slice(t[0], t[-1] + 1) for t in there)
        values = _interpolated(members[number][tuple(inner)], [row[part] for row, part in zip(own, outer)])
        if place is not None:
            values *= likely[number][place[outer]]
        total[outer] += values
        higher = values > best[outer]
        np.copyto(best[outer], values, where=higher)
        np.copyto(labels[outer], np.uint8(number), where=higher)
    if place is not None:
        labels[_apart(labels)] = 0
        best /= np.maximum(total, 1e-9)
    all_labels = np.zeros(straight.shape_kji, np.uint8)
    confidence = np.ones(straight.shape_kji, np.float32)
    all_labels[tuple(looked)], confidence[tuple(looked)] = labels, best
    nearest = sitk.sitkNearestNeighbor
    return (
        resample(Image(all_labels, straight), image.grid, interpolator=nearest, outside=0),
        resample(Image(confidence, straight), image.grid, interpolator=nearest, outside=1),
    )


def _rows(position: np.ndarray, size: int) -> np.ndarray:
    """Return the matrix (positions, size), float32, that interpolates linearly along an axis; borders repeat."""
    position = np.clip(position, 0, size - 1)
    lower = np.minimum(position.astype(int), size - 2)
    rows = np.zeros((len(position), size), np.float32)
    rows[np.arange(len(position)), lower] = 1 - (position - lower)
    rows[np.arange(len(position)), lower + 1] = position - lower
    return rows


def _interpolated(values: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    """Return values (K, J, I) at the rows of each axis: dense products, which are faster than gathering."""
    k, j, i = (torch.from_numpy(row) for row in rows)
    x = torch.from_numpy(np.ascontiguousarray(values))
    x = (k @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])
    x = torch.matmul(j, x) @ i.T
    interpolated: np.ndarray = x.numpy()
    return interpolated
