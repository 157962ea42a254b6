"""How a network is optimized for one pair. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import number


@dataclass(frozen=True)
class NetworkSettings:
    """How a network is optimized for the pair. A card may have other defaults."""

    instance_steps: int = number(
        200,
        0,
        5000,
        "Instance optimization (steps)",
        "How often the network is improved on this pair; it may stop early.",
    )
    learning_rate: float = number(5e-4, 1e-6, 0.1, "Learning rate", "Of Adam; it falls to a tenth while fitting.")
    regularity: float = number(1.0, 0.0, 100.0, "Regularity", "Weight of the diffusion. More is smoother.")
    instance_seconds: float = number(
        0.0, 0.0, 1e6, "Fitting time limit (s)", "Instance optimization ends after this time; 0 for no limit."
    )
    refine: int = number(
        0,
        0,
        500,
        "Refinement (steps)",
        "Steps of velocity-field optimization that start from the network's field, at the second finest scale; the "
        "finest scale gets its usual share. 0 for the network alone.",
    )
    compare_svf: bool = number(
        False,
        0,
        1,
        "Compare with velocity-field optimization alone",
        "Also runs it from the same linear alignment, and keeps and measures what it finds as a stage.",
    )
