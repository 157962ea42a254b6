"""Label maps of phantom heads: the 32 structures of a brain as ellipsoids, in skull and skin, in any orientation."""

import numpy as np
from SlicerDeepRegLib.anatomy import STRUCTURE_BY_NUMBER
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.types import Grid, Image

#: Number: center and half axes, mm, along left, posterior, superior; those with a side are the left ones. Later ones
#: lie over earlier ones.
_ELLIPSOIDS = {
    24: ((0, 0, 10), (66, 82, 62)),
    3: ((31, 0, 12), (31, 76, 55)),
    2: ((31, 0, 14), (24, 66, 45)),
    8: ((22, 52, -38), (22, 20, 17)),
    7: ((20, 50, -38), (13, 12, 10)),
    16: ((0, 24, -36), (10, 11, 26)),
    28: ((9, 14, -8), (9, 10, 8)),
    4: ((12, 4, 22), (8, 34, 10)),
    5: ((32, 26, -12), (4, 14, 5)),
    10: ((12, 14, 8), (9, 14, 10)),
    11: ((17, -14, 12), (6, 14, 10)),
    12: ((28, -4, 2), (7, 17, 10)),
    13: ((20, 2, 0), (5, 9, 7)),
    17: ((26, 22, -16), (7, 17, 7)),
    18: ((24, -2, -18), (8, 8, 8)),
    26: ((12, -20, -4), (6, 7, 6)),
    14: ((0, 8, 4), (3, 12, 9)),
    15: ((0, 36, -30), (7, 6, 10)),
}
_SKULL, _SKIN = ((0, 0, 8), (72, 88, 68)), ((0, 0, 6), (80, 96, 76))
SKULL_NUMBER, SKIN_NUMBER = 165, 258


def head_numbers(points_lps_mm, person=0, whole_head=True):
    """FreeSurfer's numbers at points of a person's own frame, (..., 3) to (...) int16.

    People differ in the size and place of every structure, by up to 5 mm and a fifth, alike on both sides; person 0
    is the usual one.
    """
    random = np.random.default_rng(person)
    numbers = np.zeros(points_lps_mm.shape[:-1], np.int16)

    def put(number, center, half):
        apart = np.abs(points_lps_mm - np.float32(center))
        near = (apart < np.float32(half)).all(-1)
        inside = np.square(apart[near] / np.float32(half)).sum(-1) < 1
        numbers[near] = np.where(inside, number, numbers[near])

    if whole_head:
        put(SKIN_NUMBER, *_SKIN)
        put(SKULL_NUMBER, *_SKULL)
    for number, (center, half) in _ELLIPSOIDS.items():
        center = np.array(center, float) + random.uniform(-5, 5, 3) * (1 if person else 0)
        half = np.array(half) * (1 + 0.2 * random.uniform(-1, 1, 3) * (1 if person else 0))
        if STRUCTURE_BY_NUMBER[number].mirror == number:
            put(number, center * [0, 1, 1], half)
        else:
            put(number, center, half)
            put(STRUCTURE_BY_NUMBER[number].mirror, center * [-1, 1, 1], half)
    return numbers


def rotation(degrees, axis):
    """(3, 3) about one of x, y, z."""
    angle, (a, b) = np.radians(degrees), [n for n in range(3) if n != axis]
    turn = np.eye(3)
    turn[a, a] = turn[b, b] = np.cos(angle)
    turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
    return turn


def head(person=0, orientation="LPS", spacing_mm=(4.0, 4.0, 4.0), turn=None, shift_mm=(0, 0, 0), whole_head=True):
    """The label map of a person.

    Args:
        orientation: where i, j, k grow to.
        spacing_mm: along i, j, k.
        turn, shift_mm: (3, 3) and LPS mm: how the person lies in the scanner.
    """
    axes = np.zeros((3, 3))
    for column, letter in enumerate(orientation):
        axis = next(n for n, pair in enumerate(("LR", "PA", "SI")) if letter in pair)
        axes[axis, column] = 1 if letter in "LPS" else -1
    extent = np.abs(axes.T @ (176, 208, 184)) if turn is None else np.array((240, 240, 240))
    size = [int(np.ceil(n / s)) for n, s in zip(extent, spacing_mm)]
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing_mm
    turn = np.eye(3) if turn is None else turn
    matrix[:3, 3] = np.array(shift_mm) + turn @ (0, 0, 6) - matrix[:3, :3] @ ((np.array(size) - 1) / 2)
    k, j, i = np.indices(size[::-1])
    points = (np.stack([i, j, k], -1) @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
    own = (points - np.float32(shift_mm)) @ turn.astype(np.float32)  # the turn's inverse
    return Image(head_numbers(own, person, whole_head), Grid(tuple(size), matrix), f"person {person}")


#: How people may lie in a scanner, and be stored.
POSES = (
    {},
    {"orientation": "RAS", "spacing_mm": (3.0, 3.0, 5.0), "shift_mm": (20, -30, 40)},
    {"orientation": "PIR", "spacing_mm": (4.0, 3.0, 4.0), "turn": rotation(20, 2)},
    {"orientation": "ASR", "turn": rotation(-15, 0) @ rotation(10, 1), "shift_mm": (0, 60, -25)},
)


def folder_of_heads(folder, count=3, **changed):
    """``count`` people as head-N.nii.gz, each in another pose."""
    folder.mkdir(parents=True, exist_ok=True)
    for person in range(count):
        write_image(head(person, **{**POSES[person % len(POSES)], **changed}), folder / f"head-{person}.nii.gz")
    return folder
