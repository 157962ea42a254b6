"""From a pair of images to the transform between them: linear alignment, then the method."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import device as devices
from ..checks import PairFacts, check, memory_findings, raise_error
from ..geometry.grids import covering, on_grid, with_axes_of
from ..methods import Method, linear_method, method, settings_of
from ..methods.base import Context, Outcome
from ..preparation.resolution import MAX_DENSE_VOXELS
from ..processes.memory import free_memory_bytes
from ..similarity import similarity
from ..types import (
    AUTOMATIC,
    Field,
    Finding,
    Grid,
    ImagePair,
    Memory,
    PairDescription,
    ProgressCallback,
    Request,
    Stage,
    Transform,
)
from ..warping.inverse import correction_of_inverse
from .clock import Clock


@dataclass(frozen=True, eq=False)
class Plan:
    """What a request asks to be done, apart from its images.

    Attributes:
        linear, method: who does it.
        settings: the numbers of the method.
        device: where it computes.
    """

    request: Request
    linear: Method
    method: Method
    settings: Any
    device: torch.device

    @classmethod
    def of(cls, request: Request) -> Plan:
        """Look up what the request names.

        Raises:
            InputError: something it names does not exist, or a number is out of its range.
        """
        if request.similarity != AUTOMATIC:
            similarity(request.similarity)
        chosen = method(request.method)
        return cls(
            request=request,
            linear=linear_method(request.linear),
            method=chosen,
            settings=settings_of(chosen, request.preset, request.settings),
            device=devices.choose(request.device),
        )

    def check(self, facts: PairFacts) -> list[str]:
        """Check everything that can be known before any work; return the warnings.

        Raises:
            InputError: the method cannot do this, or memory does not suffice.
        """
        findings = check(self._where_it_computes(facts), self.method, self.settings, self.linear)
        raise_error(findings)
        return [finding.sentence for finding in findings if finding.severity == "warning"]

    def require(self, facts: PairFacts, description: PairDescription) -> None:
        """Check memory again, for a pair of which more is known now.

        Raises:
            InputError: it does not suffice.
        """
        findings: list[Finding] = memory_findings(
            self._where_it_computes(facts), self.method, self.settings, description
        )
        raise_error(findings)

    def free(self) -> Memory:
        """Return what is free on this computer and on the device."""
        return Memory(free_memory_bytes(), devices.free_bytes(self.device) or 0)

    def _where_it_computes(self, facts: PairFacts) -> PairFacts:
        return dataclasses.replace(
            facts, free_bytes=free_memory_bytes(), device_free_bytes=devices.free_bytes(self.device)
        )


@dataclass(frozen=True, eq=False)
class Alignment:
    """What was found.

    Attributes:
        transform: fixed to moving.
        stages: in order, the linear one first.
        similarity: the name of the metric, or that the method has its own.
        notes: sentences for people.
    """

    transform: Transform
    stages: tuple[Stage, ...]
    similarity: str
    notes: tuple[str, ...]


def align(pair: ImagePair, plan: Plan, facts: PairFacts, progress: ProgressCallback, clock: Clock) -> Alignment:
    """Find the transform between two images that were read and checked."""
    request = plan.request
    context = Context(
        preset=request.preset,
        similarity=request.similarity,
        device=str(plan.device),
        threads=torch.get_num_threads(),
        progress=progress,
        free=plan.free(),
        require=lambda description: plan.require(facts, description),
        done=clock.done,
    )
    linear = plan.linear.run(pair, np.eye(4), plan.linear.presets[request.preset], context.part(0.02, 0.13))
    clock.done("linear")
    outcome = plan.method.run(pair, linear.linear_lps, plan.settings, context.part(0.15, 0.77))
    clock.done("method")
    return Alignment(
        transform=_transform(outcome, pair.fixed.grid, plan.device),
        stages=(*linear.stages, *outcome.stages),
        similarity=outcome.similarity,
        notes=(*linear.notes, *outcome.notes),
    )


def _transform(outcome: Outcome, fixed: Grid, device: torch.device) -> Transform:
    """Return the method's field and its inverse over the whole fixed grid."""
    if outcome.displacement is None or outcome.inverse is None:
        return Transform(outcome.linear_lps)
    field, inverse = over_fixed(outcome.displacement, fixed), with_axes_of(outcome.inverse, fixed)
    inverse = on_grid(inverse, covering(field.grid, inverse.grid))
    return Transform(outcome.linear_lps, field, (inverse, correction_of_inverse(field, inverse, device)))


def over_fixed(found: Field, fixed: Grid) -> Field:
    """Return a field that was found on the cropped working grid over the whole fixed grid.

    On the voxels of the fixed image, so that programs that interpolate between them in other ways (Slicer reads fields
    from files as cubic) agree there; of a large image on the voxels on which they were found, where those are fewer.
    """
    field = with_axes_of(found, fixed)
    grid = covering(field.grid, fixed)
    if fixed.voxels <= MAX_DENSE_VOXELS or fixed.voxels <= grid.voxels:
        grid = fixed
    return on_grid(field, grid)
