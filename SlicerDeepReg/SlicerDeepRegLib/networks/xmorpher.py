"""XMorpher: two streams of transformer blocks whose windows attend to larger windows of the other image.

Paper: Shi J, He Y, Kong Y, et al. XMorpher: full transformer for deformable medical image registration via cross
attention. MICCAI 2022, doi:10.1007/978-3-031-16446-0_21.

It is the base of CAML (see ``caml.py``, where the structure is described) without that paper's three parts, and with
search windows that are not normalized before attention, as its public code (Apache-2.0) has them. That code holds
15,093,891 parameters, of which 295,296 belong to a layer that nothing uses. No weights were released. Its last version
does not run as it is (a variable of the block loop has another name), leaves one of 27 neighbor windows empty, lets
windows attend to zeros outside the volume, and samples images as described at ``as_sampled_by_edges``. Here all 27 are
there, nothing outside is attended to, and the field is in voxels.
"""

from __future__ import annotations

import torch

from ..warping.sample import as_sampled_by_edges
from .base import NetworkOutput
from .caml import CAML


class XMorpher(CAML):
    """
    Args:
        by_edges: what weights of the public code need; see above.
        arguments: those of CAML; its parts are off.
    """

    def __init__(self, by_edges: bool = False, **arguments) -> None:
        off = {"multi_layers": False, "residual_skips": False, "cascades": 1, "normalize_search": False}
        super().__init__(**{**off, **arguments})
        self.by_edges = by_edges

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        output = super().estimate(moving, fixed)
        if self.by_edges:
            output.displacement = as_sampled_by_edges(output.displacement)
            output.fields = {name: output.displacement for name in output.fields}
        return output
