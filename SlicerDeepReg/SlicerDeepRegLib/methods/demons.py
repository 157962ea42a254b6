"""Demons by SimpleITK: diffeomorphic, symmetric, or the two together as "fast symmetric".

Vercauteren et al. 2009 (diffeomorphic: steps are exponentials), Thirion 1998 (symmetric forces). From coarse to fine on
images whose histograms were matched; each level goes on from the field of the one before.
"""

from __future__ import annotations

from typing import List

import numpy as np
import SimpleITK as sitk
import torch

from ..catalog import Card
from ..types import InputError, Progress
from .engine import Engine, arrays, in_voxels, picture

FILTERS = {
    "diffeomorphic": sitk.DiffeomorphicDemonsRegistrationFilter,
    "symmetric": sitk.SymmetricForcesDemonsRegistrationFilter,
    "fast-symmetric": sitk.FastSymmetricForcesDemonsRegistrationFilter,
}
#: (reduction, part of the iterations), coarsest first.
LEVELS = ((4, 1.0), (2, 1.0), (1, 0.6))


class Demons(Engine):
    """The card's configuration names the kind; see FILTERS."""

    bytes_per_voxel = 250

    def find(self, pair, device: torch.device, report, settings):
        fixed, moving, _, spacing_mm = arrays(pair)
        kind = self.card.configuration.get("kind", "diffeomorphic")
        pictures = [picture(one, spacing_mm) for one in (fixed, moving)]
        field, curve = None, []
        for number, (reduction, part) in enumerate(LEVELS):
            small = [_reduced(one, reduction) for one in pictures]
            demons = FILTERS[kind]()
            demons.SetNumberOfIterations(max(1, round(settings.iterations * part)))
            demons.SetStandardDeviations(settings.sigma)
            demons.SetSmoothDisplacementField(True)
            if hasattr(demons, "SetSmoothUpdateField"):
                demons.SetSmoothUpdateField(settings.update_sigma > 0)
                demons.SetUpdateFieldStandardDeviations(max(settings.update_sigma, 0.1))
            stopped = _follow(demons, report, number, curve)
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
        return in_voxels(sitk.GetArrayFromImage(field), spacing_mm, device), None, {"kind": kind}, curve


def _reduced(image: sitk.Image, reduction: int) -> sitk.Image:
    factors = [reduction if size >= 8 * reduction else 1 for size in image.GetSize()]
    if max(factors) == 1:
        return image
    sigma = [0.5 * reduction * s if f > 1 else 1e-3 * s for f, s in zip(factors, image.GetSpacing())]
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, sigma), factors)


def _follow(demons, report, number: int, curve: List[float]) -> List[BaseException]:
    """Report each iteration; an exception of the reporter ends the filter and is kept, because ITK cannot carry it."""
    stopped: List[BaseException] = []

    def told() -> None:
        curve.append(float(demons.GetMetric()) if np.isfinite(demons.GetMetric()) else 0.0)
        try:
            report(Progress((number + demons.GetProgress()) / len(LEVELS) * 0.95, f"level {number + 1}", curve[-1]))
        except BaseException as error:  # noqa: BLE001
            stopped.append(error)
            demons.Abort()

    demons.AddCommand(sitk.sitkIterationEvent, told)
    return stopped


def for_card(card: Card) -> Demons:
    """The method of that card."""
    return Demons(card)
