"""The command ``slicerdeepreg`` and its subcommands."""

from __future__ import annotations

import argparse
import sys
from typing import List, Optional

from .. import __version__
from ..types import Canceled, InputError


def main(arguments: Optional[List[str]] = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 `repeat` found a difference, 2 the input cannot be
    used or the run was interrupted."""
    from . import compare, demo, models, register, repeat, segment, train

    parser = argparse.ArgumentParser(prog="slicerdeepreg", description="Deformable registration for 3D Slicer.")
    parser.add_argument("--version", action="version", version=f"SlicerDeepReg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    register.add_parser(commands)
    repeat.add_parser(commands)
    demo.add_parser(commands)
    models.add_parser(commands)
    compare.add_parser(commands)
    train.add_parser(commands)
    segment.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"slicerdeepreg: {error}", file=sys.stderr)
    except (KeyboardInterrupt, Canceled):
        print("slicerdeepreg: interrupted; nothing was written. Start it again to register.", file=sys.stderr)
    except MemoryError:
        print(
            "slicerdeepreg: memory ran out. Use --preset fast, close other programs, or resample the fixed image to "
            "larger voxels.",
            file=sys.stderr,
        )
    return 2
