"""Settings for a process of our own; never applied to a program that only imports the library."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from types import FrameType


def prepare_process() -> None:
    """Make large arrays cheap to allocate, and let SIGTERM end the run like Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    tune_memory()


def keep_children_safe() -> None:
    """Let Python that libraries start from here look for no module in the working folder, from Python 3.11 on.

    torch starts some to read the images of a training, except on Linux, where they are forks.
    """
    os.environ["PYTHONSAFEPATH"] = "1"


def tune_memory() -> None:
    """Make large arrays cheap to allocate.

    glibc gives every block of 32 MB or more back to the system when it is freed, and the next one is
    paid for again, page by page: on volumes that costs more than the arithmetic. Keeping freed memory
    makes the registration about a third faster on a CPU.
    """
    if not sys.platform.startswith("linux") or os.environ.get("MALLOC_MMAP_MAX_"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # glibc's malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2_000_000_000)
        libc.mallopt(m_top_pad, 256_000_000)
    except (OSError, AttributeError):  # another libc: nothing to tune
        return


def peak_memory_gb() -> float | None:
    """Return the peak memory of this process since ``forget_peak_memory``, in 10^9 bytes; None except on Linux."""
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024e-9
    return None


def forget_peak_memory() -> bool:
    """Reset the peak, ``ru_maxrss`` too; return whether the system can (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")
    except OSError:
        return False
    return True


def give_back_memory() -> None:
    """Return freed memory to the system, for a process that waits for its next job."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def end_with_parent() -> None:
    """End this process when the one that started it ends, even by a kill: its result is no longer needed.

    The parent must hold the other end of standard input (a pipe) for as long as it lives. Not on Windows, where a
    thread that waits for input may hang the loading of libraries.
    """
    if sys.platform == "win32":
        return
    threading.Thread(target=_wait_for_the_end_of_input, daemon=True).start()
    killed_with_parent()  # also where a library holds Python's lock for minutes


def killed_with_parent() -> None:
    """Have the system (Linux) kill this process, and what it becomes by exec, when its parent ends."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait_for_the_end_of_input() -> None:
    try:
        while os.read(0, 1024):
            pass
    except (OSError, ValueError):  # no such input: nothing is known of the parent
        return
    os._exit(1)
