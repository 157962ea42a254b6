"""Files that hold images for trainings only: films, Analyze, and the pickled arrays of TransMorph's data.

A registration does not take them: a film has no millimeters, Analyze does not say which side is left, and a pickle
says neither. A training needs only that its images are alike.
"""

from __future__ import annotations

import io
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ..geometry.grids import triple
from ..types import Grid, Image, InputError
from .atomic import reason
from .images import read_image

FILMS = (".avi", ".mp4", ".mov")
PICKLES = (".pkl",)
ANALYZE = (".hdr",)
NO_FFMPEG = (
    'Films need imageio-ffmpeg, which is not installed: pip install "SlicerDeepReg[movie]". Or write their frames as '
    ".png files."
)
#: What a pickle may name: the functions by which NumPy's arrays are built, under the names of NumPy 1 and 2.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}
#: Larger pickles are not read: the images of those data sets have 30 to 70 MB.
MOST_BYTES = 2_000_000_000


def read_subject(path: Path, role: str, part: int | None = None) -> Image:
    """Read an image, labels or a mask of a data set.

    Args:
        path: what ``files.images.read_image`` reads, a film, Analyze, or a pickle of (image, labels).
        role: "image", "labels" or "mask".
        part: frame of a film, counted from 0.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    suffix = path.suffix.lower()
    if suffix in FILMS:
        return _frame(path, 0 if part is None else part)
    if suffix in PICKLES:
        return _from_pickle(path, role)
    if suffix in ANALYZE:
        return _from_analyze(path, role)
    return read_image(path, role)


def _plain(values: np.ndarray, name: str, spacing_ijk: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Image:
    """Return an array (K, J, I) or (J, I) as an image whose axes are those of the world."""
    dimensions = values.ndim
    if dimensions == 2:
        values = values[None]
    size_ijk = triple(values.shape[::-1])
    return Image(values, Grid(size_ijk, np.diag([*spacing_ijk, 1.0])), name, dimensions)


# ------------------------------------------------------------------------------------------ films


def count_frames(path: Path) -> int:
    """Return how many frames a film has.

    Raises:
        InputError: it cannot be read, or imageio-ffmpeg is not installed.
    """
    return len(_frames(path))


def _frame(path: Path, number: int) -> Image:
    frames = _frames(path)
    if not 0 <= number < len(frames):
        raise InputError(f"The film {path} has {len(frames)} frames; there is no frame {number} (counted from 0).")
    return _plain(frames[number], f"{path.name} frame {number}")


@lru_cache(maxsize=2)
def _frames(path: Path) -> np.ndarray:
    """Return the frames of a film, (T, J, I) uint8, gray."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InputError(NO_FFMPEG) from None
    try:
        reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="gray", bits_per_pixel=8)
        wide, tall = next(reader)["size"]
        return np.stack([np.frombuffer(frame, np.uint8).reshape(tall, wide) for frame in reader])
    except (OSError, RuntimeError, ValueError, StopIteration) as error:
        raise InputError(f"The film {path} cannot be read ({reason(error)}). Copy or convert it again.") from error


# ------------------------------------------------------------------------------------------ Analyze


def _from_analyze(path: Path, role: str) -> Image:
    """Read a pair of .hdr and .img; its axes are taken as stored."""
    try:
        loaded: Any = nibabel.load(str(path))
        values = np.asarray(loaded.dataobj).squeeze()
        spacing = tuple(float(abs(zoom)) or 1.0 for zoom in loaded.header.get_zooms()[:3])
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(
            f"The {role} {path} cannot be read ({reason(error)}). An Analyze image is a .hdr with its .img beside it."
        ) from error
    if values.ndim not in (2, 3):
        raise InputError(f"The {role} {path} has {values.ndim} axes; an image has 2 or 3.")
    return _plain(np.ascontiguousarray(values.T), path.name, (*spacing, *(1.0,) * (3 - len(spacing))))


# ------------------------------------------------------------------------------------------ pickled arrays


class _ArraysOnly(pickle.Unpickler):
    """Builds NumPy's arrays and plain values; anything else that a file names is an error, and nothing is run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few functions that arrays are built by."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module, name)


def _from_pickle(path: Path, role: str) -> Image:
    """Read the image or the labels of a pickled (image, labels), as TransMorph's data are kept."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES / 1e9:g} GB. Convert it to NIfTI.")
        held = _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise InputError(
            f"{path} cannot be read ({reason(error)}). A pickle must hold NumPy arrays, (image, labels), and nothing "
            "else; nothing in it was run."
        ) from error
    arrays = held if isinstance(held, (tuple, list)) else (held,)
    place = 0 if role == "image" else 1
    if place >= len(arrays) or not all(_is_image(array) for array in arrays[:2]):
        raise InputError(f"{path} does not hold (image, labels) as arrays of 2 or 3 axes, but {_described(held)}.")
    return _plain(np.ascontiguousarray(np.squeeze(arrays[place])), path.name)


def _is_image(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and np.squeeze(value).ndim in (2, 3)


def _described(held: Any) -> str:
    parts = held if isinstance(held, (tuple, list)) else (held,)
    return ", ".join(f"{type(one).__name__}{getattr(one, 'shape', '')}" for one in parts[:4]) or "nothing"
