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

from typing import Any

import torch

from ..warping.sample import as_sampled_by_edges
from .base import NetworkOutput
from .caml import CAML


class XMorpher(CAML):
    """CAML's two streams of cross attention without the three parts that its paper adds.

    Args:
        by_edges: what weights of the public code need; see above.
        multi_layers, residual_skips, cascades, normalize_search: CAML's parts; off by default.
        others: the other arguments of CAML.
    """

    def __init__(
        self,
        by_edges: bool = False,
        multi_layers: bool = False,
        residual_skips: bool = False,
        cascades: int = 1,
        normalize_search: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(
            multi_layers=multi_layers,
            residual_skips=residual_skips,
            cascades=cascades,
            normalize_search=normalize_search,
            **others,
        )
        self.by_edges = by_edges

    def estimate(self, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
        """See :class:`RegistrationNetwork`."""
        output = super().estimate(moving, fixed)
        if self.by_edges:
            output.displacement = as_sampled_by_edges(output.displacement)
            output.fields = {name: output.displacement for name in output.fields}
        return output


NETWORK = XMorpher
