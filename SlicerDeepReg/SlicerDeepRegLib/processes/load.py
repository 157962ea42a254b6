"""How many processors other programs leave free.

Threads of OpenMP wait for each other at the end of every operation, by spinning: where another program holds one of
their processors, all wait for the one that has none. On two cores beside one busy program two threads took 26 s for
what one takes 16 (benchmarks/RESULTS.md), so a registration computes on the processors that are free when it begins.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

#: A shorter time says too little, because counters of the system advance by hundredths of a second.
LEAST_S = 0.2
#: Whoever sets one of these has decided.
DECIDED_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_here = threading.local()


def allowed_threads() -> int:
    """Return how many threads this process may use: what the environment says, or one for each processor."""
    given = next((os.environ[name] for name in DECIDED_BY if os.environ.get(name, "").isdigit()), "")
    return max(1, int(given or os.cpu_count() or 1))


def in_threads(function: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Return what a function gives for each item, in their order, computed by all threads that are allowed.

    For functions of numpy and scipy, which let other threads compute. A call from one of its threads uses that alone.
    """
    most = 1 if getattr(_here, "within", False) else allowed_threads()
    if most == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(most, initializer=lambda: setattr(_here, "within", True)) as threads:
        return list(threads.map(function, items))


class LoadMeter:
    """What other programs use of the processors from when this is made."""

    def __init__(self) -> None:
        self._begin = _times()

    def free_threads(self, most: int) -> int:
        """Return how many threads have a processor of their own, 1 to ``most``.

        Waits where too little time has passed since this was made. Returns ``most`` where nothing is known, or where
        the environment says how many there are to be.

        Args:
            most: the threads of an idle computer.
        """
        begin = self._begin
        if begin is None or any(os.environ.get(name) for name in DECIDED_BY):
            return most
        time.sleep(max(0.0, LEAST_S - (time.monotonic() - begin[0])))
        end = _times()
        if end is None:
            return most
        others = max(0.0, (end[1] - begin[1]) / (end[0] - begin[0]))
        return int(min(most, max(1, (os.cpu_count() or most) - round(others))))


def _times() -> tuple[float, float] | None:
    """Return the time, and the seconds that other programs have computed; None in a Slicer without psutil."""
    try:
        import psutil
    except ImportError:
        return None
    spent = psutil.cpu_times()
    idle = spent.idle + getattr(spent, "iowait", 0.0)
    counted_elsewhere = getattr(spent, "guest", 0.0) + getattr(spent, "guest_nice", 0.0)  # in user and nice, too
    return time.monotonic(), sum(spent) - idle - counted_elsewhere - time.process_time()
