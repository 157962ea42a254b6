"""Options that say how each pair of several images is registered, for the commands that register more than one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..checks.series import notes_of_several
from ..files.images import checksum, straightened
from ..similarity import names as similarity_names
from ..types import DEVICES, PAIR_CHOICES, PRESETS, Image, InputError, Request
from .register import read_settings


def add_how(parser: argparse.ArgumentParser, pair: str) -> None:
    """Add the options; ``pair`` is what the images show unless the user says otherwise."""
    parser.add_argument("--method", default=Request.method, metavar="NAME", help="how to register (default: svf)")
    for name, choices, default in (
        ("preset", PRESETS, Request.preset),
        ("similarity", similarity_names(), Request.similarity),
        ("pair", PAIR_CHOICES, pair),
        ("device", DEVICES, Request.device),
    ):
        parser.add_argument(f"--{name}", choices=tuple(choices), default=default, help="same as for register")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="same as for register")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def request_of(options: argparse.Namespace, image: Image, linear: str) -> Request:
    """Return a request that says what the options say; the image stands for those to come.

    Raises:
        InputError: a setting cannot be read.
    """
    return Request(
        image,
        image,
        method=options.method,
        linear=linear,
        preset=options.preset,
        similarity=options.similarity,
        pair=options.pair,
        device=options.device,
        settings=read_settings(options.set),
    )


def print_notes(named: Iterable[tuple[str, Iterable[str]]], quiet: bool) -> None:
    """Print what was noted of several images, each sentence once, after the names of those it was said of."""
    if not quiet:
        for sentence in notes_of_several(named):
            print(sentence, file=sys.stderr)


def how_it_was_made(request: Request, sources: Mapping[str, str | None]) -> dict[str, Any]:
    """Return, as plain values, what a series or a template was made with: request, versions, checksums of the files.

    Args:
        sources: by what they are called; None where there is none.
    """
    from ..pipeline.provenance import where_it_ran

    asked = {name: value for name, value in request.describe().items() if name not in ("fixed", "moving")}
    files = {name: checksum(source) for name, source in sources.items() if source is not None}
    return {"request": asked, **where_it_ran(), "sha256": files}


def whole_labels(labels: Image) -> Image:
    """Return a label map as int32, on a grid whose axes are at right angles, as images are.

    Raises:
        InputError: its values are not whole numbers from 0 up.
    """
    values = labels.values
    if not np.isfinite(values).all() or (values != np.round(values)).any() or values.min() < 0:
        raise InputError(f"The labels {labels.name} must be whole numbers from 0 up. Give a label map.")
    whole = Image(values.astype(np.int32), labels.grid, labels.name, labels.dimensions)
    return straightened(whole, "label map", labels=True)
