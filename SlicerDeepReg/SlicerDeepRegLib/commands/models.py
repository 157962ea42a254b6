"""``slicerdeepreg models``: what can be chosen, what it is, and whether it comes with weights; adding one's own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..catalog import Card, divisor_of, voxel_in_words
from ..methods import declared_names, method
from ..methods.base import Method
from ..methods.menu import line_of, menu
from ..types import InputError

_LIBRARY = __name__.rpartition(".")[0].rpartition(".")[0]


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("models", help="list the methods and networks, add one with your weights")
    parser.add_argument("--json", action="store_true", help="print the cards as a JSON list")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action")
    add = actions.add_parser(
        "add",
        help="add a model of your own",
        description="Check a model and put it where the menu finds it: a FOLDER with card.json and weights "
        "(docs/models.md says what the card must contain), or a FILE, the checkpoint that others released of a network "
        "that is known here (.pth, .pt, .pth.tar, .safetensors): which network it is and how wide is told from the "
        "names and shapes of its arrays, and its conventions are converted.",
    )
    add.add_argument("path", metavar="FOLDER_OR_FILE", type=Path)
    add.add_argument("--replace", action="store_true", help="put it in the place of one of the same name")
    released = add.add_argument_group("for a file")
    released.add_argument("--name", help="what to call the model")
    released.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="what the file cannot tell about the network, as JSON: --set window=[5,6,7]",
    )
    released.add_argument(
        "--orientation",
        help="for volumes: the ways in which i, j and k grew in its training; i is the last axis of a tensor, k the "
        "first. AIL: arrays of volumes stored as LIA went in as nibabel reads them; LIA: with their axes reversed; "
        "any: axes as each fixed image stores them",
    )
    released.add_argument(
        "--intensity",
        help="how its training scaled values: unit (0 to 1 between robust limits), or divide:NUMBER (divide:255 for "
        "FreeSurfer's norm.mgz / 255)",
    )
    released.add_argument("--voxel-mm", default="1", help="the size of their voxels in mm (1), or any")
    show = actions.add_parser("show", help="print the card of a model: size, weights, data, papers, variants")
    show.add_argument("names", metavar="NAME", nargs="*", help="all, where none is given")
    remove = actions.add_parser("remove", help="take away a model that you added")
    remove.add_argument("name", metavar="NAME")


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    if options.action == "add":
        card, notes = _added(options)
        for note in notes:
            print(note)
        print(f"Added {card.name} ({parameters_of(card)}): {card.folder}")
        return 0
    if options.action == "remove":
        from ..models.weights import remove

        print(f"Removed {options.name}: {remove(options.name)}")
        return 0
    parts = menu()
    if options.action == "show":
        named = [method(name) for name in options.names]
        print("\n".join(line for found in named or sum(parts.values(), []) for line in described(found)))
        return 0
    if options.json:
        print(json.dumps([offered.card.describe() for listed in parts.values() for offered in listed], indent=2))
        return 0
    for title, listed in parts.items():
        print(f"--- {title} ---")
        width = max(len(offered.name) for offered in listed)
        for offered in listed:
            print(f"{offered.name:<{width}}  {offered.card.title} - {line_of(offered)}")
    print("slicerdeepreg models show NAME prints the card of one: size, variants, weights, data, papers.")
    return 0


def _added(options: argparse.Namespace) -> tuple[Card, list[str]]:
    """Return the card of what was added, and what was found out about it."""
    path = options.path
    if path.is_dir() or not path.exists():
        from ..models.weights import install

        given = {
            "--name": options.name,
            "--set": options.settings,
            "--orientation": options.orientation,
            "--intensity": options.intensity,
        }
        for flag, value in given.items():
            if value:
                raise InputError(f"{flag} is for a file; for a folder, say it in {path / 'card.json'}.")
        return install(path, options.replace, declared_names()), []
    try:
        from ..pretrained.install import install_pretrained
    except ModuleNotFoundError as error:
        if error.name != f"{_LIBRARY}.pretrained":
            raise
        raise InputError(
            "Slicer's module does not convert checkpoints. Install the command line, and add the file with it: "
            "pip install SlicerDeepReg"
        ) from None

    voxel_mm = None if options.voxel_mm == "any" else _millimeters(options.voxel_mm)
    configuration = dict(_setting(text) for text in options.settings)
    card, recognized = install_pretrained(
        path,
        options.name,
        configuration,
        options.orientation,
        voxel_mm,
        options.intensity,
        options.replace,
        declared_names(),
    )
    shown = ", ".join(f"{key} {value}" for key, value in {**recognized.configuration, **configuration}.items())
    return card, [f"This is {recognized.title}: {shown}.", *recognized.notes, _preparation(card)]


def _preparation(card: Card) -> str:
    """Say what the recipe of an added checkpoint does to images."""
    orientation, voxel_mm = card.recipe.get("orientation"), card.recipe.get("voxel_mm")
    divisor = divisor_of(card.recipe["intensity"])
    if card.dimensions == (2,):
        turned = "Slices go in with their axes as stored"
    elif orientation:
        turned = f"Images go in turned to {orientation}"
    else:
        turned = "Images go in with their axes as stored (--orientation says otherwise)"
    size = f"at {voxel_in_words(voxel_mm)} mm" if voxel_mm else "at their own voxel size"
    scaled = f"divided by {divisor:g}" if divisor else "scaled to 0 to 1 between robust limits"
    return f"{turned}, {size}; values are {scaled} (--intensity says otherwise)."


def _millimeters(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--voxel-mm must be a number of millimeters, or any; it was {text!r}.") from None


def _setting(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise InputError(f"--set must be KEY=VALUE; it was {text!r}.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def parameters_of(card: Card) -> str:
    """Return how many parameters a network has, in words; of a small one all digits."""
    count = card.parameters or 0
    return f"{count / 1e6:.2f} M parameters" if count >= 1e5 else f"{count:,} parameters"


def described(offered: Method) -> list[str]:
    """Return a method and its card as readable lines."""
    card = offered.card
    lines = [f"{card.name}: {card.title} - {line_of(offered)}", f"  {card.summary}"]
    if card.parameters:
        size = f"  {parameters_of(card)}"
        if card.multiply_accumulates:
            size += f", {card.multiply_accumulates / 1e9:.0f} G multiply-accumulates at 160 x 192 x 224"
        lines.append(size)
    axes = " and ".join(f"{n}D" for n in card.dimensions)
    if card.network is None:
        weights = "weights: those of its authors, not included" if card.trained_on else "no weights needed"
    else:
        weights = f"weights: {card.weights or 'none'}"
    trained = f"; trained on {card.trained_on}" if card.trained_on else ""
    lines.append(f"  {axes}; {weights}{trained}; {card.license}")
    lines += [f"  {text}" for text in (card.limits and f"Not good for: {card.limits}", card.shown) if text]
    lines += [f"  Data: {credit}" for credit in card.credits]
    if card.variants:
        lines.append("  Variants: " + ", ".join(f"{card.name}:{name}" for name in card.variants))
    lines += [f"  {reference}" for reference in card.references]
    return lines
