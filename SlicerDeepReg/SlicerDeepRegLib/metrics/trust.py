"""A traffic light for each figure that says whether a registration may be used; without numpy or torch.

After the report of AAPM task group 132 (Brock et al., Med. Phys. 44(7), e43, 2017, table V): landmarks and
consistency to the largest side of a voxel (about 2 to 3 mm), Dice from 0.8 to 0.9, no Jacobian of 0 or less. Where the
report leaves a number open, ours is said in the light's rule. Nothing is green that was not measured.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

GREEN, AMBER, RED, GREY = "green", "amber", "red", "grey"
#: Dice of a structure that is good, and that is still to be looked at.
DICE = (0.8, 0.7)
#: Volume change between these is what breathing or another head gives; beyond, somebody should look.
JACOBIAN = (1 / 3, 3.0)


@dataclass(frozen=True)
class Light:
    """One line of the summary.

    Attributes:
        name: what was judged.
        colour: "green", "amber", "red", or "grey" for what was not measured.
        value: the numbers behind it, in words.
        rule: what would be green.
    """

    name: str
    colour: str
    value: str
    rule: str


def lights(
    figures: Mapping[str, Any], spacing_mm: Sequence[float], label_names: Optional[Mapping[str, str]] = None
) -> List[Light]:
    """The lights of a result.

    Args:
        figures: of its end, named as in ``METRICS``, with those by label.
        spacing_mm: of the fixed image, along the axes that it has.
        label_names: name of each label.
    """
    limit = min(3.0, max(2.0, max(float(side) for side in spacing_mm)))
    names = {str(label): name for label, name in (label_names or {}).items()}
    lost = _lost(figures, names)
    return [
        _landmarks(figures, limit),
        _with_lost(_dice(figures, names), lost),
        _with_lost(_surface(figures, names, limit), lost),
        _jacobian(figures),
        _consistency(figures, limit),
        *_repeatability(figures, limit),
    ]


def overall(found: Sequence[Light]) -> Light:
    """All lights in one: as bad as the worst; grey where nothing speaks of how well structures or points meet."""
    measured = [light for light in found if light.colour != GREY]
    for colour, text in (
        (RED, "Do not use it before these are understood"),
        (AMBER, "Look at these before you use it"),
    ):
        bad = [light.name for light in measured if light.colour == colour]
        if bad:
            return Light("Summary", colour, f"{text}: {', '.join(bad)}.", "")
    if not any(light.colour == GREEN for light in found[:3]):
        text = "Nothing shows that structures meet: give landmarks or segmentations of both, and look at the images."
        return Light("Summary", GREY, text, "")
    grey = [light.name for light in found if light.colour == GREY]
    rest = f" Not measured: {', '.join(grey)}." if grey else ""
    return Light("Summary", GREEN, f"All that was measured is within tolerance.{rest}", "")


def _light(name: str, value: float, good: float, fair: float, text: str, rule: str, higher: bool = False) -> Light:
    sign = -1 if higher else 1
    colour = GREEN if sign * value <= sign * good else AMBER if sign * value <= sign * fair else RED
    return Light(name, colour, text, rule)


def _lost(figures: Mapping[str, Any], names: Dict[str, str]) -> List[str]:
    """Structures that only one of the images has: other names, or one that was crushed or pushed out."""
    sides = [figures.get(f"{side}_volume_by_label_ml") or {} for side in ("fixed", "warped")]
    labels = [{str(label) for label in side} for side in sides]
    alone = sorted(labels[0] ^ labels[1], key=lambda label: (len(label), label)) if all(map(bool, sides)) else []
    return [names.get(label, f"label {label}") for label in alone]


def _with_lost(light: Light, lost: Sequence[str]) -> Light:
    """Not green where a structure has no partner: it has no figure either."""
    if not lost or light.colour == GREY:
        return light
    colour = AMBER if light.colour == GREEN else light.colour
    return dataclasses.replace(light, colour=colour, value=f"{light.value}; in one image only: {', '.join(lost)}")


def _landmarks(figures: Mapping[str, Any], limit: float) -> Light:
    rule = f"mean at most {limit:.1f} mm (2 mm, or the largest side of a voxel up to 3 mm); red above twice that"
    mean = figures.get("tre_mm")
    if mean is None:
        return Light("Landmarks", GREY, "not measured: no landmarks were given", rule)
    text = f"mean {mean:.2f} mm, largest {figures['tre_max_mm']:.2f} mm"
    return _light("Landmarks", mean, limit, 2 * limit, text, rule)


def _dice(figures: Mapping[str, Any], names: Dict[str, str]) -> Light:
    rule = f"every structure at least {DICE[0]}; red below {DICE[1]}"
    by_label = figures.get("dice_by_label") or {}
    if not by_label:
        return Light("Overlap (Dice)", GREY, "not measured: no structures of both images were given", rule)
    label = min(by_label, key=by_label.get)
    name = names.get(str(label), f"label {label}")
    text = f"least {by_label[label]:.2f} ({name}), mean {figures['dice']:.2f} of {len(by_label)}"
    return _light("Overlap (Dice)", by_label[label], *DICE, text, rule, higher=True)


def _surface(figures: Mapping[str, Any], names: Dict[str, str], limit: float) -> Light:
    rule = f"HD95 of every structure at most {2 * limit:.1f} mm; red above twice that (our choice: the report has none)"
    by_label = figures.get("hd95_by_label_mm") or {}
    if not by_label:
        return Light("Surfaces (HD95)", GREY, "not measured: no structures of both images were given", rule)
    label = max(by_label, key=by_label.get)
    name = names.get(str(label), f"label {label}")
    text = f"largest {by_label[label]:.1f} mm ({name}), mean {figures['hd95_mm']:.1f} mm"
    return _light("Surfaces (HD95)", by_label[label], 2 * limit, 4 * limit, text, rule)


def _jacobian(figures: Mapping[str, Any]) -> Light:
    low, high = JACOBIAN
    rule = (
        f"no fold, and volumes change by {low:.2f} to {high:.0f} times (our choice), inside the mask or, without one, "
        "the fixed structures or what is above the background; red with a fold there, amber with one elsewhere"
    )
    least, most, folds = (figures.get(name) for name in ("jacobian_min", "jacobian_max", "digital_folds_percent"))
    if least is None:
        return Light("Jacobian", GREY, "not measured: the transform is linear or nothing was measured", rule)
    text = f"{least:.2f} to {most:.2f} (without the linear part)"
    if folds is None and least > 0:
        return Light("Jacobian", AMBER, f"{text}; folds by the digital criterion were not measured", rule)
    if least <= 0 or (folds or 0) > 0:
        return Light(
            "Jacobian", RED, f"{text}, folded in {folds or figures['folds_percent']:.2g} % of the voxels", rule
        )
    if figures.get("jacobian_min_anywhere", 1.0) <= 0:
        return Light("Jacobian", AMBER, f"{text}, no folds there, but some elsewhere", rule)
    return Light("Jacobian", GREEN if low <= least and most <= high else AMBER, f"{text}, no folds", rule)


def _consistency(figures: Mapping[str, Any], limit: float) -> Light:
    rule = f"there and back at most {limit:.1f} mm from the start everywhere; red above that in the mean"
    both_ways = figures.get("both_ways_mm")
    if both_ways is not None:
        text = (
            f"two registrations, there and back: mean {both_ways:.2f} mm, largest {figures['both_ways_max_mm']:.2f} mm"
        )
        return _consistent(both_ways, figures["both_ways_max_mm"], limit, text, rule)
    mean = figures.get("inverse_error_mm")
    if mean is None:
        return Light("Consistency", GREY, "not measured: register the other way round too, or ask for an inverse", rule)
    text = f"transform and its own inverse: mean {mean:.2f} mm, largest {figures['inverse_error_max_mm']:.2f} mm"
    return _consistent(mean, figures["inverse_error_max_mm"], limit, text, rule)


def _repeatability(figures: Mapping[str, Any], limit: float) -> List[Light]:
    """A line of its own where it was repeated; the report of the task group does not ask for it."""
    mean, most = figures.get("spread_mm"), figures.get("spread_p95_mm")
    if mean is None:
        return []
    rule = f"over perturbed inputs 95 % of the places within {limit:.1f} mm, red above twice that (our choice)"
    text = f"over perturbed inputs: mean {mean:.2f} mm, 95 % below {most:.2f} mm"
    return [_light("Repeatability", most, limit, 2 * limit, text, rule)]


def _consistent(mean: float, largest: float, limit: float, text: str, rule: str) -> Light:
    colour = GREEN if largest <= limit else AMBER if mean <= limit else RED
    return Light("Consistency", colour, text, rule)
