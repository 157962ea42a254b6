"""What a pair is, and what follows from it where a request leaves it open: linear alignment, metric and stiffness."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..methods import Method, Outcome, linear_method
from ..methods.base import Context
from ..methods.evidence import PairEvidence, look_at
from ..similarity import similarity
from ..types import AUTOMATIC, PEOPLE, PERSON, VISIT, ImagePair, Request

#: The regularity of the deformation of one person is multiplied by this: organs move, but do not become another's.
STIFFNESS = {VISIT: 2.0, PERSON: 2.0, PEOPLE: 1.0}


@dataclass(frozen=True)
class Decision:
    """What a pair is taken for.

    Attributes:
        kind: one of ``types.PAIR_CHOICES``; "auto" only where a linear method did not need to know.
        metric: the name of the similarity metric.
        modality: "same" or "different"; "" where it was not needed.
        evidence: what was seen of the images; None where nothing was left open.
        notes: sentences for people.
    """

    kind: str
    metric: str
    modality: str
    evidence: PairEvidence | None = None
    notes: tuple[str, ...] = ()

    @property
    def deforms(self) -> bool:
        """Whether there is something to deform."""
        return self.kind != VISIT

    def request(self, request: Request) -> Request:
        """Return a request with what was decided."""
        return dataclasses.replace(request, pair=self.kind, similarity=self.metric)

    def context(self, context: Context) -> Context:
        """Return a context with what was decided."""
        stiffness = STIFFNESS[self.kind]
        return dataclasses.replace(context, similarity=self.metric, modality=self.modality, stiffness=stiffness)

    def describe(self) -> Mapping[str, Any]:
        """Return it as plain values, for result.json."""
        seen = {} if self.evidence is None else dataclasses.asdict(self.evidence)
        numbers = {name: round(value, 3) for name, value in seen.items() if value is not None}
        return {"kind": self.kind, **({"modality": self.modality} if self.modality else {}), **numbers}


def decide(request: Request, pair: ImagePair, linear: Outcome, context: Context) -> Decision:
    """Decide what a request leaves open, by the images as the linear alignment puts them.

    Raises:
        InputError: one of the images has one value where they overlap.
    """
    given = request.similarity if request.similarity != AUTOMATIC else None
    if request.pair != AUTOMATIC and given is not None:
        return Decision(request.pair, given, "same" if similarity(given).modality == "same" else "different")
    context.report(0.0, "looking at the pair")
    evidence = look_at(pair, linear.linear_lps, context.device)
    kind = evidence.kind if request.pair == AUTOMATIC else request.pair
    if kind == VISIT and pair.guidance is not None and request.pair == AUTOMATIC:
        kind = PERSON  # what the user marked is to be brought together
        guided = f"{evidence.sentence} Because the user guides it, it was deformed all the same, stiffly."
        return Decision(kind, given or evidence.metric(kind), evidence.modality, evidence, (guided,))
    metric = given or evidence.metric(kind)
    return Decision(kind, metric, evidence.modality, evidence, tuple(_notes(request, evidence, kind)))


def _notes(request: Request, evidence: PairEvidence, kind: str) -> list[str]:
    notes = []
    if request.pair == AUTOMATIC:
        notes.append(f"{evidence.sentence} {_consequence(kind)}")
    elif request.pair == VISIT and evidence.kind != VISIT and not evidence.cannot_tell:
        notes.append(f"The pair was to be one person at one visit, so nothing was deformed. {evidence.sentence}")
    return notes


def _consequence(kind: str) -> str:
    if kind == VISIT:
        return (
            "Therefore only the linear alignment was used and nothing was deformed. To deform it, set the pair to one "
            "person at another time, or different people."
        )
    if kind == PERSON:
        return "So it was deformed stiffly, as one person's."
    return "So it was deformed freely, as images of different people."


def further_linear(begun: Method, decision: Decision) -> Method | None:
    """Return the linear method that goes on from an automatic one, where people are to be brought to one size."""
    return linear_method("affine") if begun.name == AUTOMATIC and decision.kind == PEOPLE else None


def undecided(request: Request) -> Decision:
    """Return what a linear method takes a pair for: it needs neither its kind nor a metric of this project's."""
    return Decision(request.pair, request.similarity, "")


def unused_by_linear(request: Request, method: Method) -> list[str]:
    """Say which choices a linear method has no use for."""
    given = {
        "linear alignment": request.linear,
        "similarity metric": request.similarity,
        "kind of the pair": request.pair,
    }
    unused = [name for name, value in given.items() if value != AUTOMATIC]
    if not unused:
        return []
    asked = " and the ".join(unused)
    verb = "was" if len(unused) == 1 else "were"
    return [
        f"{method.title} registration compares by mutual information and deforms nothing, so the {asked} that {verb} "
        f"asked for {verb} not used."
    ]
