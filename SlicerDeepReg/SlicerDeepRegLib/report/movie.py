"""Frames as a GIF, by Pillow, which comes with what the worker needs."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np

from ..contracts import InputError


def write_gif(frames: Sequence[np.ndarray], path: Path, seconds: float) -> None:
    """Write a film that begins again at its end.

    Args:
        frames: (height, width, 3) uint8 of one shape, first row on top.
        seconds: of one frame.

    Raises:
        InputError: no frames, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("A film needs Pillow, which is not installed: pip install pillow.") from error
    if not len(frames):
        raise InputError("There is nothing to film. Show a run first.")
    pictures = [Image.fromarray(np.ascontiguousarray(one)) for one in frames]
    colours = pictures[len(pictures) // 2].quantize(256)  # the same for all: else the background flickers
    small = [one.quantize(palette=colours, dither=Image.Dither.NONE) for one in pictures]
    small[0].save(
        path, save_all=True, append_images=small[1:], duration=max(20, int(1000 * seconds)), loop=0, disposal=1
    )
