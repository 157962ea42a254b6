"""The pull of what the user knows: pairs of points, curves and surfaces, and bodies that move rigidly.

All three are points of the fixed image that know where they are to go: a landmark to its partner, a point of a
surface to the nearest point of the other surface, a point of a bone to where the rigid motion nearest to the present
one takes the bone. Each pulls at the deformation around it, within a Gaussian, by a force that grows with the distance
that is left, in units of its uncertainty, and no further than three of these (Huber 1964): a pair that is far off does
not outweigh the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import SimpleITK as sitk
import torch

from ...geometry.landmark_fit import fit_landmarks
from ...geometry.nearest import NearestPoint
from ...geometry.points import apply_matrix, voxel_centers_lps
from ...preparation.resample import resample
from ...preparation.working import WorkingPair
from ...types import Grid, Guidance, Image
from ...warping.filters import gaussian
from ...warping.sample import at_points
from .folds import fold_free
from .pyramid import Deformation, resized_to
from .settings import SVFSettings

#: A force grows up to so many times the uncertainty.
SATURATION = 3.0
#: Of an uncertainty of less, mm: a pair that is to be met exactly is pulled at as one of this, and settled at the end.
LEAST_UNCERTAINTY_MM = 0.2
#: The uncertainty of the points of a rigid body, mm, before it is settled.
RIGID_MM = 0.3
#: As many points of a surface or a body are used.
MOST_POINTS = 1500
#: A Gaussian is no narrower than so many voxels of the level's field.
LEAST_REACH = 1.5
#: So many landmarks lead a registration that starts far off, each over this part of the image's shortest side.
FEWEST_LEADING, WIDE = 3, 0.25
#: The part of a side over which a correction fades out.
FADING = 0.2
#: Settled is what is nearer than this, mm; and after so many rounds no more is tried.
SETTLED_MM, ROUNDS = 0.02, 12
#: As many rounds for rigid bodies, which push each other; a place that is further from a rigid motion is told of, mm.
BODY_ROUNDS, BENT_MM = 12, 0.2


class Anchors(Protocol):
    """Points of the fixed image that know where they are to go.

    Attributes:
        positions_lps_mm: (N, 3) in the fixed image.
        uncertainty_mm: (N,).
    """

    positions_lps_mm: np.ndarray
    uncertainty_mm: np.ndarray

    def targets(self, moved_lps_mm: np.ndarray) -> np.ndarray:
        """Return where each is to go, (N, 3) LPS mm, before the linear part, when they are at ``moved_lps_mm``."""
        ...


class Landmarks:
    """Points whose partners are known."""

    def __init__(self, guidance: Guidance, linear_lps: np.ndarray) -> None:
        self.positions_lps_mm, self.uncertainty_mm = guidance.fixed_points_lps_mm, guidance.uncertainty_mm
        self._targets = apply_matrix(np.linalg.inv(linear_lps), guidance.moving_points_lps_mm)

    def targets(self, moved_lps_mm: np.ndarray) -> np.ndarray:
        """See :class:`Anchors`."""
        return self._targets


class Surface:
    """Points of a curve or a surface, each pulled to the nearest point of the other one."""

    def __init__(self, guidance: Guidance, linear_lps: np.ndarray) -> None:
        self.positions_lps_mm = _thinned(guidance.fixed_surface_lps_mm)
        self.uncertainty_mm = np.full(len(self.positions_lps_mm), guidance.surface_uncertainty_mm)
        self._nearest = NearestPoint(apply_matrix(np.linalg.inv(linear_lps), guidance.moving_surface_lps_mm))

    def targets(self, moved_lps_mm: np.ndarray) -> np.ndarray:
        """See :class:`Anchors`."""
        return self._nearest(moved_lps_mm)


class RigidBody:
    """Voxels that move together: each is pulled to where the rigid motion nearest to that of all takes it."""

    def __init__(self, positions_lps_mm: np.ndarray, linear_lps: np.ndarray, normal: np.ndarray | None) -> None:
        self.positions_lps_mm, self._linear_lps, self._normal = positions_lps_mm, linear_lps, normal
        self.uncertainty_mm = np.full(len(positions_lps_mm), RIGID_MM)

    def targets(self, moved_lps_mm: np.ndarray) -> np.ndarray:
        """See :class:`Anchors`."""
        there = apply_matrix(self._linear_lps, moved_lps_mm)  # the whole motion is rigid, the linear part included
        matrix, _ = fit_landmarks(self.positions_lps_mm, there, "rigid", self._normal)
        return apply_matrix(np.linalg.inv(self._linear_lps) @ matrix, self.positions_lps_mm)


def anchors_of(pair: WorkingPair) -> list[Anchors]:
    """Return what guides a pair; empty where nothing does."""
    guidance = pair.guidance
    if guidance is None:
        return []
    anchors: list[Anchors] = []
    if len(guidance.fixed_points_lps_mm):
        anchors.append(Landmarks(guidance, pair.linear_lps))
    if len(guidance.fixed_surface_lps_mm) and len(guidance.moving_surface_lps_mm):
        anchors.append(Surface(guidance, pair.linear_lps))
    if guidance.rigid is not None:
        anchors += [RigidBody(_thinned(places), pair.linear_lps, _normal(pair)) for places in _bodies(guidance.rigid)]
    return anchors


def _normal(pair: WorkingPair) -> np.ndarray | None:
    if len(pair.axes_ijk) == 3:
        return None
    first, second = (pair.grid.direction[:, c] for c in pair.axes_ijk)
    return np.cross(first, second)


def _bodies(rigid: Image) -> list[np.ndarray]:
    """Return the voxels of each body, (N, 3) LPS mm."""
    bodies = []
    for value in np.unique(rigid.values[rigid.values > 0]):
        kji = np.argwhere(rigid.values == value)
        bodies.append(apply_matrix(rigid.grid.ijk_to_lps, kji[:, ::-1].astype(float)))
    return bodies


def _thinned(points: np.ndarray) -> np.ndarray:
    """Return at most ``MOST_POINTS`` of the points, the same ones each time."""
    if len(points) <= MOST_POINTS:
        return points
    return points[np.sort(np.random.default_rng(0).permutation(len(points))[:MOST_POINTS])]


class GuidanceTerm:
    """The pull of anchors at a level, beside that of the images.

    Args:
        anchors: of the pair.
        grid: of the level's field.
        axes: that exist.
        finest_mm: the finest voxel of the level, the unit of the derivative.
        settings: the weight and the reach.
    """

    def __init__(
        self,
        anchors: Sequence[Anchors],
        grid: Grid,
        axes: Sequence[int],
        finest_mm: float,
        settings: SVFSettings,
        device: torch.device,
    ) -> None:
        self._finest_mm, self._weight = finest_mm, settings.guidance_weight
        self._parts = [_Part(one, grid, axes, settings.guidance_reach_mm, device) for one in anchors]

    def __call__(self, whole: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Return the mean cost of the anchors, and its derivative by the displacement, per finest voxel of the level.

        Args:
            whole: (1, n, ...) the displacement, in voxels of the field.
        """
        value, pull = 0.0, torch.zeros_like(whole)
        for part in self._parts:
            residual = part.residual(whole)  # (N, n) mm
            scaled = residual / part.uncertainty[:, None]
            length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp(min=1e-9)
            bounded = length.clamp(max=SATURATION)
            value += self._weight * float((bounded * (length - bounded / 2)).mean())
            force = scaled * (bounded / length)
            pull += self._weight * part.spread(force)
        return value, pull


class _Part:
    """Anchors on the grid of a field: where they are now, and what a force at them does around them."""

    def __init__(
        self, anchors: Anchors, grid: Grid, axes: Sequence[int], reach_mm: float, device: torch.device
    ) -> None:
        self.anchors, self.grid, self.axes = anchors, grid, list(axes)
        ijk = apply_matrix(grid.lps_to_ijk, anchors.positions_lps_mm)[:, self.axes]
        self.spacing_mm = torch.tensor(grid.spacing_mm[self.axes].tolist(), device=device)
        self.points = torch.tensor(ijk.astype(np.float32), device=device)
        uncertainty = np.maximum(anchors.uncertainty_mm, LEAST_UNCERTAINTY_MM)
        self.uncertainty = torch.tensor(uncertainty.astype(np.float32), device=device)
        sizes = [grid.size_ijk[c] for c in self.axes]
        reach = [max(LEAST_REACH, reach_mm / float(mm)) for mm in self.spacing_mm]
        self.bells = [bell(self.points[:, c], size, reach[c]) for c, size in enumerate(sizes)]
        self.density = self._sum(torch.ones_like(self.points[:, :1])).clamp_(min=1)

    def moved(self, whole: torch.Tensor) -> torch.Tensor:
        """(N, n) voxels: where the points are, before the linear part."""
        return self.points + at_points(whole, self.points).T

    def residual(self, whole: torch.Tensor) -> torch.Tensor:
        """(N, n) mm along the axes: how far each is from its target."""
        moved = self.moved(whole)
        full = np.zeros((len(moved), 3))
        full[:, self.axes] = moved.cpu().numpy()
        targets = apply_matrix(self.grid.lps_to_ijk, self.anchors.targets(apply_matrix(self.grid.ijk_to_lps, full)))
        goal = torch.tensor(targets[:, self.axes].astype(np.float32), device=moved.device)
        return (moved - goal) * self.spacing_mm

    def spread(self, force: torch.Tensor) -> torch.Tensor:
        """(1, n, ...) of (N, n): the force of each around it; where they are dense, their mean."""
        return self._sum(force) / self.density

    def interpolating(self, steps: torch.Tensor, ridge: float) -> torch.Tensor:
        """Return Gaussians, (1, n, ...), that add up to steps, (N, n), at the points; a ridge makes them gentler."""
        here = torch.ones(len(steps), len(steps), device=steps.device)
        for bells, places in zip(self.bells, self.points.T):
            here = here * _sampled_rows(bells, places)
        return self._sum(torch.linalg.solve(here.T + ridge * torch.eye(len(steps), device=steps.device), steps))

    def _sum(self, force: torch.Tensor) -> torch.Tensor:
        """(1, C, ...) of (N, C): the Gaussians times the forces, added up; two small products of matrices."""
        first, *others = self.bells
        slow = others[-1]  # (N, K), or (N, J) in 2D
        rows = first if len(others) == 1 else torch.einsum("nj,ni->nji", others[0], first).flatten(1)
        weighted = torch.einsum("nc,nk->ckn", force, slow)
        return (weighted @ rows).view(1, force.shape[1], *[bells.shape[1] for bells in self.bells[::-1]])


def fade(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return a window over an image, (1, 1, *shape): 1 inside, 0 at the border, smooth over a fifth of each side."""
    window = torch.ones((1, 1, *shape), device=device)
    for axis, length in enumerate(shape):
        place = torch.arange(length, dtype=torch.float32, device=device)
        edge = torch.minimum(place, length - 1 - place) / max(1.0, FADING * length)
        along = torch.sin(edge.clamp(max=1) * (torch.pi / 2)) ** 2
        window = window * along.view([-1 if a == axis else 1 for a in range(len(shape))])
    return window


def bell(centers: torch.Tensor, size: int, sigma: float) -> torch.Tensor:
    """Return a Gaussian of height 1 around each of (N,) centers, (N, size)."""
    places = torch.arange(size, dtype=centers.dtype, device=centers.device)
    return torch.exp(-0.5 * ((places[None] - centers[:, None]) / sigma) ** 2)


def led(
    state: Deformation | None, pair: WorkingPair, grid: Grid, settings: SVFSettings, device: torch.device
) -> Deformation | None:
    """Bring the images as near as a smooth motion between the landmarks does, where they start far apart.

    The levels look for what fits within some voxels; landmarks that are further off than that say where to look. Their
    motion is carried far around them, and the levels then find the rest.

    Args:
        state: where the levels would begin; None for the linear part.
        grid: of the coarsest level's field.

    Returns:
        Where to begin; ``state`` where the landmarks are fewer than three, or most of them near.
    """
    guidance = pair.guidance
    if guidance is None or len(guidance.fixed_points_lps_mm) < FEWEST_LEADING:
        return state
    landmarks, axes = Landmarks(guidance, pair.linear_lps), list(pair.axes_ijk)
    coarsest_mm = float(grid.spacing_mm[axes].max())
    if state is None:
        shape = tuple(grid.size_ijk[c] for c in axes)[::-1]
        still = torch.zeros((1, len(axes), *shape), device=device)
        state = Deformation(still, still.clone(), grid)
        begun = None
    else:
        begun = state = resized_to(state, grid, axes)
    part = _Part(landmarks, grid, axes, settings.guidance_reach_mm, device)
    residual = part.residual(state.displacement)
    if float(torch.linalg.vector_norm(residual, dim=1).median()) < coarsest_mm:
        return begun
    sides_mm = np.array(grid.size_ijk)[axes] * grid.spacing_mm[axes]
    common = residual.mean(0)
    velocity = (-common / part.spacing_mm).view(1, -1, *[1] * len(axes)).expand_as(state.displacement).contiguous()
    wide = _Part(landmarks, grid, axes, WIDE * float(sides_mm.min()), device)
    velocity = velocity + wide.interpolating(-(residual - common) / part.spacing_mm, 0.1)
    return fold_free(begun, velocity, grid, settings)[0]


def settle(
    state: Deformation, pair: WorkingPair, settings: SVFSettings, device: torch.device, fading: bool = False
) -> tuple[Deformation, list[str]]:
    """Bring points that are to be met exactly onto their targets, and bodies to a motion that is rigid.

    By flows that are composed with the deformation, so that it does not fold.

    Args:
        fading: whether the deformation is to stay none at the border.

    Returns:
        The deformation; sentences about what could not be settled.
    """
    guidance = pair.guidance
    if guidance is None:
        return state, []
    notes: list[str] = []
    if guidance.rigid is not None:
        state = _rigid_bodies(state, pair, guidance.rigid, settings, device)
    if guidance.exact:
        chosen = guidance.uncertainty_mm == 0
        exact = Landmarks(
            Guidance(
                guidance.fixed_points_lps_mm[chosen],
                guidance.moving_points_lps_mm[chosen],
                guidance.uncertainty_mm[chosen],
            ),
            pair.linear_lps,
        )
        state, left_mm = _interpolated(state, exact, pair, settings, device, fading)
        if left_mm > 10 * SETTLED_MM:
            notes.append(
                f"The landmarks could not be met exactly without folding: {left_mm:.2f} mm are left at the worst of "
                "them. Check that none of them contradicts its neighbors."
            )
    if guidance.rigid is not None:
        bent_mm = float(np.linalg.norm(_off_rigid(state, pair, _nearest(guidance.rigid, state.grid)), axis=1).max())
        if bent_mm > BENT_MM:
            notes.append(
                f"The rigid bodies are not quite rigid: a place in them is {bent_mm:.1f} mm from a rigid motion. They "
                "lie close together or near landmarks that contradict it. Join bodies that move as one, or let the "
                "landmarks be less exact."
            )
    return state, notes


def _interpolated(
    state: Deformation,
    exact: Anchors,
    pair: WorkingPair,
    settings: SVFSettings,
    device: torch.device,
    fading: bool,
) -> tuple[Deformation, float]:
    """Compose flows that interpolate what is left at the points; return the deformation and the largest rest, mm."""
    reach_mm = settings.guidance_reach_mm
    for attempt in range(ROUNDS):
        part = _Part(exact, state.grid, pair.axes_ijk, reach_mm, device)
        residual = part.residual(state.displacement)
        left_mm = float(torch.linalg.vector_norm(residual, dim=1).max())
        if left_mm < SETTLED_MM:
            return state, left_mm
        # The first rounds do not try to tell points apart that are nearer than the Gaussians are wide; later ones are
        # narrower.
        velocity = part.interpolating(-residual / part.spacing_mm, 0.1 if attempt < 2 else 1e-3)
        window = fade(velocity.shape[2:], device) if fading else None
        if window is not None:
            velocity = velocity * window
        state, _ = fold_free(state, velocity, state.grid, settings, window=window)
        reach_mm = max(0.8 * reach_mm, 1.2 * float(part.spacing_mm.max()))
    part = _Part(exact, state.grid, pair.axes_ijk, reach_mm, device)
    return state, float(torch.linalg.vector_norm(part.residual(state.displacement), dim=1).max())


def _sampled_rows(bells: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return each Gaussian, (N, size), linearly at places along its axis, (M,): (N, M)."""
    low = places.floor().clamp(0, bells.shape[1] - 1).long()
    high = (low + 1).clamp(max=bells.shape[1] - 1)
    weight = (places - low).clamp(0, 1)
    return bells[:, low] * (1 - weight) + bells[:, high] * weight


def _rigid_bodies(
    state: Deformation, pair: WorkingPair, rigid: Image, settings: SVFSettings, device: torch.device
) -> Deformation:
    """Compose a flow that makes the motion of every voxel of the bodies rigid, and fades out around them."""
    grid, axes = state.grid, list(pair.axes_ijk)
    labels = _grown(_nearest(rigid, grid))  # what lies between two voxels is between two that move rigidly
    spacing = torch.tensor(grid.spacing_mm[axes].tolist(), device=device).view(1, -1, *[1] * len(axes))
    inside = torch.from_numpy((labels > 0).astype(np.float32).reshape(state.displacement.shape[2:]))[None, None]
    inside = inside.to(device)
    sigma = [max(LEAST_REACH, 0.5 * settings.guidance_reach_mm / grid.spacing_mm[c]) for c in axes]
    around = gaussian(inside, sigma)
    for _ in range(BODY_ROUNDS):
        shifts = _off_rigid(state, pair, labels)
        rest = torch.from_numpy((shifts @ grid.lps_to_ijk[:3, :3].T)[:, axes].T.astype(np.float32).copy())
        rest = rest.view_as(state.displacement[0].cpu())[None].to(device)
        if float((rest * spacing).abs().max()) < SETTLED_MM:
            break
        outside = gaussian(rest * inside, sigma) / around.clamp(min=1e-3)
        fading = (2 * around).clamp(max=1) ** 2
        state, _ = fold_free(state, torch.where(inside > 0, rest, outside * fading), grid, settings)
    return state


def _off_rigid(state: Deformation, pair: WorkingPair, labels: np.ndarray) -> np.ndarray:
    """Return by how much each voxel of bodies has to move so that its body moves rigidly, (N, 3) LPS mm; else 0."""
    grid, axes = state.grid, list(pair.axes_ijk)
    centers = voxel_centers_lps(grid).reshape(-1, 3)
    shifts, voxels = np.zeros((2, len(centers), 3))
    voxels[:, axes] = state.displacement[0].flatten(1).T.cpu().numpy()
    moved = centers + voxels @ grid.ijk_to_lps[:3, :3].T
    for value in np.unique(labels[labels > 0]):
        chosen = (labels == value).ravel()
        body = RigidBody(centers[chosen], pair.linear_lps, _normal(pair))
        shifts[chosen] = body.targets(moved[chosen]) - moved[chosen]
    return shifts


def _grown(labels: np.ndarray) -> np.ndarray:
    """Return labels grown by a voxel in each direction; the larger number wins."""
    for axis in range(labels.ndim):
        length = labels.shape[axis]
        if length > 1:
            around = np.pad(labels, [(1, 1) if a == axis else (0, 0) for a in range(labels.ndim)])
            labels = np.max([np.take(around, np.arange(length) + n, axis) for n in range(3)], axis=0)
    return labels


def _nearest(labels: Image, grid: Grid) -> np.ndarray:
    return resample(labels, grid, interpolator=sitk.sitkNearestNeighbor, outside=0)


def guided_region(guidance: Guidance, grid: Grid, reach_mm: float) -> np.ndarray:
    """Return how far each voxel of a grid is led by the user, (K, J, I) of 0..1."""
    region = np.zeros(grid.shape_kji, np.float32)
    points = np.concatenate([guidance.fixed_points_lps_mm, _thinned(guidance.fixed_surface_lps_mm)])
    if len(points):
        ijk = apply_matrix(grid.lps_to_ijk, points)
        for place in ijk:
            along = [
                np.exp(-0.5 * ((np.arange(n) - x) * mm / reach_mm) ** 2)
                for n, x, mm in zip(grid.size_ijk, place, grid.spacing_mm)
            ]
            np.maximum(region, along[2][:, None, None] * along[1][:, None] * along[0], out=region)
    for labels in (guidance.rigid, guidance.structures):
        if labels is not None:
            inside = (_nearest(labels, grid) > 0).astype(np.uint8)
            image = sitk.GetImageFromArray(inside)
            image.SetSpacing(grid.spacing_mm.tolist())
            away = (
                sitk.GetArrayFromImage(
                    sitk.SignedMaurerDistanceMap(
                        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
                    )
                )
                if inside.any()
                else np.full(grid.shape_kji, np.inf)
            )
            np.maximum(region, np.exp(-0.5 * (np.maximum(away, 0) / reach_mm) ** 2), out=region)
    return region
