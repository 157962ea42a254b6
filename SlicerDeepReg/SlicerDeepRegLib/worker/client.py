"""The client's side of the worker: start it, submit requests, poll its events, end it. No Qt, no torch.

``poll()`` never waits; call it from a timer. A process that was started is ended by its own id together with its
children, and all files for it lie in one private folder that is removed with it.
"""

from __future__ import annotations

import atexit
import itertools
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..files.atomic import reason
from ..types import Image, InputError, Request, Series
from . import protocol
from .connection import Connection

#: A worker that sends nothing for so long, heartbeats included, is taken to hang.
SILENCE_S = 60.0
#: How long a worker may take to answer a cancel before it is ended.
PATIENCE_S = 0.5


class WorkerClient:
    """One worker process and the jobs submitted to it.

    Args:
        python: the interpreter, with its arguments; Slicer's own python on the desktop.
        environment: of the process; the caller's when left out.

    Events that ``poll`` returns are dictionaries with ``kind``: "ready", "devices" (what can be computed on),
    "no_torch" (with ``text``), "progress" (``fraction``, ``stage``, ``losses``: pairs of stage and loss), "shown"
    (``result``, a Result that is not measured yet), "measured" (``metrics`` of its end that are known by now), "done"
    (``result``, and ``is_shown``: whether it is the one that was shown; or ``structures``, a SeenStructures; or
    ``look``, the values of a pipeline's Look; or ``frames``, a FrameResult of each frame of a series, in their order),
    "failed" (``reason``, ``text``; after "device" the worker is ended), "canceled", and "died" (``text``, the worker's
    ``last_words``). Arrays are mapped from files: copy what you keep, then ``release`` a job that is done (a look has
    no files left). Events about a job hold its name in ``job``.
    """

    def __init__(self, python: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._python = list(python) if python else [sys.executable]
        self._environment = environment
        self._connection: Connection | None = None
        self._numbers = itertools.count(1)
        self._ended: list[dict[str, Any]] = []  # events of jobs whose process was stopped before it could tell
        #: What reads the answer of each job that goes on: from the message and the job's folder to what it adds to it.
        self._requests: dict[str, Callable[[dict[str, Any], Path], dict[str, Any]]] = {}
        self._canceled: dict[str, float] = {}
        self._silent_polls = 0
        self.devices: list[dict[str, Any]] = []
        self._ending: list[threading.Thread] = []
        atexit.register(self.close)

    # ------------------------------------------------------------------ for callers

    @property
    def running(self) -> bool:
        """Whether a worker process is alive."""
        return self._connection is not None and self._connection.alive

    @property
    def busy(self) -> bool:
        """Whether a job is still going on."""
        return bool(self._requests)

    @property
    def pid(self) -> int | None:
        """The process id of the worker, while there is one."""
        return self._connection.pid if self._connection is not None else None

    @property
    def folder(self) -> Path | None:
        """The private folder, while there is one."""
        return self._connection.folder if self._connection is not None else None

    def start(self) -> None:
        """Start the process unless it runs; it loads torch in the meantime.

        Raises:
            InputError: it cannot be started.
        """
        if self._connection is not None and not self._connection.alive:
            if self._requests:
                self._ended += self._end("died")
            self.stop()
        elif self._connection is not None and not self.busy and not self._connection.folder.is_dir():
            self.stop()  # its folder was removed, as cleaners of temporary files do
        if self._connection is None:
            self._connection = Connection(self._python, self._environment)

    def submit(self, request: Request) -> str:
        """Hand over a request whose images are in memory; return the name of the job.

        Raises:
            InputError: the worker cannot be started, or the disk of temporary files is full.
        """
        needed = _bytes_of(request)
        voxels = protocol.in_memory(request.fixed).grid.voxels
        needed += voxels * (2 * 12 + 3 * 4)  # fields of the stages and result, volumes

        def read(message: dict[str, Any], folder: Path) -> dict[str, Any]:
            return {"result": protocol.read_result(message["result"], folder, request)}

        return self._submit("register", needed, lambda folder: _written(request, folder), read)

    def look(self, request: Request) -> str:
        """Ask what the pair of a request is; return the name of the job.

        Raises:
            InputError: as of ``submit``.
        """
        return self._submit(
            "look", _bytes_of(request), lambda folder: _written(request, folder), lambda message, folder: {}
        )

    def segment(self, image: Image, device: str) -> str:
        """Ask for the structures of a brain in a volume; return the name of the job.

        Raises:
            InputError: as of ``submit``.
        """
        needed = image.values.nbytes + 4 * image.grid.voxels
        return self._submit(
            "segment",
            needed,
            lambda folder: {"image": protocol.write_volume(image, folder), "device": device},
            lambda message, folder: {"structures": protocol.read_structures(message["structures"], folder)},
        )

    def series(self, series: Series) -> str:
        """Hand over a series whose frames are in memory; return the name of the job.

        Raises:
            InputError: as of ``submit``.
        """
        each = series.frames[series.reference].grid.voxels
        needed = sum(frame.values.nbytes for frame in series.frames) + len(series.frames) * each * (12 + 4 + 4)
        return self._submit(
            "series",
            needed,
            lambda folder: {"series": protocol.write_series(series, folder)},
            lambda message, folder: {"frames": protocol.read_frame_results(message["frames"], folder)},
        )

    def _submit(
        self,
        kind: str,
        needed_bytes: int,
        write: Callable[[Path], dict[str, Any]],
        read: Callable[[dict[str, Any], Path], dict[str, Any]],
    ) -> str:
        """Send a job whose arrays ``write`` puts into a folder, and whose answer ``read`` reads from there."""
        if self._requests and self._requests.keys() <= self._canceled.keys():
            self._ended += self._end("canceled")  # nobody waits for them, and this one need not wait for their end
        self.start()
        connection = self._connected()
        job = f"job{next(self._numbers)}"
        folder = connection.folder / job
        try:
            _check_space(folder, needed_bytes + 20_000_000)
            folder.mkdir()
            values = write(folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(
                f"The volumes could not be handed over through {folder.parent}: {reason(error)}. Free some "
                "space there, or set the temporary folder to another disk."
            ) from error
        self._requests[job] = read
        connection.send(kind, job=job, **values)
        return job

    def cancel(self, job: str) -> None:
        """Ask the worker to stop a job. If it does not answer at once, ``poll`` ends it."""
        if job in self._requests and job not in self._canceled:
            self._canceled[job] = time.monotonic()
            self._connected().send("cancel", job=job)

    def poll(self) -> list[dict[str, Any]]:
        """Return the events since the last call. Never waits."""
        ended, self._ended = self._ended, []
        return ended + self._heard()

    def _heard(self) -> list[dict[str, Any]]:
        """Return the events of the process since the last call."""
        if self._connection is None:
            return []
        # Slicer's main thread keeps Python's lock while Qt idles: without a pause the readers would not run.
        time.sleep(0.002)
        answers = [self._event_of(message) for message in self._connection.received()]
        events = [event for event in answers if event is not None]
        if self._connection is None:  # it was of another version, and was ended for that
            return events
        if any(event["kind"] == "failed" and event.get("reason") == "device" for event in events):
            # Nothing runs on a GPU again in the process that lost it.
            events += self._end("device") if self._requests else []
            self.stop()
            return events
        late = [job for job, since in self._canceled.items() if time.monotonic() - since > PATIENCE_S]
        if late:
            events += self._end("canceled")
        elif not self._connection.alive:
            events += self._end("died")
        elif self._requests and time.monotonic() - self._connection.last_heard > SILENCE_S:
            self._silent_polls += 1  # the first may follow a long pause of the caller itself
            if self._silent_polls > 2:
                events += self._end("hung")
        else:
            self._silent_polls = 0
        return events

    def release(self, job: str) -> None:
        """Remove the files of a finished job. Its mapped arrays must not be used afterwards."""
        if self._connection is not None:
            shutil.rmtree(self._connection.folder / job, ignore_errors=True)

    def stop(self) -> None:
        """End the process with its children, and remove its files. Returns at once; may be called repeatedly."""
        connection, self._connection = self._connection, None
        self._requests.clear()
        self._canceled.clear()
        if connection is not None:
            self._ending = [thread for thread in self._ending if thread.is_alive()] + [connection.end()]

    def close(self) -> None:
        """Stop for good, and wait until the process and its files are gone (usually within a second)."""
        self.stop()
        for thread in self._ending:
            thread.join(timeout=5)
        atexit.unregister(self.close)

    def _connected(self) -> Connection:
        """Return the connection to the worker while there is one."""
        if self._connection is None:
            raise ValueError("no worker was started")
        return self._connection

    # ------------------------------------------------------------------ from messages to events

    def _event_of(self, message: dict[str, Any]) -> dict[str, Any] | None:
        kind, job = message["kind"], message.get("job")
        if kind == "ready":
            return self._ready(message)
        if kind == "alive":
            return None
        if kind == "devices":
            self.devices = message["devices"]
        if job is None:
            return message
        if job not in self._requests:
            return None
        if kind in ("shown", "measured") and job in self._canceled:
            return None
        if kind in ("done", "shown"):
            message = self._finished(message, job)
        if message["kind"] in ("failed", "canceled") or "look" in message:
            self.release(job)
        if message["kind"] in ("done", "failed", "canceled"):
            self._requests.pop(job)
            self._canceled.pop(job, None)
        return message

    def _ready(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["protocol"] == protocol.PROTOCOL and message["version"] == __version__:
            return message
        self.stop()
        text = (
            f"The registration process is version {message['version']} and the module is {__version__}. "
            "Restart Slicer, so that both are loaded from the same installation."
        )
        return {"kind": "no_torch", "text": text}

    def _finished(self, message: dict[str, Any], job: str) -> dict[str, Any]:
        """Return the message of a job with its result, or what came instead of it."""
        if job in self._canceled:
            return {"kind": "canceled", "job": job}
        folder = self._connected().folder / job
        try:
            return {**message, **self._requests[job](message, folder)}
        except (OSError, ValueError, KeyError) as error:
            text = f"The result could not be read from the temporary folder: {error}. Register again."
            return {"kind": "failed", "job": job, "reason": "disk", "text": text}

    def _end(self, why: str) -> list[dict[str, Any]]:
        """End the process; an event for every job it had, or one without a job."""
        jobs: list[str | None] = list(self._requests)
        canceled, connection = set(self._canceled), self._connected()
        if why == "died":
            connection.wait_for_last_words()
            text = connection.reason_of_end()
        elif why == "device":
            text = "The GPU stopped working before this registration began. Try again."
        elif why == "canceled":
            text = "The registration process was ended because a canceled registration did not stop. Try again."
        else:
            text = f"The registration process did not answer for {SILENCE_S:.0f} s and was ended. Try again."
        last_words = connection.last_words()
        self.stop()
        events: list[dict[str, Any]] = []
        for job in jobs or [None]:
            if job in canceled:
                events.append({"kind": "canceled", "job": job})
            else:
                events.append({"kind": "died", "job": job, "text": text, "last_words": last_words})
        return events


def _bytes_of(request: Request) -> int:
    return sum(protocol.in_memory(image).values.nbytes for image in request.sources.values())


def _written(request: Request, folder: Path) -> dict[str, Any]:
    return {"request": protocol.write_request(request, folder)}


def _check_space(folder: Path, needed_bytes: int) -> None:
    """Raise InputError if the disk of the private folder has no room for what is handed over and the result."""
    free = shutil.disk_usage(folder.parent).free
    if free < needed_bytes:
        raise InputError(
            f"The temporary folder {folder.parent.parent} has {free / 1e9:.2f} GB free and this needs about "
            f"{needed_bytes / 1e9:.2f} GB there. Free some space, or set the temporary folder to another disk."
        )
