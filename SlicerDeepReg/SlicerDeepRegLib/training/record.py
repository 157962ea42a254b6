"""What a training writes down as it goes: seconds of its parts, the log, TensorBoard's files."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..files.atomic import whole_file
from ..files.jsonable import jsonable
from ..types import InputError

LOG_FILE = "log.jsonl"
#: Beside a training that is over.
FINISHED_FILE = "finished.json"
#: Parts of a step.
TIMED = ("data", "forward", "backward")


class Timing:
    """Mean seconds of each part of a step since last asked for; on a GPU by its own clock, without waiting."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self._reset()

    def _reset(self) -> None:
        self.sums = {part: 0.0 for part in TIMED}
        self.steps = 0
        self.marks: list[tuple[str, Any, Any]] = []

    def _now(self) -> Any:
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            return event
        return time.perf_counter()

    def start(self) -> None:
        """Begin to time a part."""
        self.last = self._now()

    def done(self, part: str) -> None:
        """Count the time since the last call for that part."""
        now = self._now()
        self.marks.append((part, self.last, now))
        self.last = now

    def means(self) -> dict[str, float]:
        """Return the mean seconds of each part, and begin anew."""
        if self.cuda:
            torch.cuda.synchronize()
        for part, first, second in self.marks:
            self.sums[part] += first.elapsed_time(second) / 1000 if self.cuda else second - first
        means = {f"seconds_{part}": self.sums[part] / max(1, self.steps) for part in TIMED}
        self._reset()
        return means


def write_finished(folder: Path, step: int, seconds: float, why: str, metrics: Mapping[str, float]) -> None:
    """Write how a training ended; the file is there only when it is over.

    Args:
        step: the last one. seconds: of all of it. why: it ended. metrics: of the last validation.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    values = {"step": step, "seconds": seconds, "why": why, "metrics": dict(metrics)}
    with whole_file(folder / FINISHED_FILE) as private:
        private.write_text(json.dumps(jsonable(values), indent=1) + "\n", encoding="utf-8")


def read_curve(folder: Path) -> list[tuple[int, float]]:
    """Return (step, loss) of the log of a training; empty where there is none."""
    try:
        lines = (folder / LOG_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [(int(e["step"]), float(e["loss"])) for e in entries if e.get("loss") is not None and "step" in e]


def keep_log_until(path: Path, step: int) -> None:
    """Drop the lines of steps after the checkpoint that a training goes on from."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):  # cut short when the process was killed
            continue
    path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def open_board(folder: Path) -> Any:
    """Return a writer of TensorBoard's files.

    Raises:
        InputError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard is not installed: pip install tensorboard, or leave out --tensorboard. log.jsonl has the same "
            "metrics."
        ) from error
    return SummaryWriter(str(folder / "tensorboard"))


def tidy(folder: Path) -> None:
    """Remove what a killed training left half written; only under the folder's lock."""
    for path in folder.glob(".unfinished-*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
