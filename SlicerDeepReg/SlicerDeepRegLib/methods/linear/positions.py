"""Where a small image lies in a larger one: mutual information at every translation, by Fourier transforms.

The joint histogram of two images at all translations is the correlation of the indicator of each bin of the one with
that of each bin of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .pair import BACKGROUND, LEVEL_VOXELS, LinearPair

#: Bins of the histogram of each image: the first is the background, the others hold as many voxels as one another.
BINS = 8
#: Voxels of the smaller of the two, and of both laid side by side, at most.
VOXELS, MOST_VOXELS = 6_000, 1_500_000
#: At least this part of the smaller image has to lie in the larger one.
LEAST_OVERLAP = 0.5
#: Two positions are two where they are further apart than this, in voxels.
APART = 2
#: Where the headers put the images is believed where this part of the best score is reached near it.
BELIEVED = 0.85
#: Positions of less than this part of the best score are not looked at.
WORTH_A_LOOK = 0.8


@dataclass(frozen=True, eq=False)
class _Sampled:
    """An image on a grid of cubes along the axes of its frame.

    Attributes:
        codes: the bin of each voxel, 0 to ``BINS`` - 1; -1 where there is no image. Slowest axis first.
        first_mm: where its first voxel lies, fastest axis first.
    """

    codes: np.ndarray
    first_mm: np.ndarray


def best_positions(pair: LinearPair, most: int = 3) -> tuple[list[np.ndarray], bool]:
    """Return the translations that fit best, moving minus fixed coordinates in the frames, mm, the best first.

    A score is the mutual information (nats) times the part of the smaller image that lies in the larger one.

    Returns:
        At most ``most`` of them, none where there is nothing to compare; and whether the headers are believed: then it
        is one, near what they say.
    """
    fixed, moving = pair.at(LEVEL_VOXELS[-1])
    boxes = [_content_box(image) for image in (fixed, moving)]
    sizes = [high - low for low, high in boxes]
    step = (min(np.prod(size) for size in sizes) / VOXELS) ** (1 / pair.dimensions)
    step = max(step, (np.prod(np.sum(sizes, 0)) / MOST_VOXELS) ** (1 / pair.dimensions))
    first = _sampled(fixed, boxes[0], step, pair.fixed_mask)
    second = _sampled(moving, boxes[1], step, pair.moving_mask)
    scores = _scores(first.codes, second.codes)
    best = float(scores.max())
    if best <= 0:
        return [], False
    origin = np.array(second.codes.shape) - 1  # where in the scores both grids begin at the same voxel
    apart_mm = second.first_mm - first.first_mm
    unmoved = origin + np.round(apart_mm[::-1] / step).astype(int)
    at_headers = bool(((unmoved >= 0) & (unmoved < scores.shape)).all())
    near = _around(unmoved)
    if at_headers and scores[near].max() >= BELIEVED * best:
        elsewhere = np.ones(scores.shape, bool)
        elsewhere[near] = False
        scores[elsewhere] = 0
        most = 1
    else:
        at_headers = False
    found: list[np.ndarray] = []
    while len(found) < most:
        place = np.array(np.unravel_index(int(scores.argmax()), scores.shape))
        if scores[tuple(place)] < WORTH_A_LOOK * best:
            break
        found.append(apart_mm - step * (place - origin)[::-1])
        scores[_around(place)] = 0
    return found, at_headers


def _around(place: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(max(0, at - APART), max(0, at + APART + 1)) for at in place.tolist())


def _content_box(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the smallest box along the axes of the frame that holds what is no background, mm."""
    n = image.GetDimension()
    content = np.argwhere(sitk.GetArrayViewFromImage(image) > BACKGROUND)[:, ::-1]
    low, high = (content.min(0), content.max(0)) if len(content) else (np.zeros(n), np.array(image.GetSize()) - 1)
    corners = np.stack(np.meshgrid(*zip(low - 0.5, high + 0.5), indexing="ij"), -1).reshape(-1, n)
    there = np.array([image.TransformContinuousIndexToPhysicalPoint(corner) for corner in corners.tolist()])
    return there.min(0), there.max(0)


def _sampled(image: sitk.Image, box: tuple[np.ndarray, np.ndarray], step: float, mask: sitk.Image | None) -> _Sampled:
    """Return what of an image lies in a box, on cubes of ``step`` mm."""
    low, high = box
    size = np.maximum(np.round((high - low) / step), 1).astype(int)
    first_mm = (low + high) / 2 - step * (size - 1) / 2
    grid = (
        size.tolist(),
        sitk.Transform(image.GetDimension(), sitk.sitkIdentity),
        sitk.sitkLinear,
        first_mm.tolist(),
        [step] * len(size),
        np.eye(len(size)).ravel().tolist(),
    )
    smooth = sitk.DiscreteGaussian(sitk.Cast(image, sitk.sitkFloat32), (0.4 * step) ** 2)
    values = sitk.GetArrayFromImage(sitk.Resample(smooth, *grid, -1.0, sitk.sitkFloat32))
    outside = values < 0
    if mask is not None:
        outside |= sitk.GetArrayViewFromImage(sitk.Resample(sitk.Cast(mask, sitk.sitkFloat32), *grid, 0.0)) < 0.5
    content = values[(values > BACKGROUND) & ~outside]
    edges = np.quantile(content, np.linspace(0, 1, BINS)[1:-1]) if len(content) else []
    codes = np.digitize(values, [BACKGROUND, *edges])
    codes[outside] = -1
    return _Sampled(codes, first_mm)


def _scores(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the score of every offset: ``first[x + offset]`` beside ``second[x]``, from the most negative one on."""
    import torch

    shape = [_fast_length(a + b - 1) for a, b in zip(first.shape, second.shape)]

    def transformed(codes: np.ndarray, code: int) -> torch.Tensor:
        return torch.fft.rfftn(torch.from_numpy((codes == code).astype(np.float32)), s=shape)

    def sum_of(counts: torch.Tensor) -> torch.Tensor:  # of n log n
        return torch.xlogy(counts, counts)

    of_first = [transformed(first, code) for code in range(BINS)]
    of_second = [transformed(second, code).conj() for code in range(BINS)]
    joint = torch.zeros(shape)
    rows, columns = torch.zeros(BINS, *shape), torch.zeros(BINS, *shape)
    for i, one in enumerate(of_first):
        for j, other in enumerate(of_second):
            counts = torch.fft.irfftn(one * other, s=shape).round_().clamp_(min=0)
            joint += sum_of(counts)
            rows[i] += counts
            columns[j] += counts
    total = rows.sum(0)
    information = joint - sum_of(rows).sum(0) - sum_of(columns).sum(0) + sum_of(total)  # times the number of voxels
    smaller = min(int((codes >= 0).sum()) for codes in (first, second))
    scores = torch.where(total >= LEAST_OVERLAP * smaller, information / max(smaller, 1), torch.zeros(()))
    back = [n - 1 for n in second.shape]
    rolled = torch.roll(scores, back, list(range(len(back))))
    found: np.ndarray = rolled[tuple(slice(a + b - 1) for a, b in zip(first.shape, second.shape))].numpy()
    return found


def _fast_length(least: int) -> int:
    """Return a length of at least that many for which Fourier transforms are fast: only 2, 3 and 5 divide it."""
    for length in range(least, 2 * least + 1):
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
    return least
