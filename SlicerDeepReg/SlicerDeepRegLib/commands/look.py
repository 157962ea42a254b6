"""``slicerdeepreg look``: what a pair is, without registering it."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..methods import linear_methods
from ..types import DEVICES, Request


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "look",
        help="say what a pair is, without registering it",
        description="Say whether FIXED and MOVING show one person at one time, one person in two states or different "
        "people, and what 'slicerdeepreg register' would do with them. Takes a few seconds and writes nothing.",
    )
    for name in ("fixed", "moving"):
        parser.add_argument(f"--{name}", required=True, metavar=name[0].upper())
        parser.add_argument(f"--{name}-mask", metavar="FILE", help="image, above 0 where to compare")
    parser.add_argument("--linear", choices=tuple(linear_methods()), default=Request.linear)
    parser.add_argument("--device", choices=DEVICES, default=Request.device)
    parser.add_argument("--json", action="store_true", help="print the values as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return 0."""
    from ..processes.load import LoadMeter

    meter = LoadMeter()  # measures while torch is loaded
    from ..device import use_free_threads
    from ..pipeline import look
    from ..processes.current import prepare_process

    prepare_process()
    use_free_threads(meter)
    names = ("fixed", "moving", "fixed_mask", "moving_mask", "linear", "device")
    seen = look(Request(**{name: getattr(options, name) for name in names}))
    print(json.dumps(dataclasses.asdict(seen), indent=2) if options.json else seen.text)
    return 0
