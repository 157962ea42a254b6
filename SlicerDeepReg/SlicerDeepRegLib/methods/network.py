"""A network on a pair: with its weights, or optimized for the pair; refined by velocity fields on request.

Instance optimization changes the network's weights for this one pair, from their random start or from trained ones, by
the loss of its paper. The result says nothing about what the network does on pairs it was not optimized for, and its
notes say so. No torch before it runs: what a card declares suffices for menus, checks and memory.
"""

from __future__ import annotations

import numpy as np

from ..catalog import Card, divisor_of
from ..geometry.grids import with_voxels
from ..models.settings import NetworkSettings
from ..preparation.intensity import fits_divisor
from ..preparation.resolution import finest, registration_memory, voxels
from ..preparation.working import WorkingPair, working_pair
from ..settings import changed
from ..similarity import for_modality
from ..types import PRESETS, Finding, ImagePair, Memory, PairDescription
from .base import BaseMethod, Context, Outcome
from .engine import modality_notes

#: What a result says where the network was optimized for the pair.
INSTANCE_NOTE = "The network was fitted to this pair; this does not show what it does on others."
#: And where it was refined.
REFINED_NOTE = (
    "Refined: the field of the network was the start of the velocity-field optimization, which works on this pair "
    "alone."
)


class NetworkMethod(BaseMethod):
    """The method of a card that is a network."""

    modalities = ("same",)
    on_device = True

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        defaults = changed(NetworkSettings(), card.settings, card.name)
        self.presets = {preset: defaults for preset in PRESETS}

    def check(self, pair: PairDescription, settings: NetworkSettings) -> list[Finding]:
        """See :class:`~.base.Method`."""
        findings = super().check(pair, settings)
        if settings.instance_steps == 0 and self.card.weights is None:
            remedy = "Fit it to this pair: set Instance optimization (steps) to 200 (instance_steps=200)."
            findings.append(Finding("error", f"{self.title} comes without trained weights.", remedy, "settings"))
        return findings + self._about_values(pair)

    def _about_values(self, pair: PairDescription) -> list[Finding]:
        """Say where an image cannot be divided by the recipe's number; ``working_pair`` decides by the same rule."""
        divisor, findings = divisor_of(self.card.recipe["intensity"]), []
        for role, limits in (("fixed", pair.fixed_range), ("moving", pair.moving_range)):
            if divisor is not None and limits is not None and not fits_divisor(*limits, divisor):
                text = (
                    f"{self.title} learned from images with values of 0 to {divisor:g}, and those of the {role} image "
                    f"go from {limits[0]:g} to {limits[1]:g}. Both images are scaled to 0 to 1 between robust limits "
                    "instead, and the result may be worse."
                )
                remedy = "Give images with values as it learned from, for most brains those of FreeSurfer's norm.mgz."
                findings.append(Finding("warning", text, remedy, role))
        return findings

    def memory(self, pair: PairDescription, settings: NetworkSettings) -> Memory:
        """See :class:`~.base.Method`: the least that suffices, with blocks recomputed where it is optimized."""
        return self._memory(pair, "checkpointed" if settings.instance_steps else "infer")

    def run(self, pair: ImagePair, start: np.ndarray, settings: NetworkSettings, context: Context) -> Outcome:
        """See :class:`~.base.Method`."""
        from .network_solver import register

        recipe = self.card.recipe
        work = working_pair(
            pair,
            start,
            context.preset,
            for_modality("same").name,
            recipe.get("voxel_mm"),
            recipe.get("orientation"),
            divisor_of(recipe["intensity"]),
        )
        context.done("prepare")
        recompute = self.recomputes(context.description(pair), settings, context.free)
        return register(self.card, work, settings, recompute, context)

    def recomputes(self, pair: PairDescription, settings: NetworkSettings, free: Memory) -> bool:
        """Tell whether blocks are computed again in the backward pass, because memory does not suffice to keep them."""
        if not settings.instance_steps:
            return False
        needed = self._memory(pair, "fit")
        return needed.host > free.host or needed.device > free.device

    def _memory(self, pair: PairDescription, use: str) -> Memory:
        voxel_mm = self.card.recipe.get("voxel_mm")
        grid = with_voxels(pair.fixed, voxel_mm) if voxel_mm else pair.fixed
        needed = voxels(finest(grid, pair.preset)[1]) * self.card.bytes_per_voxel[use]
        return registration_memory(pair, Memory(needed, needed))


def notes_of(card: Card, work: WorkingPair, settings: NetworkSettings, recomputed: bool) -> list[str]:
    """Say what the user should know about a network's result."""
    trained = f"The network's weights were trained on: {card.trained_on}."
    notes = [INSTANCE_NOTE if settings.instance_steps else trained]
    voxel_mm, finest_mm = card.recipe.get("voxel_mm"), float(work.grid.spacing_mm[list(work.axes_ijk)].min())
    if card.weights and voxel_mm and abs(finest_mm / voxel_mm - 1) > 0.1:
        notes.append(
            f"The network was trained at voxels of {voxel_mm:g} mm and worked at {finest_mm:.2g} mm, because of the "
            f"preset ({work.preset}) or the size of the image."
        )
    notes += modality_notes(work)
    if recomputed:
        notes.append("Parts of the network were computed twice, because memory did not suffice to keep them.")
    return notes
