"""LDDMM: large deformations along the shortest path of velocities that change in time.

Beg MF, Miller MI, Trouve A, Younes L. Computing large deformation metric mappings via geodesic flows of
diffeomorphisms. International Journal of Computer Vision 2005, 61: 139-157, doi:10.1023/B:VISI.0000043755.93987.aa.

Energy: ``int_0^1 |L v_t|^2 dt + 1/sigma^2 |I0 o phi_{1,0} - I1|^2``, I0 the moving and I1 the fixed image. Its
gradient in the space of velocities is ``2 v_t - K (2/sigma^2 |D phi_{t,1}| (J0_t - J1_t) grad J0_t)`` with ``J0_t`` for
``I0 o phi_{t,0}``, ``J1_t = I1 o phi_{t,1}`` and ``K = (L* L)^-1``: of ``L = gamma - alpha laplace`` (a Sobolev
kernel), or Gaussian. ``phi_{1,0}`` is the registration and ``phi_{0,1}`` its inverse, both from the same velocities.

Chosen here, where the paper leaves it open: maps are integrated by steps of 1/T backwards along the velocities (semi-
Lagrangian), K is applied by a fast Fourier transform of the volume mirrored at its borders, steps are halved when the
energy grows, and scales go from coarse to fine with the velocities carried over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ...catalog import Card
from ...settings import number
from ...types import PRESETS, ImagePair
from ..base import Context, Outcome
from ..engine import Engine, straightened

#: Reductions and parts of the iterations by preset, coarsest first.
LEVELS = {
    "fast": ((8, 1.0), (4, 1.0), (2, 0.5)),
    "standard": ((8, 1.0), (4, 1.0), (2, 1.0)),
    "thorough": ((8, 1.0), (4, 1.0), (2, 1.0), (1, 0.5)),
}


@dataclass(frozen=True)
class LddmmSettings:
    """The numbers of LDDMM. Lengths are in voxels of the scale."""

    times: int = number(8, 2, 50, "Steps in time", "How many velocities the path has.")
    iterations: int = number(60, 1, 2000, "Iterations", "At each scale, at most; it may stop early.")
    sigma: float = number(
        0.02, 0.001, 1.0, "Intensity error", "The difference of intensities (0 to 1) that is tolerated."
    )
    alpha: float = number(10.0, 0.01, 100.0, "Smoothness (Sobolev)", "Weight of the Laplacian. More is smoother.")
    width: float = number(3.0, 0.3, 30.0, "Width (Gaussian)", "Of the Gaussian kernel, where the variant has one.")
    step: float = number(0.5, 0.01, 5.0, "Step", "Longest step of a velocity; halved where the energy would grow.")


class Lddmm(Engine):
    """See the head of the file. The configuration names the kernel: "sobolev" or "gaussian"."""

    modalities = ("same",)
    bytes_per_voxel = 900
    on_device = True
    presets = {preset: LddmmSettings() for preset in PRESETS}
    card = Card(
        name="lddmm",
        title="LDDMM",
        summary="Velocities that change in time, on the shortest path of deformations, with a Sobolev kernel; on "
        "images of one modality. Needs no training.",
        references=(
            "Beg MF, Miller MI, Trouvé A, Younes L. Computing large deformation metric mappings via geodesic flows of "
            "diffeomorphisms. Int J Comput Vis 2005, 61: 139-157. doi:10.1023/B:VISI.0000043755.93987.aa",
        ),
        license="Apache-2.0",
        dimensions=(2, 3),
        year=2005,
        configuration={"kernel": "sobolev"},
        variants={"gaussian": {"title": "Gaussian kernel", "configuration": {"kernel": "gaussian"}}},
    )

    def run(self, pair: ImagePair, start: np.ndarray, settings: LddmmSettings, context: Context) -> Outcome:
        """See :class:`~..base.Method`."""
        from .solver import solve

        work = self.prepare(pair, start, context)
        began = time.perf_counter()
        plan, kernel = LEVELS[context.preset], self.card.configuration["kernel"]
        forth, back, curve = solve(straightened(work), work.grid, plan, kernel, settings, context)
        metrics = {"energy": curve[-1] if curve else 0.0, "steps": len(curve)}
        return self.outcome(work, forth, back, metrics, curve, began, context)


METHODS = (Lddmm(),)
