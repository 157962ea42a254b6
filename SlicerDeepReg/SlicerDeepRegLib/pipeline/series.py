"""Register the frames of a series (heartbeat, breathing, perfusion) to one of them.

Each frame is the fixed image of a registration of its own and the reference is the moving one, so that what is known
of the reference (its segmentation) comes to every frame by one interpolation, and no errors add up: also a frame that
starts from the transform of its neighbor is compared with the reference itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..checks.series import check_series, check_truth
from ..geometry.points import fixed_to_moving, points_before
from ..metrics.labels import dice_by_label, voxels_by_label
from ..preparation.resample import warp_back
from ..types import FrameResult, Image, InputError, Progress, ProgressCallback, Request, Result, Series, Transform
from .register import register


def register_series(
    series: Series,
    truth: Sequence[Image] | None = None,
    report: ProgressCallback | None = None,
    each: Callable[[Request, ProgressCallback], Result] = register,
) -> Iterator[FrameResult]:
    """Register every frame, from the reference outward, and yield what was found of each.

    Args:
        series: what to register.
        truth: segmentations of the frames to measure the brought ones by.
        report: called with :class:`Progress` over the whole series.
        each: registers a frame.

    Raises:
        InputError: as of ``check_series``, ``check_truth`` and ``register``.
    """
    check_series(series)
    if truth is not None:
        check_truth(series, truth)
    frames, reference = series.frames, series.reference
    found: dict[int, Transform] = {}
    measured = _measured(series, reference, None, series.labels, truth)
    yield FrameResult(reference, None, series.labels, frames[reference], measured)
    order = [*range(reference + 1, len(frames)), *range(reference - 1, -1, -1)]
    for place, number in enumerate(order):

        def told(progress: Progress, place: int = place, number: int = number) -> None:
            if report is not None:
                fraction = (place + progress.fraction) / len(order)
                report(Progress(fraction, f"{frames[number].name}, {progress.stage}", progress.loss))

        neighbor = number - 1 if number > reference else number + 1
        request = dataclasses.replace(
            series.request,
            fixed=frames[number],
            moving=frames[reference],
            moving_labels=series.labels,
            fixed_labels=None,
            initial=found.get(neighbor) if series.chain == "neighbor" else None,
        )
        try:
            result = each(request, told)
        except InputError as error:
            raise InputError(f"{frames[number].name}, registered to {frames[reference].name}: {error}") from error
        found[number] = result.transform
        yield FrameResult(
            number,
            result.transform,
            result.warped_labels,
            warp_back(frames[number], frames[reference], result.transform),
            _measured(series, number, result, result.warped_labels, truth),
            result.notes,
        )


def _measured(
    series: Series, number: int, result: Result | None, brought: Image | None, truth: Sequence[Image] | None
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    transform = None if result is None else result.transform
    if brought is not None and series.labels is not None:
        ml = abs(float(np.linalg.det(brought.grid.ijk_to_lps[:3, :3]))) / 1000
        counts = voxels_by_label(brought.values)
        for label in sorted(voxels_by_label(series.labels.values)):
            values[f"volume_{label}_ml"] = counts.get(label, 0) * ml
        if truth is not None:
            dice = dice_by_label(truth[number].values, brought.values, voxels_by_label(series.labels.values))
            values["dice"] = float(np.mean(list(dice.values()))) if dice else None
    if series.points_lps_mm is not None:
        points = series.points_lps_mm
        there = points if transform is None else points_before(transform, points)
        for n, length in enumerate(np.linalg.norm(there - points, axis=1), 1):
            values[f"point_{n}_mm"] = float(length)
    if transform is not None and brought is not None and (brought.values > 0).any():
        inside = np.argwhere(brought.values > 0)[:: max(1, int((brought.values > 0).sum() // 5000))]
        places = inside[:, ::-1] @ brought.grid.ijk_to_lps[:3, :3].T + brought.grid.ijk_to_lps[:3, 3]
        values["motion_mm"] = float(np.linalg.norm(fixed_to_moving(transform, places) - places, axis=1).mean())
    if result is not None:
        after = result.metrics.get("after", {})
        values |= {name: after[name] for name in ("ncc", "jacobian_min", "digital_folds_percent") if name in after}
        values["seconds"] = sum(result.seconds.values())
    return values
