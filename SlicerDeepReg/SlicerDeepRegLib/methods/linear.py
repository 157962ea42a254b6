"""Linear registration: SimpleITK, mutual information, coarse to fine, from several starts or from a given one.

A single slice is registered in its plane, as a 2D image; the result is still a 4 x 4 matrix, which
maps the plane of the fixed slice onto that of the moving one.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..catalog import Card, brain_model
from ..files.images import from_sitk, place, to_sitk
from ..geometry.grids import overlap_fraction, resized
from ..preparation import intensity
from ..preparation.resample import resample
from ..settings import NoSettings
from ..types import Finding, Image, ImagePair, InputError, Stage
from .base import BaseMethod, Context, Outcome

#: Voxels of the fixed image at each level, coarse to fine, and the iterations there.
LEVEL_VOXELS = (15_000, 110_000, 700_000)
LEVEL_ITERATIONS = (100, 60, 30)
#: The part of them that is compared at each level, and how many of them at most, evenly spread: a histogram of 32 x 32
#: bins needs no more. ITK moves such samples a little off the voxels' centers, so that grids which fall on each other
#: are not liked for that: at the end a quarter of a small image was nearer to the truth than all of it.
LEVEL_SAMPLES = ((1.0, None), (1.0, 33_000), (0.25, 70_000))
#: Half the range of rotations tried at the start, degrees, around each axis.
START_ROTATION_DEG = 25.0
BINS = 32
MATTES = (
    "Mattes D et al. PET-CT image registration in the chest using free-form deformations. IEEE Trans Med Imaging 2003. "
    "doi:10.1109/TMI.2003.809072"
)
#: How ITK says that no sample falls on the moving image, or that one image has a single value there: its histogram
#: has no width.
NOTHING_TO_COMPARE = ("samples", "overlap", "Zero-valued spacing")
#: An affine transform that changes the volume by less than this, or more than its inverse, or mirrors, is none.
LEAST_FACTOR = 0.1


#: What was prepared of pairs that are still in use.
_PREPARED: weakref.WeakKeyDictionary[ImagePair, LinearPair] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Frames:
    """The orthonormal frames in which the two images are registered (columns, LPS).

    For volumes both are the identity. For slices the third column is the normal of the slice.
    """

    fixed: np.ndarray
    moving: np.ndarray
    dimensions: int


class LinearMethod(BaseMethod):
    """A linear registration by mutual information, coarse to fine, from several starts."""

    kind = "linear"
    card: Card

    def __init__(self, name: str, title: str, summary: str) -> None:
        super().__init__(
            Card(
                name=name,
                title=title,
                summary=summary,
                references=(MATTES,),
                license="Apache-2.0",
                dimensions=(2, 3),
                good_for="one matrix, nothing is deformed",
            )
        )

    def missing(self) -> Finding | None:
        """See :class:`Method`; the one that starts from structures needs the network that sees them."""
        if self.name != "structures":
            return None
        try:
            brain_model()
        except InputError as error:
            return Finding("error", str(error), "Choose another linear alignment.", "linear")
        return None

    def run(self, pair: ImagePair, start: np.ndarray, settings: NoSettings, context: Context) -> Outcome:
        """Find the linear part.

        Args:
            start: (4, 4) to go on from; from the identity several starts are tried.

        Raises:
            InputError: the optimizer found no overlap to work on.
        """
        began = time.perf_counter()
        given = not np.array_equal(start, np.eye(4))
        if self.name == "none" or (self.name == "center" and given):
            note = "the linear part that was given" if given else "no linear part"
            return Outcome(start, [Stage("linear", 0.0, start, note=note)])
        notes: list[str] = []
        frames = _frames(pair.fixed, pair.moving, notes)
        images = _prepared(pair, frames)
        if self.name == "structures" and pair.start is not None and frames.dimensions == 3:
            images.given = _rigid(pair.start, images.at(LEVEL_VOXELS[0])[0])
        if not given and overlap_fraction(pair.fixed.grid, pair.moving.grid) == 0:
            notes.append("The images do not overlap in space; the registration started from their centers.")
        curve: list[float] = []
        if self.name == "center":
            transform = images.starts()[0]
        else:
            first = _affine(images, start) if given else None
            transform = _optimize(images, self.name, first, lambda part: context.report(part, "linear"), curve, notes)
        matrix = images.to_lps(transform)
        stage = Stage(
            name="linear",
            seconds=time.perf_counter() - began,
            linear_lps=matrix,
            metrics={
                "rotation_deg": _rotation_degrees(matrix),
                "volume_factor": float(np.linalg.det(matrix[:3, :3])),
            },
            curve=tuple(curve),
            note=MODELS.get(self.name, self.name) if self.name != "structures" else self.name,
        )
        images.keep_resolutions()
        return Outcome(matrix, [stage], notes=notes)


def _prepared(pair: ImagePair, frames: Frames) -> LinearPair:
    """Return the pair at all resolutions; an affine stage after a rigid one finds what that has made of it."""
    if pair not in _PREPARED:
        _PREPARED[pair] = LinearPair(pair, frames)
    images = _PREPARED[pair]
    images.given = None
    return images


def _frames(fixed: Image, moving: Image, notes: list[str]) -> Frames:
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
        self.frames = frames
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
            return to_sitk(image, 3), 0.0
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

    def keep_resolutions(self) -> None:
        """Let go of the full images where the finest resolution was made: it covers the same box."""
        finest = self._levels.get(LEVEL_VOXELS[-1])
        if finest is not None:
            self.fixed, self.moving = finest

    def starts(self) -> list[sitk.Transform]:
        """Return translations to begin from: centers of mass, centers of the boxes, none."""
        fixed, moving = self.at(LEVEL_VOXELS[0])
        found = []
        for mode in (sitk.CenteredTransformInitializerFilter.MOMENTS, sitk.CenteredTransformInitializerFilter.GEOMETRY):
            rigid = sitk.Euler3DTransform() if self.dimensions == 3 else sitk.Euler2DTransform()
            found.append(_downcast(sitk.CenteredTransformInitializer(fixed, moving, rigid, mode), self.dimensions))
        still = _downcast(sitk.Transform(found[0]), self.dimensions)
        still.SetTranslation([0.0] * self.dimensions)
        return [*found, still]


def _downcast(transform: sitk.Transform, dimensions: int) -> sitk.Transform:
    return sitk.Euler3DTransform(transform) if dimensions == 3 else sitk.Euler2DTransform(transform)


def _affine(images: LinearPair, matrix_lps: np.ndarray) -> sitk.Transform:
    """Return a (4, 4) matrix as SimpleITK's transform between the images in their frames, about the fixed middle."""
    n, fixed = images.dimensions, images.at(LEVEL_VOXELS[0])[0]
    to_frame, from_frame = np.eye(4), np.eye(4)
    to_frame[:3, :3], from_frame[:3, :3] = images.frames.moving.T, images.frames.fixed
    inner = (to_frame @ matrix_lps @ from_frame)[[*range(n), 3]][:, [*range(n), 3]]
    middle = np.array(fixed.TransformContinuousIndexToPhysicalPoint([(s - 1) / 2 for s in fixed.GetSize()]))
    affine = sitk.AffineTransform(n)
    affine.SetCenter(middle.tolist())
    affine.SetMatrix(inner[:n, :n].ravel().tolist())
    affine.SetTranslation((inner[:n, :n] @ middle + inner[:n, n] - middle).tolist())
    return affine


def _of_model(affine: sitk.Transform, model: str, dimensions: int) -> sitk.Transform:
    """Return the nearest transform of a model to an affine one, about the same center."""
    matrix = np.array(affine.GetMatrix()).reshape(dimensions, dimensions)
    if model == "affine":
        return sitk.AffineTransform(affine)
    left, sizes, right = np.linalg.svd(matrix)
    turn = left @ np.diag([*[1.0] * (dimensions - 1), np.sign(np.linalg.det(left @ right))]) @ right
    kinds = {
        ("rigid", 2): sitk.Euler2DTransform,
        ("rigid", 3): sitk.Euler3DTransform,
        ("similarity", 2): sitk.Similarity2DTransform,
        ("similarity", 3): sitk.Similarity3DTransform,
    }
    found = kinds[model, dimensions]()
    found.SetCenter(affine.GetCenter())
    scale = float(np.prod(sizes) ** (1 / dimensions)) if model == "similarity" else 1.0
    found.SetMatrix((scale * turn).ravel().tolist(), 1e-6)
    found.SetTranslation(affine.GetTranslation())
    return found


def _rigid(matrix_lps: np.ndarray, fixed: sitk.Image) -> sitk.Transform:
    """Return a (4, 4) rigid matrix as SimpleITK's transform about the middle of an image."""
    rigid = sitk.Euler3DTransform()
    middle = np.array(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    rigid.SetCenter(middle.tolist())
    rigid.SetMatrix(matrix_lps[:3, :3].ravel().tolist(), 1e-6)
    rigid.SetTranslation((matrix_lps[:3, :3] @ middle + matrix_lps[:3, 3] - middle).tolist())
    return rigid


def _optimize(
    pair: LinearPair,
    name: str,
    first: sitk.Transform | None,
    report: Callable[[float], None],
    curve: list[float],
    notes: list[str],
) -> sitk.Transform:
    """Return the transform of the model of a linear method, coarse to fine.

    Args:
        first: an affine transform to go on from; None to look for a start.
    """
    n, model = pair.dimensions, MODELS[name]
    rigid = _best_start(pair) if first is None else _of_model(first, "rigid", n)
    report(0.2)
    if first is None:
        rigid, _ = refine(pair, rigid, 0, curve)
    report(0.4)
    current = rigid if model == "rigid" and first is None else _of_model(first or _as_affine(rigid, n), model, n)
    for level in (0, 1, 2):
        if level or model != "rigid" or first is not None:
            current, _ = refine(pair, current, level, curve)
        report(0.5 + 0.2 * level)
    # Where the images say little an affine transform may collapse or mirror: no patient does.
    factor = float(np.linalg.det(np.array(current.GetMatrix()).reshape(n, -1)))
    if not LEAST_FACTOR <= factor <= 1 / LEAST_FACTOR:
        notes.append(
            f"The {model} alignment scaled volumes by a factor of {factor:.2g}, which is implausible, and was "
            "discarded; the alignment is rigid only. Check it."
        )
        return rigid
    return current


def _as_affine(transform: sitk.Transform, dimensions: int) -> sitk.Transform:
    affine = sitk.AffineTransform(dimensions)
    affine.SetCenter(transform.GetCenter())
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation(transform.GetTranslation())
    return affine


def _best_start(pair: LinearPair) -> sitk.Transform:
    """Return the best of a few translations and rotations by mutual information, each after a few steps."""
    fixed, moving = pair.at(LEVEL_VOXELS[0] // 3)
    method = _method(pair, 0, fixed, moving)
    angles = np.deg2rad([-START_ROTATION_DEG, 0, START_ROTATION_DEG])
    candidates: list[tuple[float, int, sitk.Transform]] = []
    for start in pair.starts():
        for turn in np.stack(np.meshgrid(*[angles] * (3 if pair.dimensions == 3 else 1)), -1).reshape(
            -1, 3 if pair.dimensions == 3 else 1
        ):
            candidate = _downcast(sitk.Transform(start), pair.dimensions)
            candidate.SetRotation(*turn.tolist()) if pair.dimensions == 3 else candidate.SetAngle(float(turn[0]))
            candidates.append((_value(method, candidate, fixed, moving), len(candidates), candidate))
    candidates.sort(key=lambda entry: entry[:2])
    refined = []
    chosen = candidates[:4]
    if pair.given is not None:  # however it compares before it is refined
        chosen.append((_value(method, pair.given, fixed, moving), len(candidates), pair.given))
    for value, order, candidate in chosen:
        if not np.isfinite(value):
            continue
        found, value = refine(pair, candidate, 0, [], images=(fixed, moving), iterations=40)
        if np.isfinite(value):
            refined.append((value, order, found))
    if not refined:
        raise InputError(
            "Linear alignment failed: the images have no common content to compare. Check that both show the same "
            "part of the body, that neither is blank where they overlap, and that the masks lie on the images."
        )
    return min(refined, key=lambda entry: entry[:2])[2]


def _value(
    method: sitk.ImageRegistrationMethod, transform: sitk.Transform, fixed: sitk.Image, moving: sitk.Image
) -> float:
    method.SetInitialTransform(transform, True)
    try:
        return method.MetricEvaluate(fixed, moving)
    except RuntimeError:  # ITK raises when no sample falls on the moving image
        return float("inf")


def refine(
    pair: LinearPair,
    transform: sitk.Transform,
    level: int,
    curve: list[float],
    images: tuple[sitk.Image, sitk.Image] | None = None,
    iterations: int | None = None,
) -> tuple[sitk.Transform, float]:
    """Refine a copy of a transform at one level.

    Returns:
        It and the metric that it reached; the transform itself and infinity where nothing can be compared.
    """
    fixed, moving = images or pair.at(LEVEL_VOXELS[level])
    method = _method(pair, level, fixed, moving, iterations)
    current = type(transform)(transform)
    method.SetInitialTransform(current, True)
    method.AddCommand(sitk.sitkIterationEvent, lambda: curve.append(float(method.GetMetricValue())))
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        if not any(words in str(error) for words in NOTHING_TO_COMPARE):
            raise
        return transform, float("inf")
    finally:
        method.RemoveAllCommands()  # they hold it, and it holds them: neither would ever be freed
    return current, method.GetMetricValue()


def _method(
    pair: LinearPair, level: int, fixed: sitk.Image, moving: sitk.Image, iterations: int | None = None
) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    # With more threads ITK adds the parts of its histogram in the order in which they end: the same pair gives
    # another transform each time. The images are small here, and one thread takes no more of the CPU.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    part, most = LEVEL_SAMPLES[level]
    if most is not None and most < 0.5 * fixed.GetNumberOfPixels():
        part = min(part, most / fixed.GetNumberOfPixels())
    if part < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(part, 1)
    method.SetInterpolator(sitk.sitkLinear)
    spacing = max(fixed.GetSpacing())
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=1e-4,
        numberOfIterations=iterations or LEVEL_ITERATIONS[level],
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,
        estimateLearningRate=method.Once,
        maximumStepSizeInPhysicalUnits=spacing,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    if pair.fixed_mask is not None:
        method.SetMetricFixedMask(pair.fixed_mask)
    if pair.moving_mask is not None:
        method.SetMetricMovingMask(pair.moving_mask)
    return method


def _rotation_degrees(matrix: np.ndarray) -> float:
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


#: What each method that optimizes finds.
MODELS = {"auto": "rigid", "rigid": "rigid", "similarity": "similarity", "affine": "affine", "structures": "affine"}
#: Those that are an answer of their own.
ANSWERS = ("rigid", "similarity", "affine")

METHODS = (
    LinearMethod(
        "auto",
        "Automatic (rigid or affine)",
        "Rigid for two images of one person; affine where they show different people.",
    ),
    LinearMethod("none", "None: already aligned", "Leaves the images where they are."),
    LinearMethod("center", "Center of mass", "Puts the centers of mass onto one another."),
    LinearMethod("rigid", "Rigid", "Rotation and translation, by mutual information."),
    LinearMethod("similarity", "Similarity", "Rotation, translation and one scale, by mutual information."),
    LinearMethod("affine", "Affine", "Rotation, translation, scaling and shear, by mutual information."),
    LinearMethod(
        "structures",
        "Affine, also from structures of the brain",
        "As affine; where both images show a brain, it also starts from the centers of its structures.",
    ),
)
