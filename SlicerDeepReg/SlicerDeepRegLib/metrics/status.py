"""The status of each quality measure: within tolerance, to be checked, out of tolerance, or not measured.

Tolerances follow the report of AAPM task group 132 (Brock et al., Med. Phys. 44(7), e43, 2017, table V): landmarks and
consistency within the largest side of a voxel (about 2 to 3 mm), Dice from 0.8 to 0.9, no Jacobian of 0 or less. Where
the report gives no number, the status's rule states ours. A measure is green only if it was computed. Needs neither
numpy nor torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .table import beside

GREEN, AMBER, RED, GRAY = "green", "amber", "red", "gray"
#: Names of the measures.
LANDMARKS, OVERLAP, SURFACES = "Landmarks (TRE)", "Overlap (Dice)", "Surface distance (HD95)"
JACOBIAN_RANGE, CONSISTENCY, UNCERTAINTY = "Jacobian", "Inverse consistency", "Uncertainty"
GUIDED = "not measured: all structures guided the registration; hold some out"
NO_SEGMENTATIONS = "not measured: segmentations of both images are needed"
#: Dice of a structure that is within tolerance, and that is to be checked.
DICE = (0.8, 0.7)
#: Volume changes between these are plausible for breathing or another head; beyond, they should be checked.
JACOBIAN = (1 / 3, 3.0)


#: A landmark that is further off than this many times what their mean may be is to be looked at.
FAR = 4


@dataclass(frozen=True)
class Status:
    """The status of one measure.

    Attributes:
        name: of the measure.
        color: "green" (within tolerance), "amber" (check), "red" (out of tolerance), "gray" (not measured).
        value: the numbers behind it, in words.
        rule: what is within tolerance, and what is out of it.
    """

    name: str
    color: str
    value: str
    rule: str


def statuses(
    metrics: Mapping[str, Any], spacing_mm: Sequence[float], label_names: Mapping[int, str] | None = None
) -> list[Status]:
    """Return the statuses of a result.

    Args:
        metrics: of the final state, named as in ``METRICS``, with those by label.
        spacing_mm: of the fixed image, along the axes that it has.
        label_names: name of each label.
    """
    limit = min(3.0, max(2.0, max(float(side) for side in spacing_mm)))
    names = {str(label): name for label, name in (label_names or {}).items()}
    lost = _lost(metrics, names)
    return [
        _landmarks(metrics, limit),
        _with_lost(_dice(metrics, names), lost),
        _with_lost(_surface(metrics, names, limit), lost),
        _jacobian(metrics),
        _consistency(metrics, limit),
        *_uncertainty(metrics, limit),
    ]


def overall(lines: Sequence[Status], is_whole: bool = True) -> Status:
    """Summarize all statuses: as bad as the worst; never green if neither landmarks nor structures were measured.

    Args:
        is_whole: whether it was measured to its end; else what is missing may still be out of tolerance.
    """
    measured = [status for status in lines if status.color != GRAY]
    for color, text in (
        (RED, "Do not use before these are understood"),
        (AMBER, "Check these before use"),
    ):
        bad = [status.name for status in measured if status.color == color]
        if bad:
            alone = "" if any(status.color != GRAY for status in lines[:3]) else " Alignment was not measured."
            return Status("Summary", color, f"{text}: {', '.join(bad)}.{alone}", "")
    if not any(status.color == GREEN for status in lines[:3]):
        text = "Alignment was not measured: add landmarks or segmentations of both images, and inspect the images."
        return Status("Summary", GRAY, text, "")
    gray = [status.name for status in lines if status.color == GRAY]
    rest = f" Not measured: {', '.join(gray)}." if gray else ""
    if not is_whole:
        return Status("Summary", GRAY, f"What was measured is within tolerance; measuring did not end.{rest}", "")
    return Status("Summary", GREEN, f"All measures are within tolerance.{rest}", "")


def color_of(value: float, good: float, fair: float, higher: bool = False) -> str:
    """Return the color of a value: green to ``good``, amber to ``fair``, else red; ``higher`` where that is better."""
    sign = -1 if higher else 1
    return GREEN if sign * value <= sign * good else AMBER if sign * value <= sign * fair else RED


def _lost(metrics: Mapping[str, Any], names: dict[str, str]) -> list[str]:
    """Return structures that only one image has: named differently, or crushed or pushed out of view."""
    sides = [metrics.get(f"{side}_volume_by_label_ml") or {} for side in ("fixed", "warped")]
    labels = [{str(label) for label in side} for side in sides]
    alone = sorted(labels[0] ^ labels[1], key=lambda label: (len(label), label)) if all(map(bool, sides)) else []
    return [names.get(label, f"label {label}") for label in alone]


def _with_lost(status: Status, lost: Sequence[str]) -> Status:
    """Return a status that is not green if a structure has no counterpart, because it was not measured."""
    if lost and status.color == GRAY and status.value == NO_SEGMENTATIONS:
        text = f"not measured: no structure is in both segmentations; in one image only: {', '.join(lost)}"
        return dataclasses.replace(status, value=text)
    if not lost or status.color == GRAY:
        return status
    color = AMBER if status.color == GREEN else status.color
    return dataclasses.replace(status, color=color, value=f"{status.value}; in one image only: {', '.join(lost)}")


def _landmarks(metrics: Mapping[str, Any], limit: float) -> Status:
    rule = (
        f"mean at most {limit:.1f} mm (2 mm, or the largest side of a voxel up to 3 mm), each at most {FAR} times that "
        "(our choice); red if the mean is above twice that"
    )
    mean = metrics.get("tre_mm")
    if mean is None and metrics.get("guided_tre_mm") is not None:
        return Status(LANDMARKS, GRAY, "not measured: no landmarks but those that guided the registration", rule)
    if mean is None:
        return Status(LANDMARKS, GRAY, "not measured: no landmarks given", rule)
    largest, color = metrics["tre_max_mm"], color_of(mean, limit, 2 * limit)
    if color == GREEN and largest > FAR * limit:
        color = AMBER
    text = f"mean {beside(mean, 2, limit, 2 * limit)} mm, largest {beside(largest, 2, FAR * limit)} mm"
    if "tre_by_point_mm" in metrics:
        points = len(metrics["tre_by_point_mm"]) - len(metrics.get("guided_points") or ())
        text += f" of {points} landmark{'s' if points != 1 else ''}"
    return Status(LANDMARKS, color, text, rule)


def _dice(metrics: Mapping[str, Any], names: dict[str, str]) -> Status:
    rule = f"every structure at least {DICE[0]}; red below {DICE[1]}"
    by_label = _held_out(metrics, "dice_by_label")
    if not by_label and metrics.get("guided_labels"):
        return Status(OVERLAP, GRAY, GUIDED, rule)
    if not by_label:
        return Status(OVERLAP, GRAY, NO_SEGMENTATIONS, rule)
    label = min(by_label, key=lambda label: by_label[label])
    name = names.get(str(label), f"label {label}")
    text = f"lowest {beside(by_label[label], 2, *DICE)} ({name}), mean {metrics['dice']:.2f} of {len(by_label)}"
    return Status(OVERLAP, color_of(by_label[label], *DICE, higher=True), text, rule)


def _surface(metrics: Mapping[str, Any], names: dict[str, str], limit: float) -> Status:
    rule = (
        f"HD95 of every structure at most {2 * limit:.1f} mm; red above twice that (our choice: AAPM TG-132 gives no "
        "limit)"
    )
    by_label = _held_out(metrics, "hd95_by_label_mm")
    if not by_label and metrics.get("guided_labels"):
        return Status(SURFACES, GRAY, GUIDED, rule)
    if not by_label:
        return Status(SURFACES, GRAY, NO_SEGMENTATIONS, rule)
    label = max(by_label, key=lambda label: by_label[label])
    name = names.get(str(label), f"label {label}")
    text = f"largest {beside(by_label[label], 1, 2 * limit, 4 * limit)} mm ({name}), mean {metrics['hd95_mm']:.1f} mm"
    return Status(SURFACES, color_of(by_label[label], 2 * limit, 4 * limit), text, rule)


def _held_out(metrics: Mapping[str, Any], name: str) -> dict[Any, float]:
    """Return a measure of the structures that did not guide the registration."""
    guided = {str(label) for label in metrics.get("guided_labels") or ()}
    return {label: value for label, value in (metrics.get(name) or {}).items() if str(label) not in guided}


def _jacobian(metrics: Mapping[str, Any]) -> Status:
    low, high = JACOBIAN
    rule = (
        f"no folding, and J from 1/{1 / low:.0f} to {high:.0f} (our choice), inside the mask or, without one, "
        "the fixed segmentation or everything above the background; red if it folds there, amber if elsewhere"
    )
    least, most, folds = (metrics.get(name) for name in ("jacobian_min", "jacobian_max", "digital_folds_percent"))
    if least is None or most is None:
        return Status(JACOBIAN_RANGE, GRAY, "not measured: the transform is linear or nothing was measured", rule)
    text = f"{beside(least, 2, low, 0)} to {beside(most, 2, high, 0)}"
    if folds is None and least > 0:
        return Status(JACOBIAN_RANGE, AMBER, f"{text}; folding by the digital criterion was not measured", rule)
    if most < 0 and not folds:
        return Status(JACOBIAN_RANGE, RED, f"{text}: the linear part mirrors the image", rule)
    if least <= 0 or (folds or 0) > 0:
        return Status(
            JACOBIAN_RANGE, RED, f"{text}, folding in {folds or metrics['folds_percent']:.2g}% of the voxels", rule
        )
    if metrics.get("jacobian_min_anywhere", 1.0) <= 0:
        return Status(JACOBIAN_RANGE, AMBER, f"{text}, no folding there, but elsewhere", rule)
    return Status(JACOBIAN_RANGE, GREEN if low <= least and most <= high else AMBER, f"{text}, no folding", rule)


def _consistency(metrics: Mapping[str, Any], limit: float) -> Status:
    rule = f"inverse consistency error at most {limit:.1f} mm everywhere; red if the mean is above that"
    both_ways = metrics.get("both_ways_mm")
    if both_ways is not None:
        largest = metrics["both_ways_max_mm"]
        written = f"mean {beside(both_ways, 2, limit)} mm, largest {beside(largest, 2, limit)} mm"
        return _consistent(both_ways, largest, limit, f"registrations in both directions: {written}", rule)
    mean = metrics.get("inverse_error_mm")
    if mean is None:
        return Status(
            CONSISTENCY, GRAY, "not measured: register in the opposite direction too, or compute an inverse", rule
        )
    largest = metrics["inverse_error_max_mm"]
    text = f"transform and its inverse: mean {beside(mean, 2, limit)} mm, largest {beside(largest, 2, limit)} mm"
    return _consistent(mean, largest, limit, text, rule)


def _uncertainty(metrics: Mapping[str, Any], limit: float) -> list[Status]:
    """Return a status for uncertainty runs, if there were any; the task group's report does not ask for it."""
    mean, most = metrics.get("uncertainty_mm"), metrics.get("uncertainty_p95_mm")
    if mean is None or most is None:
        return []
    rule = f"95% of the volume within {limit:.1f} mm over perturbed runs, red above twice that (our choice)"
    text = f"over perturbed runs: mean {mean:.2f} mm, 95% below {beside(most, 2, limit, 2 * limit)} mm"
    return [Status(UNCERTAINTY, color_of(most, limit, 2 * limit), text, rule)]


def _consistent(mean: float, largest: float, limit: float, text: str, rule: str) -> Status:
    color = GREEN if largest <= limit else AMBER if mean <= limit else RED
    return Status(CONSISTENCY, color, text, rule)
