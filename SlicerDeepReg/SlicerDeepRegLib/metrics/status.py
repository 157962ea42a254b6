"""A traffic light for each figure that says whether a registration may be used; without numpy or torch.

After the report of AAPM task group 132 (Brock et al., Med. Phys. 44(7), e43, 2017, table V): landmarks and
consistency to the largest side of a voxel (about 2 to 3 mm), Dice from 0.8 to 0.9, no Jacobian of 0 or less. Where the
report leaves a number open, ours is said in the light's rule. Nothing is green that was not measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GREEN, AMBER, RED, GRAY = "green", "amber", "red", "gray"
#: Dice of a structure that is good, and that is still to be looked at.
DICE = (0.8, 0.7)
#: Volume change between these is what breathing or another head gives; beyond, somebody should look.
JACOBIAN = (1 / 3, 3.0)


@dataclass(frozen=True)
class Status:
    """One line of the summary.

    Attributes:
        name: what was judged.
        color: "green", "amber", "red", or "gray" for what was not measured.
        value: the numbers behind it, in words.
        rule: what would be green.
    """

    name: str
    color: str
    value: str
    rule: str


def statuses(
    metrics: Mapping[str, Any], spacing_mm: Sequence[float], label_names: Mapping[str, str] | None = None
) -> list[Status]:
    """The statuses of a result.

    Args:
        metrics: of its end, named as in ``METRICS``, with those by label.
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
        *_repeatability(metrics, limit),
    ]


def overall(found: Sequence[Status]) -> Status:
    """All statuses in one: as bad as the worst; gray where nothing speaks of how well structures or points meet."""
    measured = [light for light in found if light.color != GRAY]
    for color, text in (
        (RED, "Do not use it before these are understood"),
        (AMBER, "Look at these before you use it"),
    ):
        bad = [light.name for light in measured if light.color == color]
        if bad:
            return Status("Summary", color, f"{text}: {', '.join(bad)}.", "")
    if not any(light.color == GREEN for light in found[:3]):
        text = "Nothing shows that structures meet: give landmarks or segmentations of both, and look at the images."
        return Status("Summary", GRAY, text, "")
    gray = [light.name for light in found if light.color == GRAY]
    rest = f" Not measured: {', '.join(gray)}." if gray else ""
    return Status("Summary", GREEN, f"All that was measured is within tolerance.{rest}", "")


def _light(name: str, value: float, good: float, fair: float, text: str, rule: str, higher: bool = False) -> Status:
    sign = -1 if higher else 1
    color = GREEN if sign * value <= sign * good else AMBER if sign * value <= sign * fair else RED
    return Status(name, color, text, rule)


def _lost(metrics: Mapping[str, Any], names: dict[str, str]) -> list[str]:
    """Structures that only one of the images has: other names, or one that was crushed or pushed out."""
    sides = [metrics.get(f"{side}_volume_by_label_ml") or {} for side in ("fixed", "warped")]
    labels = [{str(label) for label in side} for side in sides]
    alone = sorted(labels[0] ^ labels[1], key=lambda label: (len(label), label)) if all(map(bool, sides)) else []
    return [names.get(label, f"label {label}") for label in alone]


def _with_lost(light: Status, lost: Sequence[str]) -> Status:
    """Not green where a structure has no partner: it has no figure either."""
    if not lost or light.color == GRAY:
        return light
    color = AMBER if light.color == GREEN else light.color
    return dataclasses.replace(light, color=color, value=f"{light.value}; in one image only: {', '.join(lost)}")


def _landmarks(metrics: Mapping[str, Any], limit: float) -> Status:
    rule = f"mean at most {limit:.1f} mm (2 mm, or the largest side of a voxel up to 3 mm); red above twice that"
    mean = metrics.get("tre_mm")
    if mean is None:
        return Status("Landmarks", GRAY, "not measured: no landmarks were given", rule)
    text = f"mean {mean:.2f} mm, largest {metrics['tre_max_mm']:.2f} mm"
    return _light("Landmarks", mean, limit, 2 * limit, text, rule)


def _dice(metrics: Mapping[str, Any], names: dict[str, str]) -> Status:
    rule = f"every structure at least {DICE[0]}; red below {DICE[1]}"
    by_label = metrics.get("dice_by_label") or {}
    if not by_label:
        return Status("Overlap (Dice)", GRAY, "not measured: no structures of both images were given", rule)
    label = min(by_label, key=by_label.get)
    name = names.get(str(label), f"label {label}")
    text = f"least {by_label[label]:.2f} ({name}), mean {metrics['dice']:.2f} of {len(by_label)}"
    return _light("Overlap (Dice)", by_label[label], *DICE, text, rule, higher=True)


def _surface(metrics: Mapping[str, Any], names: dict[str, str], limit: float) -> Status:
    rule = f"HD95 of every structure at most {2 * limit:.1f} mm; red above twice that (our choice: the report has none)"
    by_label = metrics.get("hd95_by_label_mm") or {}
    if not by_label:
        return Status("Surfaces (HD95)", GRAY, "not measured: no structures of both images were given", rule)
    label = max(by_label, key=by_label.get)
    name = names.get(str(label), f"label {label}")
    text = f"largest {by_label[label]:.1f} mm ({name}), mean {metrics['hd95_mm']:.1f} mm"
    return _light("Surfaces (HD95)", by_label[label], 2 * limit, 4 * limit, text, rule)


def _jacobian(metrics: Mapping[str, Any]) -> Status:
    low, high = JACOBIAN
    rule = (
        f"no fold, and volumes change by {low:.2f} to {high:.0f} times (our choice), inside the mask or, without one, "
        "the fixed structures or what is above the background; red with a fold there, amber with one elsewhere"
    )
    least, most, folds = (metrics.get(name) for name in ("jacobian_min", "jacobian_max", "digital_folds_percent"))
    if least is None:
        return Status("Jacobian", GRAY, "not measured: the transform is linear or nothing was measured", rule)
    text = f"{least:.2f} to {most:.2f} (without the linear part)"
    if folds is None and least > 0:
        return Status("Jacobian", AMBER, f"{text}; folds by the digital criterion were not measured", rule)
    if least <= 0 or (folds or 0) > 0:
        return Status(
            "Jacobian", RED, f"{text}, folded in {folds or metrics['folds_percent']:.2g} % of the voxels", rule
        )
    if metrics.get("jacobian_min_anywhere", 1.0) <= 0:
        return Status("Jacobian", AMBER, f"{text}, no folds there, but some elsewhere", rule)
    return Status("Jacobian", GREEN if low <= least and most <= high else AMBER, f"{text}, no folds", rule)


def _consistency(metrics: Mapping[str, Any], limit: float) -> Status:
    rule = f"there and back at most {limit:.1f} mm from the start everywhere; red above that in the mean"
    both_ways = metrics.get("both_ways_mm")
    if both_ways is not None:
        text = (
            f"two registrations, there and back: mean {both_ways:.2f} mm, largest {metrics['both_ways_max_mm']:.2f} mm"
        )
        return _consistent(both_ways, metrics["both_ways_max_mm"], limit, text, rule)
    mean = metrics.get("inverse_error_mm")
    if mean is None:
        return Status(
            "Consistency", GRAY, "not measured: register the other way round too, or ask for an inverse", rule
        )
    text = f"transform and its own inverse: mean {mean:.2f} mm, largest {metrics['inverse_error_max_mm']:.2f} mm"
    return _consistent(mean, metrics["inverse_error_max_mm"], limit, text, rule)


def _repeatability(metrics: Mapping[str, Any], limit: float) -> list[Status]:
    """A line of its own where it was repeated; the report of the task group does not ask for it."""
    mean, most = metrics.get("uncertainty_mm"), metrics.get("uncertainty_p95_mm")
    if mean is None:
        return []
    rule = f"over perturbed inputs 95 % of the locations within {limit:.1f} mm, red above twice that (our choice)"
    text = f"over perturbed inputs: mean {mean:.2f} mm, 95 % below {most:.2f} mm"
    return [_light("Repeatability", most, limit, 2 * limit, text, rule)]


def _consistent(mean: float, largest: float, limit: float, text: str, rule: str) -> Status:
    color = GREEN if largest <= limit else AMBER if mean <= limit else RED
    return Status("Consistency", color, text, rule)
