"""An engine of others in a process of its own: its crash is an error in words, and it can be stopped at any moment.

Whatever runs here ends with the registration that asked for it, also where that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..private import private_folder
from ..types import InputError, Progress

_LIBRARY = Path(__file__).resolve().parents[2]
#: How often it is looked whether the engine is done, and whether somebody wants it to stop.
PAUSE_S = 0.1
#: How long one that is to stop may take to end its own programs, before it is killed.
LAST_S = 0.5


def call(
    script: str,
    title: str,
    given: Mapping[str, np.ndarray],
    values: Mapping[str, Any],
    report: Callable[[Progress], None],
    threads: int,
) -> Dict[str, np.ndarray]:
    """Run a function of this room's ``engines_apart`` in a new interpreter.

    Args:
        script: the function's name. title: of the engine, for messages.
        given: arrays by name. values: anything that JSON holds.
        report: called while it runs; raise in it to stop the engine.
        threads: that it may use.

    Returns:
        The arrays that the function returned.

    Raises:
        InputError: the engine crashed or said no, with its last words.
    """
    with private_folder("slicerdeepreg-") as folder:
        for key, array in given.items():
            np.save(folder / f"{key}.npy", array, allow_pickle=False)
        (folder / "values.json").write_text(json.dumps(dict(values)), encoding="utf-8")
        command = [sys.executable, "-m", "SlicerDeepRegLib.methods.engines_apart", script, str(folder)]
        run(command, title, report, folder, threads)
        done = folder / "done.npz"
        if not done.is_file():
            raise InputError(f"{title} ended without a result. Try another preset, or another method.")
        with np.load(done, allow_pickle=False) as found:
            return dict(found)


def run(
    command: Sequence[str], title: str, report: Callable[[Progress], None], folder: Path, threads: Optional[int] = None
) -> None:
    """Run a program of ours to its end in a folder; it ends itself when its standard input does.

    Raises:
        InputError: it cannot be started, or ends with an error.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_LIBRARY), os.environ.get("PYTHONPATH", "")])}
    if threads:
        for name in ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS"):
            environment[name] = str(threads)
    log = folder / "log.txt"
    with open(log, "wb") as stream:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=stream, stderr=stream, cwd=folder, env=environment
            )
        except OSError as error:
            raise InputError(f"{title} could not be started ({error.strerror or error}).") from error
        try:
            began = time.monotonic()
            while process.poll() is None:
                seconds = time.monotonic() - began
                report(Progress(min(0.95, seconds / (seconds + 60)), f"{title} ({seconds:.0f} s)"))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PAUSE_S)
        finally:
            process.stdin.close()  # it ends by that, and its own programs with it
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LAST_S)
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode:
        raise InputError(f"{title} {_how(process.returncode)}. Its last words: {_last_words(log)}")


def run_foreign(
    command: Sequence[str], title: str, report: Callable[[Progress], None], folder: Path, threads: Optional[int] = None
) -> None:
    """Run a program that knows nothing of us in a folder, to its end or that of this process, also by a kill.

    Raises:
        InputError: it cannot be started, or ends with an error.
    """
    run([sys.executable, "-m", "SlicerDeepRegLib.methods.foreign", *command], title, report, folder, threads)


def _how(code: int) -> str:
    if code in (-9, 137):
        return "was ended from outside; most often memory ran out. Close other programs, or use --preset fast"
    return f"crashed (signal {-code})" if code < 0 else f"ended with error {code}"


def _last_words(log: Path) -> str:
    lines: List[str] = log.read_text("utf-8", errors="replace").strip().splitlines()
    told = [line.strip() for line in lines if line.strip()]
    return " / ".join(told[-2:])[-400:] if told else "none"
