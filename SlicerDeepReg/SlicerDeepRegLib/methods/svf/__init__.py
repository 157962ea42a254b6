"""Velocity-field optimization (``svf``): training-free deformable registration by a product of velocity fields.

The deformation is ``(id + u) = exp(v_1) o exp(v_2) o ... o exp(v_L)``, one stationary velocity field for
each stage: an optional search, then each resolution from coarse to fine. Each factor is a diffeomorphism
and its inverse is the exponential of the negative, so the whole is one and its inverse is
``exp(-v_L) o ... o exp(-v_1)``. At each step:

* the gradient of the similarity is taken where it belongs in a composition: the gradient of the warped
  image times the derivative of the loss by the warped image (Vercauteren et al. 2009, Avants et al. 2008);
* the regularizer is the diffusion energy of the whole displacement, in mm, not of the factor;
* the step is Adam's, smoothed by a Gaussian after it was normalized, so that every factor stays smooth.

The similarity is any metric of ``similarity/``. The search is the coupled-convex scheme of Heinrich, Papiez, Schnabel
and Handels (2014) as ConvexAdam (Siebert et al., TMI 2024) uses it, on MIND-SSC, in both directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...catalog import Card
from ...preparation.resolution import registration_memory, voxels
from ...preparation.working import WorkingPair, working_pair
from ...similarity import for_modality, similarities
from ...types import AUTOMATIC, ImagePair, Memory, PairDescription
from ..base import BaseMethod, Context, Outcome
from .plan import levels
from .settings import PRESET_SETTINGS, SVFSettings


class VelocityFieldOptimization(BaseMethod):
    """See the head of the file."""

    on_device = True
    compares_contrasts = True
    follows_guidance = True
    presets = PRESET_SETTINGS
    card = Card(
        name="svf",
        title="Velocity-field optimization",
        summary="Optimizes velocity fields for the pair at hand, from coarse to fine. Needs no training, no weights, "
        "and comes with its inverse.",
        references=(
            "Avants BB et al. Symmetric diffeomorphic image registration with cross-correlation. Med Image Anal 2008. "
            "doi:10.1016/j.media.2007.06.004",
            "Vercauteren T et al. Diffeomorphic demons. NeuroImage 2009. doi:10.1016/j.neuroimage.2008.10.040",
            "Heinrich MP et al. Towards realtime multimodal fusion for image-guided interventions using "
            "self-similarities (MIND-SSC). MICCAI 2013. doi:10.1007/978-3-642-40811-3_24",
            "Siebert H et al. ConvexAdam. IEEE Trans Med Imaging 2024. doi:10.1109/TMI.2024.3462248",
        ),
        license="Apache-2.0",
        dimensions=(2, 3),
        good_for="recommended; any modality",
    )

    def memory(self, pair: PairDescription, settings: Any) -> Memory:
        """See :class:`~..base.Method`; where "auto" chooses the metric, that of one modality is assumed."""
        metric = for_modality("same") if pair.similarity == AUTOMATIC else similarities()[pair.similarity]
        finest = levels(pair.fixed, pair.preset)[-1]
        coarse = finest.field_size_ijk != finest.size_ijk
        one = metric.memory(voxels(finest.size_ijk), coarse)
        return registration_memory(pair, Memory(one.host * pair.contrasts, one.device * pair.contrasts))

    def run(self, pair: ImagePair, start: np.ndarray, settings: SVFSettings, context: Context) -> Outcome:
        """See :class:`~..base.Method`."""
        from .optimizer import optimize

        work = prepared(pair, start, context)
        context.done("prepare")
        return optimize(work, settings, context)


def prepared(pair: ImagePair, start: np.ndarray, context: Context) -> WorkingPair:
    """Prepare a pair as this method works on it, with the linear part ``start``.

    Raises:
        InputError: the images have one value where they overlap.
    """
    # The metrics match intensities themselves, scale by scale, by what lies on one another (similarity/matching.py).
    return working_pair(pair, start, context.preset, context.similarity, match=False)


def local_correction(pair: ImagePair, settings: SVFSettings, context: Context) -> Outcome:
    """Find what corrects a pair that is aligned but for the places of its guidance, and is none at its border.

    Raises:
        InputError: the images have one value where they overlap.
    """
    from .optimizer import correct

    work = working_pair(pair, np.eye(4), context.preset, context.similarity, match=False, crop=False)
    return correct(work, settings, context)


METHODS = (VelocityFieldOptimization(),)
