"""elastix' B-splines by itk-elastix, where that is installed (the extra "elastix")."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata

from ..catalog import Card
from ..settings import number
from ..types import PRESETS, Finding
from . import engine_process
from .base import Context
from .engine import Displacement, Engine, StraightPair


@dataclass(frozen=True)
class ElastixSettings:
    """The numbers of elastix' B-splines; its own defaults unless said."""

    resolutions: int = number(4, 1, 8, "Resolutions", "From coarse to fine, each twice as fine.")
    grid_mm: float = number(10.0, 1.0, 100.0, "Control points (mm)", "Distance of the control points at the end.")
    iterations: int = number(256, 1, 5000, "Iterations", "At each resolution.")
    samples: int = number(2048, 100, 100000, "Samples", "Voxels that are compared in each iteration.")
    cross_correlation: int = number(0, 0, 1, "Cross correlation", "1 for correlation instead of mutual information.")


class Elastix(Engine):
    """A displacement of cubic B-splines, optimized by stochastic gradients (Klein et al. 2010)."""

    bytes_per_voxel = 300
    presets = {preset: ElastixSettings() for preset in PRESETS}
    card = Card(
        name="elastix",
        title="elastix (B-splines)",
        summary="elastix' B-splines with its defaults, in a process of its own. Needs the extra elastix (itk-elastix); "
        "one modality or several.",
        references=(
            "Klein S, Staring M, Murphy K, Viergever MA, Pluim JPW. elastix: a toolbox for intensity-based medical "
            "image registration. IEEE Trans Med Imaging 2010, 29(1): 196-205. doi:10.1109/TMI.2009.2035616",
        ),
        license="Apache-2.0 (elastix, of its own)",
        dimensions=(2, 3),
        year=2010,
    )

    def missing(self) -> Finding | None:
        """See :class:`~.base.Method`."""
        if importlib.util.find_spec("itk") is not None and _has_elastix():
            return None
        remedy = 'Install it with: pip install "SlicerDeepReg[elastix]" (or itk-elastix).'
        return Finding("error", "elastix is not installed.", remedy, "method")

    def find(self, pair: StraightPair, settings: ElastixSettings, context: Context) -> Displacement:
        """See :class:`~.engine.Engine`."""
        metric = "AdvancedMattesMutualInformation"
        if settings.cross_correlation and pair.one_modality:
            metric = "AdvancedNormalizedCorrelation"
        values = {
            "resolutions": settings.resolutions,
            "grid_mm": settings.grid_mm,
            "iterations": settings.iterations,
            "samples": settings.samples,
            "metric": metric,
        }
        result = engine_process.call("elastix", self.title, pair, values, context)
        return Displacement(result["displacement"], metrics={"metric": metric})


def _has_elastix() -> bool:
    """Tell whether itk's package has the part of elastix, without loading it."""
    try:
        metadata.distribution("itk-elastix")
    except metadata.PackageNotFoundError:
        return False
    return True


METHODS = (Elastix(),)
