"""From a start to a linear transform: mutual information, coarse to fine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk

from .pair import LEVEL_VOXELS, RIGID, LinearPair, middle_of

LEVEL_ITERATIONS = (100, 60, 30)
#: The part of them that is compared at each level, and how many of them at most, evenly spread: a histogram of 32 x 32
#: bins needs no more. ITK moves such samples a little off the voxels' centers, so that grids which fall on each other
#: are not liked for that: at the end a quarter of a small image was nearer to the truth than all of it.
LEVEL_SAMPLES = ((1.0, None), (1.0, 33_000), (0.25, 70_000))
BINS = 32
#: How ITK says that no sample falls on the moving image, or that one image has a single value there: its histogram
#: has no width.
NOTHING_TO_COMPARE = ("samples", "overlap", "Zero-valued spacing")
#: How it says that Python raised something while it counted the steps: that the user pressed Ctrl-C.
INTERRUPTED = "executing the Python Callable"
#: An affine transform that changes the volume by less than this, or more than its inverse, or mirrors, is none.
LEAST_FACTOR = 0.1


def affine_of(images: LinearPair, matrix_lps: np.ndarray) -> sitk.Transform:
    """Return a (4, 4) matrix as SimpleITK's transform between the images in their frames, about the fixed middle."""
    n, fixed = images.dimensions, images.at(LEVEL_VOXELS[0])[0]
    to_frame, from_frame = np.eye(4), np.eye(4)
    to_frame[:3, :3], from_frame[:3, :3] = images.frames.moving.T, images.frames.fixed
    inner = (to_frame @ matrix_lps @ from_frame)[[*range(n), 3]][:, [*range(n), 3]]
    middle = np.array(middle_of(fixed))
    affine = sitk.AffineTransform(n)
    affine.SetCenter(middle.tolist())
    affine.SetMatrix(inner[:n, :n].ravel().tolist())
    affine.SetTranslation((inner[:n, :n] @ middle + inner[:n, n] - middle).tolist())
    return affine


def of_model(affine: sitk.Transform, model: str, dimensions: int) -> sitk.Transform:
    """Return the nearest transform of a model to an affine one, about the same center."""
    matrix = np.array(affine.GetMatrix()).reshape(dimensions, dimensions)
    if model == "affine":
        return sitk.AffineTransform(affine)
    left, sizes, right = np.linalg.svd(matrix)
    turn = left @ np.diag([*[1.0] * (dimensions - 1), np.sign(np.linalg.det(left @ right))]) @ right
    kinds = {
        ("rigid", 2): RIGID[2],
        ("rigid", 3): RIGID[3],
        ("similarity", 2): sitk.Similarity2DTransform,
        ("similarity", 3): sitk.Similarity3DTransform,
    }
    found = kinds[model, dimensions]()
    found.SetCenter(affine.GetCenter())
    scale = float(np.prod(sizes) ** (1 / dimensions)) if model == "similarity" else 1.0
    found.SetMatrix((scale * turn).ravel().tolist(), 1e-6)
    found.SetTranslation(affine.GetTranslation())
    return found


def rigid_of(images: LinearPair, matrix_lps: np.ndarray) -> sitk.Transform:
    """Return the rigid transform that is nearest to a (4, 4) matrix, in the same way."""
    return of_model(affine_of(images, matrix_lps), "rigid", images.dimensions)


def optimize(
    pair: LinearPair,
    model: str,
    first: sitk.Transform,
    searched: bool,
    report: Callable[[float], None],
    curve: list[float],
    notes: list[str],
) -> sitk.Transform:
    """Return the transform of a model, coarse to fine.

    Args:
        first: where to begin: a rigid transform that was searched for, or any affine one that was given.
        searched: which of the two; what was searched for is first made better as a rigid transform.
    """
    n = pair.dimensions
    rigid = refine(pair, first, 0, curve)[0] if searched else of_model(first, "rigid", n)
    report(0.4)
    stays = searched and model == "rigid"
    current = rigid if stays else of_model(_as_affine(rigid, n) if searched else first, model, n)
    for level in (0, 1, 2):
        if level or not stays:
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
    method = metric_of(pair, level, fixed, moving, iterations)
    current = type(transform)(transform)
    method.SetInitialTransform(current, True)
    method.AddCommand(sitk.sitkIterationEvent, lambda: curve.append(float(method.GetMetricValue())))
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        if INTERRUPTED in str(error):
            raise KeyboardInterrupt from error
        if not any(words in str(error) for words in NOTHING_TO_COMPARE):
            raise
        return transform, float("inf")
    finally:
        method.RemoveAllCommands()  # they hold it, and it holds them: neither would ever be freed
    return current, method.GetMetricValue()


def metric_of(
    pair: LinearPair, level: int, fixed: sitk.Image, moving: sitk.Image, iterations: int | None = None
) -> sitk.ImageRegistrationMethod:
    """Return mutual information and an optimizer of it, for images of a level."""
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
        minStep=1e-4 * min(1.0, spacing),  # of microscopes, too
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
