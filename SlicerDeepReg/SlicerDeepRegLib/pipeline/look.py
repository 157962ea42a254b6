"""What a pair is, found out without registering it: the linear alignment and a look, a few seconds."""

from __future__ import annotations

import dataclasses

from .. import device as devices
from ..checks import read_inputs
from ..similarity import similarities
from ..types import AUTOMATIC, PEOPLE, PERSON, VISIT, Progress, ProgressCallback, Request
from .align import Plan, looked_at
from .clock import Clock
from .initial import initial_transform
from .structures import LINEAR, with_structures

#: What follows from each kind, before it is done.
CONSEQUENCES = {
    VISIT: "It is aligned rigidly and not deformed, unless you say that it shows another time or different people.",
    PERSON: "It is aligned rigidly and deformed stiffly, as one person's.",
    PEOPLE: "The moving image is scaled to the size of the fixed one and deformed freely.",
}


@dataclasses.dataclass(frozen=True)
class Look:
    """What a pair was taken for.

    Attributes:
        kind: one of ``types.PAIR_CHOICES``, never "auto".
        modality: "same" or "different".
        similarity: the name of the metric that the automatic choice takes for it.
        text: what was seen, what follows from it, and the metric, for people.
    """

    kind: str
    modality: str
    similarity: str
    text: str


def look(request: Request, report: ProgressCallback | None = None) -> Look:
    """Find out what a pair is, as ``register`` does where the kind of the pair is left open.

    Args:
        request: what would be registered; its kind of the pair and its metric are found out, not taken over.
        report: called with :class:`Progress`; raise ``Canceled`` in it to stop.

    Raises:
        InputError, DeviceMemoryError, DeviceLostError, MemoryError, Canceled: as of ``register``.
    """
    request = dataclasses.replace(
        request, pair=AUTOMATIC, similarity=AUTOMATIC, measure=False, fixed_labels=None, moving_labels=None
    )
    try:
        return _look(request, report or (lambda progress: None))
    except RuntimeError as error:
        explained = devices.in_words(error)
        if explained is error:
            raise
        raise explained from error


def _look(request: Request, report: ProgressCallback) -> Look:
    plan = Plan.of(request)
    report(Progress(0.0, "reading"))
    inputs = read_inputs(request)
    plan.check(inputs.facts)
    initial, _ = initial_transform(request, inputs, plan.method)
    if request.linear == LINEAR:
        inputs, _ = with_structures(inputs, plan)
    decision = looked_at(inputs.pair, plan, report, Clock(plan.device), initial)
    if decision.evidence is None:
        raise ValueError("nothing was to be found out")
    metric = similarities()[decision.metric]
    text = f"{decision.evidence.sentence} {CONSEQUENCES[decision.kind]} {_modality(decision.modality)} {metric.title}."
    return Look(decision.kind, decision.modality, decision.metric, text)


def _modality(modality: str) -> str:
    return "One modality; similarity metric:" if modality == "same" else "Two modalities; similarity metric:"
