"""Squared difference of MIND-SSC descriptors, for images of different modalities (Heinrich et al., MICCAI 2013)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import number
from ..types import Memory
from .base import Comparison, State

if TYPE_CHECKING:
    import torch

#: As in lncc.py, measured the same way.
HOST_BYTES, DEVICE_BYTES = (1300, 950), (800, 650)


@dataclass(frozen=True)
class MINDSettings:
    """The numbers of MIND-SSC."""

    regularity: float = number(
        1.6, 0.05, 20.0, "Regularity (MIND)", "Weight of the diffusion energy per voxel. More is smoother."
    )
    weight: float = number(5.0, 0.1, 100.0, "Weight (MIND)", "Factor of the squared difference of the descriptors.")


class MINDSimilarity:
    """MIND-SSC; see the head of the file."""

    name = "mind"
    title = "MIND (multimodal)"
    modality = "different"
    automatic = False
    matches_intensities = False
    stiffness_on_coarse_field = 1.0
    presets = {"fast": MINDSettings(), "standard": MINDSettings(), "thorough": MINDSettings(regularity=1.0)}

    def prepare(self, fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, how: Comparison) -> State:
        """See :class:`Similarity`."""
        from ..losses.similarity import MSE, WeightedSum, mind_ssc

        return State(mind_ssc(moving), WeightedSum((0.5 * how.settings.weight, MSE(mind_ssc(fixed), 1.0, mask))))

    def memory(self, voxels: int, coarse_field: bool) -> Memory:
        """See :class:`Similarity`."""
        return Memory(voxels * HOST_BYTES[coarse_field], voxels * DEVICE_BYTES[coarse_field])


SIMILARITIES = (MINDSimilarity(),)
