"""Run a network on a prepared pair: by its weights, or optimized for the pair, and refined; see network.py."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import torch

from ..catalog import Card
from ..geometry.fields import to_voxels
from ..geometry.grids import coarser, on_grid, with_axes_of
from ..models.settings import NetworkSettings
from ..models.weights import built, load_weights
from ..networks import NetworkOutput, RegistrationNetwork, network_class
from ..preparation.working import WorkingPair
from ..similarity import similarity
from ..types import ImagePair, InputError, Stage
from . import svf
from .base import Context, Outcome
from .engine import straightened
from .inverse import inverse_of
from .network import INSTANCE_NOTE, notes_of
from .svf.optimizer import refine

#: Instance optimization stops when this many steps lowered the loss by less than this part of it.
PATIENCE, LEAST_GAIN = 40, 2.5e-4
#: The same start each time, so that a result can be had again.
SEED = 0
#: What the stages are called that are answers of their own: a network by its weights, or fitted, and refined; and the
#: other method.
ALONE, INSTANCE_STAGE, REFINED = "network alone", "instance optimization", "network refined"
SVF_ALONE = "svf alone"
SVF_NOTE = "Velocity-field optimization without the network, to compare; the result does not depend on it."


def register(
    card: Card,
    prepared: Callable[[ImagePair, np.ndarray, str], WorkingPair],
    pair: ImagePair,
    start: np.ndarray,
    settings: NetworkSettings,
    recompute: bool,
    context: Context,
) -> Outcome:
    """Estimate the field of a pair by the network of a card.

    Args:
        prepared: brings the pair, with the linear part ``start``, to the working grid of the network at a preset.
        recompute: compute blocks again in the backward pass instead of keeping what is inside them.

    Returns:
        Its inverse is left out where the field is going to be refined.

    Raises:
        InputError: the weights are not those of the card, or the loss is NaN or infinite.
    """
    work = prepared(pair, start, context.preset)
    context.done("prepare")
    moving, fixed, inside = straightened(work).tensors(torch.device(context.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = built(card, len(work.axes_ijk), checkpointing=recompute)
    if card.weights:
        load_weights(network, card)
    network = network.to(moving.device)
    if len(work.axes_ijk) == 3:  # the same numbers, faster on a CPU
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch: not in its stubs
    began = time.perf_counter()
    if settings.instance_steps:
        loss = network_class(card.network_name).loss(moving, fixed, inside, regularity=settings.regularity)
        output, curve = _optimized(network, moving, fixed, loss, settings, context.part(0, 0.97))
    else:
        context.report(0, ALONE)
        output, curve = _inferred(network.eval(), moving, fixed), []
    stages = _stages(work, output, curve, time.perf_counter() - began)
    context.report(0.98, "inverse")
    return Outcome(
        linear_lps=work.linear_lps,
        stages=stages,
        displacement=stages[-1].field,
        inverse=None if settings.refine else inverse_of(work, output.displacement),
        notes=notes_of(card, work, settings, recompute, context.modality),
    )


def refined(found: Outcome, pair: ImagePair, steps: int, context: Context) -> Outcome:
    """Go on from the field of a network by velocity-field optimization, on the grid and by the metric that are its own.

    Args:
        found: by ``register``.
        steps: see :class:`NetworkSettings`.

    Raises:
        InputError: the images have one value where they overlap.
    """
    if found.displacement is None:
        raise ValueError("there is no field to refine")
    work = svf.prepared(pair, found.linear_lps, context)
    start = on_grid(with_axes_of(found.displacement, work.grid), work.grid)
    displacement = torch.from_numpy(to_voxels(start, axes=work.axes_ijk))[None].to(context.device)
    outcome = refine(work, displacement, steps, context)
    *before, last = [dataclasses.replace(stage, name=f"refine, {stage.name}") for stage in outcome.stages]
    last = dataclasses.replace(last, name=REFINED, compared=True)
    note = (
        "Refined: the field of the network was the start of the velocity-field optimization, which works on this pair "
        f"alone (metric: {similarity(work.similarity).title})."
    )
    return dataclasses.replace(outcome, stages=[*found.stages, *before, last], notes=[*found.notes, note])


def svf_alone(pair: ImagePair, start: np.ndarray, context: Context) -> Stage:
    """Return what velocity-field optimization finds without the network from the same linear part, as one stage."""
    method, began = svf.VelocityFieldOptimization(), time.perf_counter()
    unclocked = dataclasses.replace(context, done=lambda part: None)
    outcome = method.run(pair, start, method.presets[context.preset], unclocked)
    last, seconds = outcome.stages[-1], time.perf_counter() - began
    return dataclasses.replace(last, name=SVF_ALONE, seconds=seconds, note=SVF_NOTE, compared=True)


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
        found = Stage(INSTANCE_STAGE, seconds, work.linear_lps, final, metrics, tuple(curve), INSTANCE_NOTE)
    else:
        found = Stage(ALONE, seconds, work.linear_lps, final)
    stages.append(dataclasses.replace(found, compared=True))
    return stages
