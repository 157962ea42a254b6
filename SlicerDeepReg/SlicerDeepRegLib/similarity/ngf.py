"""Normalized gradient fields: edges that have one direction, for images of any two modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import number
from ..types import Memory
from .base import Comparison, State

if TYPE_CHECKING:
    import torch

#: As in lncc.py, but estimated from the tensors that it keeps, not measured.
HOST_BYTES, DEVICE_BYTES = (700, 380), (500, 300)


@dataclass(frozen=True)
class NGFSettings:
    """The numbers of normalized gradient fields."""

    regularity: float = number(
        0.8, 0.05, 20.0, "Regularity (gradient fields)", "Weight of the diffusion energy per voxel. More is smoother."
    )
    weight: float = number(3.0, 0.1, 100.0, "Weight (gradient fields)", "Factor of the disagreement of the edges.")
    edge: float = number(
        1.0, 0.05, 20.0, "Edge", "Edges much weaker than this many mean slopes are taken for noise and count less."
    )


class NGFSimilarity:
    """Normalized gradient fields; see the head of the file."""

    name = "ngf"
    title = "Gradient fields (multimodal)"
    modality = "different"
    automatic = False
    matches_intensities = False
    stiffness_on_coarse_field = 1.0
    presets = {"fast": NGFSettings(), "standard": NGFSettings(), "thorough": NGFSettings(regularity=0.5)}

    def prepare(self, fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, how: Comparison) -> State:
        """See :class:`Similarity`."""
        from ..losses.multimodal import NormalizedGradientFields
        from ..losses.similarity import WeightedSum

        edges = NormalizedGradientFields(fixed, how.voxel_ijk, mask, how.settings.edge)
        return State(moving, WeightedSum((how.settings.weight, edges)))

    def memory(self, voxels: int, coarse_field: bool) -> Memory:
        """See :class:`Similarity`."""
        return Memory(voxels * HOST_BYTES[coarse_field], voxels * DEVICE_BYTES[coarse_field])


SIMILARITIES = (NGFSimilarity(),)
