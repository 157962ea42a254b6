"""What is trained differently from the card and the schedule: ``train --set stages=5 --set loss.agreement=1``."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..catalog import Card
from ..networks import RegistrationNetwork, network_class, takes_dimensions
from ..types import InputError
from .schedules import Schedule

LOSS = "loss."
#: Arguments that other options and the training itself decide.
_NOT_TO_SET = {"self", "common", "dimensions", "checkpointing", "moving", "fixed", "inside"}


def with_changes(texts: Sequence[str], card: Card, schedule: Schedule) -> tuple[Card, Schedule]:
    """Return the card and the schedule with changes.

    Args:
        texts: NAME=VALUE for an argument of the network's class, loss.NAME=VALUE for one of its loss. Values are JSON;
            what is no JSON is a text.

    Raises:
        InputError: there is no such argument, or the network cannot be built with it.
    """
    if not texts:
        return card, schedule
    network, loss = network_class(card.network_name), dict(schedule.loss)
    changes: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"--set needs NAME=VALUE; it was {text!r}.")
        if name.startswith(LOSS):
            _check_name(name[len(LOSS) :], _arguments([network.loss]), f"the loss of {card.title}", LOSS)
            loss[name[len(LOSS) :]] = _number(text, value)
        else:
            _check_name(name, _arguments([network, RegistrationNetwork]), card.title, "")
            changes[name] = _value(value)
    changed = dataclasses.replace(card, configuration={**card.configuration, **changes})
    _check_builds(changed, changes)
    return changed, dataclasses.replace(schedule, loss=loss)


def _arguments(classes: Iterable[Any]) -> list[str]:
    names = [name for one in classes for name in inspect.signature(one.__init__).parameters]
    return sorted(set(names) - _NOT_TO_SET)


def _check_name(name: str, known: Sequence[str], what: str, prefix: str) -> None:
    if name not in known:
        listed = ", ".join(prefix + one for one in known)
        raise InputError(f"--set: {what} has no {prefix}{name}. It has: {listed}.")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _number(text: str, value: str) -> float:
    found = _value(value)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise InputError(f"--set {text}: arguments of a loss are numbers.")
    return found


def _check_builds(card: Card, changes: dict[str, Any]) -> None:
    configuration = dict(card.configuration)
    if takes_dimensions(card.network_name):
        configuration["dimensions"] = max(card.dimensions)
    try:
        with torch.device("meta"):
            network_class(card.network_name)(**configuration)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        listed = ", ".join(f"{name}={value}" for name, value in changes.items())
        raise InputError(f"--set: {card.title} cannot be built with {listed} ({error}).") from error
