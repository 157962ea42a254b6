"""What can be known of a series of frames before any work."""

from __future__ import annotations

from ..types import CHAINS, InputError, Series


def check_series(series: Series) -> None:
    """Refuse a series that cannot be registered.

    Raises:
        InputError: fewer than two frames, no such reference, frames of another size, labels on another grid, or a
            chain that there is none of.
    """
    frames, reference, labels = series.frames, series.reference, series.labels
    if len(frames) < 2:
        raise InputError("A series needs at least two frames. Give a 4D image, or several images.", "frames")
    if not 0 <= reference < len(frames):
        raise InputError(
            f"There is no frame {reference}: the series has {len(frames)}, numbered from 0 on.", "reference"
        )
    size = frames[reference].grid.size_ijk
    for frame in frames:
        if frame.grid.size_ijk != size:
            raise InputError(
                f"{frame.name} has {' x '.join(map(str, frame.grid.size_ijk))} voxels and the reference, "
                f"{frames[reference].name}, {' x '.join(map(str, size))}. Resample them to one grid.",
                "frames",
            )
    if labels is not None and not labels.grid.same_as(frames[reference].grid):
        raise InputError(
            f"The labels lie on another voxel grid than frame {reference}, the reference. Give the labels of that "
            "frame.",
            "labels",
        )
    if series.chain not in CHAINS:
        raise InputError(f"chain must be one of {', '.join(CHAINS)}; it was {series.chain!r}.", "chain")
