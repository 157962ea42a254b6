"""Normalized mutual information of the joint histogram, for images of any two modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import number
from ..types import Memory
from .base import Comparison, State

if TYPE_CHECKING:
    import torch

#: As in lncc.py, but estimated from the tensors that it keeps, not measured.
HOST_BYTES, DEVICE_BYTES = (540, 260), (380, 200)


@dataclass(frozen=True)
class NMISettings:
    """The numbers of mutual information."""

    regularity: float = number(
        1.6,
        0.05,
        20.0,
        "Regularity (mutual information)",
        "Weight of the diffusion energy per voxel. More is smoother.",
    )
    weight: float = number(
        10.0, 0.1, 100.0, "Weight (mutual information)", "Factor of the normalized mutual information."
    )
    bins: int = number(32, 8, 128, "Bins", "Of the histogram of each image.")


class NMISimilarity:
    """Normalized mutual information; see the head of the file."""

    name = "nmi"
    title = "Mutual information (multimodal)"
    modality = "different"
    automatic = False
    matches_intensities = False
    stiffness_on_coarse_field = 1.0
    presets = {"fast": NMISettings(), "standard": NMISettings(), "thorough": NMISettings(regularity=1.0)}

    def prepare(self, fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, how: Comparison) -> State:
        """See :class:`Similarity`."""
        from ..losses.multimodal import MutualInformation
        from ..losses.similarity import WeightedSum

        return State(moving, WeightedSum((how.settings.weight, MutualInformation(fixed, mask, how.settings.bins))))

    def memory(self, voxels: int, coarse_field: bool) -> Memory:
        """See :class:`Similarity`."""
        return Memory(voxels * HOST_BYTES[coarse_field], voxels * DEVICE_BYTES[coarse_field])


SIMILARITIES = (NMISimilarity(),)
