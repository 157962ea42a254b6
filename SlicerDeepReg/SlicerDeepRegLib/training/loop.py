"""The loop that trains: steps, validation, checkpoints; it can stop at any moment and go on as if it had not."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..files.atomic import reason
from ..files.jsonable import jsonable
from ..types import InputError
from .checkpoints import read_checkpoint, write_checkpoint
from .distributed import Distributed
from .joint import JointObjective
from .objective import Objective
from .optimization import RunningMean, autocast_dtype, learning_rate_at, loss_scaler, optimizer_of
from .plan import Plan
from .record import LOG_FILE, TIMED, Timing, keep_log_until, open_board, write_finished
from .rng import seed_of
from .sources import Batch, Source
from .stopping import StopRequest, stop_on_signal
from .task import RegistrationTask
from .validation import mean_metrics, write_image_rows

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


@dataclass(frozen=True)
class StepLosses:
    """What one step lowered: the loss, its unweighted terms by name, and the norm of the gradient."""

    loss: torch.Tensor
    parts: dict[str, torch.Tensor]
    norm: torch.Tensor


class Trainer:
    """One training of one network.

    Args:
        plan: what is trained. network: on the device, from its random start.
        objective: what is lowered.
        source: gives batches by position. held_out: the same for validation, or None; held_out_count: its pairs.
        task: what is measured and kept; registration where none is given.
        folder: for model, checkpoint, log and pictures.
        device: of this process.
        settings: how often things are done, and where.
        distributed: the processes that train together.
        say: called with a line of text now and then.
    """

    def __init__(
        self,
        plan: Plan,
        network: nn.Module,
        objective: Objective | JointObjective,
        source: Source,
        folder: Path,
        device: torch.device,
        settings: LoopSettings,
        distributed: Distributed,
        held_out: Source | None = None,
        held_out_count: int = 0,
        task: RegistrationTask | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.plan, self.network, self.objective, self.source = plan, network, objective, source
        self.folder, self.device, self.settings, self.distributed, self.say = folder, device, settings, distributed, say
        self.held_out, self.held_out_count = held_out, held_out_count
        self.task = task or RegistrationTask(plan)
        self.optimizer = optimizer_of(plan, network)
        self.scaler = loss_scaler(device, plan.precision == "fp16")
        self.mean = RunningMean(network, plan.ema) if plan.ema else None
        self.step, self.seconds, self.since_best = 0, 0.0, 0
        self.best: float | None = None
        self.metrics: dict[str, float] = {}
        self.checkpointed: int | None = None
        self.board = None
        self._said, self._asked_at = 0.0, time.monotonic()
        self._agree_always = distributed.size == 1 or device.type == "cpu"
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
        if self.distributed.is_main:
            keep_log_until(self.folder / LOG_FILE, self.step)
            (self.folder / PICTURES).mkdir(exist_ok=True)
            self.board = open_board(self.folder) if self.settings.tensorboard else None
        self.network.train()
        model = self.network
        if self.distributed.size > 1:
            model = DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)
        try:
            with stop_on_signal() as stop:
                return self._steps(model, stop)
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

    def _steps(self, model: nn.Module, stop: StopRequest) -> Ended:
        begun, before = time.monotonic(), self.seconds
        timing = Timing(self.device)
        batches = self.source.batches(_Positions(self), self.device)
        ended: Ended | None = None
        while ended is None and self.step < self.plan.steps:
            losses = self._one_step(model, batches, timing)
            self.step += 1
            self.seconds = before + time.monotonic() - begun
            limit = self.settings.limit_s
            out_of_time = limit is not None and self.seconds - before > limit
            ended = self._after_step(losses, timing, stop.asked, out_of_time)
        return ended or self._end(True, "finished")

    def _after_step(self, losses: StepLosses, timing: Timing, asked: bool, out_of_time: bool) -> Ended | None:
        """Log, validate and keep, whatever is due; returns how the training ended, if it did."""
        settings, last = self.settings, self.step == self.plan.steps
        log_now = self.step % settings.log_every == 0 or last
        if log_now or self.device.type == "cpu":  # on a GPU a look at a loss waits for it
            self._check_losses()
        if log_now:
            self._report(losses, timing.means())
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
        if self.distributed.any(self.device.type == "cpu" or now - self._asked_at > 5, self.device):
            self._agree_always = True
        self._asked_at = now
        return self.distributed.any(stop, self.device)

    def _report(self, losses: StepLosses, seconds: dict[str, float]) -> None:
        if not self.distributed.is_main:
            return
        entry = {
            "loss": float(losses.loss),
            **{name: float(value) for name, value in losses.parts.items()},
            "gradient_norm": float(losses.norm),
            "learning_rate": learning_rate_at(self.plan, self.step - 1),
            **seconds,
        }
        self._log(entry)
        if time.monotonic() - self._said > 15 or self.step == self.plan.steps:
            self._said = time.monotonic()
            self.say(self._line(entry))

    def _end(self, finished: bool, why: str) -> Ended:
        if self.distributed.is_main and self.best is None:  # else the best one that was measured is there
            self._write_model()
        if self.distributed.is_main and finished:
            write_finished(self.folder, self.step, self.seconds, why, self.metrics)
        self.distributed.barrier()
        return Ended(self.step, finished, why, self.metrics)

    def _one_step(self, model: nn.Module, batches: Iterator[Batch], timing: Timing) -> StepLosses:
        """Improve the weights once."""
        torch.manual_seed(seed_of(self.plan.seed, self.step, self.distributed.rank))  # whatever a network rng by itself
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.plan, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        total, parts, accumulate = 0.0, {}, self.settings.accumulate
        for part in range(accumulate):
            timing.start()
            batch = next(batches)
            timing.done("data")
            positions = self.positions(self.step, part)
            alone = model.no_sync() if self.distributed.size > 1 and part < accumulate - 1 else nullcontext()
            with alone:
                loss, terms = self._loss(model, batch, positions)
                self._pending.append((self.step + 1, loss.detach(), positions))
                if self.device.type == "cpu":  # a backward pass of what is no number can end the process
                    self._check_losses()
                timing.done("forward")
                self.scaler.scale(loss / accumulate).backward()
            timing.done("backward")
            total = total + loss.detach() / accumulate
            for name, value in terms.items():
                parts[name] = parts.get(name, 0) + value / accumulate
        timing.start()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip or math.inf)
        if not self.scaler.is_enabled():  # it leaves such steps out by itself
            self._pending.append((self.step + 1, norm.detach(), positions))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.mean is not None:
            self.mean.update(self.network, self.step)
        timing.done("backward")
        timing.steps += 1
        return StepLosses(total, parts, norm)

    def _loss(
        self, model: nn.Module, batch: Batch, positions: Sequence[int]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        output = outputs(model, batch, self.plan.precision)
        with torch.autocast(self.device.type, enabled=False):
            return self.objective(batch, output, positions)

    def positions(self, step: int, part: int) -> list[int]:
        """Return the positions, in the order of a single process, of the pairs of one batch of this process."""
        batch = self.settings.batch
        start = step * self.plan.pairs_per_step + (part * self.distributed.size + self.distributed.rank) * batch
        return list(range(start, start + batch))

    def _check_losses(self) -> None:
        """Raise InputError for the first loss or gradient that is no number, with step, pairs, and what to lower."""
        pending, self._pending = self._pending, []
        bad = [
            (step, self.source.names(positions)) for step, loss, positions in pending if not bool(torch.isfinite(loss))
        ]
        for step, names in itertools.chain.from_iterable(self.distributed.gather(bad)):
            kept = f"The checkpoint of step {self.checkpointed} is from before."
            rate = learning_rate_at(self.plan, step - 1)
            half = "" if self.plan.precision == "fp32" else f"Use --precision fp32 (it was {self.plan.precision}), or "
            lower = f"ower --learning-rate (it was {rate:.3g}), or clip the gradient (--clip 1). "
            raise InputError(
                f"The loss or its gradient is not a number at step {step} ({', '.join(names)}). "
                f"{half + 'l' if half else 'L'}{lower}"
                f"{kept if self.checkpointed is not None else 'There is no checkpoint yet.'}"
            )

    # ------------------------------------------------------------------------------------------ validation

    def _validate(self, last: bool) -> bool:
        """Measure the held-out pairs; returns whether to end because nothing became better."""
        if self.held_out is None:
            return False
        with self._validated_weights():
            each, rows = self._measured(last)
        metrics = list(itertools.chain.from_iterable(self.distributed.gather(each)))
        self.metrics = {**mean_metrics(metrics), "pairs": float(len(metrics))}
        name = next((n for n in self.task.better if n in self.metrics), None)
        score = self.metrics.get(name)
        better = score is not None and (
            self.best is None or (score != self.best and self.task.better[name](score, self.best) == score)
        )
        self.best = score if better else self.best
        self.since_best = 0 if better else self.since_best + 1
        if self.distributed.is_main:
            self._log({f"held_out_{n}": v for n, v in self.metrics.items()})
            shown = write_image_rows(rows, self.folder / PICTURES / f"step-{self.step:07d}.png")
            if self.board is not None and shown is not None:
                self.board.add_image("held out", np.moveaxis(shown, -1, 0), self.step)
            listed = ", ".join(f"{n} {v:.4g}" for n, v in self.metrics.items())
            self.say(f"step {self.step}, held out: {listed}{' (best so far)' if better else ''}")
            if better:
                self._write_model()
        return bool(self.settings.patience and self.since_best >= self.settings.patience)

    @torch.no_grad()
    def _measured(self, last: bool) -> tuple[list[dict[str, float]], list[np.ndarray]]:
        """Measure this process's share of the held-out pairs, and draw the first ones."""
        self.network.eval()
        each, rows = [], []
        mine = range(self.distributed.rank, self.held_out_count, self.distributed.size)
        for position, pair in zip(mine, self.held_out.batches([[n] for n in mine], self.device)):
            output = self.network(pair["moving"], pair["fixed"])
            loss, _ = self.objective(pair, output, [position])
            surfaces = self.settings.surfaces or last
            metrics = self.task.measure(self.network, pair, output, self.held_out.spacing_kji_mm, surfaces)
            each.append({"loss": float(loss), **metrics})
            if self.distributed.is_main and len(rows) < PICTURED:
                rows.append(self.task.draw(self.network, pair, output))
        self.network.train()
        return each, rows

    @contextmanager
    def _validated_weights(self) -> Iterator[None]:
        """Return the running mean in the network's place, where there is one."""
        if self.mean is None:
            yield
            return
        trained = {n: t.detach().clone() for n, t in self.network.state_dict().items()}
        self.network.load_state_dict(self.mean.weights)
        try:
            yield
        finally:
            self.network.load_state_dict(trained)

    def _write_model(self) -> None:
        weights = self.mean.weights if self.mean is not None else self.network.state_dict()
        where = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type.upper()
        where = f"{self.distributed.size} x {where}" if self.distributed.size > 1 else where
        self.task.write(weights, (self.step, self.seconds, where), self.metrics, self.folder)

    # ------------------------------------------------------------------------------------------ keeping

    def _checkpoint(self) -> None:
        if self.distributed.is_main:
            state = {
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
                "since_best": self.since_best,
                "metrics": self.metrics,
                "network": self.network.state_dict(),
                "mean": self.mean.weights if self.mean is not None else None,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            }
            write_checkpoint(state, self.folder, self.checkpointed)
        self.checkpointed = self.step
        self.distributed.barrier()

    def _restore(self) -> None:
        state = read_checkpoint(self.folder)
        if state is None:
            raise InputError(f"{self.folder} contains no checkpoint to go on from. Leave out --resume to start.")
        try:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.mean is not None:
                self.mean.restore(state["mean"], self.device)
            self.step, self.seconds = state["step"], state["seconds"]
            self.best, self.since_best, self.metrics = state["best"], state["since_best"], state["metrics"]
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise InputError(
                f"The checkpoint in {self.folder} is not one of this training ({reason(error)}). Copy it again, or "
                "start anew in another folder."
            ) from error
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


def outputs(model: nn.Module, batch: Batch, precision: str) -> Any:
    """Return what a network gives for a batch, computed in a precision."""
    kind = batch["moving"].device.type
    with torch.autocast(kind, autocast_dtype(precision), enabled=precision != "fp32"):
        return model(batch["moving"], batch["fixed"])


class _Positions:
    """The positions of every batch from the present step on, as a sampler gives them to its loader."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.first = trainer, trainer.step

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.trainer.plan.steps):
            for part in range(self.trainer.settings.accumulate):
                yield self.trainer.positions(step, part)
