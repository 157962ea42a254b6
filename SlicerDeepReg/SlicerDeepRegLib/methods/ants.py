"""ANTs' SyN by antspyx, where that is installed (the extra "ants")."""

from __future__ import annotations

import importlib.util
from typing import Any, Dict

import torch

from ..catalog import Card
from ..types import InputError
from . import engine_process
from .engine import Engine, arrays, in_voxels

#: Iterations of its four levels, coarsest first; its own default is (40, 20, 0).
ITERATIONS = {"fast": (40, 20, 0), "standard": (40, 20, 0), "thorough": (70, 70, 50, 20)}


class Ants(Engine):
    """Symmetric normalization (Avants et al. 2008)."""

    one_contrast = False
    bytes_per_voxel = 350

    def available(self) -> None:
        if importlib.util.find_spec("ants") is None:
            raise InputError('ANTs is not installed. Install it with: pip install "SlicerDeepReg[ants]" (or antspyx).')

    def find(self, pair, device: torch.device, report, settings):
        fixed, moving, _, spacing_mm = arrays(pair)
        values: Dict[str, Any] = {
            "spacing_mm": spacing_mm,
            "metric": "mattes" if pair.similarity == "mind" or not settings.cross_correlation else "CC",
            "sampling": settings.radius if settings.cross_correlation and pair.similarity != "mind" else 32,
            "step": settings.step,
            "flow_sigma": settings.flow_sigma,
            "total_sigma": settings.total_sigma,
            "iterations": ITERATIONS[pair.preset],
        }
        arguments = {"fixed": fixed, "moving": moving}
        fields = engine_process.call("ants", self.card.title, arguments, values, report, torch.get_num_threads())
        displacement, inverse = (in_voxels(fields[name], spacing_mm, device) for name in ("displacement", "inverse"))
        return displacement, inverse, {"metric": values["metric"]}, ()


def for_card(card: Card) -> Ants:
    """The method of that card."""
    return Ants(card)
