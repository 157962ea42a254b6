"""Mutual information and normalized gradient fields: values that are known, and gradients."""

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.losses.multimodal import MutualInformation, NormalizedGradientFields


def random_images(axes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 1, 5, 6, 7)[: 2 + axes]
    return [torch.rand(shape, dtype=torch.float64, generator=generator) for _ in range(3)]


def entropy(p):
    p = p[p > 0]
    return -(p * np.log(p)).sum()


@pytest.mark.parametrize("axes", [2, 3])
def test_gradients_are_those_of_finite_differences(axes):
    fixed, warped, mask = random_images(axes)
    warped.requires_grad_()
    information = MutualInformation(fixed, mask, bins=8)
    assert torch.autograd.gradcheck(information, (warped,), eps=1e-6, atol=1e-6)
    edges = NormalizedGradientFields(fixed, [1.0, 2.0, 1.5][:axes], mask)
    # The length that tells edges from noise is taken as constant: so is it here.
    edges.noise = lambda square: 0.3
    edges.fixed = edges.direction(fixed)
    assert torch.autograd.gradcheck(edges, (warped,), eps=1e-6, atol=1e-6)


def test_mutual_information_is_that_of_the_joint_histogram():
    fixed, warped, mask = (image.flatten().numpy() for image in random_images(3))
    bins, joint = 8, np.zeros((8, 11))
    for f, w, weight in zip(fixed, warped, mask / mask.sum()):
        place = w * (bins - 1)
        for column in range(11):  # the cubic B-spline, written as it is defined
            t = abs(column - 1 - place)
            spread = 2 / 3 - t**2 + t**3 / 2 if t < 1 else (2 - t) ** 3 / 6 if t < 2 else 0
            joint[round(f * (bins - 1)), column] += weight * spread
    expected = (entropy(joint.sum(0)) + entropy(joint.sum(1))) / entropy(joint)
    loss = MutualInformation(*(torch.from_numpy(v).view(1, 1, 5, 6, 7) for v in (fixed, mask)), bins=bins)
    assert float(loss(torch.from_numpy(warped).view(1, 1, 5, 6, 7))) == pytest.approx(-expected, abs=1e-6)


def test_both_do_not_mind_an_inverted_contrast():
    fixed, other, _ = random_images(3)
    for loss in (MutualInformation(fixed), NormalizedGradientFields(fixed, [1.0, 1.0, 1.0])):
        assert float(loss(1 - fixed)) == pytest.approx(float(loss(fixed)), abs=1e-9)
        assert float(loss(fixed)) < float(loss(other)) - 0.05


def test_edges_at_right_angles_do_not_agree_and_parallel_ones_do():
    x, y = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 20), indexing="ij")
    loss = NormalizedGradientFields(x[None, None], [1.0, 1.0], edge=0.01)
    assert float(loss(y[None, None])) == pytest.approx(1, abs=1e-3)
    assert float(loss(0.3 * x[None, None])) == pytest.approx(0, abs=1e-3)


def test_values_beyond_the_range_have_no_gradient():
    fixed, warped, _ = random_images(2)
    warped[0, 0, 0, 0], warped[0, 0, 1, 1] = -0.1, 1.1
    warped.requires_grad_()
    (gradient,) = torch.autograd.grad(MutualInformation(fixed)(warped), warped)
    assert gradient[0, 0, 0, 0] == 0 == gradient[0, 0, 1, 1] and bool((gradient != 0).any())
