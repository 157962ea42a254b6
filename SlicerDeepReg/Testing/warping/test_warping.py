import numpy as np
import pytest
import scipy.ndimage
import torch
from helpers.geometry import OBLIQUE, make_grid
from SlicerDeepRegLib.geometry.grids import padded
from SlicerDeepRegLib.geometry.points import fixed_to_moving, moving_to_fixed, voxel_centers_lps
from SlicerDeepRegLib.types import Field, Transform
from SlicerDeepRegLib.warping import filters
from SlicerDeepRegLib.warping.filters import WindowMeans, box_mean, box_sum, central_difference, gaussian, laplacian
from SlicerDeepRegLib.warping.inverse import correction_of_inverse
from SlicerDeepRegLib.warping.sample import compose, resize, slab_count, warp
from SlicerDeepRegLib.warping.velocity import correct_inverse, integrate
from torch.nn.functional import pad


def smooth_velocity(shape, largest, seed=0, sigma=5.0):
    """(1, n, ...) voxels, zero at the border: what leaves the grid cannot be known there."""
    torch.manual_seed(seed)
    n = len(shape)
    noise = gaussian(torch.randn(1, n, *shape), [sigma] * n)
    for axis, length in enumerate(shape):
        taper = torch.sin(torch.linspace(0, np.pi, length)) ** 2
        noise *= taper.view([-1 if a == axis else 1 for a in range(n)])
    return noise * largest / noise.abs().max()


@pytest.mark.parametrize("shape", [(9, 11, 10), (12, 9)])
def test_warp_equals_scipy(shape):
    random = np.random.default_rng(0)
    image = random.random(shape).astype(np.float32)
    displacement = random.normal(0, 2, (len(shape), *shape)).astype(np.float32)  # i, j(, k)
    ours = warp(torch.from_numpy(image)[None, None], torch.from_numpy(displacement)[None])[0, 0].numpy()
    positions = np.indices(shape) + displacement[::-1]
    inside = np.clip(positions, 0, np.array(shape).reshape(-1, *[1] * len(shape)) - 1)
    assert np.abs(ours - scipy.ndimage.map_coordinates(image, inside, order=1)).max() < 1e-5


@pytest.mark.parametrize("threads", [2, 3])
def test_a_large_image_is_sampled_in_slabs_to_the_same_values(threads):
    torch.manual_seed(0)
    image, displacement = torch.rand(1, 2, 41, 43, 40), torch.randn(1, 3, 41, 43, 40) * 3
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = warp(image, displacement)
        torch.set_num_threads(threads)
        assert slab_count(image, displacement.movedim(1, -1)) == threads
        slabs = warp(image, displacement)
        leaf = image.clone().requires_grad_()
        assert slab_count(leaf, displacement.movedim(1, -1)) == 1
    finally:
        torch.set_num_threads(before)
    assert torch.equal(slabs, whole) and slabs.is_contiguous()


def test_warp_by_one_voxel_along_i_moves_along_the_last_axis():
    image = torch.zeros(1, 1, 3, 3, 3)
    image[0, 0, 0, 1, 2] = 1  # k 0, j 1, i 2
    displacement = torch.zeros(1, 3, 3, 3, 3)
    displacement[:, 0] = 1  # i
    assert float(warp(image, displacement)[0, 0, 0, 1, 1]) == 1


def test_warp_between_grids_uses_scale_and_offset():
    image = torch.arange(20.0).view(1, 1, 1, 20).expand(1, 1, 5, 20).contiguous()
    out = warp(image, torch.zeros(1, 2, 5, 8), scale_ijk=[2.0, 1.0], offset_ijk=[3.0, 0.0])
    assert torch.allclose(out[0, 0, 2], torch.arange(8) * 2.0 + 3)


def test_compose_applies_the_second_first():
    first, second = torch.zeros(1, 2, 7, 7), torch.zeros(1, 2, 7, 7)
    first[:, 0] = torch.arange(7.0)  # u(x) = x along i
    second[:, 0, 3, 2] = 2.0  # 2 -> 4, where first gives 4 more
    assert float(compose(first, second)[0, 0, 3, 2]) == pytest.approx(6.0)


def test_resize_keeps_the_place_in_new_voxels():
    coarse = torch.full((1, 3, 4, 5, 6), 1.5)
    fine = resize(coarse, (8, 10, 18))
    assert fine.shape == (1, 3, 8, 10, 18)
    assert torch.allclose(fine[0, :, 4, 4, 4], torch.tensor([4.5, 3.0, 3.0]))


@pytest.mark.parametrize("shape", [(24, 26, 28), (40, 36)])
def test_exponential_of_minus_v_is_the_inverse(shape):
    velocity = smooth_velocity(shape, 5.0)
    there, back = integrate(velocity, 0.1), integrate(-velocity, 0.1)
    assert float(there.abs().max()) > 3
    rest = compose(there, back)
    assert float(rest.abs().max()) < 0.05 * float(there.abs().max())
    assert float(compose(there, correct_inverse(there, back, 3)).abs().max()) < 5e-3


@pytest.mark.parametrize("size", [(40, 36, 32), (40, 36, 1)])
def test_corrected_inverse_returns_where_a_field_compresses_strongly(size):
    """exp(v) of a rough velocity: voxel centers return within 0.1 mm where one inverse field alone misses by more."""
    grid = make_grid(size, (1.0, 1.2, 1.5), OBLIQUE)
    shape = [n for n in grid.shape_kji if n > 1]
    velocity = smooth_velocity(shape, 3.5, sigma=3.0)
    there = integrate(velocity, 0.1)
    wide = [8] * (2 * len(shape))
    back = correct_inverse(pad(there, wide, mode="replicate"), pad(integrate(-velocity, 0.1), wide, mode="replicate"))
    axes = [c for c in range(3) if size[c] > 1]
    margin = tuple(8 if n > 1 else 0 for n in size)

    def as_field(displacement, where):
        vectors = np.moveaxis(displacement[0].numpy(), 0, -1) @ where.ijk_to_lps[:3, axes].T
        return Field(vectors.reshape(*where.shape_kji, 3).astype(np.float32), where)

    field, inverse = as_field(there, grid), as_field(back, padded(grid, margin))
    correction = correction_of_inverse(field, inverse, torch.device("cpu"))
    centers = voxel_centers_lps(grid)[tuple(slice(4, -4) if n > 1 else slice(None) for n in grid.shape_kji)]
    centers = centers.reshape(-1, 3)

    def errors(*inverses):
        transform = Transform(np.eye(4), field, inverses)
        return np.linalg.norm(moving_to_fixed(transform, fixed_to_moving(transform, centers)) - centers, axis=1)

    alone, both = errors(inverse), errors(inverse, correction)
    assert alone.max() > 0.1
    assert both.mean() < alone.mean() / 5
    assert both.max() < 0.1


def test_integrate_follows_a_known_flow():
    """dx/dt = a x has x(1) = e^a x(0): the displacement is (e^a - 1) x, by many small steps."""
    x = torch.arange(41.0) - 20
    velocity = torch.zeros(1, 2, 5, 41)
    velocity[:, 0] = -0.3 * x
    found = integrate(velocity, 1e-3)[0, 0, 2]
    assert torch.allclose(found, (np.exp(-0.3) - 1) * x, atol=2e-2)


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 6])
def test_box_sum_equals_scipy(radius):
    x = np.random.default_rng(0).random((13, 14, 15)).astype(np.float32)
    ours = box_sum(torch.from_numpy(x)[None, None], [radius, 1, radius])[0, 0].numpy()
    size = (2 * radius + 1, 3, 2 * radius + 1)
    theirs = scipy.ndimage.uniform_filter(x.astype(float), size, mode="constant") * np.prod(size)
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(61, 14, 15), (14, 61, 15), (1, 9, 8), (61, 15)])
def test_filters_are_the_same_with_and_without_gradient_and_in_parts(shape, dtype):
    """Long axes are filtered in parts on a CPU; where a gradient is wanted, at once."""
    x = torch.rand(2, 3, *shape, dtype=dtype)
    radius = [4, 2, 3][: len(shape)]
    windows = WindowMeans(shape, radius, [2, 1, 2][: len(shape)])
    for one in (lambda x: box_sum(x, radius), lambda x: gaussian(x, radius), lambda x: box_mean(x, radius, 2), windows):
        whole = one(x.clone().requires_grad_())
        assert whole.requires_grad and torch.allclose(one(x), whole, rtol=1e-5)


@pytest.mark.parametrize("radius", [[2, 1, 4], [0, 0, 0]])
@pytest.mark.parametrize("shape", [(40, 9, 8), (50, 9, 8), (7, 6)])
def test_window_means_are_means_at_their_centers_and_the_adjoint_is_theirs(shape, radius):
    torch.manual_seed(0)
    radius, stride = radius[: len(shape)], [1, 2, 3][: len(shape)]
    windows = WindowMeans(shape, radius, stride)
    x = torch.rand(1, 2, *shape, dtype=torch.float64)
    means = windows(x)
    assert torch.allclose(means, windows.centers(box_sum(x, radius) / box_sum(torch.ones_like(x), radius)))
    assert means.shape[2:] == tuple(len(range(s // 2, n, s)) for n, s in zip(shape, stride[::-1]))
    other = torch.rand_like(means)
    assert torch.allclose((means * other).sum(), (x * windows.adjoint(other)).sum())


def test_long_axes_are_filtered_in_parts_along_all_axes():
    x = torch.rand(1, 2, 900, 30)
    for turned in (x, x.transpose(2, 3).contiguous()):
        expected = scipy.ndimage.gaussian_filter(
            turned.double().numpy(), (0, 0, 2, 2), mode="nearest", radius=(0, 0, 6, 6)
        )
        assert np.abs(gaussian(turned, [2.0, 2.0]).numpy() - expected).max() < 1e-5
    kept = filters.filter_matrix.cache_info().currsize
    gaussian(x, [1.25, 1.25])
    assert filters.filter_matrix.cache_info().currsize <= min(kept + 1, 64)  # of the short axis only


def test_filters_ask_for_no_autocast_where_there_is_none(monkeypatch):
    """torch 2.2 refuses it for Apple's GPUs; and they leave TF32 as they found it."""

    def refused(kind, **how):
        raise RuntimeError(kind)

    monkeypatch.setattr(torch, "autocast", refused)
    with filters.full_precision(torch.device("mps")):
        pass
    with pytest.raises(RuntimeError, match="cpu"), filters.full_precision(torch.device("cpu")):
        pass
    monkeypatch.undo()
    torch.set_float32_matmul_precision("high")
    try:
        with filters.full_precision(torch.device("cuda")):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_mean_taken_twice_is_the_mean_of_the_mean():
    x = torch.rand(1, 1, 9, 10, 11, dtype=torch.float64)
    assert torch.allclose(box_mean(x, [1, 2, 1], 2), box_mean(box_mean(x, [1, 2, 1]), [1, 2, 1]))


def test_gaussian_equals_scipy():
    x = np.random.default_rng(0).random((20, 14, 15)).astype(np.float32)
    ours = gaussian(torch.from_numpy(x)[None, None], [1.5, 0.0, 0.8])[0, 0].numpy()
    theirs = scipy.ndimage.gaussian_filter(x, (0.8, 0, 1.5), mode="nearest", radius=(3, 0, 5))
    assert np.abs(ours - theirs).max() < 1e-5


def test_laplacian_is_minus_the_gradient_of_the_diffusion_energy():
    x = torch.rand(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    energy = 0.5 * (2.0 * (x[..., 1:] - x[..., :-1]) ** 2).sum() + 0.5 * (3.0 * (x[:, :, 1:] - x[:, :, :-1]) ** 2).sum()
    (gradient,) = torch.autograd.grad(energy, x)
    assert torch.allclose(laplacian(x.detach(), [2.0, 3.0]), -gradient)


def test_central_difference_is_zero_at_the_border_and_half_the_step_inside():
    x = (torch.arange(5.0) ** 2).view(1, 1, 1, 5)
    assert central_difference(x, 3).view(-1).tolist() == [0, 2, 4, 6, 0]
