"""What can be wrong with the inputs, found before any work and said in plain words."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import List, Optional, Tuple, Union

import numpy as np
import SimpleITK as sitk

from ..files.images import load
from ..files.points import load_points
from ..geometry.grids import overlap_fraction
from ..geometry.points import apply_matrix
from ..types import PRESETS, DeviceMemoryError, Grid, Image, InputError, Request
from . import plan
from .working import resample

SMALLEST_SIZE = 8


class Inputs:
    """Everything a request names, read and checked.

    Attributes:
        fixed, moving: the images.
        fixed_mask: (K, J, I) bool on the fixed grid, or None.
        moving_mask: on the moving grid, or None.
        fixed_labels: on the fixed grid, or None. moving_labels: on their own grid, or None.
        fixed_points, moving_points: (N, 3) LPS mm, or None.
        notes: what was changed or assumed.

    Raises:
        InputError: the first thing that is wrong.
    """

    def __init__(self, request: Request) -> None:
        self.notes: List[str] = []
        self.fixed = check_image(load(request.fixed, "fixed image"), "fixed image")
        self.moving = check_image(load(request.moving, "moving image"), "moving image")
        check_pair(self.fixed, self.moving, request.linear)
        self.fixed_mask = self._mask(request.fixed_mask, self.fixed, "fixed mask")
        moving_mask = self._mask(request.moving_mask, self.moving, "moving mask")
        self.moving_mask = None
        if moving_mask is not None:
            self.moving_mask = Image(moving_mask.astype(np.uint8), self.moving.grid, "moving mask")
        self.fixed_labels = self._labels(request.fixed_labels, "fixed labels")
        if self.fixed_labels is not None:
            self.fixed_labels = self._on_grid(self.fixed_labels, self.fixed, "fixed labels")
        self.moving_labels = self._labels(request.moving_labels, "moving labels")
        self._check_label_dimensions()
        self.fixed_points, self.moving_points = self._points(request)

    def _on_grid(self, image: Image, reference: Image, role: str) -> Image:
        if image.grid.same_as(reference.grid):
            return image
        self.notes.append(f"The {role} had another geometry than their image and were resampled to it.")
        values = resample(image, reference.grid, interpolator=sitk.sitkNearestNeighbor, outside=0)
        return Image(values, reference.grid, image.name, reference.dimensions)

    def _mask(self, source, image: Image, role: str) -> Optional[np.ndarray]:
        if source is None:
            return None
        mask = load(source, role)
        inside = self._on_grid(Image((mask.values > 0).astype(np.uint8), mask.grid, mask.name), image, role).values > 0
        if not inside.any():
            raise InputError(
                f"The {role} ({mask.name}) is empty where the image is: no voxel of it is above 0. Draw it again, or "
                "leave it out."
            )
        return inside

    def _labels(self, source, role: str) -> Optional[Image]:
        if source is None:
            return None
        labels = load(source, role)
        values = labels.values
        if not np.isfinite(values).all() or (values < 0).any() or (values != np.round(values)).any():
            raise InputError(f"The {role} ({labels.name}) must be whole numbers from 0 up; other values were found.")
        if not values.any():
            raise InputError(
                f"The {role} ({labels.name}) are empty: every voxel is 0. Leave them out, or correct them."
            )
        if values.max() > 65535:
            raise InputError(f"The {role} ({labels.name}) hold labels above 65535. Renumber them.")
        return Image(values.astype(np.int32), labels.grid, labels.name, labels.dimensions)

    def _check_label_dimensions(self) -> None:
        if self.moving_labels is not None and self.moving_labels.grid.is_planar != self.moving.grid.is_planar:
            raise InputError("The moving labels are a single slice and the moving image a volume, or the reverse.")

    def _points(self, request: Request) -> Tuple[Optional[np.ndarray], Optional[np.ndarray]]:
        if request.fixed_points is None and request.moving_points is None:
            return None, None
        if request.fixed_points is None or request.moving_points is None:
            raise InputError("Landmarks are needed in both images: give both --fixed-points and --moving-points.")
        fixed = load_points(request.fixed_points, "fixed points")
        moving = load_points(request.moving_points, "moving points")
        if len(fixed) != len(moving):
            raise InputError(
                f"There are {len(fixed)} fixed and {len(moving)} moving points; each fixed point needs its partner on "
                "the same line."
            )
        _check_inside(fixed, self.fixed, "fixed")
        _check_inside(moving, self.moving, "moving")
        return fixed, moving


def _check_inside(points: np.ndarray, image: Image, role: str) -> None:
    ijk = apply_matrix(image.grid.lps_to_ijk, points)
    outside = ((ijk < -0.5) | (ijk > np.array(image.grid.size_ijk) - 0.5)).any(axis=1)
    if outside.any():
        numbers = ", ".join(str(n + 1) for n in np.flatnonzero(outside)[:10])
        raise InputError(
            f"{int(outside.sum())} of the {role} points lie outside the {role} image (number {numbers}). Points "
            "must be LPS mm; check that they are not RAS, and that they belong to this image."
        )


def check_image(image: Image, role: str) -> Image:
    """The image, when it can be registered.

    Raises:
        InputError: NaN or infinite voxels, a constant image, or one that is too small.
    """
    values = image.values
    if values.dtype.kind == "c":
        raise InputError(f"The {role} ({image.name}) has complex voxels. Convert it to magnitude.")
    if values.dtype.kind == "f":
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        if bad:
            raise InputError(
                f"The {role} ({image.name}) has {bad} voxels that are NaN or infinite. Replace them, for "
                "example by the background value."
            )
    if values.min() == values.max():
        raise InputError(
            f"The {role} ({image.name}) is constant: every voxel is {values.flat[0]}. There is nothing to register; "
            "check that the right image was given."
        )
    sizes = [n for n in image.grid.size_ijk if n > 1]
    if len(sizes) < 2 or min(sizes) < SMALLEST_SIZE:
        raise InputError(
            f"The {role} ({image.name}) has {' x '.join(map(str, image.grid.size_ijk))} voxels; at least "
            f"{SMALLEST_SIZE} are needed along each axis, or a single slice of {SMALLEST_SIZE} x {SMALLEST_SIZE}."
        )
    return image


def check_pair(fixed: Image, moving: Image, linear: str) -> None:
    """Raise InputError when the two cannot be registered to each other."""
    if fixed.grid.is_planar != moving.grid.is_planar:
        flat, solid = ("fixed", "moving") if fixed.grid.is_planar else ("moving", "fixed")
        raise InputError(
            f"The {flat} image is a single slice and the {solid} image a volume. Give two volumes or two slices; "
            "extract the slice that corresponds first."
        )
    if fixed.dimensions != moving.dimensions:
        raise InputError(
            "One image is 2D and the other a volume of one slice. Save both in the same way, so that "
            "both lie in one space."
        )
    if linear == "none" and overlap_fraction(fixed.grid, moving.grid) == 0:
        raise InputError(
            "The two images do not overlap in space, so nothing can be compared without a linear stage. Use --linear "
            "center, rigid or affine: they start from the centers of the images."
        )


def check_memory(grid: Grid, preset: str, needs: Union[str, int], free_bytes: int, where: str) -> None:
    """Raise InputError when the estimate exceeds what is free, naming an preset that fits."""
    on_gpu = where == "the GPU"
    needed = plan.estimated_bytes(grid, preset, needs, on_gpu)
    if needed <= free_bytes:
        return
    fitting = [
        smaller
        for smaller in PRESETS[: PRESETS.index(preset)]
        if plan.estimated_bytes(grid, smaller, needs, on_gpu) <= free_bytes
    ]
    advice = "Close other programs, resample the fixed image to larger voxels, or use a computer with more memory."
    if fitting:
        smaller = plan.estimated_bytes(grid, fitting[-1], needs, on_gpu)
        advice = f"Use --preset {fitting[-1]}, which needs about {smaller / 1e9:.1f} GB."
    if on_gpu:
        advice += " Or compute on the CPU (--device cpu)."
    kind = DeviceMemoryError if on_gpu else InputError
    raise kind(
        f"This registration needs about {needed / 1e9:.1f} GB of memory and {where} has {free_bytes / 1e9:.1f} GB "
        f"free. {advice}"
    )


def free_memory_bytes() -> int:
    """What a new program may take on this computer: the least of free memory and the limits set on this process."""
    amounts = [_windows_available() if sys.platform == "win32" else _meminfo_available(), _address_space_left()]
    known = [amount for amount in amounts if amount is not None]
    return min(known) if known else 1 << 62


def _meminfo_available() -> Optional[int]:
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            for line in stream:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        *[(name, ctypes.c_uint32) for name in ("length", "load")],
        *[(name, ctypes.c_uint64) for name in ("total", "available", "total_page", "available_page")],
        *[(name, ctypes.c_uint64) for name in ("total_virtual", "available_virtual", "available_extended")],
    ]


def _windows_available() -> Optional[int]:
    status = _MemoryStatus()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(min(status.available, status.available_page))  # what may be promised, with the page file


def _address_space_left() -> Optional[int]:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            taken = int(stream.read().split()[0]) * resource.getpagesize()
    except OSError:
        taken = 0
    return max(0, limit - taken)
