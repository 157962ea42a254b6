"""``register(request) -> result``: the one function that the command line, the panel's worker and the tests call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import device as devices
from ..checks import Inputs, read_inputs
from ..files.images import checksum
from ..geometry.jacobian import jacobian_of_transform
from ..methods.base import scaled
from ..preparation.resample import warp_image, warp_labels
from ..types import Field, Image, InputError, Progress, ProgressCallback, Request, Result, Transform
from ..warping.path import path_of
from .align import Alignment, Plan, align
from .assess import Assessment, assess, measured_stages
from .clock import Clock
from .continued import base_of, continued
from .initial import initial_transform
from .provenance import files_and_images_of, provenance
from .structures import asks_for_structures, with_structures
from .uncertainty import uncertainty_map


def register(
    request: Request,
    report: ProgressCallback | None = None,
    show: Callable[[Result], None] | None = None,
    tell: Callable[[Mapping[str, Any]], None] | None = None,
) -> Result:
    """Register a pair: checks, linear alignment, method, result.

    Args:
        request: what to register, and how.
        report: called with :class:`Progress` many times a second at most; raise ``Canceled`` in it to stop.
        show: called with the result as soon as there is one to look at, before anything is measured: its metrics,
            locations, path and uncertainty are empty.
        tell: called while it is measured, with the metrics of its end that are known by then.

    Returns:
        The transform from fixed to moving points with its inverse, the warped image (linear interpolation)
        and labels (nearest neighbor) on the fixed grid, the Jacobian, and every metric before and after.

    Raises:
        InputError: something given cannot be used; said before any work where it can be known by then.
        DeviceMemoryError, DeviceLostError: the GPU's memory ran out; the GPU stopped working.
        MemoryError: this computer's memory ran out.
        Canceled: ``report`` asked for it.
    """
    try:
        return _register(request, report or _silent, show, tell)
    except RuntimeError as error:
        explained = devices.in_words(error)
        if explained is error:
            raise
        raise explained from error


def _register(
    request: Request,
    report: ProgressCallback,
    show: Callable[[Result], None] | None,
    tell: Callable[[Mapping[str, Any]], None] | None,
) -> Result:
    plan = Plan.of(request)
    clock = Clock(plan.device)
    share = 1 / (1 + request.uncertainty_runs)
    progress = scaled(report, 0.0, share)

    progress(Progress(0.0, "reading"))
    inputs = read_inputs(request)
    warnings = plan.check(inputs.facts)
    initial, said = initial_transform(request, inputs, plan.method)
    checksums = _checksums(request)  # now: a disk that is taken away in the meantime should not lose the result
    base = base_of(request, inputs, checksums, plan.device)
    if base is not None and request.uncertainty_runs:
        raise InputError(
            "The uncertainty is that of a whole registration, and this one continues another. Leave one of them out.",
            "uncertainty_runs",
        )
    clock.done("read")
    seen: tuple[str, ...] = ()
    if asks_for_structures(request):
        progress(Progress(0.01, "structures"))
        inputs, seen = with_structures(inputs, plan)
        clock.done("structures")

    if base is not None:
        alignment = continued(inputs, plan, base, progress, clock)
    else:
        alignment = align(inputs.pair, plan, inputs.facts, progress, clock, initial)

    progress(Progress(0.92, "warping"))
    fixed, transform = inputs.pair.fixed, alignment.transform
    warped = warp_image(inputs.pair.moving, fixed, transform)
    labels = warp_labels(inputs.moving_labels, fixed, transform)
    jacobian = _jacobian(transform, fixed)
    clock.done("warp")

    found = Result(
        request=request,
        fixed=fixed,
        moving=inputs.pair.moving,
        transform=transform,
        warped=warped,
        jacobian=jacobian,
        warped_labels=labels,
        fixed_labels=inputs.fixed_labels,
        stages=alignment.stages,
        metrics={},
        seconds=dict(clock.seconds),
        provenance=provenance(checksums, plan.device, alignment.similarity, alignment.decision.describe()),
        notes=(*inputs.notes, *warnings, *said, *seen, *alignment.notes),
        label_names=inputs.label_names,
        peak_gb=clock.peak_gb,
    )
    if show is not None:
        show(found)
        clock.done("show")

    progress(Progress(0.95, "measuring"))
    assessment = _assessment(request, inputs, alignment, found, tell)
    stages = measured_stages(inputs, alignment, assessment)
    clock.done("measure")
    path = _path(alignment, plan) if request.measure else ()
    clock.done("path")
    uncertainty = None
    if request.uncertainty_runs:
        uncertainty = uncertainty_map(inputs, plan, alignment, initial, scaled(report, share, 1 - share))
        assessment = assessment.with_uncertainty(uncertainty)
        clock.done("uncertainty")

    report(Progress(1.0, "done"))
    return dataclasses.replace(
        found,
        stages=stages,
        metrics=assessment.metrics,
        seconds=clock.seconds,
        notes=(*found.notes, *assessment.notes),
        locations=assessment.locations,
        path=path,
        uncertainty=uncertainty,
        peak_gb=clock.peak_gb,
    )


def _jacobian(transform: Transform, fixed: Image) -> Image:
    values = jacobian_of_transform(transform, fixed.grid)
    if values is None:  # one number everywhere
        values = np.full(fixed.grid.shape_kji, np.linalg.det(transform.linear_lps[:3, :3]), np.float32)
    return Image(values, fixed.grid, "jacobian", fixed.dimensions)


def _assessment(
    request: Request,
    inputs: Inputs,
    alignment: Alignment,
    found: Result,
    tell: Callable[[Mapping[str, Any]], None] | None,
) -> Assessment:
    if not request.measure and not request.uncertainty_runs:
        return Assessment()
    return assess(inputs, alignment, found.warped, found.warped_labels, found.jacobian, request.measure, tell)


def _checksums(request: Request) -> dict[str, str]:
    return {role: checksum(source) for role, source in files_and_images_of(request).items()}


def _path(alignment: Alignment, plan: Plan) -> tuple[Field, ...]:
    """Return the way of the deformation; none where memory does not suffice for something that is only looked at."""
    field = alignment.transform.field
    if field is None:
        return ()
    try:
        return path_of(field, plan.device)
    except MemoryError:
        return ()
    except RuntimeError as error:  # what torch raises for a GPU that is full, and for much else
        if isinstance(devices.in_words(error), (devices.DeviceMemoryError, MemoryError)):
            return ()
        raise


def _silent(progress: Progress) -> None:
    """Report to nobody."""
