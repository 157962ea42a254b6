"""ANTs' SyN by antspyx, where that is installed (the extra "ants")."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

from ..catalog import Card
from ..settings import number
from ..types import PRESETS, Finding
from . import engine_process
from .base import Context
from .engine import Displacement, Engine, StraightPair

#: Iterations of its four levels, coarsest first; its own default is (40, 20, 0).
ITERATIONS = {"fast": (40, 20, 0), "standard": (40, 20, 0), "thorough": (70, 70, 50, 20)}


@dataclass(frozen=True)
class AntsSettings:
    """The numbers of ANTs' SyN; antspyx' own defaults unless said."""

    cross_correlation: int = number(
        0, 0, 1, "Cross correlation", "1 for local correlation (slow), 0 for mutual information."
    )
    radius: int = number(4, 1, 10, "Radius (voxels)", "Of the windows of the local correlation.")
    step: float = number(0.2, 0.01, 1.0, "Step (voxels)", "Length of a gradient step.")
    flow_sigma: float = number(3.0, 0.0, 10.0, "Step smoothing", "Of the gradient, as ANTs counts it.")
    total_sigma: float = number(0.0, 0.0, 10.0, "Field smoothing", "Of the whole field, as ANTs counts it.")


class Ants(Engine):
    """Symmetric normalization (Avants et al. 2008)."""

    bytes_per_voxel = 350
    presets = {preset: AntsSettings() for preset in PRESETS}
    card = Card(
        name="ants",
        title="ANTs SyN",
        summary="ANTs' symmetric normalization with antspyx' defaults, in a process of its own. Needs the extra ants "
        "(antspyx); one modality or several.",
        references=(
            "Avants BB, Epstein CL, Grossman M, Gee JC. Symmetric diffeomorphic image registration with "
            "cross-correlation. Med Image Anal 2008, 12(1): 26-41. doi:10.1016/j.media.2007.06.004",
        ),
        license="Apache-2.0 (ANTs, of its own)",
        dimensions=(2, 3),
        year=2008,
    )

    def missing(self) -> Finding | None:
        """See :class:`~.base.Method`."""
        if importlib.util.find_spec("ants") is not None:
            return None
        remedy = 'Install it with: pip install "SlicerDeepReg[ants]" (or antspyx).'
        return Finding("error", "ANTs is not installed.", remedy, "method")

    def find(self, pair: StraightPair, settings: AntsSettings, context: Context) -> Displacement:
        """See :class:`~.engine.Engine`."""
        correlation = bool(pair.one_modality and settings.cross_correlation)
        values: dict[str, Any] = {
            "metric": "CC" if correlation else "mattes",
            "sampling": settings.radius if correlation else 32,
            "step": settings.step,
            "flow_sigma": settings.flow_sigma,
            "total_sigma": settings.total_sigma,
            "iterations": ITERATIONS[pair.preset],
        }
        result = engine_process.call("ants", self.title, pair, values, context)
        return Displacement(result["displacement"], result["inverse"], {"metric": values["metric"]})


METHODS = (Ants(),)
