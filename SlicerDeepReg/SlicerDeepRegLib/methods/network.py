"""A network on a pair: fitted to it, because no weights come with it yet.

"Fitting" optimises the network's weights for this one pair, from their random start, by the loss of its paper. What
comes out says nothing about what the network does on pairs it was not fitted to, and the notes of the result say so.
"""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F

from ..catalogue import Card
from ..contracts import Field, Grid, InputError, Progress, Stage
from ..geometry.grids import coarser
from ..losses.papers import MultiResolution
from ..networks import NetworkOutput, build
from ..preparation.working import WorkingPair
from ..settings import NetworkSettings, settings_for
from ..warping.inverse import inverted
from .outcome import Outcome, room_to_leave

#: Fitting stops when this many steps brought less than ``LEAST_GAIN``.
PATIENCE, LEAST_GAIN = 40, 2e-4
#: The same start each time, so that a result can be had again.
SEED = 0
NOTE = "The network was fitted to this pair; this does not show what it does on others."


class Fitted:
    """The method of a card whose network is fitted to the pair."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def check(self, grid: Grid, settings: NetworkSettings) -> None:
        """Before any work: whether the network can do what is asked for a fixed image on that grid.

        Raises:
            InputError: it has no weights and no steps were asked for, or it does not take such images.
        """
        if (2 if grid.is_planar else 3) not in self.card.dimensions:
            axes = " and ".join(f"{n}D" for n in self.card.dimensions)
            raise InputError(f"{self.card.title} takes {axes} images. Choose the method optimise for this pair.")
        if settings.fit == 0:
            raise InputError(
                f"{self.card.title} has no weights. Fit it to this pair: --fit 200, or Fit steps in the panel."
            )

    def run(
        self,
        pair: WorkingPair,
        device: torch.device,
        report: Callable[[Progress], None],
        settings: Optional[NetworkSettings] = None,
    ) -> Outcome:
        """Fit the network to the prepared pair.

        Raises:
            InputError: the loss is not a number any more.
        """
        settings = settings or settings_for("network", pair.effort)
        moving, fixed, inside = _images(pair, device)
        torch.manual_seed(SEED)
        network = build(self.card.name).to(device)
        loss = MultiResolution(moving, fixed, inside, settings.regularity)
        start = time.perf_counter()
        output, curve = _fit(network, moving, fixed, loss, settings, report)
        outcome = Outcome(_stages(pair, output, curve, time.perf_counter() - start), notes=[NOTE])
        report(Progress(0.98, "inverse"))
        outcome.displacement = outcome.stages[-1].field
        outcome.inverse = _inverse(pair, output.displacement)
        return outcome


def for_card(card: Card) -> Fitted:
    """The method of that card."""
    return Fitted(card)


def _images(pair: WorkingPair, device: torch.device) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Moving, fixed and where to compare, (1, 1, ...) on the working grid."""
    core = tuple(slice(m, m + n) for m, n in zip(pair.margin_ijk[::-1], pair.grid.shape_kji))
    arrays = [pair.moving[core], pair.fixed, pair.inside.astype(np.float32)]
    shape = [n for n in pair.grid.shape_kji if n > 1]
    moving, fixed, inside = (
        torch.from_numpy(np.ascontiguousarray(array, np.float32).reshape(1, 1, *shape)).to(device) for array in arrays
    )
    return moving, fixed, inside


def _fit(
    network, moving, fixed, loss, settings: NetworkSettings, report: Callable[[Progress], None]
) -> Tuple[NetworkOutput, List[float]]:
    """Lower the loss by Adam; returns the output of the best weights and the curve."""
    optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate)
    curve: List[float] = []
    best, since = float("inf"), 0
    kept: Optional[NetworkOutput] = None
    for step in range(settings.fit):
        for group in optimiser.param_groups:  # falls to a tenth, so that the end is quiet
            group["lr"] = settings.learning_rate * (1 - 0.9 * step / settings.fit)
        with torch.enable_grad():
            output = network(moving, fixed)
            value = loss(output)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        curve.append(float(value.detach()))
        if not np.isfinite(curve[-1]):
            raise InputError("The loss is not a number any more. Lower the learning rate (--set learning_rate=1e-4).")
        if curve[-1] < best:
            kept = _detached(output)
        since = 0 if curve[-1] < best - LEAST_GAIN else since + 1
        best = min(best, curve[-1])
        report(Progress((step + 1) / settings.fit * 0.97, "fit", curve[-1]))
        if since >= PATIENCE:
            break
    return kept, curve


def _detached(output: NetworkOutput) -> NetworkOutput:
    return NetworkOutput(
        output.displacement.detach(), {name: field.detach() for name, field in output.fields.items()}, output.velocity
    )


def _stages(pair: WorkingPair, output: NetworkOutput, curve: List[float], seconds: float) -> List[Stage]:
    """The scales of the network, coarse to fine, and the fit as a whole at the end."""
    stages = []
    for name, field in output.fields.items():
        factor = int(name.split("/")[1])
        size = [1, 1, 1]
        for place, c in enumerate(pair.axes_ijk):
            size[c] = field.shape[-1 - place]
        grid = coarser(pair.grid, factor, tuple(size))
        as_field = pair.field_from_voxels(field[0].cpu().numpy(), grid)
        stages.append(Stage(f"scale {name}", 0.0, pair.linear_lps, as_field, note="a scale of the fitted network"))
    figures = {"loss_before": curve[0], "loss_after": min(curve), "steps": len(curve)}
    final = pair.field_from_voxels(output.displacement[0].cpu().numpy(), pair.grid)
    stages.append(Stage("fit", seconds, pair.linear_lps, final, figures, tuple(curve), NOTE))
    return stages


def _inverse(pair: WorkingPair, displacement: torch.Tensor) -> Field:
    """By fixed-point iteration, on a grid wide enough for every x + u(x)."""
    padding, grid = room_to_leave(pair, displacement, pair.grid)
    wide = F.pad(displacement, padding, mode="replicate")
    return pair.field_from_voxels(inverted(wide)[0].cpu().numpy(), grid)
