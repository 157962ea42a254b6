"""Where the batches of a training come from. A batch follows from its place in the training alone, so that a training
that was stopped goes on with the batches that it would have had, and many processes share them as one would have them.

A batch is tensors by name: ``moving`` and ``fixed`` (B, 1, ...); where there are such, ``moving_labels`` and
``fixed_labels`` (whole numbers), ``inside`` (1 where to compare), ``displacement`` (the true field, voxels), and
``same_contrast`` (B,).
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..preparation.intensity import match_quantiles
from ..types import InputError
from .augment import augmented
from .dataset.index import Pair
from .recipe import Prepared
from .rng import Rng, seed_of
from .stopping import SIGNALS
from .synthetic import BRAIN_LABELS, SyntheticSettings, synthetic_pairs

Batch = dict[str, torch.Tensor]
#: Streams of seeds that never meet.
TRAINING, HELD_OUT, AUGMENTING = 1, 2, 3


class Source(Protocol):
    """Where batches come from; a pair follows from its position alone.

    Attributes:
        shape: (K, J, I) or (J, I) of the images.
        spacing_kji_mm: voxel size along these axes.
    """

    shape: tuple[int, ...]
    spacing_kji_mm: tuple[float, ...]

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return what messages call the pairs at these positions."""

    def batches(self, positions_of_batches: Iterable[Sequence[int]], device: torch.device) -> Iterator[Batch]:
        """Yield one batch for each sequence of positions."""


class SyntheticSource:
    """Synthetic pairs, made when they are asked for.

    Args:
        shape: (K, J, I) or (J, I).
        seed: of the training.
        settings: what the pairs are like.
        stream: which of the streams of seeds, so that held-out pairs are others.
    """

    def __init__(self, shape: Sequence[int], seed: int, settings: SyntheticSettings, stream: int = TRAINING) -> None:
        self.shape, self.seed, self.settings, self.stream = tuple(shape), seed, settings, stream
        self.spacing_kji_mm = (1.0,) * len(self.shape)
        self.labels = range(1, max(BRAIN_LABELS, settings.labels) + 1)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return what messages call the pairs at these positions."""
        return [f"synthetic pair {seed_of(self.seed, self.stream, position)}" for position in positions]

    def batches(self, positions_of_batches: Iterable[Sequence[int]], device: torch.device) -> Iterator[Batch]:
        """Yield one batch for each sequence of positions."""
        for positions in positions_of_batches:
            seeds = [seed_of(self.seed, self.stream, position) for position in positions]
            pairs = synthetic_pairs(self.shape, seeds, device, self.settings)
            yield {f.name: getattr(pairs, f.name) for f in dataclasses.fields(pairs) if f.name != "brain"}


class PairSource:
    """Pairs of prepared subjects, in an order that is sampled anew each epoch.

    Args:
        pairs: see ``dataset.pairs.make_pairs``. subjects: prepared, by name.
        redraw: the moving image of each pair is sampled anew each epoch, among those of the same group.
        groups: by name of the subject, where ``redraw``.
        shuffle: sample the order; else the pairs come in their own.
        augment, mirrored_axes: see ``augment.augmented``.
        workers: processes that read and match images; 0 for none.
        match: the moving image gets the intensities of the fixed one.
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
        match: bool = True,
    ) -> None:
        self.data = _Pairs(list(pairs), dict(subjects), seed, redraw, dict(groups or {}), shuffle, match)
        self.seed, self.augment, self.mirrored_axes, self.workers = seed, augment, mirrored_axes, workers
        first = next(iter(subjects.values()))
        self.shape, self.spacing_kji_mm = first.shape, first.spacing_kji_mm

    def __len__(self) -> int:
        return len(self.data.pairs)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return what messages call the pairs at these positions."""
        return ["{} to {}".format(*self.data.names_at(position)) for position in positions]

    def batches(self, positions_of_batches: Iterable[Sequence[int]], device: torch.device) -> Iterator[Batch]:
        """Yield one batch for each sequence of positions."""
        pinned = device.type == "cuda"
        loader = DataLoader(
            self.data,
            batch_sampler=positions_of_batches,
            num_workers=self.workers,
            pin_memory=pinned,
            worker_init_fn=_ignore_signals,
        )
        for positions, batch in zip(positions_of_batches, _explained(loader)):
            batch = {name: t.to(device, non_blocking=pinned) for name, t in batch.items()}
            batch = {name: t.long() if "labels" in name else t for name, t in batch.items()}
            seeds = [seed_of(self.seed, AUGMENTING, position) for position in positions]
            yield augmented(batch, seeds, self.augment, self.mirrored_axes)


def _ignore_signals(worker: int) -> None:
    """End a reader with its training; a signal that goes to all processes must leave it to give the last batches."""
    for asking in signal.Signals:
        if asking.name in SIGNALS:
            signal.signal(asking, signal.SIG_IGN)


def _explained(loader: DataLoader) -> Iterator[Batch]:
    """Yield the loader's batches; a reader that died raises an InputError."""
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
                "A process that reads images ended, most often because shared memory (/dev/shm) ran out. Use fewer "
                "processes (--workers 1, or 0 for none). The last checkpoint is kept: go on with --resume."
            ) from error
        yield batch


class _Pairs(Dataset):
    """The pairs by position: epoch times the number of pairs, plus the place in the epoch."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        subjects: Mapping[str, Prepared],
        seed: int,
        redraw: bool,
        groups: Mapping[str, str | None],
        shuffle: bool,
        match: bool,
    ) -> None:
        self.pairs, self.subjects, self.seed, self.redraw, self.shuffle = pairs, subjects, seed, redraw, shuffle
        self.match = match
        self.mates: dict[str | None, list[str]] = {}
        if redraw:
            for name in sorted({p.fixed for p in pairs} | {p.moving for p in pairs}):
                self.mates.setdefault(groups.get(name), []).append(name)
        self.groups = groups
        used = [subjects[name] for pair in pairs for name in (pair.moving, pair.fixed)]
        self.labeled = any("labels" in subject.arrays for subject in used)
        self.masked = any("mask" in subject.arrays for subject in used)

    def names_at(self, position: int) -> tuple[str, str]:
        """Return the names of the moving and the fixed subject."""
        epoch, place = divmod(position, len(self.pairs))
        rng = Rng(seed_of(self.seed, TRAINING, epoch), torch.device("cpu"))
        order = rng.permutation(len(self.pairs)) if self.shuffle else range(len(self.pairs))
        pair = self.pairs[order[place]]
        if not self.redraw:
            return pair.moving, pair.fixed
        others = [name for name in self.mates[self.groups.get(pair.fixed)] if name != pair.fixed]
        chosen = Rng(seed_of(self.seed, TRAINING, epoch, place), torch.device("cpu")).permutation(len(others))[0]
        return others[chosen], pair.fixed

    def __getitem__(self, position: int) -> Batch:
        names = self.names_at(position)
        moving, fixed = (self.subjects[name] for name in names)
        images = [np.asarray(subject.array("image"), np.float32) for subject in (moving, fixed)]
        if self.match:
            images[0] = matched(images[0], images[1])
        batch = {"moving": torch.from_numpy(images[0])[None], "fixed": torch.from_numpy(images[1])[None]}
        if self.labeled:
            for side, subject in (("moving", moving), ("fixed", fixed)):
                labels = subject.array("labels")
                labels = np.zeros(subject.shape, np.int32) if labels is None else labels.astype(np.int32)
                batch[f"{side}_labels"] = torch.from_numpy(labels)[None]
        if self.masked:
            mask = fixed.array("mask")
            inside = np.ones(fixed.shape, np.float32) if mask is None else mask.astype(np.float32)
            batch["inside"] = torch.from_numpy(inside)[None]
        return batch


#: Voxels whose distributions are compared: enough for 64 quantiles, and sorting more takes longer than a step.
COMPARED = 300_000


def matched(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Return the moving image with the intensities of the fixed one, as a registration prepares them.

    Args:
        moving, fixed: of one shape, 0 to 1, 0 where nothing is shown.
    """
    both = (moving > 0) & (fixed > 0)
    count = int(both.sum())
    if count < 1000:
        return moving
    if count > COMPARED:
        kept = np.flatnonzero(both)[:: count // COMPARED]
        both = np.zeros(both.shape, bool)
        both.flat[kept] = True
    return match_quantiles(moving, fixed, both)
