"""Intensities are matched by what lies on one another, whatever the amounts of the tissues."""

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.similarity.matching import gain, matched

TISSUES = torch.tensor([0.0, 0.2, 0.5, 0.8])


def maps(part_of_fluid, seed=0):
    """A map of four tissues with much or little of the second; and another that differs from it in a tenth."""
    random = np.random.default_rng(seed)
    rest = (0.9 - part_of_fluid) / 2
    one = random.choice(4, (1, 1, 20, 30, 40), p=[0.1, part_of_fluid, rest, rest])
    other = np.where(random.random(one.shape) < 0.1, random.choice(4, one.shape), one)
    return torch.from_numpy(one), torch.from_numpy(other)


@pytest.mark.parametrize("part_of_fluid", [0.05, 0.3, 0.8])
def test_a_tissue_gets_the_intensity_of_that_tissue(part_of_fluid):
    first, second = maps(part_of_fluid)
    fixed, moving = TISSUES[first], 0.1 + 0.7 * TISSUES[second] ** 1.5
    moving = torch.where(second == 0, torch.zeros(()), moving)
    found = matched(moving, fixed, moving, torch.ones_like(fixed))
    for tissue, value in enumerate(TISSUES):
        assert found[second == tissue].mean() == pytest.approx(float(value), abs=0.02)


def test_the_curve_rises_and_goes_on_beyond_what_was_seen():
    first, second = maps(0.3)
    noise = 0.05 * torch.rand(first.shape, generator=torch.Generator().manual_seed(0))
    fixed, moving = TISSUES[first] + noise, 0.6 * TISSUES[second] + noise
    line = torch.linspace(0, 1, 200)
    found = matched(line, fixed, moving, torch.ones_like(fixed))
    assert found[0] == 0 and (found.diff() >= 0).all()
    assert found[-1] - found[-20] == pytest.approx(float(line[-1] - line[-20]), abs=1e-4)


def test_what_is_not_to_be_compared_does_not_count():
    first, second = maps(0.3)
    fixed, moving = TISSUES[first], 0.5 * TISSUES[second]
    wrong, counts = fixed.clone(), torch.ones_like(fixed)
    wrong[..., :20], counts[..., :20] = 0.95, 0.0
    assert torch.equal(
        matched(moving, wrong, moving, counts),
        matched(moving, fixed[..., 20:], moving[..., 20:], counts[..., 20:]),
    )


@pytest.mark.parametrize("counts", [0.0, 1.0])
def test_where_too_little_was_seen_the_image_stays_as_it_is(counts):
    moving = torch.rand((1, 1, 10, 12), generator=torch.Generator().manual_seed(0))
    flat = torch.full_like(moving, 0.4)
    assert matched(moving, moving, flat, torch.full_like(moving, counts)) is moving


def bias(shape, amount=0.2):
    k, j, i = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    return torch.exp(amount * (i * j + k))[None, None]


def test_a_bias_field_is_found_although_tissues_differ():
    first, second = (one.to(torch.float32) * 0.2 + 0.2 for one in maps(0.3))
    field = bias(first.shape[2:])
    found = gain(first * field, second, torch.ones_like(first), [5.0, 5.0, 5.0])
    inner = (slice(None), slice(None), *(slice(4, -4),) * 3)
    before, after = (float((one / field - 1)[inner].abs().mean()) for one in (torch.ones_like(found), found))
    assert after < 0.5 * before


def test_where_images_are_alike_or_nothing_is_seen_there_is_no_bias_field():
    image = torch.rand(1, 1, 16, 18, 20, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones_like(image)
    assert not torch.equal(gain(image, 0.9 * image, everywhere, [4.0] * 3), everywhere)
    assert torch.equal(gain(image, image, everywhere, [4.0] * 3), everywhere)
    assert torch.equal(gain(image, 0.9 * image, 0 * image, [4.0] * 3), everywhere)
    assert torch.equal(gain(0.05 * image, image, everywhere, [4.0] * 3), everywhere)  # all dark
    assert torch.equal(gain(image, 0.9 * image, everywhere, [4.0, 4.0, 4.1]), everywhere)  # too small
    flat = gain(image[:, :, 0], image[:, :, 0], everywhere[:, :, 0], [4.0] * 2)
    assert torch.equal(flat, everywhere[:, :, 0])


def test_another_tissue_is_no_bias_field():
    """A ventricle that lies on tissue keeps its difference, which moves it."""
    moving = torch.full((1, 1, 30, 30, 30), 0.8)
    fixed = moving.clone()
    fixed[..., 10:20, 10:20, 10:20] = 0.3
    found = gain(fixed, moving, torch.ones_like(moving), [4.0] * 3)
    assert torch.allclose(found, torch.ones_like(found), atol=1e-5)
