"""Which landmarks of two lists belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..types import PointList
from .facts import PointFacts

#: As many labels are written out; more are counted.
_MOST_LABELS = 10


@dataclass(frozen=True, eq=False)
class Pairs:
    """Landmarks that were paired.

    Attributes:
        fixed_lps_mm, moving_lps_mm: (N, 3), row n of one belonging to row n of the other; None where there is no list
            or the lists cannot be paired.
        fixed_indices, moving_indices: N, where each stands in its list.
        facts: what the checks are told of them.
        names: N, what messages call each: its label, or its number in the list of the fixed image.
        uncertainty_mm: (N,) how far each may be wrong, the larger of both lists; NaN where neither says.
    """

    fixed_lps_mm: np.ndarray | None = None
    moving_lps_mm: np.ndarray | None = None
    fixed_indices: tuple[int, ...] = ()
    moving_indices: tuple[int, ...] = ()
    facts: PointFacts = field(default_factory=PointFacts)
    names: tuple[str, ...] = ()
    uncertainty_mm: np.ndarray = field(default_factory=lambda: np.zeros(0))


def pair_landmarks(fixed: PointList | None, moving: PointList | None) -> Pairs:
    """Pair two lists: by label where both name each point differently and share a name, else by their order.

    A pair is left out if one of its points was not placed; a point, if no other has its label. The notes say so.
    """
    if fixed is None or moving is None:
        return Pairs(facts=PointFacts(_count(fixed), _count(moving)))
    notes = [*fixed.notes, *moving.notes]
    reason = _why_not_by_label(fixed.labels, moving.labels)
    if not reason:
        indices = [(n, moving.labels.index(label)) for n, label in enumerate(fixed.labels) if label in moving.labels]
        notes.append("The landmarks were paired by their labels.")
        notes += _only_in_one(fixed.labels, moving.labels)
    elif _count(fixed) == _count(moving):
        indices = [(n, n) for n in range(len(fixed.positions_lps_mm))]
        notes.append(f"The landmarks were paired by their order, because {reason}.")
    else:
        return Pairs(facts=PointFacts(_count(fixed), _count(moving)))
    placed = [(f, m) for f, m in indices if fixed.placed[f] and moving.placed[m]]
    if len(placed) < len(indices):
        names = [
            (fixed.labels[f] if fixed.labels else "") or f"number {f + 1}" for f, m in indices if (f, m) not in placed
        ]
        notes.append(f"Landmarks that are not placed in both images were left out: {listed(names)}.")
    fixed_indices, moving_indices = tuple(f for f, _ in placed), tuple(m for _, m in placed)
    return Pairs(
        fixed_lps_mm=fixed.positions_lps_mm[list(fixed_indices)],
        moving_lps_mm=moving.positions_lps_mm[list(moving_indices)],
        fixed_indices=fixed_indices,
        moving_indices=moving_indices,
        facts=PointFacts(len(placed), len(placed), notes=tuple(notes)),
        names=tuple((fixed.labels[n] if fixed.labels else "") or f"number {n + 1}" for n in fixed_indices),
        uncertainty_mm=np.fmax(_uncertainty(fixed, fixed_indices), _uncertainty(moving, moving_indices)),
    )


def _uncertainty(points: PointList, indices: Sequence[int]) -> np.ndarray:
    if points.uncertainty_mm is None:
        return np.full(len(indices), np.nan)
    return points.uncertainty_mm[list(indices)]


def _count(points: PointList | None) -> int | None:
    return None if points is None else len(points.positions_lps_mm)


def _why_not_by_label(fixed: Sequence[str], moving: Sequence[str]) -> str:
    """Return why labels do not tell which points belong together, as the end of a sentence; "" if they do."""
    for role, labels in (("fixed", fixed), ("moving", moving)):
        if not all(labels) or not labels:
            return f"not every {role} point has a label"
        if len(set(labels)) < len(labels):
            return f"a label of the {role} points occurs twice"
    if not set(fixed) & set(moving):
        return f"the lists have no label in common ({fixed[0]}, ... and {moving[0]}, ...)"
    return ""


def _only_in_one(fixed: Sequence[str], moving: Sequence[str]) -> list[str]:
    notes = []
    for role, labels, others in (("fixed", fixed, moving), ("moving", moving, fixed)):
        alone = [label for label in labels if label not in others]
        if alone:
            counted = f"{len(alone)} of the {len(labels)} {role} points"
            notes.append(f"{counted} were left out, because the other list has none of that label: {listed(alone)}.")
    return notes


def listed(names: Sequence[str]) -> str:
    """Return names in a row; of many only the first."""
    shown = ", ".join(names[:_MOST_LABELS])
    return shown if len(names) <= _MOST_LABELS else f"{shown} and {len(names) - _MOST_LABELS} more"
