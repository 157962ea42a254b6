"""Measure a registration: metrics as given, after the linear alignment and at the end; and where to look first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Inputs
from ..metrics.landmarks import target_registration_errors
from ..metrics.measure import Measurer
from ..preparation.resample import warp_image, warp_labels
from ..types import Image, Location, Stage, Transform
from .align import Alignment, over_fixed

#: It is said where the moving image reaches less than this part of what is compared.
REACHED = 0.9
#: What may be worse after a deformation, as people read it; and from which change on it is, with its sign.
SIMILARITY = ("image similarity is lower", "{:.3f}", -0.005)
#: In one modality, too, where correlation rises when what has no counterpart is squeezed together.
INFORMATION = ("mutual information (NMI) is lower", "{:.3f}", -0.05)
WORSE = {
    "dice": ("the structures overlap less, mean Dice", "{:.3f}", -0.005),
    "tre_mm": ("the landmarks lie further apart", "{:.2f} mm", 0.1),
}
#: What a stage that is an answer of its own is compared by.
OF_STAGES = ("ncc", "nmi", "dice", "hd95_mm", "tre_mm", "folds_percent", "ndv_percent", "sdlogj")


@dataclass(frozen=True, eq=False)
class Assessment:
    """What was measured.

    Attributes:
        metrics: {"before": {...}, "linear": {...}, "after": {...}}; empty where nothing was measured.
        locations: where to look first.
        notes: sentences about how it was measured.
        measurer: measures more of the same pair.
    """

    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    locations: tuple[Location, ...] = ()
    notes: tuple[str, ...] = ()
    measurer: Measurer | None = None

    def with_uncertainty(self, uncertainty: Image) -> Assessment:
        """Return the same with the metrics of an uncertainty map.

        Raises:
            ValueError: nothing was prepared for it.
        """
        if self.measurer is None:
            raise ValueError("nothing was prepared to measure an uncertainty map")
        after = {**self.metrics.get("after", {}), **self.measurer.uncertainty(uncertainty)}
        return dataclasses.replace(self, metrics={**self.metrics, "after": after})


def assess(
    inputs: Inputs,
    alignment: Alignment,
    warped: Image,
    labels: Image | None,
    jacobian: Image,
    measure: bool = True,
    tell: Callable[[Mapping[str, Any]], None] | None = None,
) -> Assessment:
    """Measure every state of a registration, the end of it first.

    Args:
        warped, labels, jacobian: of the result, on the fixed grid.
        measure: False prepares for ``with_uncertainty`` alone.
        tell: called with the metrics of the end that are known by then, whenever there are more.
    """
    fixed, moving = inputs.pair.fixed, inputs.pair.moving
    measurer = Measurer(
        fixed=fixed,
        moving=moving,
        mask=inputs.fixed_mask,
        gaps=inputs.fixed_gaps,
        fixed_labels=inputs.fixed_labels,
        moving_labels=inputs.moving_labels,
        fixed_points=inputs.fixed_points,
        moving_points=inputs.moving_points,
        guided_labels=inputs.guiding.labels,
        guided_points=inputs.guiding.points,
    )
    if not measure:
        return Assessment(measurer=measurer)
    after: dict[str, Any] = {"jacobian_min_anywhere": float(jacobian.values.min())}
    for measured in measurer.one_by_one(warped, labels, alignment.transform):
        after.update(measured)
        if measured and tell is not None:
            tell(after)
    notes = _reached(measurer.reached(alignment.transform))
    metrics = {}
    for state, transform in (("before", Transform(np.eye(4))), ("linear", Transform(alignment.stages[0].linear_lps))):
        moved_labels = warp_labels(inputs.moving_labels, fixed, transform) if inputs.fixed_labels else None
        metrics[state] = measurer.metrics(warp_image(moving, fixed, transform), moved_labels, transform)
    lost: list[int] = []
    if labels is not None:
        after.update(measurer.structures(labels))
        lost = measurer.lost(labels.values)
    metrics["after"] = after
    return Assessment(
        metrics=metrics,
        locations=measurer.locations(warped, jacobian, alignment.transform, after),
        notes=(
            *_notes(measurer, alignment.transform),
            *notes,
            *_about_lost(lost, inputs.label_names),
            *worse_than_given(metrics, measurer),
            *worse_than_linear(metrics, alignment),
        ),
        measurer=measurer,
    )


def measured_stages(inputs: Inputs, alignment: Alignment, assessment: Assessment) -> tuple[Stage, ...]:
    """Return the stages, all measured by landmarks, and those that are answers of their own as the result is."""
    stages, after = list(alignment.stages), assessment.metrics.get("after")
    for number, stage in enumerate(stages):
        if stage.compared and after is not None and assessment.measurer is not None:
            is_result = number == len(stages) - 1
            found = after if is_result else _metrics_of(stage, inputs, assessment.measurer)
            measured = {name: found[name] for name in OF_STAGES if found.get(name) is not None}
            stages[number] = dataclasses.replace(stage, metrics={**measured, **stage.metrics})
    return with_landmark_errors(tuple(stages), inputs)


def _metrics_of(stage: Stage, inputs: Inputs, measurer: Measurer) -> dict[str, Any]:
    fixed, moving = inputs.pair.fixed, inputs.pair.moving
    field = over_fixed(stage.field, fixed.grid) if stage.field is not None else None
    transform = Transform(stage.linear_lps, field)
    labels = warp_labels(inputs.moving_labels, fixed, transform) if inputs.fixed_labels else None
    return measurer.metrics(warp_image(moving, fixed, transform), labels, transform)


def with_landmark_errors(stages: tuple[Stage, ...], inputs: Inputs) -> tuple[Stage, ...]:
    """Return the stages with the mean distance of the landmarks at the end of each, where there are some."""
    if inputs.fixed_points is None or inputs.moving_points is None:
        return stages
    measured = []
    for stage in stages:
        moved = Transform(stage.linear_lps, stage.field)
        errors_mm = target_registration_errors(moved, inputs.fixed_points, inputs.moving_points)
        guided = inputs.guiding.points
        held_out = errors_mm if guided is None else errors_mm[~guided]
        metrics = {**({"tre_mm": float(held_out.mean())} if len(held_out) else {}), **stage.metrics}
        measured.append(dataclasses.replace(stage, metrics=metrics))
    return tuple(measured)


def worse_than_given(metrics: Mapping[str, Mapping[str, Any]], measurer: Measurer) -> list[str]:
    """Say where the linear alignment made images less alike that lay over one another before.

    Args:
        metrics: of the states "before" and "linear".
    """
    name, (what, format_of, least) = "nmi", INFORMATION
    before, linear = (metrics[state].get(name) for state in ("before", "linear"))
    if before is None or linear is None or linear - before > least or measurer.reached(Transform(np.eye(4))) < REACHED:
        return []
    return [
        f"The linear alignment made it worse than it was given: {what} ({format_of.format(before)}, then "
        f"{format_of.format(linear)}). Start from the positions as they are, without linear alignment."
    ]


def worse_than_linear(metrics: Mapping[str, Mapping[str, Any]], alignment: Alignment) -> list[str]:
    """Say what the deformation made worse than the linear alignment had left it.

    Args:
        metrics: of the states "linear" and "after".
    """
    if alignment.transform.field is None:
        return []
    compared = "ncc" if alignment.decision.modality == "same" else "nmi"
    found = []
    for name, (what, format_of, least) in {"nmi": INFORMATION, compared: SIMILARITY, **WORSE}.items():
        linear, after = (metrics[state].get(name) for state in ("linear", "after"))
        if linear is not None and after is not None and (after - linear) * np.sign(least) > abs(least):
            found.append(f"{what} ({format_of.format(linear)}, then {format_of.format(after)})")
    if not found:
        return []
    return [
        f"The deformation made it worse than the linear alignment: {'; '.join(found)}. Use the linear alignment, a "
        "stiffer deformation or another similarity metric."
    ]


def _about_lost(lost: Sequence[int], names: Mapping[int, str]) -> tuple[str, ...]:
    if not lost:
        return ()
    named = ", ".join(names.get(label, f"label {label}") for label in lost)
    return (
        f"Nothing is left of these structures in the warped image, so their overlap is 0: {named}. They are too small, "
        "or were crushed or moved out of the image.",
    )


def _reached(part: float) -> tuple[str, ...]:
    if part > REACHED:
        return ()
    return (
        f"The moving image does not reach {100 * (1 - part):.0f}% of where the fixed image is compared; similarity was "
        "measured in the rest.",
    )


def _notes(measurer: Measurer, transform: Transform) -> tuple[str, ...]:
    if measurer.every == 1:
        return ()
    what = "similarity, Jacobian and folds were" if measurer.coarse_enough(transform.field) else "similarity was"
    where = f"on a coarser grid (one voxel in {measurer.every} along each axis)"
    return (f"Because the image is large, {what} measured {where}.",)
