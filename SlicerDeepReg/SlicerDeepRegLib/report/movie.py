"""Frames as a film: a GIF by Pillow, which comes with what the worker needs, or an MP4 by imageio-ffmpeg."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..types import InputError

NO_FFMPEG = (
    'An MP4 needs imageio-ffmpeg, which is not installed: pip install "SlicerDeepReg[movie]", in Slicer '
    'pip_install("imageio-ffmpeg"). A GIF needs nothing more.'
)


def can_write_mp4() -> bool:
    """Whether imageio-ffmpeg is there, which brings ffmpeg."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


def write_film(frames: Sequence[np.ndarray], path: Path, seconds: float) -> None:
    """Write a film in the format that the name's ending says; see ``write_gif`` and ``write_mp4``."""
    (write_mp4 if path.suffix.lower() == ".mp4" else write_gif)(frames, path, seconds)


def write_mp4(frames: Sequence[np.ndarray], path: Path, seconds: float) -> None:
    """Write a film that every player and presentation shows (H.264, even sides).

    Args:
        frames: (height, width, 3) uint8 of one shape, first row on top.
        seconds: of one frame.

    Raises:
        InputError: no frames, or imageio-ffmpeg is not installed. OSError: it could not be written.
    """
    if not len(frames):
        raise InputError("There is nothing to film. Show a run first.")
    if not can_write_mp4():
        raise InputError(NO_FFMPEG)
    import imageio_ffmpeg

    height, width = (side + side % 2 for side in frames[0].shape[:2])  # H.264 halves its colors' resolution
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=1 / seconds, codec="libx264", quality=8, macro_block_size=2
    )
    try:
        writer.send(None)
        for frame in frames:
            whole = np.zeros((height, width, 3), np.uint8)
            whole[: frame.shape[0], : frame.shape[1]] = frame
            writer.send(whole.tobytes())
    finally:
        writer.close()


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
    colors = pictures[len(pictures) // 2].quantize(256)  # the same for all: else the background flickers
    small = [one.quantize(palette=colors, dither=Image.Dither.NONE) for one in pictures]
    small[0].save(
        path, save_all=True, append_images=small[1:], duration=max(20, int(1000 * seconds)), loop=0, disposal=1
    )
