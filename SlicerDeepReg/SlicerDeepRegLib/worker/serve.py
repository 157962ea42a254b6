"""The worker's side: read requests from standard input, register, report on standard output.

It ends when its input ends, whatever the reason, and removes the private folder: a client that was killed leaves
neither a process nor files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import gc
import hashlib
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..catalog import refresh
from ..files.atomic import reason
from ..processes.load import LoadMeter
from ..types import (
    PRESETS,
    Canceled,
    DeviceLostError,
    DeviceMemoryError,
    Field,
    InputError,
    Progress,
    ProgressCallback,
    Request,
    Result,
    Transform,
)
from . import protocol
from .requirements import listed, unmet


def main(folder: str) -> int:
    """Serve until the input ends; return the exit code."""
    faulthandler.enable()
    writer = MessageWriter()
    python = sys.version.split()[0]
    writer.send("ready", protocol=protocol.PROTOCOL, version=__version__, python=python, pid=os.getpid())
    reader = MessageReader(Path(folder), writer)
    threading.Thread(target=_heartbeat, args=(writer,), daemon=True).start()
    if not _warm_up(writer):
        reader.wait_for_the_end()
    while True:
        _serve(reader.next_job(), Path(folder), writer, reader)


class MessageWriter:
    """Writes messages to standard output; what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, kind: str, **values: Any) -> None:
        """Write one message; safe from any thread."""
        with self._lock:
            try:
                self._stream.write(protocol.line(kind, **values))
            except OSError:  # the client is gone; the reader will notice
                pass


class MessageReader:
    """Reads standard input in a thread of its own, so that a cancel arrives during a job.

    A job that waits for another one to end is canceled here, at once: the client would take its silence for a process
    that hangs, and end the other one, too.

    Args:
        folder: of the process; removed when the input ends.
        writer: tells of jobs that were canceled before they began.

    Attributes:
        canceled: names of the jobs to stop.
    """

    def __init__(self, folder: Path, writer: MessageWriter) -> None:
        self.canceled: set[str] = set()
        self._jobs: queue.Queue = queue.Queue()
        self._waiting: set[str] = set()
        self._lock = threading.Lock()
        self._folder, self._writer = folder, writer
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for text in sys.stdin.buffer:
            message = protocol.parse(text)
            if message is None:
                continue
            if message["kind"] == "cancel":
                self._cancel(message.get("job", ""))
            elif message["kind"] in _ANSWERS and message.get("job"):
                with self._lock:
                    self._waiting.add(message["job"])
                self._jobs.put(message)
            elif message["kind"] == "quit":
                break
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)  # at once, also out of the middle of a job

    def next_job(self) -> dict[str, Any]:
        """Wait for a job that was not canceled."""
        while True:
            message: dict[str, Any] = self._jobs.get()
            with self._lock:
                if message["job"] in self._waiting:
                    self._waiting.discard(message["job"])
                    return message

    def _cancel(self, job: str) -> None:
        with self._lock:
            waited = job in self._waiting
            self._waiting.discard(job)
        if waited:
            self._writer.send("canceled", job=job)
        else:
            self.canceled.add(job)

    @staticmethod
    def wait_for_the_end() -> None:
        """Wait until the input ends, which ends the process."""
        threading.Event().wait()


def _heartbeat(writer: MessageWriter) -> None:
    while True:
        time.sleep(2.0)
        writer.send("alive")


def _warm_up(writer: MessageWriter) -> bool:
    """Import torch and the pipeline, and say what devices there are; False when torch cannot be used."""
    try:
        lacking = listed(unmet())
        if lacking:
            text = f"The worker's Python does not have what is needed: {', '.join(lacking)}. Install it and try again."
            writer.send("no_torch", text=text)
            return False
        import torch

        from .. import pipeline  # noqa: F401 - imported now so that the first job starts at once
        from ..processes.current import tune_memory

        tune_memory()
        writer.send("devices", torch=torch.__version__, devices=devices())
        return True
    except Exception as error:
        traceback.print_exc()
        writer.send("no_torch", text=f"PyTorch or a package beside it could not be loaded: {error}")
        return False


def devices() -> list[dict[str, Any]]:
    """Return every available device: name, title, free bytes, and a note if an expected one is missing."""
    import torch

    from .. import device as known
    from ..processes.memory import free_memory_bytes

    available = []
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        available.append({"name": "cuda", "title": known.describe(gpu), "free_bytes": known.free_bytes(gpu)})
    if torch.backends.mps.is_available():
        available.append({"name": "mps", "title": "Apple GPU", "free_bytes": free_memory_bytes()})
    available.append({"name": "cpu", "title": "CPU", "free_bytes": free_memory_bytes()})
    if torch.version.cuda is None:
        available[-1]["note"] = "This PyTorch was built without CUDA."
    return available


def _serve(message: dict[str, Any], root: Path, writer: MessageWriter, reader: MessageReader) -> None:
    """Run one job and report how it ended."""
    from ..processes.current import give_back_memory

    job = message["job"]
    refresh()  # a model may have been added since
    try:
        report = progress_sender(job, writer, reader)
        answer = _ANSWERS[message["kind"]](message, root / job, report, functools.partial(writer.send, job=job))
        writer.send("done", job=job, **answer)
    except Canceled:
        writer.send("canceled", job=job)
    except DeviceMemoryError as error:
        writer.send("failed", job=job, reason="gpu_memory", text=str(error))
    except DeviceLostError as error:
        writer.send("failed", job=job, reason="device", text=str(error), detail=traceback.format_exc())
    except InputError as error:
        writer.send("failed", job=job, reason="input", text=str(error))
    except MemoryError:
        text = (
            "Memory ran out. Use a faster preset, close other programs, or resample the fixed volume to larger voxels."
        )
        writer.send("failed", job=job, reason="memory", text=text)
    except OSError as error:
        text = f"A file of the job could not be written or read: {reason(error)}. Free some space."
        writer.send("failed", job=job, reason="disk", text=text, detail=traceback.format_exc())
    except Exception as error:
        text = (
            f"The registration failed because of an unexpected error ({type(error).__name__}: {error}). Try another "
            "method, and report the error with the log."
        )
        writer.send("failed", job=job, reason="error", text=text, detail=traceback.format_exc())
    finally:
        _free_gpu()
        give_back_memory()


def _registered(
    message: dict[str, Any], folder: Path, report: Callable[[Progress], None], send: Callable[..., None]
) -> dict[str, Any]:
    """Register, show the result, then measure it; return what the message says."""
    from ..device import use_free_threads
    from ..pipeline import register

    meter = LoadMeter()  # now: what the client did to hand the volumes over is done
    request = _with_known_inverse(protocol.read_request(message["request"], folder))
    use_free_threads(meter)
    arrays = protocol.Arrays(folder)
    shown: list[Transform] = []

    def show(result: Result) -> None:
        send("shown", result=protocol.write_result(result, arrays))
        shown.append(result.transform)

    def tell(metrics: Mapping[str, Any]) -> None:
        report(Progress(0.95, "measuring"))  # asks whether it was canceled
        send("measured", metrics=metrics)

    found = register_with_smaller_plans(request, report, functools.partial(register, show=show, tell=tell))
    # A GPU may have run out of memory while it measured: then what was shown first is not what was found.
    is_shown = bool(shown) and shown[0] is found.transform
    _remember(found.transform)
    return {"result": protocol.write_result(found, arrays), "is_shown": is_shown}


#: The ways back of the last results, by ``_key``: the client has none of them, and a result that is continued needs it.
_inverses: dict[bytes, tuple[Field, ...]] = {}
_MOST_INVERSES = 2


def _key(field: Field) -> bytes:
    """Return what tells a field from others: some of its values, as they are also in Slicer."""
    some = np.ascontiguousarray(field.displacement_lps_mm[::5, ::5, ::5]) + np.float32(0)  # -0.0 and 0.0 are one
    return hashlib.sha256(repr(some.shape).encode() + some.tobytes()).digest()


def _remember(transform: Transform) -> None:
    if transform.field is not None and transform.inverse_fields:
        _inverses[_key(transform.field)] = transform.inverse_fields
        for oldest in list(_inverses)[:-_MOST_INVERSES]:
            del _inverses[oldest]


def _with_known_inverse(request: Request) -> Request:
    """Return a request that continues one of the last results with the way back of that."""
    base = request.continued
    if not isinstance(base, Transform) or base.field is None or base.inverse_fields:
        return request
    known = _inverses.get(_key(base.field), ())
    return dataclasses.replace(request, continued=dataclasses.replace(base, inverse_fields=known))


def _segmented(
    message: dict[str, Any], folder: Path, report: Callable[[Progress], None], send: Callable[..., None]
) -> dict[str, Any]:
    """Look for the structures of a brain; return what the message says.

    Raises:
        InputError: the model is not part of this installation, or the image is none that it takes.
    """
    from ..catalog import brain_model
    from ..device import choose, use_free_threads
    from ..models.structures import StructureModel

    meter = LoadMeter()
    report(Progress(0.0, "segmenting"))
    image = protocol.read_volume(message["image"], folder)
    use_free_threads(meter)
    found = StructureModel(brain_model(), choose(message["device"])).see(image)
    report(Progress(0.9, "segmenting"))
    seen = protocol.SeenStructures(found.labels, found.confidences, found.evidence.is_brain)
    return {"structures": protocol.write_structures(seen, folder)}


def _looked(
    message: dict[str, Any], folder: Path, report: Callable[[Progress], None], send: Callable[..., None]
) -> dict[str, Any]:
    """Find out what a pair is; return what the message says."""
    from ..device import use_free_threads
    from ..pipeline import look

    meter = LoadMeter()
    request = protocol.read_request(message["request"], folder)
    use_free_threads(meter)
    return {"look": dataclasses.asdict(look(request, report))}


def _followed(
    message: dict[str, Any], folder: Path, report: Callable[[Progress], None], send: Callable[..., None]
) -> dict[str, Any]:
    """Register the frames of a series; return what the message says."""
    from ..device import use_free_threads
    from ..pipeline import register
    from ..pipeline.series import register_series

    def each(request: Request, told: ProgressCallback) -> Result:
        return register_with_smaller_plans(request, told, register)

    meter = LoadMeter()
    series = protocol.read_series(message["series"], folder)
    use_free_threads(meter)
    return {"frames": protocol.write_frame_results(register_series(series, report=report, each=each), folder)}


#: What answers each kind of job.
_ANSWERS = {"register": _registered, "segment": _segmented, "look": _looked, "series": _followed}


def register_with_smaller_plans(request: Request, report: ProgressCallback | None, register: Callable) -> Result:
    """Register; if the GPU's memory is too small, try again with the next faster preset and add a note.

    Raises:
        DeviceMemoryError: not even the fastest preset fits.
    """
    asked = request.preset
    smaller = list(PRESETS[: PRESETS.index(asked)])
    while True:
        try:
            result = register(request, report)
            break
        except DeviceMemoryError:
            if not smaller:
                raise
            request = dataclasses.replace(request, preset=smaller.pop())
            _free_gpu()
    if request.preset == asked:
        return result
    note = f"The GPU's memory was too small for the preset {asked}; {request.preset} was used instead."
    return dataclasses.replace(result, notes=(*result.notes, note))


def progress_sender(job: str, writer: MessageWriter, reader: MessageReader) -> Callable[[Progress], None]:
    """Send progress at most twenty times a second, every loss with it; raise Canceled when the client asked."""
    last, stage = 0.0, ""
    losses: list[tuple[str, float]] = []

    def send(progress: Progress) -> None:
        nonlocal last, stage, losses
        if job in reader.canceled:
            raise Canceled
        if progress.loss is not None:
            losses.append((progress.stage, progress.loss))
        now = time.monotonic()
        if progress.stage == stage and now - last < 0.05:
            return
        writer.send("progress", job=job, fraction=progress.fraction, stage=progress.stage, losses=losses)
        last, losses, stage = now, [], progress.stage

    return send


def _free_gpu() -> None:
    gc.collect()  # networks hold themselves in a circle
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # of a GPU that is lost
            torch.cuda.empty_cache()
