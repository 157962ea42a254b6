"""The one book of checks: what is wrong with a request, said before any work. The command stops at an error, the panel
lists every finding beside its control.
"""

from __future__ import annotations

from .book import check, check_image, errors_of, memory_findings, raise_error
from .facts import AttachmentFacts, PairFacts, PointFacts, VolumeFacts, facts_of_image
from .guidance import held_out
from .inputs import Inputs, read_inputs
from .landmarks import Pairs, pair_landmarks

__all__ = [
    "AttachmentFacts",
    "Inputs",
    "PairFacts",
    "Pairs",
    "PointFacts",
    "VolumeFacts",
    "check",
    "check_image",
    "errors_of",
    "facts_of_image",
    "held_out",
    "memory_findings",
    "pair_landmarks",
    "raise_error",
    "read_inputs",
]
