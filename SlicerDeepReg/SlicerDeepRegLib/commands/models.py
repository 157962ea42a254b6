"""``slicerdeepreg models``: what can be chosen, what it is, and whether it comes with weights; adding one's own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..catalogue import Card, cards


def add_parser(commands) -> None:
    parser = commands.add_parser("models", help="list the methods and networks, add one with your weights")
    parser.add_argument("--json", action="store_true", help="print the cards as a JSON list")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(dest="action")
    add = actions.add_parser(
        "add",
        help="add a model of your own",
        description="Check the model in FOLDER (card.json, and weights as safetensors or as a .pt file of tensors) and "
        "put it where the menu finds it. docs/models.md says what the card must hold.",
    )
    add.add_argument("folder", metavar="FOLDER", type=Path)
    add.add_argument("--replace", action="store_true", help="put it in the place of one of the same name")
    remove = actions.add_parser("remove", help="take away a model that you added")
    remove.add_argument("name", metavar="NAME")


def run(options: argparse.Namespace) -> int:
    """Do what the options ask; returns 0."""
    if options.action == "add":
        from ..methods.weights import install

        card = install(options.folder, options.replace)
        print(f"Added {card.name} ({card.parameters / 1e6:.2f} M parameters): {card.folder}")
        return 0
    if options.action == "remove":
        from ..methods.weights import remove

        print(f"Removed {options.name}: {remove(options.name)}")
        return 0
    found = list(cards().values())
    if options.json:
        print(json.dumps([card.describe() for card in found], indent=2))
        return 0
    for card in found:
        print("\n".join(described(card)))
    return 0


def described(card: Card) -> list:
    """A card as lines for people."""
    lines = [f"{card.name}: {card.title}", f"  {card.summary}"]
    if card.parameters:
        size = f"  {card.parameters / 1e6:.2f} M parameters"
        if card.multiply_accumulates:
            size += f", {card.multiply_accumulates / 1e9:.0f} G multiply-accumulates at 160 x 192 x 224"
        lines.append(size)
    axes = " and ".join(f"{n}D" for n in card.dimensions)
    weights = "no weights needed" if not card.parameters else f"weights: {card.weights or 'none'}"
    trained = f"; trained on {card.trained_on}" if card.trained_on else ""
    lines.append(f"  {axes}; {weights}{trained}; {card.licence}")
    if card.shown:
        lines.append(f"  {card.shown}")
    if card.variants:
        lines.append("  Variants: " + ", ".join(f"{card.name}:{name}" for name in card.variants))
    lines += [f"  {reference}" for reference in card.references]
    return lines
