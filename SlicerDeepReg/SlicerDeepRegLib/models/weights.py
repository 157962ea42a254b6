"""Weights into networks, and models of users into their place: everything is checked before anything is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..catalog import (
    CARD_FILE,
    SET_ASIDE,
    WEIGHTS_FILE,
    Card,
    cards,
    read_user_card,
    refresh,
    user_models_folder,
)
from ..files.atomic import reason, whole_folder, writing
from ..files.weights import file_sha256, read_weights, write_weights
from ..networks import RegistrationNetwork, build, takes_dimensions
from ..networks.size import parameters
from ..settings import changed
from ..types import InputError
from .settings import NetworkSettings
from .torch_files import read_tensors


def load_weights(network: RegistrationNetwork, card: Card) -> None:
    """Put the card's weights into the network.

    Raises:
        InputError: the file is not that of the card, or is not of this network.
    """
    path = card.weights_path
    if card.sha256 and path.is_file() and file_sha256(path) != card.sha256:
        raise InputError(
            f"The weights {path} are not those that the card of {card.name} names (another checksum). They were "
            "changed or cut short: add the model again."
        )
    fill(network, read_weights(path), card.title)


def fill(network: torch.nn.Module, arrays: dict[str, np.ndarray], title: str) -> None:
    """Put arrays into a network, name by name.

    Raises:
        InputError: names are missing or too many, or shapes differ: these are the weights of another network.
    """
    wanted = network.state_dict()
    missing, extra = sorted(set(wanted) - set(arrays)), sorted(set(arrays) - set(wanted))
    if missing or extra:
        raise InputError(
            f"The weights file does not fit {title}: {len(missing)} of its parameters are missing{_examples(missing)} "
            f"and {len(extra)} are unknown{_examples(extra)}. Correct the network or its configuration in card.json."
        )
    for name, array in arrays.items():
        if tuple(array.shape) != tuple(wanted[name].shape):
            raise InputError(
                f"The weights file does not fit {title}: {name} has the shape {tuple(array.shape)} and "
                f"{tuple(wanted[name].shape)} is needed. Correct the configuration in card.json."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"The weights file of {title} contains values that are not numbers ({name}). Train it again."
            )
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


def _examples(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})" if names else ""


def built(card: Card, dimensions: int | None = None, **more: Any) -> RegistrationNetwork:
    """Build the network of a card, without its weights.

    Args:
        dimensions: 2 or 3, for a network that takes both.
        more: further configuration.

    Raises:
        InputError: the card's configuration is not one of that network.
    """
    if takes_dimensions(card.network_name):
        more["dimensions"] = dimensions or max(card.dimensions)
    try:
        return build(card.network_name, **{**card.configuration, **more})
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise InputError(f"The configuration on the card of {card.name} cannot be built: {error}.") from error


def install(path: Path, replace: bool = False, taken: Collection[str] = ()) -> Card:
    """Check a model of the user and put it where the menu finds it.

    Args:
        path: a folder with card.json and weights: ``weights.safetensors``, or a .pt or .pth file that holds nothing
            but tensors by name.
        replace: a model of the same name may be there already.
        taken: names that a model must not have, those of methods.

    Raises:
        InputError: see ``read_user_card``, ``read_weights`` and ``fill``; then nothing was changed.
    """
    card = read_user_card(path)
    shipped = cards().get(card.name)
    place = user_models_folder() / card.name
    if card.name in taken or (shipped is not None and shipped.folder != place):
        raise InputError(f'There is a method {card.name} already. Give the model another "name" on its card.')
    if place.exists() and not replace:
        raise InputError(f"A model {card.name} was added before. Use --replace to put this one in its place.")
    file = _weights_file(path, card)
    if card.sha256 and file_sha256(file) != card.sha256:
        raise InputError(f"The checksum of {file} is not the one on the card. Copy the model again.")
    if takes_dimensions(card.network_name) and len(card.dimensions) != 1:
        raise InputError(f'Say on the card which images {card.name} takes: "dimensions": [2] or [3].')
    arrays = read_weights(file) if file.suffix == ".safetensors" else read_tensors(file)[0]
    network = built(card)
    fill(network, arrays, card.title)
    _try(card)
    changed(NetworkSettings(), card.settings, card.name)
    _put(place, card, arrays, parameters(network))
    refresh()
    return cards()[card.name]


def _try(card: Card) -> None:
    """One pass of shapes alone: a configuration can be built that cannot run."""
    try:
        with torch.device("meta"), torch.no_grad():
            image = torch.empty((1, 1, *[64] * max(card.dimensions)))
            built(card)(image, image)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"The configuration on the card of {card.name} does not run: {error}.") from error


def _weights_file(path: Path, card: Card) -> Path:
    named = path / (card.weights or WEIGHTS_FILE)
    if named.parent != path:
        raise InputError(f"The weights must lie beside {CARD_FILE}; the card names {card.weights!r}.")
    if named.is_file():
        return named
    others = sorted(p for p in path.iterdir() if p.suffix in (".safetensors", ".pt", ".pth"))
    if len(others) == 1:
        return others[0]
    raise InputError(f'{path} has no {named.name}. Put it beside {CARD_FILE}, or name the file there as "weights".')


def _put(place: Path, card: Card, arrays: dict[str, np.ndarray], counted: int) -> None:
    """Write the model, in place of one of the same name: the whole of it or nothing."""
    with writing("The model", place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(place, SET_ASIDE) as folder:
            checksum = write_weights(folder / WEIGHTS_FILE, arrays)
            kept = (
                *("name", "title", "network", "configuration", "dimensions", "recipe", "summary", "license"),
                *("trained_on", "shown", "settings", "year", "references"),
                *("good_for", "order", "limits", "regime", "credits"),
            )
            values = {name: getattr(card, name) for name in kept}
            values.update(weights=WEIGHTS_FILE, sha256=checksum, parameters=counted)
            (folder / CARD_FILE).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def remove(name: str) -> Path:
    """Take away a model that the user added; returns where it lay.

    Raises:
        InputError: there is none of that name among those that were added.
    """
    locations = {path.parent.name: path.parent for path in user_models_folder().glob(f"[!.]*/{CARD_FILE}")}
    if name not in locations:
        raise InputError(f"No model {name!r} was added. Those that were: {', '.join(sorted(locations)) or 'none'}.")
    try:
        shutil.rmtree(locations[name])
    except OSError as error:
        raise InputError(f"{locations[name]} could not be removed ({reason(error)}).") from error
    refresh()
    return locations[name]
