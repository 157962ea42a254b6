"""Register the frames of a series (heartbeat, breathing, perfusion) to one of them.

Each frame is the fixed image of a registration of its own and the reference is the moving one, so that what is known
of the reference (its segmentation) comes to every frame by one interpolation, and no errors add up: also a frame that
starts from the transform of its neighbor is compared with the reference itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..geometry.points import fixed_to_moving, points_before
from ..metrics.labels import dice_by_label, voxels_by_label
from ..types import CHAINS, Image, InputError, Progress, ProgressCallback, Request, Result, Transform
from .register import register


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What was found of one frame.

    Attributes:
        number: of the frame, from 0 on.
        result: of its registration; None of the reference.
        labels: the segmentation of the reference on this frame, or None.
        measured: numbers by name, for a table.
    """

    number: int
    result: Result | None
    labels: Image | None
    measured: Mapping[str, Any]


def check_series(frames: Sequence[Image], reference: int, labels: Image | None) -> None:
    """Check what can be known before any work.

    Raises:
        InputError: fewer than two frames, no such reference, frames of another size, or labels on another grid.
    """
    if len(frames) < 2:
        raise InputError("A series needs at least two frames. Give a 4D image, or several images.", "frames")
    if not 0 <= reference < len(frames):
        raise InputError(
            f"There is no frame {reference}: the series has {len(frames)}, numbered from 0 on.", "reference"
        )
    size = frames[reference].grid.size_ijk
    for number, frame in enumerate(frames):
        if frame.grid.size_ijk != size:
            raise InputError(
                f"Frame {number} has {' x '.join(map(str, frame.grid.size_ijk))} voxels and frame {reference}, the "
                f"reference, {' x '.join(map(str, size))}. Resample them to one grid.",
                "frames",
            )
    if labels is not None and not labels.grid.same_as(frames[reference].grid):
        raise InputError(
            f"The labels lie on another voxel grid than frame {reference}, the reference. Give the labels of that "
            "frame.",
            "labels",
        )


def register_series(
    frames: Sequence[Image],
    reference: int,
    request: Request,
    labels: Image | None = None,
    points_lps_mm: np.ndarray | None = None,
    truth: Sequence[Image] | None = None,
    chain: str = CHAINS[0],
    report: ProgressCallback | None = None,
) -> Iterator[FrameResult]:
    """Register every frame, from the reference outward, and yield what was found of each.

    Args:
        frames: on grids of one size.
        reference: the number of the frame that all are registered with.
        request: how to register; its images are not used.
        labels: the segmentation of the reference, which is brought to every frame.
        points_lps_mm: (N, 3) places of the reference whose motion is followed.
        truth: segmentations of the frames to measure the brought ones by.
        chain: one of ``CHAINS``.
        report: called with :class:`Progress` over the whole series.

    Raises:
        InputError: as of ``check_series`` and ``register``.
    """
    check_series(frames, reference, labels)
    if chain not in CHAINS:
        raise InputError(f"chain must be one of {', '.join(CHAINS)}; it was {chain!r}.", "chain")
    found: dict[int, Transform] = {}
    yield _measured(reference, None, labels, None, labels, points_lps_mm, truth)
    order = [*range(reference + 1, len(frames)), *range(reference - 1, -1, -1)]
    for place, number in enumerate(order):

        def told(progress: Progress, place: int = place, number: int = number) -> None:
            if report is not None:
                fraction = (place + progress.fraction) / len(order)
                report(Progress(fraction, f"frame {number}, {progress.stage}", progress.loss))

        neighbor = number - 1 if number > reference else number + 1
        result = register(
            dataclasses.replace(
                request,
                fixed=frames[number],
                moving=frames[reference],
                moving_labels=labels,
                fixed_labels=None,
                initial=found.get(neighbor) if chain == "neighbor" else None,
            ),
            told,
        )
        found[number] = result.transform
        yield _measured(number, result, result.warped_labels, result.transform, labels, points_lps_mm, truth)


def _measured(
    number: int,
    result: Result | None,
    brought: Image | None,
    transform: Transform | None,
    labels: Image | None,
    points_lps_mm: np.ndarray | None,
    truth: Sequence[Image] | None,
) -> FrameResult:
    values: dict[str, Any] = {}
    if brought is not None and labels is not None:
        ml = abs(float(np.linalg.det(brought.grid.ijk_to_lps[:3, :3]))) / 1000
        counts = voxels_by_label(brought.values)
        for label in sorted(voxels_by_label(labels.values)):
            values[f"volume_{label}_ml"] = counts.get(label, 0) * ml
        if truth is not None:
            dice = dice_by_label(truth[number].values, brought.values)
            values["dice"] = float(np.mean(list(dice.values()))) if dice else None
    if points_lps_mm is not None:
        there = points_lps_mm if transform is None else points_before(transform, points_lps_mm)
        for n, length in enumerate(np.linalg.norm(there - points_lps_mm, axis=1), 1):
            values[f"point_{n}_mm"] = float(length)
    if transform is not None and transform.field is not None and brought is not None and (brought.values > 0).any():
        inside = np.argwhere(brought.values > 0)[:: max(1, int((brought.values > 0).sum() // 5000))]
        places = inside[:, ::-1] @ brought.grid.ijk_to_lps[:3, :3].T + brought.grid.ijk_to_lps[:3, 3]
        values["motion_mm"] = float(np.linalg.norm(fixed_to_moving(transform, places) - places, axis=1).mean())
    if result is not None:
        after = result.metrics.get("after", {})
        values |= {name: after[name] for name in ("ncc", "jacobian_min", "digital_folds_percent") if name in after}
        values["seconds"] = sum(result.seconds.values())
    return FrameResult(number, result, brought, values)
