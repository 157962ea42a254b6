"""Demons by SimpleITK: diffeomorphic, symmetric, or the two together as "fast symmetric".

Vercauteren et al. 2009 (diffeomorphic: steps are exponentials), Thirion 1998 (symmetric forces). From coarse to fine on
images whose histograms were matched; each level goes on from the field of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..catalog import Card
from ..settings import number
from ..types import PRESETS, InputError
from .base import Context
from .engine import Displacement, Engine, StraightPair, straight_image

FILTERS = {
    "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
    "symmetric": sitk.SymmetricForcesDemonsRegistrationFilter,
    "fast-symmetric": sitk.FastSymmetricForcesDemonsRegistrationFilter,
}
#: (reduction, part of the iterations), coarsest first.
LEVELS = ((4, 1.0), (2, 1.0), (1, 0.6))


@dataclass(frozen=True)
class DemonsSettings:
    """The numbers of SimpleITK's demons."""

    iterations: int = number(50, 1, 1000, "Iterations", "At each of the coarser scales; the finest has 0.6 of them.")
    sigma: float = number(1.0, 0.3, 10.0, "Field smoothing (voxels)", "Of the displacement, after each step.")
    update_sigma: float = number(0.0, 0.0, 10.0, "Step smoothing (voxels)", "Of each step; 0 for none.")


class Demons(Engine):
    """See the head of the file. The configuration names the kind; see FILTERS."""

    modalities = ("same",)
    bytes_per_voxel = 250
    presets = {preset: DemonsSettings() for preset in PRESETS}
    card = Card(
        name="demons",
        title="Demons (SimpleITK)",
        summary="SimpleITK's diffeomorphic demons, from coarse to fine, on images of one modality. Needs no training.",
        references=(
            "Vercauteren T, Pennec X, Perchant A, Ayache N. Diffeomorphic demons: efficient non-parametric image "
            "registration. NeuroImage 2009, 45(1): S61-S72. doi:10.1016/j.neuroimage.2008.10.040",
        ),
        license="Apache-2.0",
        dimensions=(2, 3),
        year=2009,
        configuration={"kind": "diffeomorphic"},
        variants={
            "symmetric": {
                "title": "symmetric forces, not diffeomorphic",
                "configuration": {"kind": "symmetric"},
            },
            "fast-symmetric": {
                "title": "fast symmetric forces, not diffeomorphic",
                "configuration": {"kind": "fast-symmetric"},
            },
        },
    )

    def find(self, pair: StraightPair, settings: DemonsSettings, context: Context) -> Displacement:
        """See :class:`~.engine.Engine`."""
        images = [straight_image(values, pair.spacing_mm) for values in (pair.fixed, pair.moving)]
        field: sitk.Image | None = None
        curve: list[float] = []
        for number_of_level, (reduction, part) in enumerate(LEVELS):
            small = [_reduced(image, reduction) for image in images]
            demons = self._filter(settings, part)
            stopped = _follow(demons, context, number_of_level, curve)
            try:
                if field is None:
                    field = demons.Execute(*small)
                else:
                    start = sitk.Resample(field, small[0], sitk.Transform(small[0].GetDimension(), sitk.sitkIdentity))
                    field = demons.Execute(*small, start)
            except RuntimeError as error:
                if not stopped:
                    raise InputError(f"Demons failed: {str(error).strip().splitlines()[-1]}") from error
            finally:
                demons.RemoveAllCommands()  # they hold it, and it holds them: neither would ever be freed
            if stopped:
                raise stopped[0]
        metrics = {"kind": self.card.configuration["kind"]}
        return Displacement(sitk.GetArrayFromImage(field), metrics=metrics, curve=curve)

    def _filter(self, settings: DemonsSettings, part: float) -> Any:
        demons = FILTERS[self.card.configuration["kind"]]()
        demons.SetNumberOfIterations(max(1, round(settings.iterations * part)))
        demons.SetStandardDeviations(settings.sigma)
        demons.SetSmoothDisplacementField(True)
        demons.SetSmoothUpdateField(settings.update_sigma > 0)
        demons.SetUpdateFieldStandardDeviations(max(settings.update_sigma, 0.1))
        return demons


def _reduced(image: sitk.Image, reduction: int) -> sitk.Image:
    factors = [reduction if size >= 8 * reduction else 1 for size in image.GetSize()]
    if max(factors) == 1:
        return image
    sigma = [0.5 * reduction * s if f > 1 else 1e-3 * s for f, s in zip(factors, image.GetSpacing())]
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, sigma), factors)


def _follow(demons: Any, context: Context, level: int, curve: list[float]) -> list[BaseException]:
    """Report each iteration; an exception of the reporter ends the filter and is kept, because ITK cannot carry it."""
    stopped: list[BaseException] = []

    def iterated() -> None:
        curve.append(float(demons.GetMetric()) if np.isfinite(demons.GetMetric()) else 0.0)
        try:
            context.report((level + demons.GetProgress()) / len(LEVELS) * 0.95, f"level {level + 1}", curve[-1])
        except BaseException as error:  # noqa: BLE001
            stopped.append(error)
            demons.Abort()

    demons.AddCommand(sitk.sitkIterationEvent, iterated)
    return stopped


METHODS = (Demons(),)
