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


def call(
    function: str,
    title: str,
    arrays: Mapping[str, np.ndarray],
    values: Mapping[str, Any],
    report: Callable[[Progress], None],
    threads: int,
) -> dict[str, np.ndarray]:
    """Run a function of ``engine_worker`` in a new interpreter.

    Args:
        function: its name.
        title: the engine's, for messages.
        arrays: what the function takes, by name.
        values: settings, anything that JSON holds.
        report: called while the engine runs; raise in it to stop the engine.
        threads: how many the engine may use.

    Returns:
        The arrays that the function returned.

    Raises:
        InputError: the engine crashed or failed; the message ends with its last words.
    """
    with private_folder("slicerdeepreg-") as folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / "values.json").write_text(json.dumps(dict(values)), encoding="utf-8")
        run_engine(module_command("methods.engine_worker", function, str(folder)), title, report, folder, threads)
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
        remedy = " Close other programs, or use a faster preset." if was_killed(code) else ""
        raise InputError(f"{title} {describe_exit(code)}.{remedy} Its last words: {last_words(log)}")
