"""What a similarity metric is. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..types import Memory

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Comparison:
    """How two images are compared at one resolution.

    Attributes:
        settings: the numbers of the metric.
        voxel_ijk: lengths of a voxel along i, j(, k), in units of the shortest of them.
        warp_initial: warps an image like the moving one, (1, C, ...), by the displacement from which the resolution
            starts.
        bias_ijk: deviations in voxels along i, j(, k) below which brightness does not vary by a bias field alone.
    """

    settings: Any
    voxel_ijk: Sequence[float]
    warp_initial: Callable[[torch.Tensor], torch.Tensor]
    bias_ijk: Sequence[float]


@dataclass(frozen=True, eq=False)
class State:
    """What a metric keeps of a fixed image.

    Attributes:
        moving: what is warped in place of the moving image, (1, C, ...): the image itself, or descriptors of it.
        term: takes it warped, (1, C, ...), and gives the loss, a scalar that is differentiable in it.
    """

    moving: torch.Tensor
    term: Callable[[torch.Tensor], torch.Tensor]


class Similarity(Protocol):
    """A similarity metric. Lower losses are better.

    Attributes:
        name: as ``--similarity`` takes it.
        title: for menus.
        modality: of the images that it compares: "same", "different" or "any".
        automatic: whether "auto" may choose it for images of that modality that show different people; see
            ``methods.evidence``.
        matches_intensities: whether the moving intensities are mapped to the distribution of the fixed ones before.
        stiffness_on_coarse_field: the factor of the regularity where the field is coarser than the images, which is
            stiffer by itself.
        presets: the settings by name of the preset, each a frozen dataclass of numbers (see ``settings.number``);
            ``regularity`` is one of them, the weight of the diffusion energy beside this metric.
    """

    name: str
    title: str
    modality: str
    automatic: bool
    matches_intensities: bool
    stiffness_on_coarse_field: float
    presets: Mapping[str, Any]

    def prepare(self, fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, how: Comparison) -> State:
        """Compute what depends on the images before they are warped.

        Args:
            fixed: (1, 1, K, J, I) or (1, 1, J, I), intensities of 0..1.
            moving: the same, on a grid of its own.
            mask: (1, 1, ...) weights of the fixed voxels, 0..1.
            how: the resolution and the numbers.
        """
        ...

    def memory(self, voxels: int, coarse_field: bool) -> Memory:
        """Estimate the peak memory of a registration that works at a finest resolution of so many voxels.

        Args:
            coarse_field: whether the field has a coarser resolution there.
        """
        ...
