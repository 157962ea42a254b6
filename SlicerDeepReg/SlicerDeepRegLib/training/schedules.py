"""Schedules of training by name: those of the papers, as far as they are published, and two for any network.

A network's own schedules stand on its card, under "training": {"ixi": {"text": ..., "epochs": 500, ...}}. Each names
under "chosen" what the paper does not give and was chosen here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..catalog import Card
from ..types import InputError
from .augment import AUGMENTATIONS
from .dataset.pairs import PAIRINGS
from .plan import DECAYS, OPTIMIZERS


@dataclass(frozen=True)
class Schedule:
    """How a network is trained. Everything can be changed on the command line.

    Attributes:
        text: what it is, for people.
        epochs: passes over the pairs; ``steps`` instead where there are no pairs to count.
        pairing: which pairs are made, see ``dataset.pairs.PAIRINGS``.
        size_ijk: images are cropped or padded to it, voxels along i, j(, k).
        resample: images are resampled to that size instead.
        batch: pairs of one step.
        optimizer: "adam", "amsgrad" (Adam with it) or "adamw".
        learning_rate: at the start.
        decay: of the learning rate: "constant", or "poly" for (1 - step / steps)^0.9.
        loss: arguments of the network's loss in ``losses/papers.py``.
        augment: see ``augment.AUGMENTATIONS``.
        clip: largest norm of the gradient; 0 for any, as in papers that say nothing of it.
        match: whether the moving image gets the intensities of the fixed one, as a registration does it.
        split: how many scans the paper had for training, validation and test; which ones is drawn by the seed.
        chosen: which of these the paper does not give, and were chosen here.
    """

    text: str
    epochs: int | None = None
    steps: int | None = None
    pairing: str = "random"
    size_ijk: tuple[int, ...] | None = None
    resample: bool = False
    batch: int = 1
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    decay: str = "constant"
    loss: Mapping[str, Any] = field(default_factory=dict)
    augment: str = "none"
    clip: float = 0.0
    match: bool = False
    split: tuple[int, int, int] | None = None
    chosen: tuple[str, ...] = ()


_ALL = ("epochs", "pairing", "batch", "optimizer", "learning_rate", "decay", "loss", "augment", "clip", "match")

#: What no paper says in full, and is the same in every training.
_ALWAYS = (
    "intensities are scaled to 0 to 1 between robust limits; Adam has betas 0.9 and 0.999; weights begin as PyTorch's "
    "layers do, heads near zero; which scans are held out follows from the seed; the weights with the best validation "
    "are kept."
)
#: What any network can be trained by.
GENERAL = {
    "general": Schedule(
        "Ours, for any data: each image once an epoch with another one, light augmentation.",
        epochs=300,
        optimizer="amsgrad",
        decay="poly",
        augment="light",
        clip=1.0,
        match=True,
        chosen=_ALL,
    ),
    "synthetic": Schedule(
        "Ours, for synthetic pairs: losses on images of one contrast, on labels and on the field.",
        steps=20000,
        optimizer="amsgrad",
        learning_rate=3e-4,
        decay="poly",
        clip=1.0,
        chosen=_ALL,
    ),
    "label-maps": Schedule(
        "Ours, for images painted on label maps: losses on images of one contrast, on structures and on the field.",
        steps=5000,
        optimizer="amsgrad",
        learning_rate=1e-3,
        decay="poly",
        clip=1.0,
        chosen=_ALL,
    ),
}


def schedules_of(card: Card) -> dict[str, Schedule]:
    """Return the schedules of a network by name: those of its card, then the general ones.

    Raises:
        InputError: a schedule on the card has an unknown entry, or an entry of the wrong kind.
    """
    own = {name: _read(values, f"the card of {card.network}, training {name!r}") for name, values in _entries(card)}
    return {**own, **GENERAL}


def find_schedule(card: Card, name: str) -> Schedule:
    """Return the schedule of that name for a network.

    Raises:
        InputError: the network has no schedule of that name, or its card is wrong (see :func:`schedules_of`).
    """
    schedules = schedules_of(card)
    if name not in schedules:
        raise InputError(f"{card.network} has no schedule {name!r}. Its schedules are: {', '.join(schedules)}.")
    return schedules[name]


def describe_schedules(card: Card) -> str:
    """Return the schedules of a network as text for people."""
    lines = []
    for name, schedule in schedules_of(card).items():
        length = f"{schedule.epochs} epochs" if schedule.epochs else f"{schedule.steps} steps"
        weights = ", ".join(f"{key} {value:g}" for key, value in schedule.loss.items()) or "its loss with its defaults"
        lines.append(f"{name}: {schedule.text}")
        lines.append(
            f"  {length}, pairs {schedule.pairing}, batch {schedule.batch}, {schedule.optimizer} "
            f"{schedule.learning_rate:g} {schedule.decay}; {weights}; augmentation {schedule.augment}; gradients "
            f"{f'clipped to a norm of {schedule.clip:g}' if schedule.clip else 'not clipped'}; intensities "
            f"{'of the moving image matched to the fixed one' if schedule.match else 'not matched'}"
        )
        if schedule.split:
            lines.append(f"  scans for training, validation, test: {', '.join(map(str, schedule.split))}")
        lines.append(f"  chosen here: {', '.join(schedule.chosen) or 'nothing'}")
    lines.append(f"In each of them, chosen here: {_ALWAYS}")
    return "\n".join(lines)


def _entries(card: Card) -> list[tuple[str, Any]]:
    if not isinstance(card.training, Mapping):
        raise InputError(
            f'The card of {card.network}: "training" must contain schedules by name; see docs/training.md.'
        )
    return list(card.training.items())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


#: Of each entry: what is accepted, in words, and whether a value is that.
_KINDS = {
    "text": ("a text", lambda value: isinstance(value, str)),
    "epochs": ("a number of 1 or more", _is_count),
    "steps": ("a number of 1 or more", _is_count),
    "pairing": (f"one of {', '.join(PAIRINGS)}", PAIRINGS.__contains__),
    "size_ijk": (
        "a list of two or three sizes",
        lambda value: isinstance(value, list) and len(value) in (2, 3) and all(map(_is_count, value)),
    ),
    "batch": ("a number of 1 or more", _is_count),
    "optimizer": (f"one of {', '.join(OPTIMIZERS)}", OPTIMIZERS.__contains__),
    "learning_rate": ("a number above 0", lambda value: _is_number(value) and value > 0),
    "decay": (f"one of {', '.join(DECAYS)}", DECAYS.__contains__),
    "loss": (
        "numbers by name",
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    ),
    "augment": (f"one of {', '.join(AUGMENTATIONS)}", AUGMENTATIONS.__contains__),
    "clip": ("0 or a number above 0", lambda value: _is_number(value) and value >= 0),
    "match": ("true or false", lambda value: isinstance(value, bool)),
    "resample": ("true or false", lambda value: isinstance(value, bool)),
    "split": (
        "a list of three numbers of scans",
        lambda value: isinstance(value, list) and len(value) == 3 and all(n == 0 or _is_count(n) for n in value),
    ),
    "chosen": ("a list of texts", _are_texts),
}


def _read(values: Any, where: str) -> Schedule:
    """Return a schedule from the plain values of a card."""
    if not isinstance(values, Mapping) or "text" not in values:
        raise InputError(f'In {where}: a schedule must be an object with a "text"; see docs/training.md.')
    unknown = sorted(set(values) - set(_KINDS))
    if unknown:
        raise InputError(f"In {where}: unknown {', '.join(unknown)}. A schedule may have: {', '.join(_KINDS)}.")
    for name, value in values.items():
        wanted, accepts = _KINDS[name]
        if not accepts(value):
            raise InputError(f"In {where}: {name!r} must be {wanted}; it is {value!r}.")
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return dataclasses.replace(Schedule(values["text"]), **{**values, **tuples})
