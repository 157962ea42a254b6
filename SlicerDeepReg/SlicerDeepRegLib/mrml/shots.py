"""Pictures of a run as the user's own slice views draw it, for a report. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .png import png_bytes
from .review import Review
from .runs import Run, moving_is_where_it_was

#: Caption, mode of the review, amount of the upper layer, after registration or before, grid.
SHOTS: tuple[tuple[str, str, float, bool, bool], ...] = (
    ("Fixed image.", "fade", 0.0, True, False),
    ("Moving image before registration, on the same planes.", "fade", 1.0, False, False),
    ("Moving image after registration: structures should lie where the fixed ones lie.", "fade", 1.0, True, False),
    ("Moving minus fixed before: black is no difference.", "difference", 0.0, False, False),
    ("Warped minus fixed: edges in red and blue were not brought together.", "difference", 0.0, True, False),
    ("The deformation as a grid on the warped image: lines must not cross.", "fade", 1.0, True, True),
    (
        "Change of volume, fixed to moving, colors by its logarithm: white none, red expansion to 4 times and more, "
        "blue compression to a quarter and less, magenta folding.",
        "jacobian",
        0.75,
        True,
        False,
    ),
)


def shots(review: Review, run: Run, cameras: Sequence[Callable[[], np.ndarray]]) -> list[tuple[bytes, str]]:
    """Return (PNG, caption) of each of SHOTS, the views beside each other.

    Args:
        review: shows the run; what it showed comes back by its ``restore`` or the next ``show``.
        run: with its fixed and warped volume; pictures of before are left out where the moving one is gone or moved.
        cameras: each renders a view now and gives (height, width, 3) uint8, first row on top.
    """
    pictures = []
    for caption, mode, amount, after, grid in SHOTS:
        if not after and not moving_is_where_it_was(run):
            continue
        review.show(run, mode, amount, after)
        review.overlay(run, grid, False)
        pictures.append((png_bytes(beside(cameras)), caption))
    review.overlay(run, False, False)
    return pictures


def beside(cameras: Sequence[Callable[[], np.ndarray]]) -> np.ndarray:
    """Return what every camera sees now, beside each other."""
    pictures = [camera() for camera in cameras]
    height = max(picture.shape[0] for picture in pictures)
    return np.concatenate(
        [np.pad(picture, ((0, height - picture.shape[0]), (0, 0), (0, 0))) for picture in pictures], axis=1
    )
