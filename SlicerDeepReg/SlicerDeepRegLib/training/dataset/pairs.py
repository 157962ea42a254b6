"""Makes pairs of the subjects of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...types import InputError
from .index import DatasetIndex, Pair

#: How pairs are made of images, see :func:`make_pairs`.
PAIRINGS = ("all", "random", "from-atlas", "to-atlas", "given")
#: Those in which one image, the atlas, stands in every pair.
ATLAS_PAIRINGS = ("from-atlas", "to-atlas")


def make_pairs(index: DatasetIndex, pairing: str, split: str, atlas: str | None = None) -> list[Pair]:
    """Return the pairs of a split, in a fixed order.

    Args:
        pairing: "all": every ordered pair; "random": every subject once as fixed, its moving one sampled anew each
            epoch (here: the next one); "from-atlas" and "to-atlas": the atlas to or from every other; "given": those
            that the data name.

    Raises:
        InputError: fewer than two images, no atlas of that name, or no pairs given.
    """
    if pairing not in PAIRINGS:
        raise InputError(f"Pairs are made by {', '.join(PAIRINGS)}; it was {pairing!r}.")
    if pairing == "given":
        split_of = {name: subject.split for name, subject in index.subjects.items()}
        pairs = [p for p in index.given if _is_of(p, split_of, split)]
        if not pairs and split == "train":
            raise InputError("The data name no pairs for training. Use --pairs all, random, from-atlas or to-atlas.")
        return pairs
    given = [pair for pair in index.given if pair.split == split]
    if split != "train" and given:
        return given  # as the data's own protocol has it
    names = [name for name, subject in index.subjects.items() if subject.split == split]
    if pairing in ("from-atlas", "to-atlas"):
        if atlas not in index.subjects:
            known = ", ".join(list(index.subjects)[:5])
            raise InputError(f"There is no image {atlas!r} for the atlas (--atlas NAME). Names are: {known}, ...")
        others = [name for name in names if name != atlas]
        return [Pair(atlas, n, split) if pairing == "from-atlas" else Pair(n, atlas, split) for n in others]
    pairs = _within_groups(index, names, "random" if split != "train" else pairing, split)
    if not pairs and split == "train":
        raise InputError(
            f"{len(names)} image{'s' if len(names) != 1 else ''} for training: a pair needs two (of one group). Add "
            "images, or use synthetic pairs: --synthetic."
        )
    return pairs


def held_out(pair: Pair, split_of: Mapping[str, str | None]) -> bool:
    """Return whether one of the two is for validation or a test."""
    return any(split_of[name] in ("val", "test") for name in (pair.moving, pair.fixed))


def _is_of(pair: Pair, split_of: Mapping[str, str | None], split: str) -> bool:
    """Return whether a pair is in a split: the data say so, or both its images are; no training pair is held out."""
    if not pair.split:
        return split_of[pair.moving] == split == split_of[pair.fixed]
    return pair.split == split and not (split == "train" and held_out(pair, split_of))


def _within_groups(index: DatasetIndex, names: Sequence[str], pairing: str, split: str) -> list[Pair]:
    groups: dict[str | None, list[str]] = {}
    for name in names:
        groups.setdefault(index.subjects[name].group, []).append(name)
    pairs: list[Pair] = []
    for members in groups.values():
        if pairing == "random":
            pairs += [Pair(members[n - 1], name, split) for n, name in enumerate(members) if len(members) > 1]
        else:
            pairs += [Pair(moving, fixed, split) for fixed in members for moving in members if moving != fixed]
    return pairs
