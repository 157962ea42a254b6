"""Two images as SimpleITK registers them: in their frames, at any resolution, and from where they may begin."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ...files.images import from_sitk, place, to_sitk
from ...geometry.grids import box_of_other, resized
from ...geometry.rotations import rotation_degrees
from ...preparation import intensity
from ...preparation.resample import resample
from ...types import Grid, Image, ImagePair, InputError

#: Voxels of the fixed image at each level, coarse to fine.
LEVEL_VOXELS = (15_000, 110_000, 700_000)
#: Rotations of more degrees than this are taken into the frame of the moving image.
LARGE_TURN_DEG = 45.0
#: Rigid transforms by the number of dimensions.
RIGID = {2: sitk.Euler2DTransform, 3: sitk.VersorRigid3DTransform}
#: What is brighter than this, of 0..1, is content.
BACKGROUND = 0.05


@dataclass(frozen=True, eq=False)
class Frames:
    """The orthonormal frames in which the two images are registered (columns, LPS).

    For volumes both are the identity, or that of the moving image is turned with it: see ``LinearPair.framed``. For
    slices the third column is the normal of the slice.
    """

    fixed: np.ndarray
    moving: np.ndarray
    dimensions: int


def frames_of(fixed: Image, moving: Image, notes: list[str]) -> Frames:
    if not fixed.grid.is_planar:
        return Frames(np.eye(3), np.eye(3), 3)
    fixed_frame, moving_frame = _slice_frame(fixed), _slice_frame(moving)
    if abs(fixed_frame[:, 2] @ moving_frame[:, 2]) > 0.99:
        moving_frame = fixed_frame  # parallel slices: keep right, left, front and back where they are
    else:
        notes.append("The two slices lie in different planes; they were matched by their rows and columns.")
    return Frames(fixed_frame, moving_frame, 2)


def _slice_frame(image: Image) -> np.ndarray:
    axes = [c for c in range(3) if image.grid.size_ijk[c] > 1][:2]
    if len(axes) < 2:
        raise InputError(f"{image.name} is a single line of voxels; a slice or a volume is needed.")
    across = image.grid.direction[:, axes[0]]
    down = image.grid.direction[:, axes[1]]
    return np.stack([across, down, np.cross(across, down)], axis=1)


class LinearPair:
    """Both images as SimpleITK images of 2 or 3 dimensions in their frames, at any resolution."""

    def __init__(self, pair: ImagePair, frames: Frames) -> None:
        fixed, moving = pair.fixed, pair.moving
        self.pair, self.frames = pair, frames
        self.dimensions = frames.dimensions
        self.fixed, self.fixed_offset = self._in_frame(self._scaled(fixed), frames.fixed)
        self.moving, self.moving_offset = self._in_frame(self._scaled(moving), frames.moving)
        self.fixed_mask = self.moving_mask = None
        self._levels: dict[int, tuple[sitk.Image, sitk.Image]] = {}
        self.given: sitk.Transform | None = None
        if pair.fixed_mask is not None:
            mask = Image(pair.fixed_mask.astype(np.uint8), fixed.grid)
            self.fixed_mask = self._in_frame(mask, frames.fixed)[0]
        if pair.moving_mask is not None:
            mask = Image((pair.moving_mask.values > 0).astype(np.uint8), moving.grid)
            self.moving_mask = self._in_frame(mask, frames.moving)[0]

    @staticmethod
    def _scaled(image: Image) -> Image:
        values = intensity.scaled(image.values, *intensity.robust_range(image.values))
        return Image(values, image.grid, image.name)

    def _in_frame(self, image: Image, frame: np.ndarray) -> tuple[sitk.Image, float]:
        if self.dimensions == 3:
            return _turned(to_sitk(image, 3), frame.T), 0.0
        dropped = int(np.argmin(image.grid.size_ijk))
        kept = [c for c in range(3) if c != dropped]
        flat = sitk.GetImageFromArray(np.squeeze(image.values, axis=2 - dropped))
        flat.SetSpacing(image.grid.spacing_mm[kept].tolist())
        directions = frame.T @ image.grid.direction
        plane = directions[:2, kept]
        # Parallel slices may still be turned by a hair; the nearest rotation is an exact direction.
        left, _, right = np.linalg.svd(plane)
        flat.SetDirection((left @ right).ravel().tolist())
        origin = frame.T @ image.grid.origin_lps_mm
        flat.SetOrigin(origin[:2].tolist())
        return flat, float(origin[2])

    def to_lps(self, transform: sitk.Transform) -> np.ndarray:
        """Return the (4, 4) LPS matrix of a SimpleITK linear transform between the frames."""
        n = self.dimensions
        origin = np.array(transform.TransformPoint([0.0] * n))
        columns = [np.array(transform.TransformPoint(np.eye(n)[c].tolist())) - origin for c in range(n)]
        inner = np.eye(4)
        inner[:n, :n] = np.stack(columns, axis=1)
        inner[:n, 3] = origin
        if n == 2:
            inner[2, 3] = self.moving_offset - self.fixed_offset
        to_fixed, from_moving = np.eye(4), np.eye(4)
        to_fixed[:3, :3], from_moving[:3, :3] = self.frames.fixed.T, self.frames.moving
        return from_moving @ inner @ to_fixed

    def at(self, voxels: int) -> tuple[sitk.Image, sitk.Image]:
        """Both images, smoothed and shrunk to voxels of which the fixed image has about that many.

        Each level is made from the next finer one, and kept: smoothing the full images costs more than
        registering them.
        """
        if voxels not in self._levels:
            finer = [level for level in LEVEL_VOXELS if level > voxels]
            fixed, moving = self.at(finer[0]) if finer else (self.fixed, self.moving)
            extent_mm = np.array(self.fixed.GetSize()) * self.fixed.GetSpacing()
            step_mm = (np.prod(extent_mm) / voxels) ** (1 / self.dimensions)
            self._levels[voxels] = self._shrunk(fixed, step_mm), self._shrunk(moving, step_mm)
        return self._levels[voxels]

    def _shrunk(self, picture: sitk.Image, step_mm: float) -> sitk.Image:
        image = from_sitk(picture, "")
        factor = np.ones(3)
        factor[: self.dimensions] = np.maximum(1, step_mm / np.array(picture.GetSpacing()))
        size = np.maximum(np.round(np.array(image.grid.size_ijk) / factor), np.minimum(image.grid.size_ijk, 4))
        grid = resized(image.grid, tuple(size.astype(int)))
        values = resample(Image(image.values, image.grid), grid)
        shrunk = sitk.GetImageFromArray(values if self.dimensions == 3 else values[0])
        place(shrunk, grid)
        return shrunk

    def near(self, matrix_lps: np.ndarray) -> LinearPair:
        """Return the pair with what both images show, and a margin, where that is little of one of them.

        Of a head that is compared with a crop of one, hardly a sample would lie in the crop.

        Args:
            matrix_lps: (4, 4) about where the moving image lies, from fixed to moving points.
        """
        pair = self.pair
        fixed = box_of_other(pair.fixed.grid, pair.moving.grid, np.linalg.inv(matrix_lps))
        moving = box_of_other(pair.moving.grid, pair.fixed.grid, matrix_lps)
        if fixed is None and moving is None:
            return self
        if fixed is not None:
            mask = None if pair.fixed_mask is None else pair.fixed_mask[fixed[::-1]]
            pair = dataclasses.replace(pair, fixed=_part(pair.fixed, fixed), fixed_mask=mask)
        if moving is not None:
            pair = dataclasses.replace(pair, moving=_part(pair.moving, moving))
        if not (np.ptp(pair.fixed.values) and np.ptp(pair.moving.values)):
            return self  # nothing but background there
        return LinearPair(pair, self.frames)

    def framed(self, matrix_lps: np.ndarray) -> LinearPair:
        """Return the pair with a frame of the moving image in which little is left to turn.

        A rotation is described by three numbers, which change abruptly where it is large.

        Args:
            matrix_lps: (4, 4) about where the moving image lies, from fixed to moving points.
        """
        if self.dimensions == 2 or rotation_degrees(matrix_lps[:3, :3]) < LARGE_TURN_DEG:
            return self
        left, _, right = np.linalg.svd(matrix_lps[:3, :3])
        frame = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right @ self.frames.fixed
        self.at(LEVEL_VOXELS[0])
        framed = copy.copy(self)
        turn = frame.T @ self.frames.moving
        framed.frames, framed.given = Frames(self.frames.fixed, frame, 3), None
        framed._levels = {voxels: (fixed, _turned(moving, turn)) for voxels, (fixed, moving) in self._levels.items()}
        framed.keep_resolutions()
        if self.moving_mask is not None:
            framed.moving_mask = _turned(self.moving_mask, turn)
        return framed

    def mirrored(self) -> LinearPair:
        """Return the pair with the moving image reflected along the first axis of its frame, for a volume x.

        At the resolutions of all levels. What is found for it is a transform of the reflected image, not of this one.
        """
        for voxels in LEVEL_VOXELS:  # made of the image as it is
            self.at(voxels)
        reflection = np.diag([-1.0, 1.0, 1.0])
        reflected = copy.copy(self)
        reflected.given = None
        reflected._levels = {
            voxels: (fixed, _turned(moving, reflection)) for voxels, (fixed, moving) in self._levels.items()
        }
        if self.moving_mask is not None:
            reflected.moving_mask = _turned(self.moving_mask, reflection)
        return reflected

    def contents_mm(self) -> tuple[float, float]:
        """Return how much each image shows, mm^n: what is brighter than its background."""
        fixed, moving = self.at(LEVEL_VOXELS[0])
        return _content_mm(fixed), _content_mm(moving)

    def keep_resolutions(self) -> None:
        """Let go of the full images where the finest resolution was made: it covers the same box."""
        finest = self._levels.get(LEVEL_VOXELS[-1])
        if finest is not None:
            self.fixed, self.moving = finest

    def translations(self) -> list[sitk.Transform]:
        """Return rigid transforms that move the one image onto the other: centers of mass, of the boxes, none."""
        fixed, moving = self.at(LEVEL_VOXELS[0])
        found = []
        for mode in (sitk.CenteredTransformInitializerFilter.MOMENTS, sitk.CenteredTransformInitializerFilter.GEOMETRY):
            centered = sitk.CenteredTransformInitializer(fixed, moving, RIGID[self.dimensions](), mode)
            found.append(RIGID[self.dimensions](centered))
        still = RIGID[self.dimensions](found[0])
        still.SetTranslation([0.0] * self.dimensions)
        return [*found, still]


def _turned(image: sitk.Image, matrix: np.ndarray) -> sitk.Image:
    """Return an image with its geometry turned, or reflected, about the origin by a (3, 3) matrix."""
    turned, n = sitk.Image(image), image.GetDimension()
    turned.SetDirection((matrix[:n, :n] @ np.array(image.GetDirection()).reshape(n, n)).ravel().tolist())
    turned.SetOrigin((matrix[:n, :n] @ np.array(image.GetOrigin())).tolist())
    return turned


def middle_of(image: sitk.Image) -> list[float]:
    """Return the middle of an image in its frame, mm."""
    return list(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))


def _content_mm(image: sitk.Image) -> float:
    return float((sitk.GetArrayViewFromImage(image) > BACKGROUND).sum() * np.prod(image.GetSpacing()))


def _part(image: Image, box: tuple[slice, ...]) -> Image:
    matrix = image.grid.ijk_to_lps.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [along.start for along in box]
    values = image.values[box[::-1]]
    return Image(values, Grid(values.shape[::-1], matrix), image.name, image.dimensions)
