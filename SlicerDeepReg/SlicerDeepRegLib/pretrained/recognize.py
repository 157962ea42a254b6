"""Recognizes which network a checkpoint is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..types import InputError
from . import convolutional, transformers
from .family import Arrays

FAMILIES = (*convolutional.FAMILIES, *transformers.FAMILIES)
#: What some training code puts before every name.
PREFIXES = ("module.", "net.module.", "_orig_mod.")


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A checkpoint as one of our networks.

    Attributes:
        network: name of the network.
        title: of the family, for people.
        configuration: where our network differs from its defaults.
        arrays: by our names.
        orientation: of the volumes that it learned from, where that is known; see a card's recipe. None for slices,
            which are never turned.
        intensity: how values were scaled there; see a card's recipe.
        notes: what was found, and what was done about its conventions.
    """

    network: str
    title: str
    configuration: dict[str, Any]
    arrays: dict[str, np.ndarray]
    orientation: str | None
    intensity: str
    notes: list[str]


def recognize(arrays: Arrays, settings: Mapping[str, Any] | None = None) -> Pretrained:
    """Recognize the family and the widths of a checkpoint, and give its arrays our names and conventions.

    Args:
        arrays: by the names in the file.
        settings: what the file says about the network beside its arrays.

    Raises:
        InputError: it is of no known family, of two, or lacks arrays or has too many.
    """
    for prefix in PREFIXES:
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name[len(prefix) :]: array for name, array in arrays.items()}
    families = [family for family in FAMILIES if family.has(arrays)]
    if not families:
        raise InputError(_unknown(arrays))
    if len(families) > 1:
        names = " and ".join(family.title for family in families)
        raise InputError(f"This file contains arrays of {names} together. Save each network in a file of its own.")
    family = families[0]
    ours, left_out = family.renamed(arrays)
    configuration, notes = family.configuration(arrays, settings or {})
    if family.change is not None:
        family.change(ours, configuration)
    notes = [*notes, *family.notes]
    if left_out:
        numbers = sum(int(arrays[name].size) for name in left_out if arrays[name].dtype.kind == "f")
        notes.append(
            f"{len(left_out)} arrays of the file ({numbers:,} numbers) are used by nothing in the network, or are "
            "computed again."
        )
    orientation = None if configuration.get("dimensions") == 2 else family.orientation
    return Pretrained(family.network, family.title, configuration, ours, orientation, family.intensity, notes)


def _unknown(arrays: Arrays) -> str:
    if any(name.startswith(("unet_model.downarm", "unet_model.uparm")) for name in arrays):
        return (
            "This is a VoxelMorph of an older layout (downarm, uparm), whose convolutions of stride 2 are not those of "
            "the network here. Train it again, or use weights of version 0.2."
        )
    names = ", ".join(list(arrays)[:4]) or "nothing"
    known = ", ".join(family.title for family in FAMILIES)
    return (
        f"This is not the checkpoint of a network that is known here (its arrays are {names}, ...). Those that are "
        f"recognized: {known}. For a network of this product, add a folder with card.json: see docs/models.md."
    )
