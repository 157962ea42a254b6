"""The client's side of the worker: start it, hand over requests, read what it says, end it. No Qt, no torch.

``poll()`` never waits; call it from a timer. Every process that is started is ended by its own id together with
its children, and every file it was given lies in one private folder that is removed with it.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from .. import __version__
from ..private import PrivateFolder
from ..types import InputError, Request
from . import protocol

#: A worker that is not heard for so long, heartbeats included, hangs.
SILENCE_S = 60.0
#: How long a worker may take to answer a cancel before it is ended.
PATIENCE_S = 0.5
POSIX = os.name == "posix"
_LIBRARY = Path(__file__).resolve().parents[2]


class WorkerClient:
    """One worker process and what it was asked.

    Args:
        python: the interpreter, with its arguments; Slicer's own python on the desktop.
        environment: of the process; the caller's when left out.

    Events that ``poll`` returns are dictionaries with ``kind``: "ready", "devices" (what can be computed on),
    "no_torch" (with ``text``), "progress" (``fraction``, ``stage``, ``losses``: pairs of stage and loss), "done"
    (``result``, a Result whose arrays are mapped from files: copy what you keep, then ``release``), "failed"
    (``reason``, ``text``; after "device" the worker is ended), "canceled", and "died" (``text``, the worker's
    ``last_words``). All about a job name it in ``job``.
    """

    def __init__(self, python: Optional[Sequence[str]] = None, environment: Optional[Dict[str, str]] = None) -> None:
        self._python = list(python) if python else [sys.executable]
        self._environment = environment
        self._process: Optional[_Process] = None
        self._numbers = itertools.count(1)
        self._requests: Dict[str, Request] = {}
        self._canceled: Dict[str, float] = {}
        self._silent_polls = 0
        self.devices: List[Dict[str, Any]] = []
        self._ending: List[threading.Thread] = []
        atexit.register(self.close)

    # ------------------------------------------------------------------ what a caller does

    @property
    def running(self) -> bool:
        """Whether a process is there."""
        return self._process is not None and self._process.alive

    @property
    def busy(self) -> bool:
        """Whether a job has neither ended nor failed."""
        return bool(self._requests)

    @property
    def pid(self) -> Optional[int]:
        return self._process.pid if self._process is not None else None

    @property
    def folder(self) -> Optional[Path]:
        """The private folder, while there is one."""
        return self._process.folder if self._process is not None else None

    def start(self) -> None:
        """Start the process unless it runs; it loads torch meanwhile.

        Raises:
            InputError: it cannot be started.
        """
        if self._process is not None and not self._process.alive:
            self.stop()
        elif self._process is not None and not self.busy and not self._process.folder.is_dir():
            self.stop()  # a cleaner of temporary files took its folder
        if self._process is None:
            self._process = _Process(self._python, self._environment)

    def submit(self, request: Request) -> str:
        """Hand a request over, its images in memory; returns the name of the job.

        Raises:
            InputError: the worker cannot be started, or the disk of temporary files is full.
        """
        self.start()
        job = f"job{next(self._numbers)}"
        folder = self._process.folder / job
        try:
            _check_space(folder, request)
            folder.mkdir()
            values = protocol.write_request(request, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(
                f"The volumes could not be handed over through {folder.parent}: {error.strerror or error}. Free some "
                "space there, or set the temporary folder to another disk."
            ) from error
        self._requests[job] = request
        self._process.send("register", job=job, request=values)
        return job

    def cancel(self, job: str) -> None:
        """Ask for the end of a job. A worker that does not answer at once is ended by ``poll``."""
        if job in self._requests and job not in self._canceled:
            self._canceled[job] = time.monotonic()
            self._process.send("cancel", job=job)

    def poll(self) -> List[Dict[str, Any]]:
        """What happened since the last call. Never waits."""
        if self._process is None:
            return []
        # Slicer's main thread keeps Python's lock while Qt idles: without a pause the readers would not run.
        time.sleep(0.002)
        events = [self._understood(message) for message in self._process.heard()]
        events = [event for event in events if event is not None]
        if self._process is None:  # of another version, and ended for it
            return events
        if any(event["kind"] == "failed" and event.get("reason") == "device" for event in events):
            # Nothing runs on a GPU again in the process that lost it.
            events += self._end("device") if self._requests else []
            self.stop()
            return events
        late = [job for job, since in self._canceled.items() if time.monotonic() - since > PATIENCE_S]
        if late:
            events += self._end("canceled")
        elif not self._process.alive:
            events += self._end("died")
        elif self._requests and time.monotonic() - self._process.last_heard > SILENCE_S:
            self._silent_polls += 1  # the first may follow a long pause of the caller itself
            if self._silent_polls > 2:
                events += self._end("hung")
        else:
            self._silent_polls = 0
        return events

    def release(self, job: str) -> None:
        """Remove the files of a job that is over. Its mapped arrays must not be used any more."""
        if self._process is not None:
            shutil.rmtree(self._process.folder / job, ignore_errors=True)

    def stop(self) -> None:
        """End the process and its children, and remove its files. Returns at once; safe to call again and again."""
        process, self._process = self._process, None
        self._requests.clear()
        self._canceled.clear()
        if process is not None:
            self._ending = [thread for thread in self._ending if thread.is_alive()] + [process.end()]

    def close(self) -> None:
        """Stop for good, and wait until no process and no file is left (a second at most)."""
        self.stop()
        for thread in self._ending:
            thread.join(timeout=5)
        atexit.unregister(self.close)

    # ------------------------------------------------------------------ how events are made

    def _understood(self, message: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        kind, job = message["kind"], message.get("job")
        if kind == "ready":
            if message["protocol"] != protocol.PROTOCOL or message["version"] != __version__:
                self.stop()
                text = (
                    f"The worker is version {message['version']} and this is {__version__}. Restart Slicer, so that "
                    "both are loaded from the same installation."
                )
                return {"kind": "no_torch", "text": text}
            return message
        if kind == "alive" or (job is not None and job not in self._requests):
            return None
        if kind == "devices":
            self.devices = message["devices"]
        if kind == "done" and job in self._canceled:
            message = {"kind": "canceled", "job": job}
            kind = "canceled"
        if kind == "done":
            request = self._requests.pop(job)
            message["result"] = protocol.read_result(message["result"], self._process.folder / job, request)
        if kind in ("failed", "canceled"):
            self._requests.pop(job, None)
            self._canceled.pop(job, None)
            self.release(job)
        return message

    def _end(self, why: str) -> List[Dict[str, Any]]:
        """End the process; an event for every job it had, or one without a job."""
        jobs, canceled = list(self._requests), set(self._canceled)
        process = self._process
        if why == "died":
            process.wait_for_last_words()
        text = {
            "died": process.obituary,
            "device": lambda: "The GPU stopped working before this registration began. Press Apply to try again.",
        }.get(why, lambda: f"The worker did not answer for {SILENCE_S:.0f} s; it was ended.")()
        last_words = process.last_words()
        self.stop()
        events = []
        for job in jobs or [None]:
            if job in canceled:
                events.append({"kind": "canceled", "job": job})
            else:
                events.append({"kind": "died", "job": job, "text": text, "last_words": last_words})
        return events


class _Process:
    """The process, its pipes with a thread each, and its private folder."""

    def __init__(self, python: Sequence[str], environment: Optional[Dict[str, str]]) -> None:
        self._private = PrivateFolder("deepreg-worker-")
        self.folder = self._private.path
        variables = dict(os.environ if environment is None else environment)
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_LIBRARY), variables.get("PYTHONPATH")]))
        variables["PYTHONUNBUFFERED"] = "1"
        variables["PYTHONIOENCODING"] = "utf-8"
        # Windows: CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP.
        own_group = {"start_new_session": True} if POSIX else {"creationflags": 0x08000200}
        try:
            self._popen = subprocess.Popen(
                [*python, "-m", "SlicerDeepRegLib.worker", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=variables,
                cwd=str(_LIBRARY),  # Python looks for modules there first: never a folder that others write to
                **own_group,
            )
        except OSError as error:
            self._private.remove()
            raise InputError(f"The worker could not be started with {python[0]}: {error.strerror or error}.") from error
        self.last_heard = time.monotonic()
        self._messages: queue.Queue = queue.Queue()
        self._words: deque = deque(maxlen=40)
        self._outgoing: queue.Queue = queue.Queue()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._read, self._read_errors, self._write)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, kind: str, **values: Any) -> None:
        self._outgoing.put(protocol.line(kind, **values))

    def heard(self) -> List[Dict[str, Any]]:
        messages = []
        with contextlib.suppress(queue.Empty):
            while True:
                messages.append(self._messages.get_nowait())
        return messages

    def last_words(self) -> str:
        return "\n".join(self._words)

    def wait_for_last_words(self) -> None:
        """The process is gone; its pipes are read to their end, which takes milliseconds."""
        self._threads[1].join(timeout=0.2)

    def obituary(self) -> str:
        """Why it ended, in words."""
        code = self._popen.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            if name == "SIGKILL":
                return (
                    "The worker was ended by the system, most often because memory ran out. Use a smaller preset or "
                    "close other programs, and press Apply again."
                )
            return f"The worker crashed ({name}). Press Apply to start it again."
        if "exit abnormally" in self.last_words():  # Slicer's launcher hides by which signal
            return (
                "The worker crashed or was ended by the system, most often because memory ran out. Use a smaller "
                "preset or close other programs, and press Apply again."
            )
        return f"The worker ended by itself (exit code {code}). Press Apply to start it again."

    def end(self) -> threading.Thread:
        """Kill the process with its children, by its own group; the thread returned waits and cleans up."""
        self._outgoing.put(None)
        if POSIX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        elif self.alive:
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self.pid)],
                capture_output=True,
                check=False,
                creationflags=0x08000000,
            )
        thread = threading.Thread(target=self._clean_up)
        thread.start()
        return thread

    def _clean_up(self) -> None:
        """Wait for the end, close the pipes, and remove the folder. Freeing gigabytes takes the system a while."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=5)
        for thread in self._threads:
            thread.join(timeout=1)
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            with contextlib.suppress(OSError):
                stream.close()
        self._private.remove()

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for text in self._popen.stdout:
                self.last_heard = time.monotonic()
                message = protocol.parse(text)
                if message is not None:
                    self._messages.put(message)

    def _read_errors(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for text in self._popen.stderr:
                self._words.append(text.decode("utf-8", "replace").rstrip())

    def _write(self) -> None:
        """Writing waits when the pipe is full, so a thread does it."""
        while True:
            text = self._outgoing.get()
            if text is None:
                return
            try:
                self._popen.stdin.write(text)
                self._popen.stdin.flush()
            except (OSError, ValueError):  # it died; poll says so
                return


def _check_space(folder: Path, request: Request) -> None:
    """Raise InputError when the disk of the private folder cannot hold the volumes and the result."""
    images = [getattr(request, name) for name in ("fixed", "moving", "fixed_labels", "moving_labels")]
    needed = sum(image.values.nbytes for image in images if image is not None)
    needed += request.fixed.grid.voxels * (2 * 12 + 3 * 4) + 20_000_000  # fields of the stages and result, volumes
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise InputError(
            f"The temporary folder {folder.parent.parent} has {free / 1e9:.2f} GB free and this registration needs "
            f"about {needed / 1e9:.2f} GB there. Free some space, or set the temporary folder to another disk."
        )
