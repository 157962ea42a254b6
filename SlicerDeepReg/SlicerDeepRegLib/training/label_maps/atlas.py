"""Where each voxel of one person lies in another: label maps brought into a common shape, once, and kept.

Each map is registered to the mean of all (and of their mirror images) by a stationary velocity field that makes the
structures agree; the mean is renewed in each round. Two maps are then related through it: what is at ``x`` in B is at
``phi_A(phi_B^-1(x))`` in A. These fields are targets for any contrast that is painted on the two maps: a network learns
from them faster than from overlap alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from ...anatomy import STRUCTURES
from ...warping.filters import gaussian
from ...warping.sample import at_points, compose, warp
from ...warping.velocity import integrate
from .frame import MIRRORED, LabelMap, kept_whole
from .paint import Head, frame_positions

VERSION = 1
#: The grid of the fields: voxels along k, j, i, and their size.
SHAPE, VOXEL_MM = (64, 80, 64), 3.0
#: Iterations of each map in each round, and the Gaussian smoothing (voxels) of the steps.
ROUNDS, SMOOTHING = (12, 12, 20), (3.0, 2.0, 1.4)
#: Weight of the length of the velocity's gradient beside the mean squared difference of the codes.
STIFFNESS = 0.02
#: Each structure is a code of so many numbers; squared differences of random codes tell 33 classes apart as well as
#: one channel for each would, at a third of the time.
CODES = 12


def prepare_atlas(
    maps: Sequence[LabelMap], cache: Path, device: torch.device, say: Callable[[str], None] = lambda text: None
) -> np.ndarray:
    """Return the velocity of each map, (N, 3, K, J, I) float16 voxels of the atlas' grid, order i, j, k.

    The flow of a velocity for time 1 takes a point of the mean shape to the point of the map, both in the frame.
    """
    stamp = repr((VERSION, SHAPE, VOXEL_MM, ROUNDS, SMOOTHING, STIFFNESS))
    digest = hashlib.sha256(stamp.encode())
    for one in maps:
        digest.update(one.classes.tobytes())
        digest.update(np.round(one.frame_to_ijk, 6).tobytes())
    kept = cache / f"atlas-{digest.hexdigest()[:16]}.npy"
    if not kept.is_file():
        velocities = _velocities([Head.of(one, device) for one in maps], device, say)
        with kept_whole(kept, "The atlas of the label maps") as stream:
            np.save(stream, velocities.cpu().numpy().astype(np.float16))
    return np.load(kept, allow_pickle=False)


@torch.no_grad()
def _velocities(heads: Sequence[Head], device: torch.device, say: Callable[[str], None]) -> torch.Tensor:
    positions = frame_positions(SHAPE, VOXEL_MM, device)
    codes = _codes(device)
    images = [_coded(head, positions, codes) for head in heads]
    mirror = _mirrored_codes(codes)
    velocities = torch.zeros((len(heads), 3, *SHAPE), device=device)
    for number, (iterations, sigma) in enumerate(zip(ROUNDS, SMOOTHING)):
        mean = sum(warp(image, integrate(v[None])) for image, v in zip(images, velocities)) / len(images)
        mean = (mean + _other_side(mean, mirror)) / 2
        for place, image in enumerate(images):
            velocities[place] = _registered(image, mean, velocities[place], iterations, sigma)
        velocities -= velocities.mean(0)  # so that the mean shape is that of the people
        say(f"relating {len(heads)} label maps, round {number + 1} of {len(ROUNDS)}")
    return velocities


def _registered(
    image: torch.Tensor, mean: torch.Tensor, velocity: torch.Tensor, iterations: int, sigma: float
) -> torch.Tensor:
    """Return the velocity after some steps of normalized gradient descent, as in demons."""
    velocity = velocity[None].clone()
    step = 0.6
    for iteration in range(iterations):
        with torch.enable_grad():
            leaf = velocity.requires_grad_()
            warped = warp(image, integrate(leaf, squarings=4))
            slope = sum((leaf.diff(dim=axis)).square().mean() for axis in (2, 3, 4))
            loss = (warped - mean).square().sum(1).mean() + STIFFNESS * slope
            (gradient,) = torch.autograd.grad(loss, leaf)
        gradient = gaussian(gradient * gradient[0, 0].numel(), [sigma] * 3)
        length = gradient.square().sum(1, keepdim=True).sqrt()
        scale = torch.quantile(length.flatten()[::7], 0.98).clamp(min=1e-6)
        update = gradient / (length + 0.3 * scale) * step * (1 - 0.7 * iteration / iterations)
        velocity = velocity.detach() - gaussian(update, [sigma * 0.7] * 3)
    return velocity[0].detach()


def _codes(device: torch.device) -> torch.Tensor:
    """Return a random code for each class, (256, CODES); what is around the brain is as nothing."""
    codes = torch.zeros((256, CODES))
    generator = torch.Generator().manual_seed(0)
    codes[1 : len(STRUCTURES) + 1] = torch.randn((len(STRUCTURES), CODES), generator=generator) / CODES**0.5
    return codes.to(device)


def _coded(head: Head, positions: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    coded = codes[head.at(positions).long()].movedim(-1, 0)[None].contiguous()
    return gaussian(coded, [0.7] * 3)


def _mirrored_codes(codes: torch.Tensor) -> torch.Tensor:
    """Return the matrix that turns the code of a structure into that of the other side, as nearly as one can."""
    own = codes[1 : len(STRUCTURES) + 1]
    other = codes[torch.tensor(MIRRORED[1:], device=codes.device)]
    return torch.linalg.lstsq(own.cpu().double(), other.cpu().double()).solution.to(codes)


def _other_side(image: torch.Tensor, mirror: torch.Tensor) -> torch.Tensor:
    return torch.einsum("bckji,cd->bdkji", image.flip(-1), mirror)


class Relation:
    """The fields between maps, in millimeters of the frame.

    Args:
        velocities: as ``prepare_atlas`` returns them.
        device: where fields are needed.
    """

    def __init__(self, velocities: np.ndarray, device: torch.device) -> None:
        self.velocities = torch.from_numpy(velocities).to(device)
        self._flows: dict[tuple[int, int], torch.Tensor] = {}

    def _flow(self, place: int, sign: int) -> torch.Tensor:
        """Return the flow of a map's velocity, forward or back; computed once, kept in half precision."""
        if (place, sign) not in self._flows:
            self._flows[place, sign] = integrate(sign * self.velocities[place][None].float()).half()
        return self._flows[place, sign].float()

    def between(self, moving: int, fixed: int, positions_mm: torch.Tensor) -> torch.Tensor:
        """Return where in the moving map lies what is at positions of the fixed one, (3, ...) mm.

        Args:
            moving, fixed: places of the maps in their list.
            positions_mm: (3, K, J, I) in the fixed map.
        """
        whole = compose(self._flow(moving, 1), self._flow(fixed, -1))  # from the fixed one to the mean, then to moving
        return self._moved(whole, positions_mm)

    def from_mean(self, place: int, positions_mm: torch.Tensor) -> torch.Tensor:
        """Return where in a map lies what is at positions of the mean shape, (3, ...) mm.

        Args:
            place: of the map in the list.
            positions_mm: (3, K, J, I) in the mean shape.
        """
        return self._moved(self._flow(place, 1), positions_mm)

    def _moved(self, flow: torch.Tensor, positions_mm: torch.Tensor) -> torch.Tensor:
        index = self._index(positions_mm)
        moved = at_points(flow, index[0].flatten(1).T).view(positions_mm.shape)
        return positions_mm + self._millimeters(moved)

    def _index(self, positions_mm: torch.Tensor) -> torch.Tensor:
        """Return voxel coordinates of the atlas' grid, (1, 3, ...) order i, j, k."""
        signs = (-1, -1, 1)
        return torch.stack(
            [sign * axis / VOXEL_MM + (n - 1) / 2 for sign, axis, n in zip(signs, positions_mm, SHAPE[::-1])]
        )[None]

    def _millimeters(self, displacement: torch.Tensor) -> torch.Tensor:
        """Return a displacement in voxels, order i, j, k, as LPS mm."""
        return torch.stack([sign * axis * VOXEL_MM for sign, axis in zip((-1, -1, 1), displacement)])
