"""Intensities are matched by what lies on one another, whatever the amounts of the tissues."""

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.similarity.matching import matched

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
