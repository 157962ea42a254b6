"""Where the batches of a training come from. A batch follows from its place in the training alone, so that a training
that was stopped goes on with the batches that it would have had, and many processes share them as one would have them.

A batch is tensors by name: ``moving`` and ``fixed`` (B, 1, ...); where there are such, ``moving_labels`` and
``fixed_labels`` (whole numbers), ``inside`` (1 where to compare), ``displacement`` (the true field, voxels), and
``same_contrast`` (B,).
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..preparation.intensity import match_quantiles
from ..types import InputError
from .augment import augmented
from .dataset_index import Pair
from .recipe import Prepared
from .rng import Draws, seed_of
from .synthetic import BRAIN_LABELS, SyntheticSettings, synthetic_pairs

Batch = dict[str, torch.Tensor]
#: Streams of seeds that never meet.
TRAINING, HELD_OUT, AUGMENTING = 1, 2, 3


class SyntheticSource:
    """Pairs that are made when they are asked for."""

    spacing_kji_mm: tuple[float, ...]

    def __init__(self, shape: Sequence[int], seed: int, settings: SyntheticSettings, stream: int = TRAINING) -> None:
        self.shape, self.seed, self.settings, self.stream = tuple(shape), seed, settings, stream
        self.spacing_kji_mm = (1.0,) * len(self.shape)
        self.labels = range(1, max(BRAIN_LABELS, settings.labels) + 1)

    def names(self, positions: Sequence[int]) -> list[str]:
        return [f"synthetic pair {seed_of(self.seed, self.stream, position)}" for position in positions]

    def batches(self, locations: Sequence[Sequence[int]], device: torch.device):
        """One batch for each sequence of positions."""
        for positions in locations:
            seeds = [seed_of(self.seed, self.stream, position) for position in positions]
            made = synthetic_pairs(self.shape, seeds, device, self.settings)
            yield {f.name: getattr(made, f.name) for f in dataclasses.fields(made) if f.name != "brain"}


class PairSource:
    """Pairs of prepared subjects, in an order that is drawn anew each epoch.

    Args:
        pairs: see ``dataset_index.make_pairs``. subjects: prepared, by name.
        redraw: the moving image of each pair is drawn anew each epoch, among those of the same group.
        groups: by name of the subject, where ``redraw``.
        shuffle: draw the order; else the pairs come as they are.
        augment, mirrored_axes: see ``augment.augmented``.
        workers: processes that read and match images; 0 for none.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        subjects: Mapping[str, Prepared],
        seed: int,
        redraw: bool = False,
        groups: Mapping[str, str | None] | None = None,
        shuffle: bool = True,
        augment: str = "none",
        mirrored_axes: tuple[int, ...] = (),
        workers: int = 0,
    ) -> None:
        self.data = _Pairs(list(pairs), dict(subjects), seed, redraw, dict(groups or {}), shuffle)
        self.seed, self.augment, self.mirrored_axes, self.workers = seed, augment, mirrored_axes, workers
        first = next(iter(subjects.values()))
        self.shape, self.spacing_kji_mm = first.shape, first.spacing_kji_mm

    def __len__(self) -> int:
        return len(self.data.pairs)

    def names(self, positions: Sequence[int]) -> list[str]:
        return ["{} to {}".format(*self.data.names_at(position)) for position in positions]

    def batches(self, locations: Sequence[Sequence[int]], device: torch.device):
        """One batch for each sequence of positions."""
        pinned = device.type == "cuda"
        loader = DataLoader(
            self.data, batch_sampler=locations, num_workers=self.workers, pin_memory=pinned, worker_init_fn=_deaf
        )
        for positions, batch in zip(locations, _explained(loader)):
            batch = {name: t.to(device, non_blocking=pinned) for name, t in batch.items()}
            batch = {name: t.long() if "labels" in name else t for name, t in batch.items()}
            seeds = [seed_of(self.seed, AUGMENTING, position) for position in positions]
            yield augmented(batch, seeds, self.augment, self.mirrored_axes)


def _deaf(number: int) -> None:
    """A reader ends with its training; a signal that goes to all processes must leave it to give the last batches."""
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _explained(loader: DataLoader):
    """The loader's batches; a reader that died is an error in words."""
    batches = iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise InputError(
                "A process that reads images ended, mostly because memory for sharing between processes (/dev/shm) ran "
                "out. Use fewer: --workers 0. The last checkpoint is kept."
            ) from error
        yield batch


class _Pairs(Dataset):
    """By position: epoch times the number of pairs, plus the place in the epoch."""

    def __init__(self, pairs, subjects, seed: int, redraw: bool, groups, shuffle: bool) -> None:
        self.pairs, self.subjects, self.seed, self.redraw, self.shuffle = pairs, subjects, seed, redraw, shuffle
        self.mates: dict[str | None, list[str]] = {}
        if redraw:
            for name in sorted({p.fixed for p in pairs} | {p.moving for p in pairs}):
                self.mates.setdefault(groups.get(name), []).append(name)
        self.groups = groups
        used = [subjects[name] for pair in pairs for name in (pair.moving, pair.fixed)]
        self.labeled = any("labels" in one.arrays for one in used)
        self.masked = any("mask" in one.arrays for one in used)

    def names_at(self, position: int) -> tuple[str, str]:
        """(moving, fixed)."""
        epoch, place = divmod(position, len(self.pairs))
        draws = Draws(seed_of(self.seed, TRAINING, epoch), torch.device("cpu"))
        order = draws.order(len(self.pairs)) if self.shuffle else range(len(self.pairs))
        pair = self.pairs[order[place]]
        if not self.redraw:
            return pair.moving, pair.fixed
        others = [name for name in self.mates[self.groups.get(pair.fixed)] if name != pair.fixed]
        chosen = Draws(seed_of(self.seed, TRAINING, epoch, place), torch.device("cpu")).order(len(others))[0]
        return others[chosen], pair.fixed

    def __getitem__(self, position: int) -> Batch:
        names = self.names_at(position)
        moving, fixed = (self.subjects[name] for name in names)
        images = [np.asarray(one.array("image"), np.float32) for one in (moving, fixed)]
        images[0] = _matched(images[0], images[1])
        found = {"moving": torch.from_numpy(images[0])[None], "fixed": torch.from_numpy(images[1])[None]}
        if self.labeled:
            for side, one in (("moving", moving), ("fixed", fixed)):
                labels = one.array("labels")
                labels = np.zeros(one.shape, np.int32) if labels is None else labels.astype(np.int32)
                found[f"{side}_labels"] = torch.from_numpy(labels)[None]
        if self.masked:
            mask = fixed.array("mask")
            inside = np.ones(fixed.shape, np.float32) if mask is None else mask.astype(np.float32)
            found["inside"] = torch.from_numpy(inside)[None]
        return found


#: Voxels whose distributions are compared: enough for 64 quantiles, and sorting more takes longer than a step.
COMPARED = 300_000


def _matched(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The moving image with the intensities of the fixed one, as a registration prepares them."""
    both = (moving > 0) & (fixed > 0)
    count = int(both.sum())
    if count < 1000:
        return moving
    if count > COMPARED:
        locations = np.flatnonzero(both)[:: count // COMPARED]
        both = np.zeros(both.shape, bool)
        both.flat[locations] = True
    return match_quantiles(moving, fixed, both)
