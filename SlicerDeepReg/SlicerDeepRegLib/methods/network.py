"""A network on a pair: with its weights, or optimized for the pair; then refined by velocity fields.

What the network found alone, what the refinement made of it and, on request, what velocity-field optimization finds
without it from the same linear alignment are stages that are measured as the result is, to be compared.

Instance optimization changes the network's weights for this one pair, from their random start or from trained ones, by
the loss of its paper. The result says nothing about what the network does on pairs it was not optimized for, and its
notes say so. No torch before it runs: what a card declares suffices for menus, checks and memory.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..catalog import Card, divisor_of, voxel_in_words
from ..geometry.grids import with_voxels
from ..models.settings import NetworkSettings
from ..preparation.intensity import fits_divisor
from ..preparation.regime import outside
from ..preparation.resolution import finest, registration_memory, voxels
from ..preparation.working import WorkingPair, working_pair
from ..settings import changed
from ..similarity import for_modality
from ..types import PRESETS, Finding, ImagePair, Memory, PairDescription
from .base import BaseMethod, Context, Outcome
from .engine import modality_notes
from .svf import VelocityFieldOptimization

#: What a result says where the network was optimized for the pair.
INSTANCE_NOTE = "The network was fitted to this pair; this does not show what it does on others."
#: Bytes a voxel of the fixed image while a stage is measured beside the result: its field, and the image warped by it.
COMPARED_BYTES = 16
#: Bytes a voxel of the network's grid that its stages keep until the end: the fields inside it, and what it found.
KEPT_BYTES = 24


class NetworkMethod(BaseMethod):
    """The method of a card that is a network."""

    on_device = True
    follows_guidance = True

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.modalities = ("same",) if card.matches_intensities else ("same", "different")
        defaults = changed(NetworkSettings(), card.settings, card.name)
        self.presets = {preset: defaults for preset in PRESETS}

    def check(self, pair: PairDescription, settings: NetworkSettings) -> list[Finding]:
        """See :class:`~.base.Method`."""
        findings = super().check(pair, settings)
        if settings.instance_steps == 0 and self.card.weights is None:
            remedy = "Fit it to this pair: set Instance optimization (steps) to 200."
            findings.append(Finding("error", f"{self.title} comes without trained weights.", remedy, "settings"))
        if pair.guided and not settings.refine:
            text = f"{self.title} alone cannot be guided: its refinement follows landmarks and structures."
            findings.append(Finding("error", text, "Set Refinement (steps) to 40, or more.", "settings"))
        return findings + self._about_values(pair) + self._about_regime(pair)

    def missing(self) -> Finding | None:
        """See :class:`~.base.Method`: its weights, where its card names some."""
        if self.card.weights is None or self.card.weights_path.is_file():
            return None
        text = f"The weights of {self.title} are missing: there is no file {self.card.weights_path}."
        return Finding("error", text, "Install SlicerDeepReg, or add the model, again.", "method")

    def _about_regime(self, pair: PairDescription) -> list[Finding]:
        """Say where an image cannot be what the weights were trained for."""
        regime, findings = self.card.regime, []
        for role, values, grid in (
            ("fixed", pair.fixed_values, pair.fixed),
            ("moving", pair.moving_values, pair.moving),
        ):
            why = outside(regime, values, grid) if regime is not None and values is not None else ""
            if why:
                text = f"{self.title} was trained for the {regime} only, and the {role} image {why}."
                remedy = "Choose a method for any images, for example velocity-field optimization."
                findings.append(Finding("warning", text, remedy, role))
        return findings

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
        least = self._memory(pair, "checkpointed" if settings.instance_steps else "infer")
        if not settings.refine and not settings.compare_svf:
            return least
        after = VelocityFieldOptimization().memory(pair, None)  # one works after the other, each on its own grid
        more = pair.fixed.voxels * COMPARED_BYTES + self._voxels(pair) * KEPT_BYTES
        return Memory(max(least.host, after.host) + more, max(least.device, after.device))

    def run(self, pair: ImagePair, start: np.ndarray, settings: NetworkSettings, context: Context) -> Outcome:
        """See :class:`~.base.Method`."""
        from .network_solver import refined, register, svf_alone

        recompute = self.recomputes(context.description(pair), settings, context.free)
        others = []
        if settings.compare_svf:
            others, context = [svf_alone(pair, start, context.part(0, 0.5))], context.part(0.5, 0.5)
        share = 1.0 if not settings.refine else 0.6 if settings.instance_steps else 0.2
        outcome = register(self.card, self._prepared, pair, start, settings, recompute, context.part(0, share))
        if settings.refine:
            outcome = refined(outcome, pair, settings.refine, context.part(share, 1 - share))
        return dataclasses.replace(outcome, stages=[*others, *outcome.stages])

    def _prepared(self, pair: ImagePair, start: np.ndarray, preset: str) -> WorkingPair:
        """Prepare the pair by the recipe."""
        recipe = self.card.recipe
        return working_pair(
            pair,
            start,
            self._preset(preset),
            for_modality("same").name,
            recipe.get("voxel_mm"),
            recipe.get("orientation"),
            divisor_of(recipe["intensity"]),
            self.card.matches_intensities,
        )

    def recomputes(self, pair: PairDescription, settings: NetworkSettings, free: Memory) -> bool:
        """Tell whether blocks are computed again in the backward pass, because memory does not suffice to keep them."""
        if not settings.instance_steps:
            return False
        needed = self._memory(pair, "fit")
        return needed.host > free.host or needed.device > free.device

    def _memory(self, pair: PairDescription, use: str) -> Memory:
        needed = self._voxels(pair) * self.card.bytes_per_voxel[use]
        return registration_memory(pair, Memory(needed, needed))

    def _voxels(self, pair: PairDescription) -> int:
        """Return how many voxels the network sees, of an image that is content all over."""
        voxel_mm = self.card.recipe.get("voxel_mm")
        grid = with_voxels(pair.fixed, voxel_mm) if voxel_mm else pair.fixed
        return voxels(finest(grid, self._preset(pair.preset))[1])

    def _preset(self, preset: str) -> str:
        """Return the preset whose resolution the network gets: voxels that it learned from are not made larger."""
        return "standard" if preset == "fast" and self.card.weights and self.card.recipe.get("voxel_mm") else preset


def notes_of(card: Card, work: WorkingPair, settings: NetworkSettings, recomputed: bool, modality: str) -> list[str]:
    """Say what the user should know about a network's result."""
    trained = f"The network's weights were trained on: {card.trained_on}."
    notes = [INSTANCE_NOTE if settings.instance_steps else trained]
    voxel_mm, worked_mm = card.recipe.get("voxel_mm"), work.grid.spacing_mm[list(work.axes_ijk)]
    if card.weights and voxel_mm:
        trained_mm = np.broadcast_to(voxel_mm, 3)[list(work.axes_ijk)]
        if np.abs(worked_mm.min() / trained_mm.min() - 1) > 0.1 or np.abs(worked_mm / trained_mm - 1).max() > 0.3:
            notes.append(
                f"The network was trained at voxels of {voxel_in_words(trained_mm)} mm and worked at "
                f"{voxel_in_words(worked_mm)} mm, because of the preset ({work.preset}) or the size of the image."
            )
    if card.matches_intensities or settings.instance_steps:  # the loss that it is fitted by compares one modality
        notes += modality_notes(modality)
    if recomputed:
        notes.append("Parts of the network were computed twice, because memory did not suffice to keep them.")
    return notes
