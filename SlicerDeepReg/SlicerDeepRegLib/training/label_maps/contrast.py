"""How bright each class is: contrasts like those of scanners, and random ones.

The tables give means of 0..1 as they look in images scaled to their robust range; they were set by eye from what each
sequence shows (fluid dark in T1 and FLAIR, bright in T2; gray between them), and each draw shifts them. That random
contrasts generalize to real ones: Billot et al., Medical Image Analysis 2023; Hoffmann et al., IEEE TMI 2022.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...anatomy import STRUCTURES, TISSUES
from ..rng import Rng
from .frame import MIRRORED, SURROUNDINGS

#: Mean of each tissue, in the order of ``TISSUES``.
TABLES: Mapping[str, tuple[float, ...]] = {
    "T1": (0.12, 0.48, 0.74, 0.58, 0.68, 0.68, 0.46, 0.70),
    "T2": (0.95, 0.56, 0.38, 0.47, 0.32, 0.40, 0.56, 0.38),
    "FLAIR": (0.10, 0.64, 0.50, 0.57, 0.44, 0.50, 0.62, 0.48),
    "PD": (0.85, 0.80, 0.62, 0.72, 0.60, 0.62, 0.80, 0.62),
    "CT": (0.30, 0.56, 0.48, 0.56, 0.55, 0.50, 0.55, 0.49),
}
#: Standard deviation of the shift of a tissue, and of a structure within it.
TISSUE_SHIFT, STRUCTURE_SHIFT = 0.06, 0.03
#: Of a structure against that of the other side.
SIDE_SHIFT = 0.01
_TISSUE_OF_CLASS = torch.tensor([TISSUES.index(structure.tissue) for structure in STRUCTURES])


def contrast(rng: Rng, named: float, by_tissue: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the mean and the standard deviation of each class, (256,) each; those of nothing are 0.01 and 0.

    Args:
        rng: where the numbers come from.
        named: probability of a contrast like a scanner's; the others are random.
        by_tissue: of the random ones, the part in which structures of one tissue look nearly alike.
    """
    cpu = torch.device("cpu")
    means = 0.02 + 0.98 * rng.rand(256).to(cpu)
    kind = rng.uniform(0, 1)
    shift = rng.normal(256).to(cpu)
    tissues: torch.Tensor | None = None
    if kind < named:
        table = list(TABLES.values())[rng.permutation(len(TABLES))[0]]
        tissues = torch.tensor(table) + TISSUE_SHIFT * rng.normal(len(TISSUES)).to(cpu)
    elif kind < named + (1 - named) * by_tissue:
        tissues = rng.rand(len(TISSUES)).to(cpu)
    count = len(STRUCTURES)
    if tissues is not None:
        means[1 : count + 1] = tissues[_TISSUE_OF_CLASS] + STRUCTURE_SHIFT * shift[1 : count + 1]
    for own, other in enumerate(MIRRORED):
        if own < other:
            means[other] = means[own] + SIDE_SHIFT * shift[other]
    deviations = 0.08 * rng.rand(256).to(cpu)
    deviations[SURROUNDINGS:] *= 2
    means[0] = deviations[0] = 0
    return means.clamp(0.01, 1.2), deviations
