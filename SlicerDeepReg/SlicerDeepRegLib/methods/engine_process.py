"""Run an external engine in a process of its own: a crash becomes an error message, and it can be stopped any time.

What runs here ends with the registration that asked for it, even if that is killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..processes.folders import private_folder
from ..processes.launch import describe_exit, last_words, module_command, run, was_killed
from ..types import InputError, Progress
from .base import Context
from .engine import StraightPair


def call(
    function: str,
    title: str,
    pair: StraightPair,
    values: Mapping[str, Any],
    context: Context,
) -> dict[str, np.ndarray]:
    """Run a function of ``engine_worker`` on a prepared pair; see :func:`call_on`.

    Args:
        pair: handed over as the arrays "fixed" and "moving", and "spacing_mm" among the values.
    """
    arrays = {"fixed": pair.fixed, "moving": pair.moving}
    return call_on(arrays, function, title, {**values, "spacing_mm": pair.spacing_mm}, context)


def call_on(
    arrays: Mapping[str, np.ndarray],
    function: str,
    title: str,
    values: Mapping[str, Any],
    context: Context,
) -> dict[str, np.ndarray]:
    """Run a function of ``engine_worker`` in a new interpreter.

    Args:
        arrays: what it gets, by name.
        function: its name.
        title: the engine's, for messages.
        values: settings, anything that JSON holds.
        context: told how far it is while the engine runs; its exceptions stop the engine.

    Returns:
        The arrays that the function returned.

    Raises:
        InputError: the engine refused what it was given, crashed or failed; in the latter cases the message ends with
            its last output.
    """
    with private_folder("slicerdeepreg-") as folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / "values.json").write_text(json.dumps(values), encoding="utf-8")
        command = module_command("methods.engine_worker", function, str(folder))
        run_engine(command, title, context.progress, folder, context.threads)
        refused = folder / "refused.txt"
        if refused.is_file():
            raise InputError(refused.read_text(encoding="utf-8"))
        result = folder / "done.npz"
        if not result.is_file():
            raise InputError(f"{title} ended without a result. Try another preset, or another method.")
        with np.load(result, allow_pickle=False) as file:
            return dict(file)


def run_engine(
    command: Sequence[str],
    title: str,
    report: Callable[[Progress], None],
    folder: Path,
    threads: int | None = None,
) -> None:
    """Run a process in a folder, to its end.

    What it writes to its temporary folder (ANTs: images and warps) lies inside the folder, and only this user may read
    it. A program that is not ours is started through ``processes.supervise``, which ends it when this process ends,
    even by a kill.

    Raises:
        InputError: it cannot be started, or ends with an error.
    """

    def progress(seconds: float) -> None:
        report(Progress(min(0.95, seconds / (seconds + 60)), f"{title} ({seconds:.0f} s)"))

    log = folder / "log.txt"
    temporary = folder / "temporary"
    temporary.mkdir(mode=0o700, exist_ok=True)
    code = run(command, title, log, folder, threads, progress, temporary)
    if code:
        killed = was_killed(code)
        remedy = "Close other programs, or use a faster preset." if killed else "Try another preset or method."
        raise InputError(f"{title} {describe_exit(code)}. {remedy} Its last output: {last_words(log)}")
