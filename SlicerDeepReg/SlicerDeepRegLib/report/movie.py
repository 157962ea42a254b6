"""Write frames as an animation: a GIF by Pillow, or an MP4 by imageio-ffmpeg."""

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
    """Return whether imageio-ffmpeg, which brings ffmpeg, is installed."""
    return importlib.util.find_spec("imageio_ffmpeg") is not None


def write_film(frames: Sequence[np.ndarray], path: Path, seconds: float) -> None:
    """Write an animation in the format of the file's suffix; see ``write_gif`` and ``write_mp4``."""
    (write_mp4 if path.suffix.lower() == ".mp4" else write_gif)(frames, path, seconds)


def write_mp4(frames: Sequence[np.ndarray], path: Path, seconds: float) -> None:
    """Write an animation that any player and presentation can show (H.264, even sides).

    Args:
        frames: (height, width, 3) uint8 of one shape, first row on top.
        seconds: of one frame.

    Raises:
        InputError: no frames, or imageio-ffmpeg is not installed. OSError: it could not be written.
    """
    if not len(frames):
        raise InputError("There is nothing to export. Show a run first.")
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
    """Write an animation that loops.

    Args:
        frames: (height, width, 3) uint8 of one shape, first row on top.
        seconds: of one frame.

    Raises:
        InputError: no frames, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError("An animation needs Pillow, which is not installed: pip install pillow.") from error
    if not len(frames):
        raise InputError("There is nothing to export. Show a run first.")
    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    colors = pictures[len(pictures) // 2].quantize(256)  # the same for all: else the background flickers
    small = [picture.quantize(palette=colors, dither=Image.Dither.NONE) for picture in pictures]
    small[0].save(
        path, save_all=True, append_images=small[1:], duration=max(20, int(1000 * seconds)), loop=0, disposal=1
    )
