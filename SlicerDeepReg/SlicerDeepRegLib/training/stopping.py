"""Stopping a training by a signal, after the step at hand."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Names of the signals that ask to stop; SIGUSR1 is what batch systems send, and is not on Windows.
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")


class StopRequest:
    """Whether the process was asked to stop; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.asked = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal.

        Raises:
            KeyboardInterrupt: it is a Ctrl-C and the process was asked to stop before.
        """
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Handle the signals that ask to stop, and give them back at the end."""
    request = StopRequest()
    numbers = [number for number in signal.Signals if number.name in SIGNALS]
    try:
        before = {number: signal.signal(number, request.handle) for number in numbers}
    except ValueError:  # not the main thread: whoever runs it stops it
        before = {}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
