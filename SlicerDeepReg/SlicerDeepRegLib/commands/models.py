"""``slicerdeepreg models``: what can be chosen, what it is, and whether it comes with weights."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..catalogue import Card, cards


def add_parser(commands) -> None:
    parser = commands.add_parser("models", help="list the methods and networks")
    parser.add_argument("--json", action="store_true", help="print the cards as a JSON list")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every card; returns 0."""
    found = list(cards().values())
    if options.json:
        print(json.dumps([dataclasses.asdict(card) for card in found], indent=2))
        return 0
    for card in found:
        print("\n".join(described(card)))
    return 0


def described(card: Card) -> list:
    """A card as lines for people."""
    lines = [f"{card.name}: {card.title}", f"  {card.summary}"]
    if card.parameters:
        size = f"  {card.parameters / 1e6:.2f} M parameters"
        lines.append(
            size + (f", {card.operations / 1e9:.1f} G operations at 160 x 192 x 224" if card.operations else "")
        )
    axes = " and ".join(f"{n}D" for n in card.dimensions)
    weights = "no weights needed" if not card.parameters else f"weights: {card.weights or 'none'}"
    trained = f"; trained on {card.trained_on}" if card.trained_on else ""
    lines.append(f"  {axes}; {weights}{trained}; {card.licence}")
    lines += [f"  {reference}" for reference in card.references]
    return lines
