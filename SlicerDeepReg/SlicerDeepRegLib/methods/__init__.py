"""Registration methods, one file each: a file declares them as ``METHODS``; every card of a network is one more.

Menus, command-line choices, memory estimates, checks, the comparison and the tests over the registry read what is
declared. Nothing here imports torch before a method runs.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from .. import catalog
from ..registry import all_declared
from ..settings import changed
from ..types import InputError, meant
from .base import Context, Method, Outcome
from .linear import ANSWERS
from .network import NetworkMethod


def methods() -> dict[str, Method]:
    """Return every method that a request may name, in alphabetical order, then models that the user added."""
    own: dict[str, Method] = {m.name: m for m in _declared() if m.kind == "deformable" or m.name in ANSWERS}
    networks: dict[str, Method] = {}
    for name, card in catalog.cards().items():
        if name in own:
            continue
        try:
            networks[name] = NetworkMethod(card)
        except InputError as error:  # one bad card of a user must not take the others away
            print(f"slicerdeepreg: {error}", file=sys.stderr)
    shipped = {name: m for name, m in networks.items() if catalog.is_shipped(name)}
    return {**dict(sorted({**own, **shipped}.items())), **networks}


def declared_names() -> tuple[str, ...]:
    """Return the names of the methods that are no networks; a model must not have one of them."""
    return tuple(m.name for m in _declared())


@cache
def linear_methods() -> dict[str, Method]:
    """Return the linear methods by name, the simplest first."""
    return {method.name: method for method in _declared() if method.kind == "linear"}


def method(name: str) -> Method:
    """Return the method of that name; NAME:VARIANT is one in another configuration.

    Raises:
        InputError: there is none.
    """
    base, _, variant = name.partition(":")
    if base not in methods():
        raise InputError(
            f"There is no method {base!r}.{meant(base, methods())} The methods are: {', '.join(methods())}.", "method"
        )
    return methods()[base].variant(variant) if variant else methods()[base]


def linear_method(name: str) -> Method:
    """Return the linear method of that name.

    Raises:
        InputError: there is none.
    """
    if name not in linear_methods():
        raise InputError(f"linear must be one of {', '.join(linear_methods())}; it was {name!r}.", "linear")
    return linear_methods()[name]


def settings_of(chosen: Method, preset: str, values: Any = None) -> Any:
    """Return the settings of a method at a preset, some of them changed.

    Args:
        values: number or text by name, or None.

    Raises:
        InputError: there is no such preset, the method has no such setting, or a value is out of its range.
    """
    if preset not in chosen.presets:
        raise InputError(f"preset must be one of {', '.join(chosen.presets)}; it was {preset!r}.", "preset")
    return changed(chosen.presets[preset], values or {}, chosen.name)


@cache
def _declared() -> tuple[Method, ...]:
    return tuple(all_declared(sys.modules[__name__], "METHODS"))


__all__ = [
    "Context",
    "Method",
    "Outcome",
    "declared_names",
    "linear_method",
    "linear_methods",
    "method",
    "methods",
    "settings_of",
]
