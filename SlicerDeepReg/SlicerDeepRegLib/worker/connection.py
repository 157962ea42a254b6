"""The worker's process as its client holds it: pipes with a thread each, and a private folder for arrays."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.atomic import reason
from ..processes.folders import PrivateFolder
from ..processes.launch import Child, describe_exit, environment_for, module_command, pipe, was_killed
from ..types import InputError
from . import protocol

#: How many lines of the worker's standard error are kept.
LINES_KEPT = 40


class Connection:
    """A worker process that was started, and the messages to it and from it.

    Args:
        python: the interpreter, with its arguments.
        environment: of the process; the caller's when left out.

    Attributes:
        folder: the private folder, removed with the process.
        last_heard: when the last line came, ``time.monotonic()``.

    Raises:
        InputError: the process cannot be started, or its private folder cannot be made.
    """

    def __init__(self, python: Sequence[str], environment: Mapping[str, str] | None) -> None:
        try:
            self._private = PrivateFolder("deepreg-worker-")
        except OSError as error:
            raise InputError(
                f"The temporary folder cannot be written to: {reason(error)}. Free some space there, or set "
                "the temporary folder to another disk."
            ) from error
        self.folder: Path = self._private.path
        variables = environment_for(environment)
        variables["PYTHONUNBUFFERED"] = "1"
        variables["PYTHONIOENCODING"] = "utf-8"
        command = module_command("worker", str(self.folder), python=python)
        try:
            self._child = Child(command, "The registration process", variables, own_group=True)
        except InputError:
            self._private.remove()
            raise
        self.last_heard = time.monotonic()
        self._incoming: queue.Queue[dict[str, Any]] = queue.Queue()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._error_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._error_reader = threading.Thread(target=self._read_errors, daemon=True)
        self._threads = [
            threading.Thread(target=self._read_messages, daemon=True),
            self._error_reader,
            threading.Thread(target=self._write_messages, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._child.alive

    def send(self, kind: str, **values: Any) -> None:
        """Queue a message to the worker. Never waits."""
        self._outgoing.put(protocol.line(kind, **values))

    def received(self) -> list[dict[str, Any]]:
        """Return the messages that came since the last call. Never waits."""
        messages = []
        with contextlib.suppress(queue.Empty):
            while True:
                messages.append(self._incoming.get_nowait())
        return messages

    def last_words(self) -> str:
        """Return the last lines of the worker's standard error."""
        return "\n".join(self._error_lines)

    def wait_for_last_words(self) -> None:
        """Wait until the standard error of a process that has ended is read to its end, which takes milliseconds."""
        self._error_reader.join(timeout=0.2)

    def reason_of_end(self) -> str:
        """Say why the process ended and what to do, in sentences for the user."""
        code = self._child.exit_code
        by_signal = code is not None and code < 0
        if not by_signal and "exit abnormally" in self.last_words():  # Slicer's launcher hides the signal
            return (
                "The registration process crashed or was ended by the system, most often because memory ran out. Use "
                "a faster preset or close other programs, and press Apply again."
            )
        how = describe_exit(code)
        if was_killed(code):
            return (
                f"The registration process {how}. Use a faster preset or close other programs, and press Apply again."
            )
        return f"The registration process {how}. Press Apply to start it again."

    def end(self) -> threading.Thread:
        """Kill the process with its children; the returned thread waits for the end and cleans up."""
        self._outgoing.put(None)
        self._child.kill_group()
        thread = threading.Thread(target=self._clean_up)
        thread.start()
        return thread

    def _clean_up(self) -> None:
        self._child.wait(5)  # freeing gigabytes takes the system a while
        for thread in self._threads:
            thread.join(timeout=1)
        self._child.close_pipes()
        self._private.remove()

    def _read_messages(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for text in pipe(self._child.stdout):
                self.last_heard = time.monotonic()
                message = protocol.parse(text)
                if message is not None:
                    self._incoming.put(message)

    def _read_errors(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for text in pipe(self._child.stderr):
                self._error_lines.append(text.decode("utf-8", "replace").rstrip())

    def _write_messages(self) -> None:
        """Write in a thread of its own: writing waits when the pipe is full."""
        while True:
            text = self._outgoing.get()
            if text is None:
                return
            try:
                self._child.stdin.write(text)
                self._child.stdin.flush()
            except (OSError, ValueError):  # the worker ended; poll says so
                return
