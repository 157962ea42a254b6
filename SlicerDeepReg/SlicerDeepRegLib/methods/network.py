"""A network on a pair: by its weights, or fitted to the pair; and refined by `svf` where that is asked for.

"Fitting" optimizes the network's weights for this one pair, from their random start or from trained ones, by the loss
of its paper. What comes out says nothing about what the network does on pairs it was not fitted to, and the notes of
the result say so.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Callable, List, Optional, Tuple

import numpy as np
import torch

from ..catalog import Card
from ..geometry.grids import coarser, with_voxels
from ..networks import NetworkOutput, RegistrationNetwork
from ..preparation.checks import check_memory
from ..preparation.working import WorkingPair, choose_similarity
from ..settings import NetworkSettings, settings_for
from ..types import Grid, InputError, Progress, Stage
from . import svf
from .engine import arrays, both_on_grid, inverse_of
from .outcome import Outcome
from .weights import built, load_weights

#: Fitting stops when this many steps lowered the loss by less than this part of it.
PATIENCE, LEAST_GAIN = 40, 2.5e-4
#: The same start each time, so that a result can be had again.
SEED = 0
NOTE = "The network was fitted to this pair; this does not show what it does on others."


class Network:
    """The method of a card that is a network: with its weights, or fitted to the pair, and refined where asked for."""

    #: Its losses compare one contrast, so that intensities are always matched.
    one_contrast = True

    def __init__(self, card: Card) -> None:
        self.card = card
        #: Recompute blocks in the backward pass, to need less memory; decided by :meth:`check_memory`.
        self.checkpointing = False

    def check(self, grid: Grid, settings: NetworkSettings, similarity: str = "auto") -> None:
        """Before any work: whether the network can do what is asked for a fixed image on that grid.

        Raises:
            InputError: it has no weights and no steps were asked for, or it does not take such images.
        """
        if similarity == "mind":
            raise InputError(
                f"{self.card.title} compares images of one contrast. Choose Velocity-field "
                "optimization for different ones."
            )
        if (2 if grid.is_planar else 3) not in self.card.dimensions:
            axes = " and ".join(f"{n}D" for n in self.card.dimensions)
            raise InputError(
                f"{self.card.title} takes {axes} images. Choose Velocity-field optimization for this pair."
            )
        if settings.instance_steps == 0 and self.card.weights is None:
            raise InputError(
                f"{self.card.title} has no weights. Fit it to this pair: --instance-steps 200, or "
                "Instance optimization steps in the panel."
            )

    def check_memory(self, grid: Grid, settings: NetworkSettings, preset: str, free: int, where: str) -> None:
        """Whether the memory will do; where it does only by computing blocks twice, that is chosen.

        Raises:
            InputError: it will not do, with how much is needed and what to try. DeviceMemoryError: on the GPU.
        """
        needs, voxel_mm = self.card.bytes_per_voxel, self.card.recipe.get("voxel_mm")
        grid = with_voxels(grid, voxel_mm) if voxel_mm else grid
        kinds = ("fit", "checkpointed") if settings.instance_steps else ("infer",)
        for kind in kinds:
            try:
                check_memory(grid, preset, needs[kind], free, where)
            except InputError:
                if kind == kinds[-1]:
                    raise
                continue
            self.checkpointing |= kind == "checkpointed"
            return

    def run(
        self,
        pair: WorkingPair,
        device: torch.device,
        report: Callable[[Progress], None],
        settings: Optional[NetworkSettings] = None,
    ) -> Outcome:
        """Estimate the field of the prepared pair by the network.

        Raises:
            InputError: the weights are not those of the card, or the loss is not a number any more.
        """
        settings = settings or settings_for("network", pair.preset, defaults=self.card.settings)
        moving, fixed, inside = _images(pair, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            network = built(self.card, len(pair.axes_ijk), checkpointing=self.checkpointing)
        if self.card.weights:
            load_weights(network, self.card)
        network = network.to(device)
        if len(pair.axes_ijk) == 3:  # the same numbers, faster on a CPU
            network = network.to(memory_format=torch.channels_last_3d)
        share = 0.6 if settings.refine else 0.97
        start = time.perf_counter()
        if settings.instance_steps:
            loss = network.loss(moving, fixed, inside, regularity=settings.regularity)
            output, curve = _fit(network, moving, fixed, loss, settings, _scaled(report, 0, share))
        else:
            output, curve = _inferred(network.eval(), moving, fixed), []
        outcome = Outcome(_stages(pair, output, curve, time.perf_counter() - start), notes=self._notes(settings, pair))
        if settings.refine:
            return _refined(pair, device, output, settings, outcome, _scaled(report, share, 1 - share))
        report(Progress(0.98, "inverse"))
        outcome.displacement = outcome.stages[-1].field
        outcome.inverse = inverse_of(pair, output.displacement)
        return outcome

    def _notes(self, settings: NetworkSettings, pair: WorkingPair) -> List[str]:
        notes = (
            [NOTE] if settings.instance_steps else [f"The network's weights were trained on: {self.card.trained_on}."]
        )
        if settings.refine:
            notes.append(
                "Refined: the field of the network was the start of the velocity-field optimization, which works on "
                "this pair alone."
            )
        voxel_mm, finest_mm = self.card.recipe.get("voxel_mm"), float(pair.grid.spacing_mm[list(pair.axes_ijk)].min())
        if self.card.weights and voxel_mm and abs(finest_mm / voxel_mm - 1) > 0.1:
            notes.append(
                f"The network was trained at voxels of {voxel_mm:g} mm and worked at {finest_mm:.2g} mm, because of "
                f"the preset ({pair.preset}) or the size of the image."
            )
        fixed, moving = both_on_grid(pair)
        if choose_similarity(fixed[pair.inside], moving[pair.inside]) == "mind":
            notes.append("The images look like different contrasts, and this network compares intensities.")
        if self.checkpointing:
            notes.append("Parts of the network were computed twice, so that the memory was enough.")
        return notes


def for_card(card: Card) -> Network:
    """The method of that card."""
    return Network(card)


def _scaled(report: Callable[[Progress], None], start: float, share: float) -> Callable[[Progress], None]:
    return lambda p: report(Progress(start + share * p.fraction, p.stage, p.loss))


@torch.no_grad()
def _inferred(network: RegistrationNetwork, moving: torch.Tensor, fixed: torch.Tensor) -> NetworkOutput:
    return network(moving, fixed)


def _refined(pair, device, output: NetworkOutput, settings: NetworkSettings, outcome: Outcome, report) -> Outcome:
    """`svf` from the network's field on; its stages follow those of the network."""
    after = svf.refine(pair, device, report, output.displacement, settings.refine)
    renamed = [dataclasses.replace(stage, name=f"refine, {stage.name}") for stage in after.stages]
    return Outcome([*outcome.stages, *renamed], after.displacement, after.inverse, outcome.notes)


def _images(pair: WorkingPair, device: torch.device) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Moving, fixed and where to compare, (1, 1, ...) on the working grid."""
    fixed, moving, inside, _ = arrays(pair)
    moving, fixed, inside = (
        torch.from_numpy(one)[None, None].to(device) for one in (moving, fixed, inside.astype("f4"))
    )
    return moving, fixed, inside


def _fit(
    network, moving, fixed, loss, settings: NetworkSettings, report: Callable[[Progress], None]
) -> Tuple[NetworkOutput, List[float]]:
    """Lower the loss by Adam; returns the output of the best weights and the curve."""
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    curve: List[float] = []
    best, since = float("inf"), 0
    kept: Optional[NetworkOutput] = None
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
            raise InputError("The loss is not a number any more. Lower the learning rate (--set learning_rate=1e-4).")
        if curve[-1] < best:
            kept = _detached(output)
        since = 0 if curve[-1] < best - LEAST_GAIN * min(abs(best), abs(curve[-1])) else since + 1
        best = min(best, curve[-1])
        report(Progress(min(1.0, max(part, (step + 1) / settings.instance_steps)), "fit", curve[-1]))
        if since >= PATIENCE:
            break
    return kept, curve


def _detached(output: NetworkOutput) -> NetworkOutput:
    fields = {name: field.detach() for name, field in output.fields.items()}
    return NetworkOutput(output.displacement.detach(), fields, output.factors)


def _stages(pair: WorkingPair, output: NetworkOutput, curve: List[float], seconds: float) -> List[Stage]:
    """The fields inside the network in its order, and what it found at the end."""
    stages = []
    for name, field in output.fields.items():
        size = [1, 1, 1]
        for place, c in enumerate(pair.axes_ijk):
            size[c] = field.shape[-1 - place]
        grid = coarser(pair.grid, output.factors[name], tuple(size))
        as_field = pair.field_from_voxels(field[0].cpu().numpy(), grid)
        stages.append(Stage(name, 0.0, pair.linear_lps, as_field, note="a field inside the network"))
    final = pair.field_from_voxels(output.displacement[0].cpu().numpy(), pair.grid)
    if curve:
        metrics = {"loss_before": curve[0], "loss_after": min(curve), "steps": len(curve)}
        stages.append(Stage("fit", seconds, pair.linear_lps, final, metrics, tuple(curve), NOTE))
    else:
        stages.append(Stage("network", seconds, pair.linear_lps, final))
    return stages
