"""The worker's side: read requests from standard input, register, say how it goes on standard output.

It ends when its input ends, whatever the reason, and removes the private folder then: a client that was
killed leaves neither a process nor files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import gc
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import __version__
from ..catalog import refresh
from ..types import PRESETS, Canceled, DeviceLostError, DeviceMemoryError, InputError, Progress, Request
from . import protocol


def main(folder: str) -> int:
    """Serve until the input ends; returns the exit code."""
    faulthandler.enable()
    voice = _Voice()
    voice.say("ready", protocol=protocol.PROTOCOL, version=__version__, python=sys.version.split()[0], pid=os.getpid())
    ears = _Ears(Path(folder))
    threading.Thread(target=_heartbeat, args=(voice,), daemon=True).start()
    if not _warm_up(voice):
        ears.wait_for_the_end()
    while True:
        message = ears.jobs.get()
        _serve(message, Path(folder), voice, ears)


class _Voice:
    """Standard output, for messages only: what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def say(self, kind: str, **values: Any) -> None:
        with self._lock:
            try:
                self._stream.write(protocol.line(kind, **values))
            except OSError:  # the client is gone; the ears will notice
                pass


class _Ears:
    """Standard input, read by a thread of its own so that a cancel is heard during a job."""

    def __init__(self, folder: Path) -> None:
        self.jobs: queue.Queue = queue.Queue()
        self.canceled = set()
        self._folder = folder
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for text in sys.stdin.buffer:
            message = protocol.parse(text)
            if message is None:
                continue
            if message["kind"] == "cancel":
                self.canceled.add(message.get("job"))
            elif message["kind"] == "register" and message.get("job"):
                self.jobs.put(message)
            elif message["kind"] == "quit":
                break
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)  # at once, also out of the middle of a job

    @staticmethod
    def wait_for_the_end() -> None:
        threading.Event().wait()


def _heartbeat(voice: _Voice) -> None:
    while True:
        time.sleep(2.0)
        voice.say("alive")


def _warm_up(voice: _Voice) -> bool:
    """Import torch and the pipeline, and say what devices there are; False when torch cannot be used."""
    try:
        import torch

        version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
        if version < protocol.OLDEST_TORCH:
            wanted = ".".join(map(str, protocol.OLDEST_TORCH))
            voice.say("no_torch", text=f"PyTorch {torch.__version__} is too old; {wanted} or newer is needed.")
            return False
        from .. import pipeline  # noqa: F401 - imported now so that the first job starts at once
        from ..processes.current import tune_memory

        tune_memory()
        voice.say("devices", torch=torch.__version__, devices=devices())
        return True
    except Exception as error:
        traceback.print_exc()
        voice.say("no_torch", text=f"PyTorch or a package beside it could not be loaded: {error}")
        return False


def devices() -> list[dict[str, Any]]:
    """Every device that can be chosen: name, title, free bytes, and why one is missing that people expect."""
    import torch

    from .. import device as known
    from ..checks import free_memory_bytes

    found = []
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        found.append({"name": "cuda", "title": known.describe(gpu), "free_bytes": known.free_bytes(gpu)})
    if hasattr(torch.backends, "mps") and torch.backends.mps.is_available():
        found.append({"name": "mps", "title": "Apple GPU", "free_bytes": free_memory_bytes()})
    found.append({"name": "cpu", "title": "CPU", "free_bytes": free_memory_bytes()})
    if torch.version.cuda is None:
        found[-1]["note"] = "This PyTorch was built without CUDA."
    return found


def _serve(message: dict[str, Any], root: Path, voice: _Voice, ears: _Ears) -> None:
    """Do one job and say how it ended."""
    from ..pipeline import register
    from ..processes.current import give_back_memory

    job = message["job"]
    folder = root / job
    refresh()  # a model may have been added since
    try:
        request = protocol.read_request(message["request"], folder)
        result = register_with_smaller_plans(request, _teller(job, voice, ears), register)
        voice.say("done", job=job, result=protocol.write_result(result, folder))
    except Canceled:
        voice.say("canceled", job=job)
    except DeviceMemoryError as error:
        voice.say("failed", job=job, reason="gpu_memory", text=str(error))
    except DeviceLostError as error:
        voice.say("failed", job=job, reason="device", text=str(error), detail=traceback.format_exc())
    except InputError as error:
        voice.say("failed", job=job, reason="input", text=str(error))
    except MemoryError:
        text = "Memory ran out. Use a smaller preset, close other programs, or resample the fixed volume."
        voice.say("failed", job=job, reason="memory", text=text)
    except OSError as error:
        text = f"A file of the registration could not be written or read: {error.strerror or error}. Free some space."
        voice.say("failed", job=job, reason="disk", text=text, detail=traceback.format_exc())
    except Exception as error:
        text = f"The registration failed: {type(error).__name__}: {error}"
        voice.say("failed", job=job, reason="error", text=text, detail=traceback.format_exc())
    finally:
        _free_gpu()
        give_back_memory()


def register_with_smaller_plans(request: Request, report, register: Callable):
    """Register; where the GPU's memory does not do, again with the next smaller preset, and say so in the notes.

    Raises:
        DeviceMemoryError: not even the smallest preset fits.
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
    note = f"The GPU's memory did not do for the preset {asked}; {request.preset} was used."
    return dataclasses.replace(result, notes=(*result.notes, note))


def _teller(job: str, voice: _Voice, ears: _Ears) -> Callable[[Progress], None]:
    """Send progress at most twenty times a second, every loss with it; raise Canceled when the client asked."""
    state = {"last": 0.0, "losses": [], "stage": ""}

    def tell(progress: Progress) -> None:
        if job in ears.canceled:
            raise Canceled
        if progress.loss is not None:
            state["losses"].append([progress.stage, progress.loss])
        now = time.monotonic()
        if progress.stage == state["stage"] and now - state["last"] < 0.05:
            return
        voice.say("progress", job=job, fraction=progress.fraction, stage=progress.stage, losses=state["losses"])
        state.update(last=now, losses=[], stage=progress.stage)

    return tell


def _free_gpu() -> None:
    gc.collect()  # networks hold themselves in a circle
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # of a GPU that is lost
            torch.cuda.empty_cache()
