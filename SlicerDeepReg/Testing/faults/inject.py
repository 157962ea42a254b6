"""Faults to order, and a process that forks a registration for each: everything is loaded once.

    python inject.py

reads a JSON line for each registration - ``arguments`` of the command, the ``fault`` and the ``stage`` at which it
strikes, ``folder`` for its temporary files and what it prints - and answers each with ``code``, ``left``: whether a
process of it is left, and what it said. Errors of numpy, torch and ITK are their own, of real allocations that fail.
"""

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
LOST = "CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."


def strike(fault, arguments):
    """Let it happen, in this process and now."""
    if fault in SIGNALS:
        os.kill(os.getpid(), SIGNALS[fault])
        time.sleep(0.01)  # Python handles it between two steps
    elif fault in ("output removed", "output is a file", "inputs removed"):
        _remove(fault, arguments)
    elif fault == "memory of numpy":
        np.empty(1 << 60, np.uint8)
    elif fault == "memory of torch":
        torch.empty(1 << 50)
    elif fault == "memory of ITK":
        sitk.Image([1 << 15] * 3, sitk.sitkFloat64)
    elif fault == "memory of the GPU":
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    elif fault == "GPU lost":
        raise RuntimeError(LOST)
    elif fault == "clock":
        real = time.time
        time.time = lambda: real() + np.random.default_rng().choice([-1e9, 1e9])
    elif fault == "disk full":  # for every longer file, the system's own error: the images fit, the transforms do not
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (95_000, resource.RLIM_INFINITY))
    else:
        raise AssertionError(f"no fault {fault}")


def _remove(fault, arguments):
    if fault == "inputs removed":
        for name in ("--fixed", "--moving"):
            os.remove(arguments[arguments.index(name) + 1])
        return
    output = Path(arguments[arguments.index("--output") + 1])
    shutil.rmtree(output)
    if fault == "output is a file":
        output.write_text("now a file")


class Trap:
    """Strikes once, when the stage begins for the first time."""

    def __init__(self, fault, stage, arguments=()):
        self.fault, self.stage, self.arguments = fault, stage, list(arguments)

    def __call__(self, stage):
        if self.fault and stage.startswith(self.stage):
            fault, self.fault = self.fault, None
            strike(fault, self.arguments)

    def around(self, function):
        """The same function, as the stage "writing"."""

        def wrapped(*given):
            self("writing")
            return function(*given)

        return wrapped


def register(job):
    """In the forked process: the command, with the trap in its progress and where it writes its files.

    A disk is full before the first of them; the rest strikes when the images are written and the transform is not.
    """
    from SlicerDeepRegLib.commands import main
    from SlicerDeepRegLib.commands import register as command
    from SlicerDeepRegLib.files import results

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # of a job in the background it is ignored
    tempfile.tempdir = job["folder"]
    for number, name in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(os.path.join(job["folder"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    trap = Trap(job["fault"], job["stage"], job["arguments"])
    shown = command.ProgressBar.__call__

    def show(bar, progress):
        shown(bar, progress)
        trap(progress.stage)

    command.ProgressBar.__call__ = show
    owner, name = (results.ResultWriter, "begin") if job["fault"] == "disk full" else (results, "write_transform")
    setattr(owner, name, trap.around(getattr(owner, name)))
    sys.exit(main(job["arguments"]))  # and through whatever the libraries do when a process exits


def serve():
    import SlicerDeepRegLib.commands.register
    import SlicerDeepRegLib.files.results
    import SlicerDeepRegLib.pipeline  # noqa: F401 - loaded once, for all

    torch.set_num_threads(1)
    answers = os.dup(1)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            register(job)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        left = True
        end = time.monotonic() + 5
        while left and time.monotonic() < end:
            try:
                os.killpg(pid, 0)
                time.sleep(0.05)
            except ProcessLookupError:
                left = False
        said = {name: Path(job["folder"], f"{name}.txt").read_text(encoding="utf-8") for name in ("out", "err")}
        os.write(answers, (json.dumps({"code": code, "left": left, **said}) + "\n").encode())


def worker(folder, order):
    """A worker whose first job meets the fault of the file ``order``: "fault@stage"."""
    from SlicerDeepRegLib.worker import protocol, serve

    made = serve.progress_sender

    def teller(*given):
        fault, stage = None, ""
        if os.path.exists(order):
            fault, stage = Path(order).read_text(encoding="utf-8").split("@")
            os.remove(order)
        trap, tell = Trap(fault, stage), made(*given)

        def report(progress):
            tell(progress)
            trap(progress.stage)

        protocol.write_result = trap.around(written)
        return report

    written = protocol.write_result
    serve.progress_sender = teller
    sys.exit(serve.main(folder))


if __name__ == "__main__":
    if len(sys.argv) > 1:  # as the interpreter of a client: ORDER start.py worker FOLDER
        worker(sys.argv[-1], sys.argv[1])
    serve()
