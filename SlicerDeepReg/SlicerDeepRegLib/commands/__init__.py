"""The command ``slicerdeepreg`` and its subcommands."""

from __future__ import annotations

import argparse
import errno
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from .. import __version__
from ..files.atomic import check_name
from ..types import Canceled, InputError
from .arguments import Parser

_LIBRARY = __name__.rpartition(".")[0]
#: Options that are called otherwise than the field of the request that they fill.
OPTIONS = {
    "guide_points_mm": "--guide-points",
    "settings": "--set",
    "held_points": "--hold-out-points",
    "continued": "--continue",
}
#: Commands that keep what is done of many registrations or trainings.
GO_ON = ("compare", "paper")
#: Rooms that Slicer does not install; each has its subcommand in ``command.py``.
OPTIONAL_ROOMS = ("comparison", "training", "experiments")


def optional_commands() -> list[ModuleType]:
    """Return the modules of the subcommands whose rooms are installed."""
    installed = [room for room in OPTIONAL_ROOMS if importlib.util.find_spec(f"{_LIBRARY}.{room}") is not None]
    return [importlib.import_module(f"{_LIBRARY}.{room}.command") for room in installed]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; those of the process when left out.

    Returns:
        The exit code: 0 done, 1 where `repeat` found a difference or cells of `compare` failed, 2 where the input
        cannot be used or the run was interrupted, 3 where a training stopped and can go on.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parsed(given)
        for text in given:
            check_name(text)
        return options.run(options)
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does; Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (InputError, OSError, MemoryError, KeyboardInterrupt, Canceled) as error:
        said = _in_words(error, given)
        if said is None:
            raise
        print(f"slicerdeepreg: {said}", file=sys.stderr)
        return 2


def _parsed(arguments: list[str]) -> argparse.Namespace:
    from . import demo, look, models, register, repeat, segment, series, template

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name or a patient's file that the terminal cannot show ends nothing
            stream.reconfigure(errors="replace")
    parser = Parser(prog="slicerdeepreg", description="Deformable registration for 3D Slicer.")
    parser.add_argument("--version", action="version", version=f"SlicerDeepReg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (register, look, repeat, demo, models, *optional_commands(), segment, series, template):
        module.add_parser(commands)
    return parser.parse_args(arguments)


def _in_words(error: BaseException, arguments: list[str]) -> str | None:
    """Return what the user is told of an error; None for one that nobody expected."""
    if isinstance(error, InputError):
        return f"{error}{_option_of(error)}"
    if isinstance(error, MemoryError):
        return "memory ran out. Use --preset fast, close other programs, or resample the fixed image to larger voxels."
    if isinstance(error, OSError):
        too_long = error.errno == errno.ENAMETOOLONG
        return f"This name is too long for the file system: {error.filename}" if too_long else None
    if arguments[:1] and arguments[0] in GO_ON:
        return "interrupted; what is done stays, and the same command goes on."
    return "interrupted; nothing was written."


def _option_of(error: InputError) -> str:
    """Name the option that an error is about, where its text does not."""
    if not error.control:
        return ""
    option = OPTIONS.get(error.control, f"--{error.control.replace('_', '-')}")
    return "" if option in str(error) else f" (Option {option}.)"
