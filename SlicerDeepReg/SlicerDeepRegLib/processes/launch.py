"""Start a process of ours, watch it, end it, and say why it ended.

No process of ours takes code from the folder that the user works in: it runs ``start.py`` by its path, in a working
folder of its own, with the environment of :func:`environment_for`.

A process started here holds the reading end of a pipe as its standard input and ends itself when that closes (see
``current.end_with_parent``), so it never outlives the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from ..types import InputError

POSIX = os.name == "posix"
#: The folder that holds the library's package: Python finds our modules there.
LIBRARY = Path(__file__).resolve().parents[2]
#: How often ``run`` checks whether the process is done, and calls ``progress``.
PAUSE_S = 0.1
#: How long a process that is to stop may take to end its own programs, before it is killed.
PATIENCE_S = 0.5
#: The variables by which libraries learn how many threads they may use.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
#: Never handed on: in Slicer, plugins of another ITK than SimpleITK's end its process; what Python would run before or
#: after a program is for people at a console.
_NOT_HANDED_ON = ("ITK_AUTOLOAD_PATH", "PYTHONSTARTUP", "PYTHONINSPECT")
#: Variables that name a folder, which may be relative to the folder of the caller.
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_PATHS = ("SLICERDEEPREG_MODELS", *_TEMPORARY)
#: Windows: CREATE_NO_WINDOW, CREATE_NEW_PROCESS_GROUP.
_NO_WINDOW, _NEW_GROUP = 0x08000000, 0x00000200


def module_command(module: str, *arguments: str, python: Sequence[str] | None = None) -> list[str]:
    """Return the command that runs a module of the library, e.g. ``"worker"``.

    Args:
        module: its name below the library's package.
        arguments: for the module.
        python: the interpreter with its own arguments; this process's when left out.
    """
    return [*(python or [sys.executable]), str(Path(__file__).with_name("start.py")), module, *arguments]


def environment_for(base: Mapping[str, str] | None = None, threads: int | None = None) -> dict[str, str]:
    """Return the environment of a process of ours.

    The user's own choice of modules, PYTHONPATH, is kept: people and Slicer need it. But an empty part of it, as
    ``PYTHONPATH=$PYTHONPATH:folder`` leaves one, would be the working folder and is left out; the others are made
    absolute, because the process works in another folder. PYTHONHOME and the paths of shared libraries are kept, too:
    without them Slicer's Python does not start.

    Args:
        base: the environment to start from; this process's when left out.
        threads: how many threads its libraries may use; their own choice when left out or 0.
    """
    variables = dict(os.environ if base is None else base)
    for name in _NOT_HANDED_ON:
        variables.pop(name, None)
    folders = [os.path.abspath(part) for part in variables.pop("PYTHONPATH", "").split(os.pathsep) if part]
    if folders:
        variables["PYTHONPATH"] = os.pathsep.join(folders)
    for name in _PATHS:
        if variables.get(name):
            variables[name] = os.path.abspath(variables[name])
    variables["PYTHONSAFEPATH"] = "1"  # for what it starts itself, from Python 3.11 on
    if threads:
        for name in _THREADS:
            variables[name] = str(threads)
    return variables


def find_program(name: str) -> str | None:
    """Return the path of a program of the user's PATH, or None; never one that lies in the working folder.

    ``shutil.which`` looks there too: on Windows first of all, elsewhere where a part of PATH is empty.
    """
    ending = "" if POSIX else ".exe"
    for folder in os.get_exec_path():
        found = shutil.which(os.path.join(folder, name + ending)) if os.path.isabs(folder) else None
        if found:
            return found
    return None


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """Return one of the pipes of a process.

    Raises:
        ValueError: there is none, because a log takes what the process prints.
    """
    if stream is None:
        raise ValueError("this process was started without such a pipe")
    return stream


class Child:
    """A running process of ours.

    Args:
        command: program and arguments.
        title: what to call it in messages, e.g. "The registration process".
        environment: see :func:`environment_for`.
        folder: its working folder; that of the library when left out, in which only its installer writes.
        log: takes what it prints; without one, ``stdout`` and ``stderr`` are pipes.
        own_group: start it as the head of a group of its own, which ``kill_group`` ends with all its children.

    Attributes:
        stdin, stdout, stderr: the pipes, as of ``subprocess.Popen``; the latter two are None with a log
            (see :func:`pipe`).

    Raises:
        InputError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        title: str,
        environment: Mapping[str, str],
        folder: Path | None = None,
        log: IO[bytes] | None = None,
        own_group: bool = False,
    ) -> None:
        output = subprocess.PIPE if log is None else log
        try:
            self._popen = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=str(folder or LIBRARY),
                env=dict(environment),
                start_new_session=own_group and POSIX,
                creationflags=_NO_WINDOW | _NEW_GROUP if own_group and not POSIX else 0,
            )
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{title} could not be started with {command[0]} ({reason}).") from error
        self.stdin, self.stdout, self.stderr = pipe(self._popen.stdin), self._popen.stdout, self._popen.stderr

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end, at most so long; return whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds)
        return not self.alive

    def stop(self, patience_s: float = PATIENCE_S) -> int:
        """End it: close its standard input, wait that long for it to end by itself, then kill it.

        Returns:
            Its exit code, negative for a signal.
        """
        with contextlib.suppress(OSError):
            self.stdin.close()
        if not self.wait(patience_s):
            self._popen.kill()
        return self._popen.wait()

    def kill_group(self) -> None:
        """Kill it at once together with its children; only for a process with a group of its own. Does not wait."""
        if POSIX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        elif self.alive:
            windows = os.environ.get("SystemRoot", r"C:\Windows")  # its path: Windows looks in the working folder first
            command = [rf"{windows}\System32\taskkill.exe", "/F", "/T", "/PID", str(self.pid)]
            subprocess.run(command, capture_output=True, check=False, creationflags=_NO_WINDOW)

    def close_pipes(self) -> None:
        """Close the pipes to a process that has ended."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def run(
    command: Sequence[str],
    title: str,
    log: Path,
    folder: Path | None = None,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
    temporary: Path | None = None,
) -> int:
    """Run a process of ours to its end; return its exit code, negative for a signal.

    Args:
        command: program and arguments.
        title: what to call it in messages.
        log: the file that takes what it prints.
        folder: its working folder; that of the library when left out.
        threads: how many threads its libraries may use.
        progress: called with the seconds it has run, every ``PAUSE_S``; raise in it to stop the process.
        temporary: the folder for its temporary files; the system's when left out.

    Raises:
        InputError: it cannot be started.
    """
    environment = environment_for(threads=threads)
    if temporary is not None:
        environment.update(dict.fromkeys(_TEMPORARY, str(temporary.absolute())))
    with open(log, "wb") as stream:
        child = Child(command, title, environment, folder, stream)
        began = time.monotonic()
        try:
            while not child.wait(0):
                if progress is not None:
                    progress(time.monotonic() - began)
                child.wait(None if progress is None else PAUSE_S)
        finally:
            code = child.stop()
    return code


def output_of(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> bytes | None:
    """Return what a short-lived process printed, or None if it could not start, failed, or took too long."""
    try:
        done = subprocess.run(
            list(command), cwd=LIBRARY, env=dict(environment), capture_output=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def was_killed(code: int | None) -> bool:
    """Return whether an exit code means a kill from outside, which is most often the system's when memory ran out."""
    return code in (-9, 128 + 9)  # a shell in between reports 128 + the signal


def describe_exit(code: int | None) -> str:
    """Say how a process ended, as the predicate of a sentence."""
    if was_killed(code):
        return "was ended by the system, most often because memory ran out"
    if code is not None and code < 0:
        names = {int(number): number.name for number in signal.Signals}
        return f"crashed ({names.get(-code, f'signal {-code}')})"
    return f"ended with exit code {code}"


def last_words(log: Path, lines: int = 2, characters: int = 400) -> str:
    """Return the last lines that a process wrote to its log and that are not blank, or "none"."""
    written = log.read_text("utf-8", errors="replace").splitlines()
    words = [line.strip() for line in written if line.strip()]
    return " / ".join(words[-lines:])[-characters:] or "none"
