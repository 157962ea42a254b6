"""From a pair of images to the transform between them: linear alignment, then the method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import device as devices
from ..checks import PairFacts, check, memory_findings, raise_error
from ..geometry.grids import covering, on_grid, reached_by, with_axes_of
from ..methods import Method, linear_method, method, settings_of
from ..methods.base import Context, Outcome
from ..methods.support import supported
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
from .decide import Decision, decide, further_linear, undecided, unused_by_linear
from .initial import after_initial, deformed_pair, linear_after, stages_after_initial


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

    def context(self, progress: ProgressCallback, clock: Clock) -> Context:
        """Return where and how its methods run."""
        return Context(
            preset=self.request.preset,
            device=str(self.device),
            threads=torch.get_num_threads(),
            progress=progress,
            free=self.free(),
            done=clock.done,
        )

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
        decision: what the pair was taken for.
        notes: sentences for people.
    """

    transform: Transform
    stages: tuple[Stage, ...]
    similarity: str
    decision: Decision
    notes: tuple[str, ...]


def align(
    pair: ImagePair,
    plan: Plan,
    facts: PairFacts,
    progress: ProgressCallback,
    clock: Clock,
    initial: Transform | None = None,
) -> Alignment:
    """Find the transform between two images that were read and checked, from an initial one on."""
    pair_there, plan, start = _from_where(pair, plan, initial)
    found = _aligned(pair_there, plan, facts, plan.context(progress, clock), start)
    if initial is None or initial.field is None:
        return found
    return dataclasses.replace(
        found,
        transform=after_initial(initial, found.transform, pair.fixed.grid, plan.device),
        stages=tuple(stages_after_initial(initial, found.stages, pair.fixed.grid)),
    )


def looked_at(
    pair: ImagePair, plan: Plan, progress: ProgressCallback, clock: Clock, initial: Transform | None = None
) -> Decision:
    """Return what ``align`` would take a pair for, without aligning it further."""
    pair, plan, start = _from_where(pair, plan, initial)
    _, decision = _begun(pair, plan, plan.context(progress, clock), start)
    return decision


def _from_where(pair: ImagePair, plan: Plan, initial: Transform | None) -> tuple[ImagePair, Plan, np.ndarray]:
    """Return the pair, the plan and the linear start, as an initial transform makes them."""
    if initial is None:
        return pair, plan, np.eye(4)
    if initial.field is None:
        return pair, plan, initial.linear_lps
    plan = dataclasses.replace(plan, linear=linear_after(plan.request, initial, plan.linear))
    return deformed_pair(pair, initial), plan, np.eye(4)


def _begun(pair: ImagePair, plan: Plan, context: Context, start: np.ndarray) -> tuple[Outcome, Decision]:
    """Return the linear alignment and what the pair was taken for."""
    linear = _linear(plan.linear, pair, start, context.part(0.02, 0.08))
    context.done("linear")
    return linear, decide(plan.request, pair, linear, context.part(0.1, 0.03))


def _aligned(pair: ImagePair, plan: Plan, facts: PairFacts, context: Context, start: np.ndarray) -> Alignment:
    request = plan.request
    if plan.method.kind == "linear":
        outcome = plan.method.run(pair, start, plan.settings, context.part(0.02, 0.9))
        context.done("linear")
        notes = (*outcome.notes, *unused_by_linear(request, plan.method))
        return _alignment(outcome, pair, plan, undecided(request), outcome.stages, notes)
    linear, decision = _begun(pair, plan, context, start)
    plan.require(facts, decision.context(context).description(pair))
    context.done("pair")
    further = further_linear(plan.linear, decision)
    if further is not None:
        affine = _linear(further, pair, linear.linear_lps, context.part(0.13, 0.02))
        linear = dataclasses.replace(affine, notes=(*linear.notes, *affine.notes))
        context.done("affine")
    said = (*linear.notes, *decision.notes)
    if not decision.deforms:
        outcome = dataclasses.replace(linear, similarity=decision.metric)
        return _alignment(outcome, pair, plan, decision, linear.stages, said)
    outcome = plan.method.run(pair, linear.linear_lps, plan.settings, decision.context(context).part(0.15, 0.75))
    context.done("method")
    outcome = supported(pair, outcome, context.device)
    context.done("evidence")
    return _alignment(outcome, pair, plan, decision, (*linear.stages, *outcome.stages), (*said, *outcome.notes))


def _linear(method: Method, pair: ImagePair, start: np.ndarray, context: Context) -> Outcome:
    return method.run(pair, start, method.presets[context.preset], context)


def _alignment(
    outcome: Outcome,
    pair: ImagePair,
    plan: Plan,
    decision: Decision,
    stages: Sequence[Stage],
    notes: Sequence[str],
) -> Alignment:
    return Alignment(
        transform=_transform(outcome, pair.fixed.grid, plan.device),
        stages=tuple(stages),
        similarity=outcome.similarity,
        decision=decision,
        notes=tuple(notes),
    )


def _transform(outcome: Outcome, fixed: Grid, device: torch.device) -> Transform:
    """Return the method's field and its inverse over the whole fixed grid."""
    if outcome.displacement is None or outcome.inverse is None:
        return Transform(outcome.linear_lps)
    field, inverse = over_fixed(outcome.displacement, fixed), with_axes_of(outcome.inverse, fixed)
    # Programs take a field for zero outside its grid: the inverse covers wherever points of the fixed image go.
    inverse = on_grid(inverse, covering(reached_by(field), inverse.grid))
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
