"""Normalized gradient fields and MIND-SSC together, for images of different modalities of different people.

Gradient fields alone hold still what agrees and leave the rest to the regularity; the descriptors know of more than the
direction of the steepest edge, and move more. The weights are a compromise between one person's contrasts and two
people's (docs/decisions/0032-what-a-pair-is.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import number
from ..types import Memory
from .base import Comparison, State
from .mind import DEVICE_BYTES, HOST_BYTES

if TYPE_CHECKING:
    import torch

#: What the gradients take beside the descriptors, bytes a voxel; estimated.
MORE_BYTES = 200


@dataclass(frozen=True)
class NGFMINDSettings:
    """The numbers of both."""

    regularity: float = number(
        1.2, 0.05, 20.0, "Regularity (both)", "Weight of the diffusion energy per voxel. More is smoother."
    )
    weight: float = number(3.0, 0.1, 100.0, "Weight of edges", "Factor of the disagreement of the edges.")
    edge: float = number(
        1.0,
        0.05,
        20.0,
        "Edge (both)",
        "Edges much weaker than this many mean slopes are taken for noise and count less.",
    )
    mind_weight: float = number(
        2.5, 0.1, 100.0, "Weight of MIND", "Factor of the squared difference of the descriptors."
    )


class NGFMINDSimilarity:
    """Gradient fields and MIND-SSC; see the head of the file."""

    name = "ngf-mind"
    title = "Gradients and MIND (multimodal)"
    modality = "different"
    automatic = True
    matches_intensities = False
    stiffness_on_coarse_field = 1.0
    presets = {"fast": NGFMINDSettings(), "standard": NGFMINDSettings(), "thorough": NGFMINDSettings(regularity=0.8)}

    def prepare(self, fixed: torch.Tensor, moving: torch.Tensor, mask: torch.Tensor, how: Comparison) -> State:
        """See :class:`Similarity`."""
        import torch

        from ..losses.multimodal import NormalizedGradientFields
        from ..losses.similarity import MSE, mind_ssc

        edges = NormalizedGradientFields(fixed, how.voxel_ijk, mask, how.settings.edge)
        descriptors, weights = MSE(mind_ssc(fixed), 1.0, mask), (how.settings.weight, 0.5 * how.settings.mind_weight)

        def loss(warped: torch.Tensor) -> torch.Tensor:
            both: torch.Tensor = weights[0] * edges(warped[:, :1]) + weights[1] * descriptors(warped[:, 1:])
            return both

        return State(torch.cat([moving, mind_ssc(moving)], 1), loss)

    def memory(self, voxels: int, coarse_field: bool) -> Memory:
        """See :class:`Similarity`."""
        host, device = HOST_BYTES[coarse_field] + MORE_BYTES, DEVICE_BYTES[coarse_field] + MORE_BYTES
        return Memory(voxels * host, voxels * device)


SIMILARITIES = (NGFMINDSimilarity(),)
