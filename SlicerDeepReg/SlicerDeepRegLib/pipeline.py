"""``register(request) -> result``: the one function that the command line, the panel and the tests call."""

from __future__ import annotations

import dataclasses
import platform
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import SimpleITK as sitk
import torch

from . import __version__
from . import device as devices
from .catalog import Card, card
from .files.images import checksum, from_sitk, to_sitk
from .files.transforms import to_sitk_transform
from .geometry.grids import covering, on_grid, sampled, with_axes_of
from .geometry.jacobian import jacobian_of_transform
from .geometry.points import apply_matrix, fixed_to_moving, spread_mm, voxel_centers_lps
from .methods import load_method
from .methods.linear import register_linear
from .metrics.landmarks import target_registration_errors
from .metrics.measure import Measurer
from .preparation import plan
from .preparation.checks import Inputs, check_memory, free_memory_bytes
from .preparation.perturb import perturbed_pair
from .preparation.working import WorkingPair, prepare
from .processes.current import forget_peak_memory, peak_memory_gb
from .settings import settings_for
from .types import (
    Grid,
    Image,
    Location,
    Progress,
    ProgressCallback,
    Request,
    Result,
    Source,
    Stage,
    Transform,
)
from .warping.inverse import correction_of_inverse
from .warping.path import path_of


def register(request: Request, report: Optional[ProgressCallback] = None) -> Result:
    """Register a pair: checks, linear stage, method, result.

    Args:
        request: what to register, and how.
        report: called with :class:`Progress` many times a second at most; raise ``Canceled`` in it to stop.

    Returns:
        The transform from fixed to moving points with its inverse, the warped image (linear interpolation)
        and labels (nearest neighbor) on the fixed grid, the Jacobian, and every figure before and after.

    Raises:
        InputError: something given cannot be used; said before any work where it can be known by then.
        DeviceMemoryError, DeviceLostError: the GPU's memory ran out; the GPU stopped working.
        MemoryError: this computer's memory ran out.
        Canceled: ``report`` asked for it.
    """
    try:
        return _register(request, report)
    except RuntimeError as error:
        told = devices.in_words(error)
        if told is error:
            raise
        raise told from error


def _register(request: Request, report: Optional[ProgressCallback]) -> Result:
    how = _How(request)
    clock = _Clock(how.device)
    part = 1 / (1 + request.uncertainty_runs)
    whole = report or (lambda progress: None)
    tell = _scaled(whole, 0.0, part)
    tell(Progress(0.0, "reading"))
    inputs = Inputs(request)
    how.check_before(inputs)
    # Now: who takes the disk away in the meantime should not lose the result.
    checksums = {name: checksum(source) for name, source in _sources(request)}
    clock.done("read")
    found = _find(inputs, how, tell, clock)
    tell(Progress(0.92, "warping"))
    warped = warp_image(inputs.moving, inputs.fixed, found.transform)
    labels = warp_labels(inputs.moving_labels, inputs.fixed, found.transform)
    grid = inputs.fixed.grid
    jacobian = Image(jacobian_of_transform(found.transform, grid), grid, "jacobian", inputs.fixed.dimensions)
    clock.done("warp")
    tell(Progress(0.95, "measuring"))
    measurer = _measurer(inputs)
    metrics, locations = _measure(inputs, measurer, found, warped, labels, jacobian) if request.measure else ({}, ())
    clock.done("measure")
    path = _path(found.transform, how.device) if request.measure else ()
    clock.done("path")
    uncertainty = None
    if request.uncertainty_runs:
        uncertainty = _uncertainty(inputs, how, found.transform, _scaled(whole, part, 1 - part))
        metrics.setdefault("after", {}).update(measurer.uncertainty(uncertainty))
        clock.done("uncertainty_runs")
    whole(Progress(1.0, "done"))
    return Result(
        request=request,
        fixed=inputs.fixed,
        moving=inputs.moving,
        transform=found.transform,
        warped=warped,
        jacobian=jacobian,
        warped_labels=labels,
        fixed_labels=inputs.fixed_labels,
        stages=_with_landmark_errors(found.stages, inputs),
        metrics=metrics,
        seconds=clock.seconds,
        provenance=_provenance(checksums, how.device, found.similarity),
        notes=(*inputs.notes, *found.notes, *_notes_of(measurer, found.transform, request)),
        locations=locations,
        path=path,
        uncertainty=uncertainty,
        peak_gb=clock.peak_gb,
    )


class _How:
    """What a request asks to be done, apart from its images: the method, its numbers, and where to compute."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.card = card(request.method)
        self.method = load_method(self.card)
        self.settings = settings_for(self.card.module, request.preset, request.settings, self.card.settings)
        self.device = devices.choose(request.device)
        #: `svf` cannot tell before the linear stage: what "auto" will choose for it is not known yet.
        self.tells_memory = hasattr(self.method, "check")

    def check_before(self, inputs: Inputs) -> None:
        """Raise InputError where the method cannot do this, or memory will not do."""
        _check_before(self.method if self.tells_memory else None, self.settings, inputs, self.request, self.device)


@dataclass(frozen=True, eq=False)
class _Found:
    transform: Transform
    stages: Tuple[Stage, ...]
    similarity: str
    notes: Tuple[str, ...]


def _find(inputs: Inputs, how: _How, tell: ProgressCallback, clock: _Clock) -> _Found:
    """The linear stage, then the method, on read and checked images."""
    request = how.request
    linear, notes = _run_linear(inputs, request, tell)
    clock.done("linear")
    pair = _prepare(inputs, request, linear, how.card, getattr(how.method, "one_contrast", False))
    if request.similarity == "auto" and not how.tells_memory:
        _check_memory(inputs, request, pair.similarity, how.device)
    clock.done("prepare")
    outcome = _run_method(how.method, how.settings, pair, how.device, tell)
    clock.done("method")
    return _Found(
        _transform(outcome, linear, inputs.fixed.grid, how.device),
        (linear, *outcome.stages),
        "its own measure" if how.tells_memory else pair.similarity,
        (*notes, *outcome.notes),
    )


#: The uncertainty is computed at so many points at most: it is smooth, and to be looked at.
UNCERTAINTY_POINTS = 100_000


def _uncertainty(inputs: Inputs, how: _How, transform: Transform, tell: ProgressCallback) -> Image:
    """Register perturbed inputs again and again; how far all results lie from their mean, in mm."""
    grid = sampled(inputs.fixed.grid, UNCERTAINTY_POINTS)
    points = voxel_centers_lps(grid).reshape(-1, 3)
    found, count = [fixed_to_moving(transform, points)], how.request.uncertainty_runs
    for number in range(count):
        name = f"perturbed {number + 1} of {count}"

        def named(progress: Progress, number: int = number, name: str = name) -> None:
            tell(Progress((number + progress.fraction) / count, name))

        fixed, moving, motion = perturbed_pair(inputs.fixed, inputs.moving, seed=number)
        mask = inputs.moving_mask
        again = dataclasses.replace(
            how.request,
            fixed=fixed,
            moving=moving,
            fixed_mask=_as_image(inputs.fixed_mask, fixed),
            moving_mask=dataclasses.replace(mask, grid=moving.grid) if mask is not None else None,
            **dict.fromkeys(("fixed_labels", "moving_labels", "fixed_points", "moving_points")),
        )
        moved = _find(Inputs(again), how, named, _Clock(None)).transform
        found.append(apply_matrix(np.linalg.inv(motion), fixed_to_moving(moved, points)))
    values = spread_mm(np.stack(found)).astype(np.float32).reshape(grid.shape_kji)
    return Image(values, grid, "uncertainty over perturbed inputs", inputs.fixed.dimensions)


def _as_image(mask: Optional[np.ndarray], like: Image) -> Optional[Image]:
    return None if mask is None else Image(mask.astype(np.uint8), like.grid, "fixed mask", like.dimensions)


def _scaled(tell: ProgressCallback, start: float, part: float) -> ProgressCallback:
    """Tell of a part of the whole."""
    return lambda progress: tell(dataclasses.replace(progress, fraction=start + part * progress.fraction))


def warp_image(moving: Image, fixed: Image, transform: Transform, interpolator: int = sitk.sitkLinear) -> Image:
    """``moving(T(x))`` on the fixed grid; its lowest value where T(x) leaves the moving image (0 for labels)."""
    dimensions = fixed.dimensions
    labels = interpolator == sitk.sitkNearestNeighbor
    picture = to_sitk(moving, dimensions)
    if not labels:
        picture = sitk.Cast(picture, sitk.sitkFloat32)
    result = sitk.Resample(
        picture,
        to_sitk(fixed, dimensions),
        to_sitk_transform(transform, dimensions),
        interpolator,
        0.0 if labels else float(moving.values.min()),
    )
    values = from_sitk(result, "").values.reshape(fixed.grid.shape_kji)
    return Image(values, fixed.grid, f"{moving.name} warped", dimensions)


def warp_labels(labels: Optional[Image], fixed: Image, transform: Transform) -> Optional[Image]:
    """The moving labels on the fixed grid, by nearest neighbor; None for none."""
    return None if labels is None else warp_image(labels, fixed, transform, sitk.sitkNearestNeighbor)


def _run_linear(inputs: Inputs, request: Request, tell: ProgressCallback) -> Tuple[Stage, List[str]]:
    return register_linear(
        inputs.fixed,
        inputs.moving,
        request.linear,
        inputs.fixed_mask,
        inputs.moving_mask,
        lambda fraction: tell(Progress(0.02 + 0.13 * fraction, "linear")),
    )


def _prepare(inputs: Inputs, request: Request, linear: Stage, chosen: Card, one_contrast: bool) -> WorkingPair:
    """The pair as the method needs it: intensities are matched for one that compares them as they are."""
    return prepare(
        inputs.fixed,
        inputs.moving,
        linear.linear_lps,
        request.preset,
        "lncc" if one_contrast else request.similarity,
        inputs.fixed_mask,
        inputs.moving_mask,
        chosen.recipe.get("voxel_mm"),
        None if inputs.fixed.grid.is_planar else chosen.recipe.get("orientation"),
    )


def _check_before(method, settings, inputs: Inputs, request: Request, device: torch.device) -> None:
    """Memory, and whether the method can do this where it can tell (else it is None): its memory is the device's."""
    if method is None:  # Most pairs are of one contrast.
        _check_memory(inputs, request, request.similarity.replace("auto", "lncc"), device)
        return
    method.check(inputs.fixed.grid, settings, request.similarity)
    if not getattr(method, "on_device", True):
        device = torch.device("cpu")
    method.check_memory(inputs.fixed.grid, settings, request.preset, *_where_it_computes(inputs, request, device))


def _check_memory(inputs: Inputs, request: Request, similarity: str, device: torch.device) -> None:
    check_memory(inputs.fixed.grid, request.preset, similarity, *_where_it_computes(inputs, request, device))


def _where_it_computes(inputs: Inputs, request: Request, device: torch.device) -> Tuple[int, str]:
    """What is free there, and whether that is "this computer" or "the GPU", one with memory of its own.

    Raises:
        InputError: it is the GPU, and the computer's memory will not do for what is done before and after.
    """
    here, on_gpu = free_memory_bytes(), devices.free_bytes(device)
    if on_gpu is None:
        return here, "this computer"
    check_memory(inputs.fixed.grid, request.preset, 0, here, "this computer")
    return on_gpu, "the GPU"


def _run_method(method, settings, pair: WorkingPair, device: torch.device, tell: Callable[[Progress], None]):
    """Run the method, its progress scaled to its part of the whole."""
    return method.run(pair, device, _scaled(tell, 0.15, 0.77), settings)


def _path(transform: Transform, device: torch.device):
    """The way of the deformation; none where memory does not do for something that is only looked at."""
    try:
        return path_of(transform.field, device)
    except (RuntimeError, MemoryError):  # torch says the first of a GPU that is full
        return ()


def _transform(outcome, linear: Stage, fixed: Grid, device: torch.device) -> Transform:
    """The method's field and its inverse, found on the cropped working grid, over the whole fixed grid.

    On the voxels of the fixed image, so that programs that interpolate between them in other ways (Slicer reads fields
    from files as cubic) agree there; of a large image on the voxels on which they were found, where those are fewer.
    """
    field, inverse = (with_axes_of(one, fixed) for one in (outcome.displacement, outcome.inverse))
    grid = covering(field.grid, fixed)
    if fixed.voxels <= plan.MOST_WHOLE or fixed.voxels <= grid.voxels:
        grid = fixed
    field, inverse = on_grid(field, grid), on_grid(inverse, covering(grid, inverse.grid))
    return Transform(linear.linear_lps, field, (inverse, correction_of_inverse(field, inverse, device)))


def _measurer(inputs: Inputs) -> Measurer:
    return Measurer(
        inputs.fixed,
        inputs.moving,
        inputs.fixed_mask,
        inputs.fixed_labels,
        inputs.moving_labels,
        inputs.fixed_points,
        inputs.moving_points,
    )


def _measure(
    inputs: Inputs, measurer: Measurer, found: _Found, warped: Image, labels: Optional[Image], jacobian: Image
) -> Tuple[Dict[str, Dict[str, Any]], Tuple[Location, ...]]:
    """The metrics as given, after the linear stage, and at the end; and where to look first."""
    transform = found.transform
    linear = Transform(found.stages[0].linear_lps)
    metrics = {}
    for name, step in (("before", Transform(np.eye(4))), ("linear", linear)):
        moved = warp_image(inputs.moving, inputs.fixed, step)
        moved_labels = warp_labels(inputs.moving_labels, inputs.fixed, step) if inputs.fixed_labels else None
        metrics[name] = measurer.metrics(moved, moved_labels, step)
    metrics["after"] = measurer.metrics(warped, labels, transform)
    if labels is not None:
        metrics["after"].update(measurer.structures(labels))
    metrics["after"]["jacobian_min_anywhere"] = float(jacobian.values.min())
    return metrics, measurer.locations(warped, jacobian, transform, metrics["after"])


def _notes_of(measurer: Measurer, transform: Transform, request: Request) -> List[str]:
    if measurer.every == 1 or not request.measure:
        return []
    what = "similarity, Jacobian and folds were" if measurer.coarse_enough(transform.field) else "similarity was"
    return [f"The image is large: {what} measured {measurer.every} voxels apart along each axis."]


def _with_landmark_errors(stages: Tuple[Stage, ...], inputs: Inputs) -> Tuple[Stage, ...]:
    """The stages with the mean distance of the landmarks at the end of each, where there are some."""
    if inputs.fixed_points is None:
        return stages
    found = []
    for stage in stages:
        moved = Transform(stage.linear_lps, stage.field)
        errors_mm = target_registration_errors(moved, inputs.fixed_points, inputs.moving_points)
        found.append(dataclasses.replace(stage, metrics={"tre_mm": float(errors_mm.mean()), **stage.metrics}))
    return tuple(found)


def _provenance(checksums: Dict[str, str], device: torch.device, similarity: str) -> Dict[str, Any]:
    return {
        "versions": {
            "SlicerDeepReg": __version__,
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "SimpleITK": sitk.Version.VersionString(),
            "numpy": np.__version__,
        },
        "platform": platform.platform(),
        "device": devices.describe(device),
        "threads": torch.get_num_threads(),
        "similarity": similarity,
        "sha256": checksums,
    }


def _sources(request: Request) -> List[Tuple[str, Source]]:
    names = ("fixed", "moving", "fixed_mask", "moving_mask", "fixed_labels", "moving_labels")
    return [(name, getattr(request, name)) for name in names if getattr(request, name) is not None]


class _Clock:
    """Wall seconds and, where a device is given, peak memory by part: it is one process's, so only one may ask."""

    def __init__(self, device: Optional[torch.device]) -> None:
        self.seconds: Dict[str, float] = {}
        self.peak_gb: Dict[str, Dict[str, float]] = {}
        self._device = device
        self._last = time.perf_counter()
        self._forget_peaks()

    def done(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = round(now - self._last, 3)
        if self._device is not None:
            peaks = {"computer": peak_memory_gb() if self._forgets else None, "gpu": devices.peak_gb(self._device)}
            for where, peak in peaks.items():
                if peak is not None:
                    self.peak_gb.setdefault(where, {})[part] = round(peak, 3)
            self._forget_peaks()
        self._last = now

    def _forget_peaks(self) -> None:
        if self._device is not None:
            self._forgets = forget_peak_memory()
            devices.forget_peak(self._device)
