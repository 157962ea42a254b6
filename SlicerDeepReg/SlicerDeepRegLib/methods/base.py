"""What a registration method is, and what it takes and gives. Importing this needs no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ..catalog import Card, with_variant
from ..preparation.resolution import DEVICE_BYTES_PER_FIXED_VOXEL, finest, registration_memory, voxels
from ..settings import NoSettings
from ..similarity import similarities
from ..types import (
    PRESETS,
    Field,
    Finding,
    ImagePair,
    Memory,
    PairDescription,
    Progress,
    ProgressCallback,
    Stage,
)

#: What a result says of the similarity where the method compares by a measure of its own.
OWN_MEASURE = "its own measure"

Self = TypeVar("Self", bound="BaseMethod")


def _ignore(*values: Any) -> None:
    """Do nothing."""


@dataclass(frozen=True, eq=False)
class Context:
    """Where and how a method runs.

    Attributes:
        preset: as in ``Request``.
        similarity: the name of a metric: what was asked for, or what fits the pair.
        modality: whether the images are of the "same" or of "different" modality.
        stiffness: a factor of the regularity of the deformation.
        device: for ``torch.device``: "cpu", "cuda", "mps".
        threads: that it may use.
        progress: told how far it is; raises ``Canceled`` where the run is to stop.
        free: memory that is free now.
        done: told that a part of the run ended ("prepare"), for its seconds.
    """

    preset: str = "standard"
    similarity: str = "lncc"
    modality: str = "same"
    stiffness: float = 1.0
    device: str = "cpu"
    threads: int = 1
    progress: ProgressCallback = _ignore
    free: Memory = Memory(1 << 62, 1 << 62)
    done: Callable[[str], None] = _ignore

    def report(self, fraction: float, stage: str, loss: float | None = None) -> None:
        """Tell how far the method is.

        Raises:
            Canceled: the run is to stop.
        """
        self.progress(Progress(fraction, stage, loss))

    def part(self, start: float, share: float) -> Context:
        """Return the same for a part of the work: its 0..1 is ``start`` to ``start + share`` of this one's."""
        return dataclasses.replace(self, progress=scaled(self.progress, start, share))

    def description(self, pair: ImagePair) -> PairDescription:
        """Describe a pair that is registered here."""
        on_gpu = self.device.startswith("cuda")  # it has memory of its own
        return PairDescription(
            pair.fixed.grid,
            pair.moving.grid,
            self.preset,
            self.similarity,
            on_gpu,
            contrasts=1 + len(pair.contrasts),
            guided=pair.guidance is not None,
        )


def scaled(progress: ProgressCallback, start: float, share: float) -> ProgressCallback:
    """Return a callback for a part of a whole, whose fractions are scaled to that part."""
    return lambda p: progress(dataclasses.replace(p, fraction=start + share * p.fraction))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method found.

    Attributes:
        linear_lps: (4, 4) the linear part ``A``, fixed to moving points.
        stages: in order.
        displacement: ``u`` on a grid over the content of the fixed image; None of a linear method.
        inverse: its inverse, on a grid that holds every x + u(x); None of a linear method.
        notes: sentences for people.
        similarity: the name of the metric, or ``OWN_MEASURE``.
    """

    linear_lps: np.ndarray
    stages: Sequence[Stage] = ()
    displacement: Field | None = None
    inverse: Field | None = None
    notes: Sequence[str] = ()
    similarity: str = OWN_MEASURE


class Method(Protocol):
    """A registration method. What is a property here may be an attribute of the class."""

    @property
    def name(self) -> str:
        """Its name, as ``--method`` (or ``--linear``) takes it."""
        ...

    @property
    def title(self) -> str:
        """Its title, for menus."""
        ...

    @property
    def kind(self) -> str:
        """Either "linear", or "deformable", which goes on from a linear one."""
        ...

    @property
    def compares_contrasts(self) -> bool:
        """Whether it compares several contrasts at once."""
        ...

    @property
    def card(self) -> Card:
        """The rest of what is said about it: papers, license, variants."""
        ...

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The numbers of axes that its images may have: 2, 3 or both."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the pairs that it takes: "same", "different" or both."""
        ...

    @property
    def presets(self) -> Mapping[str, Any]:
        """Its settings by name of the preset, each a frozen dataclass of numbers (see ``settings.number``)."""
        ...

    def missing(self) -> Finding | None:
        """Say what is not installed that the method needs, and how to install it; None where all is there."""
        ...

    def check(self, pair: PairDescription, settings: Any) -> list[Finding]:
        """Say what forbids this method for the pair, or should be known, before any work."""
        ...

    def memory(self, pair: PairDescription, settings: Any) -> Memory:
        """Estimate the peak memory of a registration of the pair by this method."""
        ...

    def run(self, pair: ImagePair, start: np.ndarray, settings: Any, context: Context) -> Outcome:
        """Register the pair.

        Args:
            pair: the images as read, each on its own grid.
            start: (4, 4) the linear transform to go on from, fixed to moving points, LPS mm.
            settings: those of a preset, or such with other numbers.
            context: where and how.

        Raises:
            InputError: it failed, in words for people.
            Canceled: ``context.progress`` asked for it.
        """
        ...

    def variant(self, name: str) -> Method:
        """Return the method in another configuration, as NAME:VARIANT asks for.

        Raises:
            InputError: it has no such variant.
        """
        ...


class BaseMethod:
    """What methods have in common; a method need not derive from it.

    Attributes:
        bytes_per_voxel: of the working grid, that it takes while it works; rounded up from benchmarks.
        on_device: whether it computes on the device of the registration; else on the CPU, and only its field is
            inverted on the device.
        compares_contrasts: whether it compares several contrasts at once.
        follows_guidance: whether landmarks, structures, surfaces and rigid bodies guide it.
    """

    kind = "deformable"
    modalities: tuple[str, ...] = ("same", "different")
    presets: Mapping[str, Any] = {preset: NoSettings() for preset in PRESETS}
    bytes_per_voxel = 300
    on_device = False
    compares_contrasts = False
    follows_guidance = False
    card: Card

    def __init__(self, card: Card | None = None) -> None:
        self.card = card or type(self).card

    @property
    def name(self) -> str:
        """Its name, with the variant."""
        return self.card.name

    @property
    def title(self) -> str:
        """Its title, with the variant's."""
        return self.card.title

    @property
    def dimensions(self) -> tuple[int, ...]:
        """2, 3 or both."""
        return self.card.dimensions

    def variant(self: Self, name: str) -> Self:
        """See :class:`Method`."""
        return type(self)(with_variant(self.card, name))

    def missing(self) -> Finding | None:
        """See :class:`Method`."""
        return None

    def check(self, pair: PairDescription, settings: Any) -> list[Finding]:
        """See :class:`Method`."""
        missing = self.missing()
        findings = [missing] if missing is not None else []
        metric = similarities().get(pair.similarity)
        if metric is not None and metric.modality not in (*self.modalities, "any"):
            findings.append(
                Finding(
                    "error",
                    f"{self.title} compares images of one modality, and {metric.title} was asked for.",
                    "Choose another similarity metric, or velocity-field optimization.",
                    "similarity",
                )
            )
        if pair.guided and not self.follows_guidance:
            findings.append(
                Finding(
                    "error",
                    f"{self.title} cannot be guided by landmarks, structures, surfaces or rigid bodies.",
                    "Choose velocity-field optimization or a network with refinement, or register without guidance.",
                    "method",
                )
            )
        if pair.dimensions not in self.dimensions:
            axes = " and ".join(f"{n}D" for n in self.dimensions)
            findings.append(
                Finding(
                    "error",
                    f"{self.title} registers only {axes} images, and these are {pair.dimensions}D.",
                    "Choose a method for them, for example velocity-field optimization.",
                    "method",
                )
            )
        return findings

    def memory(self, pair: PairDescription, settings: Any) -> Memory:
        """See :class:`Method`."""
        size = voxels(finest(pair.fixed, pair.preset)[1])
        needed = size * self.bytes_per_voxel
        on_gpu = needed if self.on_device else size * DEVICE_BYTES_PER_FIXED_VOXEL  # its field is inverted there
        return registration_memory(pair, Memory(needed, on_gpu), self.on_device)
