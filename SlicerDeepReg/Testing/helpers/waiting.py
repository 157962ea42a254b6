"""Waiting for the worker's events, and for the end of a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from SlicerDeepRegLib.worker.client import WorkerClient

#: Events that came together with one that was waited for: the next call sees them.
_unread: WeakKeyDictionary[WorkerClient, list[dict[str, Any]]] = WeakKeyDictionary()


def wait_for_event(
    client: WorkerClient, *kinds: str, job: str | None = None, seconds: float = 60
) -> list[dict[str, Any]]:
    """Return the client's events up to the first one of these kinds, which is the last of the list.

    Args:
        job: The event must be about this job; None takes that of any job.

    Raises:
        AssertionError: No such event came in time.
    """
    seen: list[dict[str, Any]] = []
    unread = _unread.setdefault(client, [])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        unread += client.poll()
        while unread:
            seen.append(unread.pop(0))
            if seen[-1]["kind"] in kinds and (job is None or seen[-1].get("job") == job):
                return seen
        time.sleep(0.01)
    raise AssertionError(f"none of {kinds} in {seconds} s; seen {[event['kind'] for event in seen]}")


def end_of_job(client: WorkerClient, job: str, seconds: float = 120) -> dict[str, Any]:
    """Return the event with which a job ends: done, failed, died or canceled."""
    return wait_for_event(client, "done", "failed", "died", "canceled", job=job, seconds=seconds)[-1]


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> bool:
    """Return whether the condition held within that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def has_ended(pid: int | str) -> bool:
    """Return whether a process is gone, or a zombie that only waits for its parent to notice."""
    try:
        return "zombie" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return True
