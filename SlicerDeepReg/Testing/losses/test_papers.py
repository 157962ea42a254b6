"""The losses of the papers, each against its definition written out voxel by voxel."""

import itertools

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from SlicerDeepRegLib.losses.papers import Decoupled, LNCCAndDiffusion, MultiResolution, Structural
from SlicerDeepRegLib.losses.regularity import diffusion
from SlicerDeepRegLib.losses.similarity import SSIM
from SlicerDeepRegLib.networks import NetworkOutput
from SlicerDeepRegLib.warping.sample import resize

RANDOM = np.random.default_rng(0)
SHAPES = [(12, 13), (9, 10, 11)]


def tensor(shape, scale=1.0):
    return torch.from_numpy((RANDOM.random((1, 1, *shape)) * scale).astype(np.float32))


def field(shape, scale=1.0):
    return torch.from_numpy(((RANDOM.random((1, len(shape), *shape)) - 0.5) * scale).astype(np.float32))


# ------------------------------------------------------------------ slow definitions


def slow_warp(image, displacement):
    """Linear interpolation with the border repeated, voxel by voxel."""
    values, shape = image[0, 0].numpy(), image.shape[2:]
    found = np.zeros(shape)
    for index in np.ndindex(*shape):
        place = [index[a] + float(displacement[(0, len(shape) - 1 - a, *index)]) for a in range(len(shape))]
        place = [min(max(p, 0), size - 1) for p, size in zip(place, shape)]
        for corner in itertools.product((0, 1), repeat=len(shape)):
            low = [min(int(p), size - 2) for p, size in zip(place, shape)]
            weight = np.prod([p - a if c else 1 - (p - a) for p, a, c in zip(place, low, corner)])
            found[index] += weight * values[tuple(a + c for a, c in zip(low, corner))]
    return found


def slow_diffusion(displacement):
    values = displacement[0].numpy().astype(float)
    return np.mean([np.mean(np.diff(values, axis=axis) ** 2) for axis in range(1, values.ndim)])


def slow_correlation(fixed, warped, radius, weight, e=1e-5):
    """Minus the weighted mean of (cov + e)^2 / ((var + e) (var + e)) in windows cut at the border."""
    found = np.zeros(fixed.shape)
    for index in np.ndindex(*fixed.shape):
        window = tuple(slice(max(0, i - radius), i + radius + 1) for i in index)
        a, b = fixed[window].ravel(), warped[window].ravel()
        covariance = np.mean(a * b) - a.mean() * b.mean()
        found[index] = (covariance + e) ** 2 / ((a.var() + e) * (b.var() + e))
    return -np.sum(found * weight) / np.sum(weight)


def slow_structure(fixed, warped):
    """SSIM with Gaussian windows of 11, sigma 1.5, border repeated, voxel by voxel."""
    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = 1.0
    for _ in fixed.shape:
        window = np.multiply.outer(window, kernel / kernel.sum())
    wide = [np.pad(image, 5, mode="edge") for image in (fixed, warped)]
    found = np.zeros(fixed.shape)
    for index in np.ndindex(*fixed.shape):
        a, b = (image[tuple(slice(i, i + 11) for i in index)] for image in wide)
        ma, mb = np.sum(window * a), np.sum(window * b)
        va, vb = np.sum(window * a * a) - ma**2, np.sum(window * b * b) - mb**2
        cov = np.sum(window * a * b) - ma * mb
        found[index] = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    return found


# ------------------------------------------------------------------ the losses


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("masked", [False, True])
def test_local_correlation_and_smoothness(shape, masked):
    moving, fixed, u = tensor(shape), tensor(shape), field(shape, 3)
    inside = tensor(shape) if masked else None
    loss = LNCCAndDiffusion(moving, fixed, inside, regularity=0.7)
    weight = inside[0, 0].numpy() if masked else np.ones(shape)
    # Windows of 9 voxels, and of less where an axis has no 9.
    radius = 4 if min(shape) >= 9 else (min(shape) - 1) // 2
    expected = slow_correlation(fixed[0, 0].numpy(), slow_warp(moving, u), radius, weight) + 0.7 * slow_diffusion(u)
    assert float(loss(NetworkOutput(u))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("masked", [False, True])
def test_multi_resolution(masked):
    shape = (28, 28, 29)
    moving, fixed, u = tensor(shape), tensor(shape), field(shape, 2)
    inside = tensor(shape) if masked else torch.ones(1, 1, *shape)
    coarse = {f: resize(u, [-(-n // f) for n in shape]) for f in (2, 4, 8)}
    output = NetworkOutput(u, {f"scale 1/{f}": coarse[f] for f in coarse}, {f"scale 1/{f}": f for f in coarse})
    expected = 0.5 * slow_diffusion(u)
    for factor, radius, one in ((1, 4, u), (2, 4, coarse[2]), (4, 3, coarse[4]), (8, 1, coarse[8])):
        small = [
            torch.nn.functional.avg_pool3d(x, factor, ceil_mode=True, count_include_pad=False)
            for x in (fixed, moving, inside)
        ]
        warped = slow_warp(small[1], one)
        expected += slow_correlation(small[0][0, 0].numpy(), warped, radius, small[2][0, 0].numpy()) / factor
    loss = MultiResolution(moving, fixed, inside if masked else None, regularity=0.5)
    assert float(loss(output)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_decoupled(shape):
    moving, fixed, u, v = tensor(shape), tensor(shape), field(shape, 3), field(shape, 3)
    early = {"stage 1 u": field(shape), "stage 1 v": field(shape)}
    output = NetworkOutput(v, {**early, "stage 2 u": u, "stage 2 v": v})
    target = fixed[0, 0].numpy()
    by_u, by_v = (np.mean((slow_warp(moving, one) - target) ** 2) for one in (u, v))
    apart = np.mean((u - v).numpy().astype(float) ** 2)
    published = 0.8 * by_u + 0.2 * by_v + 1 * slow_diffusion(u) + 0.1 * apart
    assert float(Decoupled(moving, fixed)(output)) == pytest.approx(published, rel=1e-4)
    inside = tensor(shape)
    weight = inside[0, 0].numpy()
    by_u, by_v = (np.sum(weight * (slow_warp(moving, one) - target) ** 2) / weight.sum() for one in (u, v))
    other = 0.5 * by_u + 0.5 * by_v + 0.02 * slow_diffusion(u) + 3 * apart
    assert float(Decoupled(moving, fixed, inside, 0.02, 0.5, 3)(output)) == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_structural(shape):
    moving, fixed, u = tensor(shape), tensor(shape), field(shape, 3)
    target, warped = fixed[0, 0].numpy().astype(float), slow_warp(moving, u)
    for inside in (None, tensor(shape)):
        weight = np.ones(shape) if inside is None else inside[0, 0].numpy()
        error, structure = (
            np.sum(weight * x) / weight.sum() for x in ((warped - target) ** 2, slow_structure(target, warped))
        )
        expected = error + 0.3 * (1 - structure) + 0.4 * slow_diffusion(u)
        loss = Structural(moving, fixed, inside, regularity=0.4, structure=0.3)
        assert float(loss(NetworkOutput(u))) == pytest.approx(expected, rel=1e-4)


def test_structural_similarity_is_scikit_images_inside():
    first, second = RANDOM.random((40, 44)), RANDOM.random((40, 44))
    settings = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, full=True)
    _, map_ = structural_similarity(first, second, **settings)
    mask = torch.zeros(1, 1, 40, 44, dtype=torch.float64)
    mask[..., 5:-5, 5:-5] = 1
    ours = SSIM(torch.from_numpy(first)[None, None], mask)(torch.from_numpy(second)[None, None])
    assert float(ours) == pytest.approx(map_[5:-5, 5:-5].mean(), abs=1e-6)
    assert float(SSIM(mask)(mask)) == pytest.approx(1)


def test_weights_written_in_the_docstring_are_right():
    """A sum over 128 x 128 pixels, 2 components and 2 axes is 65 536 means (but for the border)."""
    u = field((128, 128))
    total = sum(float(torch.diff(u, dim=axis).square().sum()) for axis in (2, 3))
    assert 1e-5 * total == pytest.approx(0.66 * float(diffusion(u)), rel=0.02)


def test_diffusion_equals_its_definition():
    u = field((5, 6, 7))
    assert float(diffusion(u)) == pytest.approx(slow_diffusion(u), rel=1e-5)
    assert float(diffusion(torch.full((1, 2, 4, 5), 3.0))) == 0


@pytest.mark.parametrize("kind", [LNCCAndDiffusion, MultiResolution, Decoupled, Structural])
def test_gradient_is_that_of_the_value(kind):
    """By finite differences, along a random direction."""
    shape = (10, 11, 12)
    smooth = [torch.nn.functional.avg_pool3d(tensor(shape), 3, 1, 1).double() for _ in range(2)]
    u, along = field(shape, 2).double(), field(shape).double()
    loss = kind(*smooth, regularity=0.1)

    def value(step):
        moved = u + step * along
        return loss(
            NetworkOutput(moved, {"stage 1 u": moved, "stage 1 v": 0.9 * moved}, {"stage 1 u": 1, "stage 1 v": 1})
        )

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    value(step).backward()
    difference = float(value(torch.tensor(1e-6)) - value(torch.tensor(-1e-6))) / 2e-6
    assert float(step.grad) == pytest.approx(difference, rel=1e-3, abs=1e-6)
