"""uniGradICON and multiGradICON by the package ``unigradicon`` of their authors, in a process of its own.

Tian et al. 2024, doi:10.48550/arXiv.2403.05780; Demir et al. 2024, doi:10.48550/arXiv.2408.00221. Network, scaling of
intensities and instance optimization are the package's (the extra "unigradicon"). Its weights are not part of it: they
are a file that the setting ``weights`` names, or lie where the package puts them, in ``network_weights`` of the working
folder; or in that folder among the user's models, where every process of ours finds them. Nothing is downloaded here.

The network sees both images whole, each resized to 175 x 175 x 175 voxels whatever its own size. Without linear
alignment the result is what the package's own command gives: the grid of one image is laid on that of the other, and
the network's field deforms this. After a linear alignment the moving image is resampled onto the fixed grid first.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import Card, user_models_folder
from ..files.images import checksum
from ..files.model_bytes import kind
from ..geometry.grids import orientation_of, resized
from ..preparation.resample import resample
from ..preparation.resolution import registration_memory
from ..settings import file, number
from ..types import PRESETS, Finding, Image, ImagePair, InputError, Memory, PairDescription
from . import engine_process
from .base import Context, Outcome
from .engine import Engine
from .network import INSTANCE_NOTE
from .svf import VelocityFieldOptimization

#: Where the package puts its weights, and where its authors offer them, by the name of the method.
WEIGHTS = "network_weights/{name}1.0/Step_2_final.trch"
DOWNLOAD = "https://github.com/uncbiag/uniGradICON/releases/download/{name}_weights/Step_2_final.trch"
#: Images with a value as low as this are taken for CT, whose air is at -1000; MR that was standardized has -10.
CT_BELOW = -500
#: The measures of its instance optimization, as the package calls them.
SIMILARITIES = ("lncc", "lncc2", "mind")
#: Host memory of the process besides what its network takes for each voxel: torch, ITK and the weights.
PROCESS_BYTES = 1_500_000_000

_CT = "1 for CT (clamped to -1000 to 1000), 0 for others (lowest value to 99th percentile), -1 to decide by its values."


@dataclass(frozen=True)
class GradIconSettings:
    """The numbers of uniGradICON's package; its command optimizes 50 steps unless told otherwise."""

    instance_steps: int = number(
        0, 0, 1000, "Instance optimization (steps)", "How often the network is improved on this pair; 0 for not at all."
    )
    learning_rate: float = number(2e-5, 1e-7, 1e-2, "Learning rate", "Of the instance optimization.")
    instance_similarity: int = number(
        0, 0, 2, "Its similarity", "0 for local correlation, 1 for its square (other contrasts), 2 for MIND."
    )
    fixed_ct: int = number(-1, -1, 1, "Fixed image is CT", _CT)
    moving_ct: int = number(-1, -1, 1, "Moving image is CT", _CT)
    refine: int = number(
        0,
        0,
        500,
        "Refinement (steps)",
        "Steps of velocity-field optimization from the network's field, at its second finest scale; as many at the "
        "finest as it would do there itself for that. 0 for the network alone.",
    )
    weights: str = file(
        "Weights file", "The weights that its authors publish; empty where the package itself has put them."
    )


class GradIcon(Engine):
    """A network of uniGradICON's package; both have the same architecture."""

    on_device = True
    presets = {preset: GradIconSettings() for preset in PRESETS}

    def __init__(self, card: Card, modalities: tuple[str, ...]) -> None:
        super().__init__(card)
        self.modalities = modalities

    def missing(self) -> Finding | None:
        """See :class:`~.base.Method`."""
        if importlib.util.find_spec("unigradicon") is not None:
            return None
        remedy = 'Install it with: pip install "SlicerDeepReg[unigradicon]" (or unigradicon).'
        return Finding("error", "The package unigradicon is not installed.", remedy, "method")

    def check(self, pair: PairDescription, settings: GradIconSettings) -> list[Finding]:
        """See :class:`~.base.Method`: weights must be there, and look like a file of torch."""
        findings = super().check(pair, settings)
        if not findings:
            try:
                self._weights(settings)
            except InputError as error:
                findings.append(Finding("error", str(error), control="weights"))
        return findings

    def memory(self, pair: PairDescription, settings: GradIconSettings) -> Memory:
        """See :class:`~.base.Method`: the network's grid has one size."""
        use = "fit" if settings.instance_steps else "infer"
        needed = self.card.configuration["size"] ** 3 * self.card.bytes_per_voxel[use]
        whole = registration_memory(pair, Memory(needed, needed))
        after = VelocityFieldOptimization().memory(pair, None) if settings.refine else Memory(0, 0)
        return Memory(max(whole.host + PROCESS_BYTES, after.host), max(whole.device, after.device))

    def run(self, pair: ImagePair, start: np.ndarray, settings: GradIconSettings, context: Context) -> Outcome:
        """See :class:`~.base.Method`."""
        import torch

        weights = self._weights(settings)
        modalities = {
            role: _modality(image, asked)
            for role, image, asked in (
                ("fixed", pair.fixed, settings.fixed_ct),
                ("moving", pair.moving, settings.moving_ct),
            )
        }
        moving, linear_lps, grid = self._aligned(pair, start)
        work = self.prepare(pair, linear_lps, context)
        began, share = time.perf_counter(), 0.6 if settings.refine else 1.0
        values = {
            **modalities,
            "title": self.title,
            "weights": str(weights),
            "size": self.card.configuration["size"],
            "device": context.device if context.device.startswith("cuda") else "cpu",  # the package knows these two
            "steps": settings.instance_steps,
            "learning_rate": settings.learning_rate,
            "similarity": SIMILARITIES[settings.instance_similarity],
        }
        arrays = {"fixed": pair.fixed.values.astype(np.float32), "moving": moving}
        part = context.part(0.0, share)
        vectors = engine_process.call_on(arrays, "gradicon", self.title, values, part)["displacement"]
        device = torch.device(context.device)
        voxels = np.ascontiguousarray(np.moveaxis(vectors, -1, 0))
        metrics = {"weights_sha256": checksum(str(weights))}
        outcome = self.outcome(work, torch.from_numpy(voxels)[None].to(device), None, metrics, (), began, part, grid)
        outcome = dataclasses.replace(outcome, notes=[*self._notes(pair, start, settings, modalities), *outcome.notes])
        if not settings.refine:
            return outcome
        from .network_solver import refined

        alone = dataclasses.replace(outcome.stages[-1], compared=True)
        outcome = dataclasses.replace(outcome, stages=[*outcome.stages[:-1], alone])
        return refined(outcome, pair, settings.refine, context.part(share, 1 - share))

    def _weights(self, settings: GradIconSettings) -> Path:
        """Return the file of weights.

        Raises:
            InputError: there is none, or it is none of torch.
        """
        relative = WEIGHTS.format(name=self.name)
        places = [Path.cwd() / relative, user_models_folder() / relative]
        if settings.weights:
            places = [Path(settings.weights)]
        path = next((place for place in places if place.is_file()), places[-1])
        if not settings.weights and not path.is_file():
            raise InputError(
                f"{self.title} has no weights on this computer, and they are not downloaded unasked: get them by "
                f'curl -L --create-dirs -o "{path}" {DOWNLOAD.format(name=self.name)}'
            )
        if path.is_dir():
            raise InputError(f"The weights {path} are a folder. Give the file in it.")
        if kind(path) not in ("zip", "pickle"):
            raise InputError(f"The weights {path} are not a PyTorch file. Give the one that their authors published.")
        return path

    def _aligned(self, pair: ImagePair, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return the moving voxels as the network gets them, the linear part, and the network's grid on the fixed one.

        Without a linear start that part lays one image's grid on the other's, as the package does.
        """
        size = (self.card.configuration["size"],) * 3
        grid = resized(pair.fixed.grid, size)
        if _is_none(start):
            linear_lps = resized(pair.moving.grid, size).ijk_to_lps @ grid.lps_to_ijk
            return pair.moving.values.astype(np.float32), linear_lps, grid
        lowest = float(pair.moving.values.min())
        return resample(pair.moving, pair.fixed.grid, start, outside=lowest), start, grid

    def _notes(
        self, pair: ImagePair, start: np.ndarray, settings: GradIconSettings, modalities: dict[str, str]
    ) -> list[str]:
        names = {"ct": "CT (-1000 to 1000)", "mri": "MR (lowest value to 99th percentile)"}
        fixed, moving = (names[modalities[role]] for role in ("fixed", "moving"))
        notes = [f"{self.title} took the values of the fixed image as {fixed}, those of the moving one as {moving}."]
        if settings.instance_steps:
            notes.append(INSTANCE_NOTE)
        if pair.fixed_mask is not None or pair.moving_mask is not None:
            notes.append(f"{self.title} looks at whole images; the masks were not used by it.")
        stored = [orientation_of(image.grid) for image in (pair.fixed, pair.moving)]
        if _is_none(start) and stored[0] != stored[1]:
            notes.append(
                f"The fixed image is stored as {stored[0]} and the moving one as {stored[1]}: without linear alignment "
                f"{self.title} compares them as they are stored, turned against each other, and the result is probably "
                "wrong. Choose a rigid or affine alignment."
            )
        return notes


def _is_none(start: np.ndarray) -> bool:
    """Tell whether there was no linear alignment."""
    return bool(np.array_equal(start, np.eye(4)))


def _modality(image: Image, asked: int) -> str:
    """Return "ct" or "mri", as the package calls what decides how it scales values.

    Raises:
        InputError: scaled so, the image would have one value.
    """
    low, high = float(image.values.min()), float(image.values.max())
    if asked == 1 or (asked == -1 and low <= CT_BELOW):
        if min(high, 1000) <= max(low, -1000):
            raise InputError(
                f"{image.name} has no values between -1000 and 1000, so it is not CT in Hounsfield units. Convert its "
                "values, or set Fixed image is CT or Moving image is CT to 0.",
                "settings",
            )
        return "ct"
    place = max(1, int(0.99 * image.values.size)) - 1  # the package's percentile
    if not np.partition(image.values, place, axis=None)[place] > low:
        raise InputError(
            f"{image.name} has its lowest value in 99% of its voxels or more, and uniGradICON scales values to their "
            "99th percentile. Crop the image to its content, or choose another method."
        )
    return "mri"


def _card(name: str, title: str, summary: str, reference: str, trained_on: str) -> Card:
    return Card(
        name=name,
        title=title,
        summary=summary,
        references=(reference,),
        license="Apache-2.0 (uniGradICON, of its own)",
        dimensions=(3,),
        trained_on=trained_on,
        year=2024,
        configuration={"size": 175},
        bytes_per_voxel={"infer": 500, "fit": 3000},
    )


METHODS = (
    GradIcon(
        _card(
            name="unigradicon",
            title="uniGradICON",
            summary="A network trained on several parts of the body, by its authors' package in a process of its own; "
            "images of one modality. Needs the extra unigradicon, and the weights that its authors publish.",
            reference="Tian L, Greer H, Kwitt R, Vialard FX, San José Estépar R, Bouix S, Rushmore R, Niethammer M. "
            "uniGradICON: a foundation model for medical image registration. MICCAI 2024: 749-760. "
            "doi:10.48550/arXiv.2403.05780",
            trained_on="lungs (CT), abdomens (CT), knees and brains (MR), by its authors",
        ),
        ("same",),
    ),
    GradIcon(
        _card(
            name="multigradicon",
            title="multiGradICON",
            summary="uniGradICON's network trained on pairs of different modalities, too, by its authors' package in a "
            "process of its own. Needs the extra unigradicon, and the weights that its authors publish.",
            reference="Demir B, Tian L, Greer H, Kwitt R, Vialard FX, San José Estépar R, Bouix S, Rushmore R, Ebrahim "
            "E, Niethammer M. MultiGradICON: a foundation model for multimodal medical image registration. WBIR 2024: "
            "3-18. doi:10.48550/arXiv.2408.00221",
            trained_on="16 data sets of CT, CBCT and MR, by its authors",
        ),
        ("same", "different"),
    ),
)
