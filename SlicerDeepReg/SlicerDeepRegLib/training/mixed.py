"""Pairs of two kinds in one training: painted on label maps, and of real images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from .rng import Rng, seed_of
from .sources import Batch, Source

#: The stream of seeds that decides what a step is made of.
MIXING = 4


class MixedSource:
    """Batches of one source or the other; a batch holds pairs of one kind.

    Args:
        made: gives pairs at any position.
        real: of the same shape and spacing.
        is_real: whether the batch that begins at a position is of real pairs; :func:`part_of`, :func:`first_ones`.
    """

    def __init__(self, made: Source, real: Source, is_real: Callable[[int], bool]) -> None:
        self.made, self.real, self.is_real = made, real, is_real
        self.shape, self.spacing_kji_mm = made.shape, made.spacing_kji_mm

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return what messages call the pairs at these positions."""
        return (self.real if self.is_real(positions[0]) else self.made).names(positions)

    def batches(self, positions_of_batches: Iterable[Sequence[int]], device: torch.device) -> Iterator[Batch]:
        """Yield one batch for each sequence of positions."""
        kinds = {
            False: self.made.batches(_Those(positions_of_batches, lambda first: not self.is_real(first)), device),
            True: self.real.batches(_Those(positions_of_batches, self.is_real), device),
        }
        for positions in positions_of_batches:
            yield next(kinds[self.is_real(positions[0])])


class _Those:
    """The batches whose first position is wanted, as often as they are asked for."""

    def __init__(self, batches: Iterable[Sequence[int]], wanted: Callable[[int], bool]) -> None:
        self._batches, self._wanted = batches, wanted

    def __iter__(self) -> Iterator[Sequence[int]]:
        return (positions for positions in self._batches if self._wanted(positions[0]))


def part_of(seed: int, part: float) -> Callable[[int], bool]:
    """Return a rule by which that part of the batches, 0 to 1, is real."""
    return lambda position: Rng(seed_of(seed, MIXING, position), torch.device("cpu")).chance(part)


def first_ones(count: int) -> Callable[[int], bool]:
    """Return a rule by which the first pairs are real."""
    return lambda position: position < count
