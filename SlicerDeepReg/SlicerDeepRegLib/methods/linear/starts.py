"""Where the search of a rigid alignment begins, when nobody said where."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ...geometry.rotations import rotation_by, rotation_degrees, rotations
from ...types import InputError
from .candidates import information
from .optimize import of_model, refine, rigid_of
from .pair import LEVEL_VOXELS, RIGID, LinearPair, middle_of
from .positions import best_positions

#: Voxels of the fixed image where starts are compared.
START_VOXELS = LEVEL_VOXELS[0] // 3
#: Half the range of rotations that are always tried, degrees, around each axis.
ROTATION_DEG = 25.0
#: How many rotations of all are tried, in space and in a plane.
ROTATIONS = {3: 200, 2: 24}
#: How many starts are made better before they are compared, upright, turned and mirrored, and in how many steps.
REFINED, REFINED_TURNED, REFINED_MIRRORED, STEPS = 4, 8, 2, 40
#: The one image shows less than this of what the other shows: it is a part of it, or may be one. Heads of two people
#: and heads without their skin show 0.7 and more of one another.
PART, PERHAPS = 0.6, 0.8
#: Images are turned only where this is gained: by the factor of the mutual information. Wrongly turned heads reach 0.46
#: to 0.85 of the mutual information of upright ones (decision 34).
WORTH_TURNING = 1.1
#: They are looked at only where a rotation of all begins with this part of what the best upright start has reached.
#: It was 0.25 to 0.79 of it where upright was right, 0.9 and more where it was not.
WORTH_A_LOOK = 0.85
#: A mirror image is said to fit where its mutual information is this many times that of the image as it is. Two
#: people's heads cannot be told from their mirror images, two images of one head can (benchmarks/mirrored.py).
MIRRORED = 1.03
#: What reaches less than this part of it where starts are compared is looked at no further.
NEAR = 0.8
#: No turn, and those by half. An image that is reflected along its first axis, and turned by one of these, is reflected
#: along another one.
HALF_TURNS = {3: ((0.0, 0.0, 0.0), (0.0, 0.0, 180.0), (0.0, 180.0, 0.0)), 2: ((0.0,), (180.0,))}


@dataclass(frozen=True, eq=False)
class Start:
    """Where to begin.

    Attributes:
        value: the metric there; lower is better, infinity where nothing can be compared.
        pair: what to compare from there on.
        transform: a rigid one between the frames of the pair.
    """

    value: float
    pair: LinearPair
    transform: sitk.Transform


def best_start(pair: LinearPair, notes: list[str]) -> Start:
    """Return where to begin the search of a rigid alignment.

    Images that show as much as one another begin from their centers, upright, and from rotations of all directions.
    Where one shows less, it is looked for everywhere in the other.

    Args:
        notes: what is worth knowing is added.

    Raises:
        InputError: the images have nothing in common.
    """
    less, more = sorted(pair.contents_mm())
    is_part = less < PART * more and pair.given is None
    found = _placed(pair, notes) if is_part else _centered(pair, less < PERHAPS * more, notes)
    if not np.isfinite(found.value):
        raise InputError(
            "Linear alignment failed: no position was found in which the images have content in common to compare. "
            "Check that both show the same part of the body, that neither is blank where they overlap, and that the "
            "masks lie on the images. Where one is a small or turned part of the other, start from landmarks or an "
            "initial transform."
        )
    return found


#: Nobody lies so obliquely in a scanner.
WRONG_DEGREES = 45


def _centered(pair: LinearPair, anywhere: bool, notes: list[str]) -> Start:
    """Return the best of translations of the centers, upright or turned in any direction.

    Args:
        anywhere: whether to look for the smaller image in the larger one, too.
    """
    fixed = pair.at(START_VOXELS)[0]
    translations = pair.translations()
    positions = [_shift(shift_mm, fixed) for shift_mm in best_positions(pair)[0]] if anywhere else []
    upright = _best(pair, _upright([*translations, *positions], pair.dimensions), also=pair.given)
    reached = information(upright.pair, [upright.transform], START_VOXELS)[0]
    turned = _best(pair, _turned(translations[0], pair.dimensions), REFINED_TURNED, WORTH_A_LOOK * reached)
    if turned.value >= WORTH_TURNING * upright.value:
        return upright
    degrees = rotation_degrees(turned.pair.to_lps(turned.transform)[:3, :3])
    if degrees > WRONG_DEGREES:
        notes.append(
            f"The moving image had to be turned by {degrees:.0f} degrees to fit: the orientation in one of the headers "
            "may be wrong. Check right and left."
        )
    return turned


def mirrored_gain(pair: LinearPair, found: sitk.Transform) -> float:
    """Return how many times the mutual information of the moving image its mirror image reaches, both rigid.

    Where starts are compared; where that comes near ``MIRRORED``, the lower of it and the coarsest level; likewise the
    next one. 0 where nothing can be compared.

    Args:
        found: the transform that fits best without.
    """
    upright = of_model(found, "rigid", pair.dimensions)
    mirrored = pair.mirrored()
    centered = mirrored.translations()[0]
    shifts = [_reflected(upright, pair.at(START_VOXELS)[0]), centered]
    candidates = list(_upright(shifts, pair.dimensions, half_turns=True))
    was_turned = not np.array_equal(pair.frames.moving, pair.frames.fixed)
    if was_turned:  # perhaps because it is mirrored
        candidates += _turned(centered, pair.dimensions)
    begin = _best(mirrored, candidates, REFINED_MIRRORED)
    reached = refine(pair, upright, 0, [], images=pair.at(START_VOXELS), iterations=STEPS // 4)[1]
    if not (np.isfinite(begin.value) and reached < 0):
        return 0.0
    gain = begin.value / reached
    if gain < NEAR * MIRRORED:
        return float(gain)
    reflected, gain = begin.transform, np.inf
    for level in (0, 1):
        upright, value = refine(pair, upright, level, [])
        reflected, other = refine(begin.pair, reflected, level, [])
        gain = min(gain, other / value) if value < 0 and np.isfinite(other) else 0.0
        if gain < MIRRORED:
            break
    return float(gain)


def _reflected(found: sitk.Transform, fixed: sitk.Image) -> sitk.Transform:
    """Return a rigid transform to the reflected moving image, for a fixed image that is its own mirror image."""
    n = fixed.GetDimension()
    middle, reflection = np.array(middle_of(fixed)), np.diag([-1.0] + [1.0] * (n - 1))
    matrix = np.array(found.GetMatrix()).reshape(n, n)
    there = np.array(found.TransformPoint(middle.tolist()))
    reflected = RIGID[n]()
    reflected.SetCenter(middle.tolist())
    reflected.SetMatrix((reflection @ matrix @ reflection).ravel().tolist(), 1e-6)
    reflected.SetTranslation((reflection @ there - middle).tolist())
    return reflected


def _placed(pair: LinearPair, notes: list[str]) -> Start:
    """Return where the smaller image fits best in the larger one, and what of the larger one is there."""
    shifts_mm, as_headers_say = best_positions(pair)
    found = [Start(np.inf, pair, pair.translations()[0])]
    for shift_mm in shifts_mm:
        near = pair.near(pair.to_lps(_shift(shift_mm, pair.fixed)))
        found.append(_best(near, _upright([_shift(shift_mm, near.at(START_VOXELS)[0])], pair.dimensions)))
    if not as_headers_say:
        notes.append(
            "One image shows part of the other and was looked for everywhere in it, because the positions given in the "
            "headers do not fit. Check the position that was found."
        )
    return min(found, key=lambda start: start.value)


def _shift(shift_mm: np.ndarray, fixed: sitk.Image) -> sitk.Transform:
    """Return a rigid transform that shifts only, to be turned about the middle of the fixed image."""
    transform = RIGID[len(shift_mm)]()
    transform.SetCenter(middle_of(fixed))
    transform.SetTranslation(shift_mm.tolist())
    return transform


def _best(
    pair: LinearPair,
    candidates: Iterable[sitk.Transform],
    count: int = REFINED,
    least: float = -np.inf,
    also: sitk.Transform | None = None,
) -> Start:
    """Return the best of the best few, each after a few steps.

    Args:
        count: how many the best few are.
        least: those of less mutual information at first are not looked at.
        also: made better whatever it is at first.
    """
    begun = list(candidates)
    values = information(pair, begun, START_VOXELS)
    chosen = [
        begun[n] for n in np.argsort(-values, kind="stable")[:count] if np.isfinite(values[n]) and values[n] > least
    ]
    found = [Start(np.inf, pair, begun[0])]
    for candidate in [*chosen, *([] if also is None else [also])]:
        matrix = pair.to_lps(candidate)
        framed = pair.framed(matrix)
        begin = candidate if framed is pair else rigid_of(framed, matrix)
        better, reached = refine(framed, begin, 0, [], images=framed.at(START_VOXELS), iterations=STEPS)
        found.append(Start(reached, framed, better))
    return min(found, key=lambda start: start.value)


def _upright(translations: list[sitk.Transform], dimensions: int, half_turns: bool = False) -> Iterator[sitk.Transform]:
    """Yield each translation without a rotation and with small ones, and if asked to after each half turn, too."""
    angles = (-ROTATION_DEG, 0.0, ROTATION_DEG)
    begun = HALF_TURNS[dimensions] if half_turns else HALF_TURNS[dimensions][:1]
    for translation, first in itertools.product(translations, begun):
        for turn in itertools.product(angles, repeat=3 if dimensions == 3 else 1):
            yield _rotated(translation, rotation_by(turn) @ rotation_by(first))


def _turned(translation: sitk.Transform, dimensions: int) -> Iterator[sitk.Transform]:
    """Yield a translation with rotations of all directions."""
    for matrix in rotations(ROTATIONS[dimensions], dimensions):
        yield _rotated(translation, matrix)


def _rotated(translation: sitk.Transform, matrix: np.ndarray) -> sitk.Transform:
    """Return a copy of a rigid transform with another rotation about its center."""
    candidate = RIGID[len(matrix)](translation)
    candidate.SetMatrix(matrix.ravel().tolist(), 1e-6)
    return candidate
