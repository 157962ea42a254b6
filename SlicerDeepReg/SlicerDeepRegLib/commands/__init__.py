"""The command ``slicerdeepreg`` and its subcommands."""

from __future__ import annotations

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
OPTIONS = {"settings": "--set", "held_points": "--hold-out-points", "continued": "--continue"}
#: Rooms that Slicer does not install; each has its subcommand in ``command.py``.
OPTIONAL_ROOMS = ("comparison", "training", "experiments")


def optional_commands() -> list[ModuleType]:
    """Return the modules of the subcommands whose rooms are installed."""
    installed = [room for room in OPTIONAL_ROOMS if importlib.util.find_spec(f"{_LIBRARY}.{room}") is not None]
    return [importlib.import_module(f"{_LIBRARY}.{room}.command") for room in installed]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see ``_main``. Ctrl-C is answered from the first moment on."""
    try:
        return _main(arguments)
    except (KeyboardInterrupt, Canceled):
        print("slicerdeepreg: interrupted; nothing was written.", file=sys.stderr)
    return 2


def _main(arguments: Sequence[str] | None) -> int:
    """Run the command line.

    Args:
        arguments: without the name of the program; those of the process when left out.

    Returns:
        The exit code: 0 done, 1 where `repeat` found a difference or cells of `compare` failed, 2 where the input
        cannot be used or the run was interrupted, 3 where a training stopped and can go on.
    """
    from . import demo, look, models, register, repeat, segment, series, template

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name or a patient's file that the terminal cannot show ends nothing
            stream.reconfigure(errors="replace")
    parser = Parser(prog="slicerdeepreg", description="Deformable registration for 3D Slicer.")
    parser.add_argument("--version", action="version", version=f"SlicerDeepReg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (register, look, repeat, demo, models, *optional_commands(), segment, series, template):
        module.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        for text in sys.argv[1:] if arguments is None else arguments:
            check_name(text)
        return options.run(options)
    except InputError as error:
        print(f"slicerdeepreg: {error}{_option_of(error)}", file=sys.stderr)
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` does; Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"slicerdeepreg: This name is too long for the file system: {error.filename}", file=sys.stderr)
    except MemoryError:
        print(
            "slicerdeepreg: memory ran out. Use --preset fast, close other programs, or resample the fixed image to "
            "larger voxels.",
            file=sys.stderr,
        )
    return 2


def _option_of(error: InputError) -> str:
    """Name the option that an error is about, where its text does not."""
    if not error.control:
        return ""
    option = OPTIONS.get(error.control, f"--{error.control.replace('_', '-')}")
    return "" if option in str(error) else f" (Option {option}.)"
