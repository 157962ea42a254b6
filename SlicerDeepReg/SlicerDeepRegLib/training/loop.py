"""The loop that trains: steps, validation, checkpoints; it can stop at any moment and go on as if it had not."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..files.jsonable import jsonable
from ..types import InputError
from .checkpoints import read_checkpoint, write_checkpoint
from .distributed import Distributed
from .plan import Plan
from .record import LOG_FILE, TIMED, Timing, keep_log_until, open_board
from .rng import seed_of
from .task import RegistrationTask
from .validation import mean_metrics, write_picture

PICTURES = "pictures"
#: Position of the first held-out pair in its own stream; pictures are made of the first ones.
PICTURED = 3


@dataclass(frozen=True)
class LoopSettings:
    """What may be changed when a training goes on: how often things are done, and where.

    Attributes:
        batch: pairs of one process at once. accumulate: how many such batches make a step.
        validate_every, checkpoint_every, log_every: steps.
        patience: end after so many validations without a better one; 0 for never.
        surfaces: HD95 at every validation, not at the last alone.
        limit_s: stop with a checkpoint after so many seconds.
        tensorboard: write TensorBoard's files too.
    """

    batch: int = 1
    accumulate: int = 1
    validate_every: int = 500
    checkpoint_every: int = 500
    log_every: int = 10
    patience: int = 0
    surfaces: bool = False
    limit_s: float | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class Ended:
    """How a training ended: ``finished``, or why it stopped and can go on."""

    step: int
    finished: bool
    why: str
    metrics: dict[str, float]


class Trainer:
    """One training of one network.

    Args:
        plan: what is trained. network: on the device, from its random start.
        objective: ``objective(batch, output, seeds) -> (loss, parts)``.
        source: gives batches by position. held_out: the same for validation, or None; held_out_count: its pairs.
        task: what is measured and kept; registration where none is given.
        folder: where everything goes. team: the processes that train together.
        say: called with a line of text now and then.
    """

    def __init__(
        self,
        plan: Plan,
        network: nn.Module,
        objective,
        source,
        folder: Path,
        device: torch.device,
        settings: LoopSettings,
        team: Distributed,
        held_out=None,
        held_out_count: int = 0,
        task: RegistrationTask | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.plan, self.network, self.objective, self.source = plan, network, objective, source
        self.folder, self.device, self.settings, self.team, self.say = folder, device, settings, team, say
        self.held_out, self.held_out_count = held_out, held_out_count
        self.task = task or RegistrationTask(plan)
        self.optimizer = _optimizer(plan, network)
        self.scaler = _scaler(device, plan.precision == "fp16")
        self.mean = {n: t.detach().clone() for n, t in network.state_dict().items()} if plan.ema else None
        self.step, self.seconds, self.since_best = 0, 0.0, 0
        self.best: float | None = None
        self.metrics: dict[str, float] = {}
        self.checkpointed: int | None = None
        self.board = None
        self._said, self._asked_at = 0.0, time.monotonic()
        self._agree_always = team.size == 1 or device.type == "cpu"
        self._pending: list[tuple[int, torch.Tensor, list[int]]] = []

    # ------------------------------------------------------------------------------------------ running

    def run(self, resume: bool) -> Ended:
        """Train to the end, or until a signal or the limit of time stops it.

        Raises:
            InputError: the loss is not a number, the memory or the disk does not do, or nothing can be resumed.
        """
        if resume:
            self._restore()
            if self.step >= self.plan.steps or 0 < self.settings.patience <= self.since_best:
                return Ended(self.step, True, "it had finished", self.metrics)
        if self.team.is_first:
            keep_log_until(self.folder / LOG_FILE, self.step)
            (self.folder / PICTURES).mkdir(exist_ok=True)
            self.board = open_board(self.folder) if self.settings.tensorboard else None
        self.network.train()
        model = self.network
        if self.team.size > 1:
            model = DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)
        try:
            with _stop_asked() as stopped:
                return self._steps(model, stopped)
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"The GPU's memory ran out at step {self.step + 1}. Lower --batch (and raise --accumulate), choose a "
                "smaller variant, or cut the images with --size."
            ) from error
        except OSError as error:
            raise InputError(
                f"A file of the training could not be read or written ({error.filename or self.folder}: "
                f"{error.strerror or error}). Free some space, or put it back, then go on with --resume."
            ) from error
        finally:
            if self.board is not None:
                self.board.close()

    def _steps(self, model: nn.Module, stopped: list[bool]) -> Ended:
        begun, before = time.monotonic(), self.seconds
        timing = Timing(self.device)
        batches = self.source.batches(_Positions(self), self.device)
        ended: Ended | None = None
        while ended is None and self.step < self.plan.steps:
            found = self._one_step(model, batches, timing)
            self.step += 1
            self.seconds = before + time.monotonic() - begun
            limit = self.settings.limit_s
            out_of_time = limit is not None and self.seconds - before > limit
            ended = self._after_step(found, timing, bool(stopped), out_of_time)
        return ended or self._end(True, "finished")

    def _after_step(self, found, timing: Timing, asked: bool, out_of_time: bool) -> Ended | None:
        """Log, validate and keep, whatever is due; how the training ended, if it did."""
        settings, last = self.settings, self.step == self.plan.steps
        log_now = self.step % settings.log_every == 0 or last
        if log_now or self.device.type == "cpu":  # on a GPU a look at a loss waits for it
            self._check_losses()
        if log_now:
            self._report(*found, timing.means())
        stop = (log_now or self._agree_always) and self._agreed(asked or out_of_time)
        no_better = (last or self.step % settings.validate_every == 0) and self._validate(last)
        if last or no_better or stop or self.step % settings.checkpoint_every == 0:
            self._check_losses()
            self._checkpoint()
        if last or no_better:
            return self._end(True, "finished" if last else "no better for a while")
        return self._end(False, "the limit of time" if out_of_time else "a signal") if stop else None

    def _agreed(self, stop: bool) -> bool:
        """Whether one of the processes must stop. They ask each other at every step where steps are long."""
        now = time.monotonic()
        if self.team.any(self.device.type == "cpu" or now - self._asked_at > 5, self.device):
            self._agree_always = True
        self._asked_at = now
        return self.team.any(stop, self.device)

    def _report(self, loss, parts, norm, seconds: dict[str, float]) -> None:
        if not self.team.is_first:
            return
        entry = {"loss": float(loss), **{n: float(v) for n, v in parts.items()}, "gradient_norm": float(norm)}
        entry.update(learning_rate=self._rate(self.step - 1), **seconds)
        self._log(entry)
        if time.monotonic() - self._said > 15 or self.step == self.plan.steps:
            self._said = time.monotonic()
            self.say(self._line(entry))

    def _end(self, finished: bool, why: str) -> Ended:
        if self.team.is_first and self.best is None:  # else the best one that was measured is there
            self._write_model()
        self.team.wait()
        return Ended(self.step, finished, why, self.metrics)

    def _one_step(self, model: nn.Module, batches, timing: Timing):
        """Improve the weights once; returns the loss, its parts, and the norm of the gradient."""
        torch.manual_seed(seed_of(self.plan.seed, self.step, self.team.rank))  # whatever a network draws by itself
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        total, parts, accumulate = 0.0, {}, self.settings.accumulate
        for part in range(accumulate):
            timing.start()
            batch = next(batches)
            timing.done("data")
            positions = self.positions(self.step, part)
            alone = model.no_sync() if self.team.size > 1 and part < accumulate - 1 else nullcontext()
            with alone:
                loss, found = self._loss(model, batch, positions)
                self._pending.append((self.step + 1, loss.detach(), positions))
                if self.device.type == "cpu":  # a backward pass of what is no number can end the process
                    self._check_losses()
                timing.done("forward")
                self.scaler.scale(loss / accumulate).backward()
            timing.done("backward")
            total = total + loss.detach() / accumulate
            for name, value in found.items():
                parts[name] = parts.get(name, 0) + value / accumulate
        timing.start()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip or math.inf)
        if not self.scaler.is_enabled():  # it leaves such steps out by itself
            self._pending.append((self.step + 1, norm.detach(), positions))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.mean is not None:
            self._follow()
        timing.done("backward")
        timing.steps += 1
        return total, parts, norm

    def _loss(self, model: nn.Module, batch, positions):
        with torch.autocast(self.device.type, _type(self.plan.precision), enabled=self.plan.precision != "fp32"):
            output = model(batch["moving"], batch["fixed"])
        with torch.autocast(self.device.type, enabled=False):
            return self.objective(batch, output, positions)

    def positions(self, step: int, part: int) -> list[int]:
        """The locations, in the order of a single process, of the pairs of one batch of this process."""
        batch = self.settings.batch
        start = step * self.plan.pairs_per_step + (part * self.team.size + self.team.rank) * batch
        return list(range(start, start + batch))

    def _rate(self, step: int) -> float:
        if self.plan.decay == "constant":
            return self.plan.learning_rate
        return self.plan.learning_rate * (1 - step / self.plan.steps) ** 0.9

    @torch.no_grad()
    def _follow(self) -> None:
        """The running mean of the weights; in the first steps it forgets faster."""
        keep = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.mean[name].lerp_(value, 1 - keep)
            else:
                self.mean[name].copy_(value)

    def _check_losses(self) -> None:
        """Raise InputError for the first loss or gradient that is no number, with step, pairs, and what to lower."""
        pending, self._pending = self._pending, []
        bad = [
            (step, self.source.names(locations)) for step, loss, locations in pending if not bool(torch.isfinite(loss))
        ]
        for step, names in (one for found in self.team.gathered(bad) for one in found):
            kept = f"The checkpoint of step {self.checkpointed} is from before."
            raise InputError(
                f"The loss or its gradient is not a number at step {step} ({', '.join(names)}). Lower --learning-rate "
                f"(it was {self._rate(step - 1):.3g}), clip the gradient (--clip 1), or use --precision fp32. "
                f"{kept if self.checkpointed is not None else 'There is no checkpoint yet.'}"
            )

    # ------------------------------------------------------------------------------------------ validation

    def _validate(self, last: bool) -> bool:
        """Measure the held-out pairs; returns whether to end because nothing became better."""
        if self.held_out is None:
            return False
        with self._validated_weights():
            each, rows = self._measured(last)
        gathered = [one for found in self.team.gathered(each) for one in found]
        self.metrics = {**mean_metrics(gathered), "pairs": float(len(gathered))}
        name = next((n for n in self.task.better if n in self.metrics), None)
        score = self.metrics.get(name)
        better = score is not None and (
            self.best is None or (score != self.best and self.task.better[name](score, self.best) == score)
        )
        self.best = score if better else self.best
        self.since_best = 0 if better else self.since_best + 1
        if self.team.is_first:
            self._log({f"held_out_{n}": v for n, v in self.metrics.items()})
            shown = write_picture(rows, self.folder / PICTURES / f"step-{self.step:07d}.png")
            if self.board is not None and shown is not None:
                self.board.add_image("held out", np.moveaxis(shown, -1, 0), self.step)
            listed = ", ".join(f"{n} {v:.4g}" for n, v in self.metrics.items())
            self.say(f"step {self.step}, held out: {listed}{' (best so far)' if better else ''}")
            if better:
                self._write_model()
        return bool(self.settings.patience and self.since_best >= self.settings.patience)

    @torch.no_grad()
    def _measured(self, last: bool):
        """Metrics of this process's share of the held-out pairs, and pictures of the first ones."""
        self.network.eval()
        each, rows = [], []
        mine = range(self.team.rank, self.held_out_count, self.team.size)
        for position, pair in zip(mine, self.held_out.batches([[n] for n in mine], self.device)):
            output = self.network(pair["moving"], pair["fixed"])
            loss, _ = self.objective(pair, output, [position])
            surfaces = self.settings.surfaces or last
            found = self.task.measure(self.network, pair, output, self.held_out.spacing_kji_mm, surfaces)
            each.append({"loss": float(loss), **found})
            if self.team.is_first and len(rows) < PICTURED:
                rows.append(self.task.draw(self.network, pair, output))
        self.network.train()
        return each, rows

    @contextmanager
    def _validated_weights(self) -> Iterator[None]:
        """The running mean in the network's place, where there is one."""
        if self.mean is None:
            yield
            return
        trained = {n: t.detach().clone() for n, t in self.network.state_dict().items()}
        self.network.load_state_dict(self.mean)
        try:
            yield
        finally:
            self.network.load_state_dict(trained)

    def _write_model(self) -> None:
        weights = self.mean if self.mean is not None else self.network.state_dict()
        where = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type.upper()
        where = f"{self.team.size} x {where}" if self.team.size > 1 else where
        self.task.write(weights, (self.step, self.seconds, where), self.metrics, self.folder)

    # ------------------------------------------------------------------------------------------ keeping

    def _checkpoint(self) -> None:
        if self.team.is_first:
            state = {
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
                "since_best": self.since_best,
                "metrics": self.metrics,
                "network": self.network.state_dict(),
                "mean": self.mean,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            }
            write_checkpoint(state, self.folder, self.checkpointed)
        self.checkpointed = self.step
        self.team.wait()

    def _restore(self) -> None:
        state = read_checkpoint(self.folder)
        if state is None:
            raise InputError(f"{self.folder} holds no checkpoint to go on from. Leave out --resume to start.")
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.mean is not None:
            self.mean = {n: t.to(self.device) for n, t in state["mean"].items()}
        self.step, self.seconds = state["step"], state["seconds"]
        self.best, self.since_best, self.metrics = state["best"], state["since_best"], state["metrics"]
        self.checkpointed = self.step

    def _log(self, entry: dict[str, Any]) -> None:
        line = json.dumps(jsonable({"step": self.step, "seconds": round(self.seconds, 2), **entry}))
        with open(self.folder / LOG_FILE, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
        if self.board is not None:
            for name, value in entry.items():
                self.board.add_scalar(name, value, self.step)

    def _line(self, entry: dict[str, float]) -> str:
        each = sum(entry[f"seconds_{part}"] for part in TIMED)
        left = each * (self.plan.steps - self.step)
        parts = ", ".join(
            f"{n} {entry[n]:.4f}" for n in ("loss", "image", "labels", "field", "segmentation") if n in entry
        )
        left_text = f"{left / 3600:.1f} h" if left > 5400 else f"{left / 60:.0f} min"
        return f"step {self.step} of {self.plan.steps}: {parts}; {each:.2f} s a step, {left_text} left"


class _Positions:
    """The positions of every batch from the present step on, as a sampler gives them to its loader."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.first = trainer, trainer.step

    def __iter__(self):
        for step in range(self.first, self.trainer.plan.steps):
            for part in range(self.trainer.settings.accumulate):
                yield self.trainer.positions(step, part)


def _optimizer(plan: Plan, network: nn.Module) -> torch.optim.Optimizer:
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), plan.learning_rate)
    return torch.optim.Adam(network.parameters(), plan.learning_rate, amsgrad=plan.optimizer == "amsgrad")


def _scaler(device: torch.device, enabled: bool):
    if hasattr(torch.amp, "GradScaler"):  # from torch 2.3 on, for any device
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled and device.type == "cuda")


def _type(precision: str) -> torch.dtype:
    return torch.float16 if precision == "fp16" else torch.bfloat16


@contextmanager
def _stop_asked() -> Iterator[list[bool]]:
    """A list that is no longer empty when the process was asked to stop; a second Ctrl-C stops at once."""
    asked: list[bool] = []

    def handle(number, frame) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(True)

    names = ("SIGTERM", "SIGINT", "SIGUSR1")
    try:
        before = {getattr(signal, n): signal.signal(getattr(signal, n), handle) for n in names if hasattr(signal, n)}
    except ValueError:  # not the main thread: whoever runs it stops it
        before = {}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
