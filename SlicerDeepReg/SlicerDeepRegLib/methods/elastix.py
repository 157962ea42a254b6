"""elastix' B-splines by itk-elastix, where that is installed (the extra "elastix")."""

from __future__ import annotations

import importlib.util

import torch

from ..catalog import Card
from ..types import InputError
from . import engine_process
from .engine import Engine, arrays, in_voxels


class Elastix(Engine):
    """A displacement of cubic B-splines, optimized by stochastic gradients (Klein et al. 2010)."""

    one_contrast = False
    bytes_per_voxel = 300

    def available(self) -> None:
        found = importlib.util.find_spec("itk")
        if found is None or not _has_elastix():
            raise InputError(
                'elastix is not installed. Install it with: pip install "SlicerDeepReg[elastix]" (or itk-elastix).'
            )

    def find(self, pair, device: torch.device, report, settings):
        fixed, moving, _, spacing_mm = arrays(pair)
        metric = "AdvancedMattesMutualInformation"
        if settings.cross_correlation and pair.similarity != "mind":
            metric = "AdvancedNormalizedCorrelation"
        values = {
            "spacing_mm": spacing_mm,
            "resolutions": settings.resolutions,
            "grid_mm": settings.grid_mm,
            "iterations": settings.iterations,
            "samples": settings.samples,
            "metric": metric,
        }
        arguments = {"fixed": fixed, "moving": moving}
        fields = engine_process.call("elastix", self.card.title, arguments, values, report, torch.get_num_threads())
        return in_voxels(fields["displacement"], spacing_mm, device), None, {"metric": metric}, ()


def _has_elastix() -> bool:
    """Whether itk's package has the part of elastix, without loading it."""
    from importlib import metadata

    try:
        metadata.distribution("itk-elastix")
    except metadata.PackageNotFoundError:
        return False
    return True


def for_card(card: Card) -> Elastix:
    """The method of that card."""
    return Elastix(card)
