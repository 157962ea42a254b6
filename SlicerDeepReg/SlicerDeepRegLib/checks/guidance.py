"""What of a request guides the registration, checked: landmarks, structures, curves and surfaces, rigid bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..files.surfaces import load_surface
from ..geometry.landmark_fit import fit_landmarks
from ..geometry.points import apply_matrix
from ..preparation.guiding import guiding_channels
from ..types import VISIT, Channels, Guidance, Image, InputError, Request
from .landmarks import Pairs, listed

#: The uncertainty of landmarks that continue a result, where none is given: they are met exactly, since who draws a
#: correction sees where its ends lie.
CORRECTION_MM = 0.0
#: Landmarks this near to one another are neighbors; their motion differs by no more than this, mm.
NEIGHBORS_MM, MOST_APART_MM = 40.0, 20.0
#: The part of their distance that neighbors keep at least, and the factor that it grows by at most: beyond, the motion
#: between them would fold or tear.
LEAST_KEPT, MOST_GROWN = 0.2, 3.0
#: Nobody marks a point more exactly than this, mm: landmarks that differ by less contradict nothing.
MARKED_MM = 1.0
#: From so many landmarks on, the rigid motion that most of them share is taken away before they are compared.
FEWEST_SHARED, FITS = 4, 60
ALL = "all"


@dataclass(frozen=True, eq=False)
class Guiding:
    """What guides a registration.

    Attributes:
        guidance: for methods; None where nothing guides.
        channels: of the structures that guide, or None.
        points: (N,) bool, which landmarks guide.
        labels: the structures that guide.
        notes: sentences for people.
    """

    guidance: Guidance | None = None
    channels: Channels | None = None
    points: np.ndarray | None = None
    labels: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def guiding_of(
    request: Request,
    pairs: Pairs,
    fixed_labels: Image | None,
    moving_labels: Image | None,
    names: Mapping[int, str],
    rigid: Image | None,
) -> Guiding:
    """Return what of a request guides it.

    Args:
        pairs: the landmarks.
        fixed_labels, moving_labels: the structures; names: of these.
        rigid: the rigid bodies, on the fixed grid.

    Raises:
        InputError: something named does not exist, or cannot guide.
    """
    points, uncertainty_mm, notes = _points(request, pairs)
    labels = _structures(request, fixed_labels, moving_labels, names)
    channels, structures = None, None
    if labels and fixed_labels is not None and moving_labels is not None:
        channels = guiding_channels(fixed_labels, moving_labels, labels)
        structures = Image(np.isin(fixed_labels.values, labels).astype(np.uint8), fixed_labels.grid)
        notes.append(_about_structures(labels, fixed_labels, moving_labels, names))
    surfaces = [
        np.zeros((0, 3)) if source is None else load_surface(source, f"{role} surface")
        for role, source in (("fixed", request.fixed_surface), ("moving", request.moving_surface))
    ]
    if not points.any() and not labels and not len(surfaces[0]) and rigid is None:
        return Guiding(points=points, notes=tuple(notes))
    if request.pair == VISIT and request.continued is None:
        raise InputError(
            "Something is to guide the registration, and the pair was to be one person at one visit, which is not "
            "deformed. Choose another kind of pair, or register without guidance.",
            "pair",
        )
    chosen = np.flatnonzero(points)
    none = np.zeros((0, 3))
    guidance = Guidance(
        fixed_points_lps_mm=none if pairs.fixed_lps_mm is None else pairs.fixed_lps_mm[chosen],
        moving_points_lps_mm=none if pairs.moving_lps_mm is None else pairs.moving_lps_mm[chosen],
        uncertainty_mm=uncertainty_mm[chosen],
        fixed_surface_lps_mm=surfaces[0],
        moving_surface_lps_mm=surfaces[1],
        rigid=rigid,
        structures=structures,
    )
    return Guiding(guidance, channels, points, frozenset(labels), tuple(notes))


def _points(request: Request, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return which landmarks guide, how far each may be wrong, and sentences about them."""
    count = 0 if pairs.fixed_lps_mm is None else len(pairs.fixed_lps_mm)
    asked = request.guide_points_mm
    if request.continued is not None and asked is None:
        asked = CORRECTION_MM
    if asked is None:
        if request.held_points:
            raise InputError(
                "Landmarks are held out, but none guide the registration. Let them guide it, or hold none out.",
                "held_points",
            )
        return np.zeros(count, bool), np.zeros(count), []
    if pairs.fixed_lps_mm is None or pairs.moving_lps_mm is None or not count:
        raise InputError(
            "Landmarks are to guide the registration, and none are given. Give them in both images.", "fixed_points"
        )
    guide = ~held_out(request.held_points, pairs)
    notes = []
    if not request.obey_all_points:
        chosen = np.flatnonzero(guide)
        wrong = contradicting(pairs.fixed_lps_mm[chosen], pairs.moving_lps_mm[chosen])
        for place in chosen[wrong]:
            notes.append(
                f"Landmark {pairs.names[place]} contradicts its neighbors: with it, the image would be torn or folded "
                "there. It did not guide the registration. Check it in both images."
            )
        guide[chosen[wrong]] = False
    if not guide.any():
        raise InputError(
            "No landmark is left to guide the registration: they contradict one another, or all are held out. Check "
            "that the two lists belong together.",
            "fixed_points",
        )
    uncertainty_mm = np.where(np.isnan(pairs.uncertainty_mm), asked, pairs.uncertainty_mm)
    how = "exactly" if not uncertainty_mm[guide].any() else f"to {np.median(uncertainty_mm[guide]):.3g} mm"
    notes.append(
        f"{int(guide.sum())} of {count} landmarks guided the registration ({how}): their error does not measure it; "
        + ("the others were measured." if not guide.all() else "none was held out to measure it.")
    )
    return guide, uncertainty_mm, notes


def held_out(held: Sequence[str], pairs: Pairs) -> np.ndarray:
    """Return which landmarks are held out, (N,) bool.

    Args:
        held: labels, or numbers in the list of the fixed image, from 1 on.

    Raises:
        InputError: there is no landmark of such a name.
    """
    chosen = np.zeros(len(pairs.names), bool)
    for name in held:
        places = [n for n, known in enumerate(pairs.names) if known == name]
        if not places and name.isdigit():
            places = [n for n, index in enumerate(pairs.fixed_indices) if index + 1 == int(name)]
        if not places:
            raise InputError(
                f"There is no landmark {name!r} to hold out. There are: {listed(pairs.names)}.", "held_points"
            )
        chosen[places] = True
    return chosen


def contradicting(fixed_lps_mm: np.ndarray, moving_lps_mm: np.ndarray) -> np.ndarray:
    """Return which pairs of landmarks cannot be true beside the others, (N,) bool.

    Two pairs contradict each other where the motion between them would fold (they cross, or end at less than a fifth of
    their distance), tear (more than three times), or differ by more than 20 mm within 40 mm. The pair with the most
    contradictions is taken out until there are none; of two that only contradict each other, both.

    Args:
        fixed_lps_mm, moving_lps_mm: (N, 3) LPS mm.
    """
    count = len(fixed_lps_mm)
    # What is left of the motion once the shared one is taken away, in the frame of the fixed image.
    moved = apply_matrix(np.linalg.inv(_shared_motion(fixed_lps_mm, moving_lps_mm)), moving_lps_mm)
    before = fixed_lps_mm[:, None] - fixed_lps_mm[None]
    after = moved[:, None] - moved[None]
    distance = np.linalg.norm(before, axis=2)
    along = (before * after).sum(2) / np.maximum(distance, 1e-6)
    differs = np.linalg.norm(after - before, axis=2)
    near = (distance < NEIGHBORS_MM) & ~np.eye(count, dtype=bool)
    small = differs < MARKED_MM
    against = (
        near
        & ~small
        & (
            (along < LEAST_KEPT * distance)
            | (np.linalg.norm(after, axis=2) > MOST_GROWN * np.maximum(distance, 1.0))
            | (differs > MOST_APART_MM)
        )
    )
    wrong = np.zeros(count, bool)
    while against.any():
        number = against.sum(1)
        worst = np.flatnonzero(number == number.max())
        if number.max() > 1 or len(worst) > 2:
            other = [_unlike_others(place, moved - fixed_lps_mm, ~wrong) for place in worst]
            worst = worst[[int(np.argmax(other))]]
        wrong[worst] = True
        against[worst] = against[:, worst] = False
    return wrong


def _unlike_others(place: int, motion: np.ndarray, of: np.ndarray) -> float:
    return float(np.linalg.norm(motion[place] - np.median(motion[of], axis=0)))


def _shared_motion(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Return the rigid motion that most pairs share, (4, 4): of fits to half of them, the one that suits most."""
    shared = np.eye(4)
    shared[:3, 3] = np.median(moving - fixed, axis=0)
    if len(fixed) < FEWEST_SHARED:
        return shared
    best = np.median(np.linalg.norm(apply_matrix(shared, fixed) - moving, axis=1))
    rng = np.random.default_rng(0)
    for _ in range(FITS):
        chosen = rng.permutation(len(fixed))[: max(3, len(fixed) // 2)]
        try:
            matrix, _ = fit_landmarks(fixed[chosen], moving[chosen], "rigid")
        except InputError:  # on one line
            continue
        middle = np.median(np.linalg.norm(apply_matrix(matrix, fixed) - moving, axis=1))
        if middle < best:
            best, shared = middle, matrix
    return shared


def _structures(request: Request, fixed: Image | None, moving: Image | None, names: Mapping[int, str]) -> list[int]:
    """Return the labels that guide."""
    asked = request.guide_structures
    if not asked:
        return []
    if fixed is None or moving is None:
        missing = "fixed" if fixed is None else "moving"
        raise InputError(
            f"Structures are to guide the registration, and the {missing} labels are missing. Give labels or a "
            "segmentation of both images.",
            f"{missing}_labels",
        )
    own = [set(np.unique(image.values[image.values > 0]).tolist()) for image in (fixed, moving)]
    both = own[0] & own[1]
    if tuple(asked) == (ALL,):
        chosen = both
    else:
        numbers = {name.lower(): number for number, name in names.items()}
        chosen = set()
        for name in asked:
            number = numbers.get(name.lower(), int(name) if name.isdigit() else None)
            if number not in both:
                raise InputError(
                    f"The structure {name} is to guide the registration, and not both segmentations have it. Both "
                    f"have: {listed([names.get(label, str(label)) for label in sorted(both)])}.",
                    "guide_structures",
                )
            chosen.add(number)
    if not chosen:
        raise InputError(
            "Structures are to guide the registration, and the two segmentations have none in common. Give both the "
            "same names or numbers.",
            "guide_structures",
        )
    return sorted(chosen)


def _about_structures(labels: Sequence[int], fixed: Image, moving: Image, names: Mapping[int, str]) -> str:
    both = set(np.unique(fixed.values).tolist()) & set(np.unique(moving.values).tolist()) - {0}
    held = len(both - set(labels))
    named = listed([names.get(label, f"label {label}") for label in labels])
    rest = f"the other {held} were measured." if held else "none was held out to measure it."
    return f"{len(labels)} structures guided the registration ({named}): their overlap does not measure it; {rest}"
