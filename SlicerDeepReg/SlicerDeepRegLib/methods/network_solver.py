"""Run a network on a prepared pair: by its weights, or optimized for the pair, and refined; see network.py."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..catalog import Card
from ..geometry.grids import coarser
from ..models.settings import NetworkSettings
from ..models.weights import built, load_weights
from ..networks import NetworkOutput, RegistrationNetwork, network_class
from ..preparation.working import WorkingPair
from ..types import InputError, Stage
from .base import OWN_MEASURE, Context, Outcome
from .engine import straightened
from .inverse import inverse_of
from .network import INSTANCE_NOTE, REFINED_NOTE, notes_of
from .svf.optimizer import refine

#: Instance optimization stops when this many steps lowered the loss by less than this part of it.
PATIENCE, LEAST_GAIN = 40, 2.5e-4
#: The same start each time, so that a result can be had again.
SEED = 0
#: What its stage is called.
INSTANCE_STAGE = "instance optimization"


def register(card: Card, work: WorkingPair, settings: NetworkSettings, recompute: bool, context: Context) -> Outcome:
    """Estimate the field of the prepared pair by the network of a card.

    Args:
        recompute: compute blocks again in the backward pass instead of keeping what is inside them.

    Raises:
        InputError: the weights are not those of the card, or the loss is NaN or infinite.
    """
    moving, fixed, inside = straightened(work).tensors(torch.device(context.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = built(card, len(work.axes_ijk), checkpointing=recompute)
    if card.weights:
        load_weights(network, card)
    network = network.to(moving.device)
    if len(work.axes_ijk) == 3:  # the same numbers, faster on a CPU
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch: not in its stubs
    share = 0.6 if settings.refine else 0.97
    start = time.perf_counter()
    if settings.instance_steps:
        loss = network_class(card.network_name).loss(moving, fixed, inside, regularity=settings.regularity)
        output, curve = _optimized(network, moving, fixed, loss, settings, context.part(0, share))
    else:
        output, curve = _inferred(network.eval(), moving, fixed), []
    stages = _stages(work, output, curve, time.perf_counter() - start)
    notes = notes_of(card, work, settings, recompute)
    if settings.refine:
        return refined(work, output.displacement, settings.refine, stages, notes, context.part(share, 1 - share))
    context.report(0.98, "inverse")
    return Outcome(
        linear_lps=work.linear_lps,
        stages=stages,
        displacement=stages[-1].field,
        inverse=inverse_of(work, output.displacement),
        notes=notes,
    )


def refined(
    work: WorkingPair,
    displacement: torch.Tensor,
    iterations: int,
    stages: Sequence[Stage],
    notes: Sequence[str],
    context: Context,
) -> Outcome:
    """Go on from the displacement of a network by velocity-field optimization.

    Args:
        displacement: (1, n, ...) voxels of the working grid.
        iterations: at each of the two finest scales.
        stages, notes: those of the network.
    """
    outcome = refine(work, displacement, iterations, context)
    renamed = [dataclasses.replace(stage, name=f"refine, {stage.name}") for stage in outcome.stages]
    return dataclasses.replace(
        outcome, stages=[*stages, *renamed], notes=[*notes, REFINED_NOTE], similarity=OWN_MEASURE
    )


@torch.no_grad()
def _inferred(network: RegistrationNetwork, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
    return network(moving, fixed)


def _optimized(
    network: RegistrationNetwork,
    moving: torch.Tensor,
    fixed: torch.Tensor,
    loss: Callable[[NetworkOutput], torch.Tensor],
    settings: NetworkSettings,
    context: Context,
) -> tuple[NetworkOutput, list[float]]:
    """Lower the loss by Adam; return the output of the best weights and the curve."""
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    curve: list[float] = []
    best, since = float("inf"), 0
    kept: NetworkOutput | None = None
    began = time.perf_counter()
    for step in range(settings.instance_steps):
        part = step / settings.instance_steps
        if settings.instance_seconds:
            part = max(part, (time.perf_counter() - began) / settings.instance_seconds)
        if part >= 1 and curve:
            break
        for group in optimizer.param_groups:  # falls to a tenth, so that the end is quiet
            group["lr"] = settings.learning_rate * (1 - 0.9 * min(part, 1))
        with torch.enable_grad():
            output = network(moving, fixed)
            value = loss(output)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        curve.append(float(value.detach()))
        if not np.isfinite(curve[-1]):
            raise InputError(
                "The loss became NaN or infinite. Lower the learning rate, for example to 1e-4.", "settings"
            )
        if curve[-1] < best:
            kept = _detached(output)
        since = 0 if curve[-1] < best - LEAST_GAIN * min(abs(best), abs(curve[-1])) else since + 1
        best = min(best, curve[-1])
        context.report(min(1.0, max(part, (step + 1) / settings.instance_steps)), INSTANCE_STAGE, curve[-1])
        if since >= PATIENCE:
            break
    if kept is None:
        raise ValueError("instance optimization needs at least one step")
    return kept, curve


def _detached(output: NetworkOutput) -> NetworkOutput:
    fields = {name: field.detach() for name, field in output.fields.items()}
    return NetworkOutput(output.displacement.detach(), fields, output.factors)


def _stages(work: WorkingPair, output: NetworkOutput, curve: list[float], seconds: float) -> list[Stage]:
    """Return the fields inside the network in its order, and what it found at the end."""
    stages = []
    for name, field in output.fields.items():
        size = [1, 1, 1]
        for place, c in enumerate(work.axes_ijk):
            size[c] = field.shape[-1 - place]
        grid = coarser(work.grid, output.factors[name], (size[0], size[1], size[2]))
        inner = work.field_from_voxels(field[0].cpu().numpy(), grid)
        stages.append(Stage(name, 0.0, work.linear_lps, inner, note="a field inside the network"))
    final = work.field_from_voxels(output.displacement[0].cpu().numpy(), work.grid)
    if curve:
        metrics = {"loss_before": curve[0], "loss_after": min(curve), "steps": len(curve)}
        stages.append(Stage(INSTANCE_STAGE, seconds, work.linear_lps, final, metrics, tuple(curve), INSTANCE_NOTE))
    else:
        stages.append(Stage("network", seconds, work.linear_lps, final))
    return stages
