"""Each loss against a slow, literal implementation; gradients against numbers."""

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.losses.similarity import LNCC, MSE, WeightedSum, mind_ssc


def literal_lncc(fixed, warped, radius_kji, mask, epsilon, stride=1):
    """Voxel by voxel, as the definition reads."""
    total, weight = 0.0, 0.0
    for index in np.ndindex(*fixed.shape):
        if any(n % stride != stride // 2 for n in index):
            continue
        window = tuple(slice(max(0, n - r), n + r + 1) for n, r in zip(index, radius_kji))
        f, w = fixed[window].ravel(), warped[window].ravel()
        covariance = ((f - f.mean()) * (w - w.mean())).mean()
        total -= mask[index] * (covariance + epsilon) ** 2 / ((f.var() + epsilon) * (w.var() + epsilon))
        weight += mask[index]
    return total / weight


@pytest.mark.parametrize("shape", [(7, 9, 8), (11, 10)])
def test_local_correlation_equals_its_definition(shape):
    random = np.random.default_rng(0)
    fixed, warped = random.random(shape), random.random(shape)
    mask = (random.random(shape) > 0.3).astype(float)
    radius_ijk = [2, 1, 3][: len(shape)]
    loss = LNCC(torch.from_numpy(fixed)[None, None], radius_ijk, torch.from_numpy(mask)[None, None])
    ours = float(loss(torch.from_numpy(warped)[None, None]))
    assert ours == pytest.approx(literal_lncc(fixed, warped, radius_ijk[::-1], mask, 1e-5), rel=1e-6)
    n = len(shape)
    loss = LNCC(torch.from_numpy(fixed)[None, None], radius_ijk, torch.from_numpy(mask)[None, None], stride_ijk=[2] * n)
    ours = float(loss(torch.from_numpy(warped)[None, None]))
    assert ours == pytest.approx(literal_lncc(fixed, warped, radius_ijk[::-1], mask, 1e-5, stride=2), rel=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(5, 6, 7), (8, 9)])
def test_gradient_of_local_correlation_is_exact(shape, stride):
    torch.manual_seed(0)
    fixed = torch.rand(1, 1, *shape, dtype=torch.float64)
    mask = (torch.rand_like(fixed) > 0.2).double()
    loss = LNCC(fixed, [1, 2, 1][: len(shape)], mask, stride_ijk=[stride] * len(shape))
    warped = torch.rand_like(fixed).requires_grad_()
    assert torch.autograd.gradcheck(loss, (warped,), atol=1e-6)


def test_a_mask_between_the_centers_of_the_windows_counts():
    fixed, warped = torch.rand(2, 1, 1, 8, 8, 8, dtype=torch.float64)
    mask = torch.zeros(1, 1, 8, 8, 8, dtype=torch.float64)
    mask[:, :, 2] = 1
    thin, every = (LNCC(fixed, [3] * 3, mask, stride_ijk=[s] * 3)(warped) for s in (2, 1))
    assert float(thin) == pytest.approx(float(every)) and float(every) < 0


def test_local_correlation_of_an_image_with_itself_is_minus_one_and_blind_to_sign_and_scale():
    fixed = torch.rand(1, 1, 12, 13, 14, dtype=torch.float64)
    loss = LNCC(fixed, [3, 3, 3], epsilon=1e-12)
    for warped in (fixed, 3 * fixed + 5, -fixed):
        assert float(loss(warped)) == pytest.approx(-1, abs=1e-6)


def test_gradient_is_zero_where_the_images_are_equal():
    """Also where both are nearly flat: nothing moves what is already in place."""
    torch.manual_seed(0)
    fixed = torch.rand(1, 1, 10, 10, 10, dtype=torch.float64) * 2e-3
    warped = fixed.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(LNCC(fixed, [2, 2, 2])(warped), warped)
    assert float(gradient.abs().max()) < 1e-9


def test_mse_is_the_squared_difference_over_the_variance_in_the_mask():
    fixed = torch.zeros(1, 1, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0, :] = 1
    warped = torch.full((1, 1, 4, 4), 3.0)
    assert float(MSE(fixed, 2.0, mask)(warped)) == pytest.approx(9 / 4)
    both = WeightedSum((1.0, MSE(fixed, 2.0, mask)), (2.0, MSE(fixed, 1.0, mask)))
    assert float(both(warped)) == pytest.approx(9 / 4 + 18)


def test_mind_has_its_channels_and_ignores_contrast():
    torch.manual_seed(1)
    image = torch.rand(1, 1, 16, 17, 18)
    features = mind_ssc(image)
    assert features.shape == (1, 12, 16, 17, 18)
    assert mind_ssc(image[:, :, 0]).shape == (1, 4, 17, 18)
    assert float(features.max()) == 1.0 and float(features.min()) >= 0
    assert torch.allclose(features, mind_ssc(1 - 2 * image), atol=1e-4)
    other = mind_ssc(torch.rand(1, 1, 16, 17, 18))
    assert float((features - other).abs().mean()) > 0.1


def test_mind_of_an_image_does_not_depend_on_the_others_of_its_batch():
    images = torch.rand(2, 1, 12, 12, 12) * torch.tensor([1.0, 50.0]).view(2, 1, 1, 1, 1)
    assert torch.allclose(mind_ssc(images), torch.cat([mind_ssc(image) for image in images.split(1)]))


def literal_mind(image, position, dilation, radius):
    """The 12 (4) channels at one voxel, patch by patch."""
    axes = image.ndim
    neighbors = [(a, s * dilation) for a in range(axes) for s in (-1, 1)]

    def patch(a, step):
        offset = np.zeros(axes, int)
        offset[a] = step
        spans = [np.clip(np.arange(p - radius, p + radius + 1), 0, None) for p in position]
        return image[np.ix_(*[span + o for span, o in zip(spans, offset)])]

    return [
        ((patch(*neighbors[m]) - patch(*neighbors[n])) ** 2).sum()
        for m in range(len(neighbors))
        for n in range(m)
        if neighbors[m][0] != neighbors[n][0]
    ]


def test_mind_orders_the_channels_by_patch_distance():
    """Away from the border exp(-d / v) falls with the literal patch distance."""
    torch.manual_seed(2)
    image = torch.rand(1, 1, 15, 15, 15, dtype=torch.float64)
    ours = mind_ssc(image)[0, :, 7, 7, 7].numpy()
    distances = np.array(literal_mind(image[0, 0].numpy(), (7, 7, 7), 2, 1))
    spread = distances - distances.min()
    assert np.allclose(ours, np.exp(-spread / spread.mean()), atol=1e-6)
