"""Synthetic pairs are what the settings say: the field is the true one, and each effect has the requested size."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import torch
from SlicerDeepRegLib.geometry.jacobian import non_diffeomorphic_volume
from SlicerDeepRegLib.training.rng import Rng, seed_of
from SlicerDeepRegLib.training.synthetic import (
    CSF,
    GRAY,
    VENTRICLE,
    WHITE,
    SyntheticSettings,
    synthetic_pairs,
)
from SlicerDeepRegLib.training.validation import as_field
from SlicerDeepRegLib.types import InputError

CPU = torch.device("cpu")
SOLID, FLAT = (40, 44, 36), (64, 72)
#: Nothing but means of labels and a smooth field.
PURE = SyntheticSettings(
    texture=0, blur=0, bias=0, gamma=0, noise=0, thick=0, coarse=0, same_contrast=1, outside_zero=1
)


def made(shape, seeds, **changed):
    return synthetic_pairs(shape, list(seeds), CPU, dataclasses.replace(PURE, **changed))


def seen_through(volume, displacement, order):
    """``volume(x + u(x))`` by scipy."""
    u = displacement.numpy()[::-1]  # order k, j, i
    locations = np.indices(volume.shape) + u
    return scipy.ndimage.map_coordinates(volume, locations, order=order, mode="nearest")


@pytest.mark.parametrize("kind", ["brains", "shapes"])
@pytest.mark.parametrize("shape", [SOLID, FLAT], ids=["3d", "2d"])
def test_the_fixed_image_is_the_moving_one_seen_through_the_field(shape, kind):
    pair = made(shape, [3], kind=kind)
    assert pair.displacement.shape == (1, len(shape), *shape)
    before = (pair.fixed_labels == pair.moving_labels).float().mean()
    warped = seen_through(pair.moving_labels[0, 0].numpy().astype(float), pair.displacement[0], order=0)
    assert (warped == pair.fixed_labels[0, 0].numpy()).mean() > 0.995 > before
    image = seen_through(pair.moving[0, 0].numpy().astype(float), pair.displacement[0], order=1)
    assert np.corrcoef(image.ravel(), pair.fixed[0, 0].numpy().ravel())[0, 1] > 0.9


def test_a_pair_follows_from_its_seed_in_any_batch():
    together = synthetic_pairs(SOLID, [5, 6], CPU)
    alone = synthetic_pairs(SOLID, [6], CPU)
    for name in ("moving", "fixed", "displacement", "fixed_labels", "same_contrast"):
        assert torch.equal(getattr(together, name)[1:], getattr(alone, name)), name
    assert not torch.allclose(together.displacement[:1], alone.displacement)
    assert len({seed_of(0, stream, place) for stream in (1, 2) for place in range(1000)}) == 2000


def test_fields_do_not_fold():
    for seed in range(6):
        pair = synthetic_pairs(SOLID, [seed], CPU, SyntheticSettings(motion=((8, 1.5), (16, 3.0))))
        assert non_diffeomorphic_volume(as_field(pair.displacement))[0] < 0.01
        assert pair.displacement.abs().max() > 1


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("cell", [2.5, 6, 15])
def test_noise_has_deviation_one_and_its_own_scale(cell, smooth):
    values = Rng(1, CPU).noise((96, 96), cell, channels=60, smooth=smooth)
    assert float(values.std()) == pytest.approx(1, abs=0.12)
    lag = [float((values[..., n:] * values[..., : 96 - n]).mean()) for n in (1, round(3 * cell))]
    assert lag[0] > 0.5 and abs(lag[1]) < 0.15  # alike nearby, not three nodes away


def test_motion_has_the_size_that_was_asked_for():
    def displacement(size, seeds=range(40), shift=0.0):
        moved = made(FLAT, seeds, motion=((16, size),), rotation_degrees=0, scaling=0, shift=shift)
        return moved.displacement

    # The deviation is drawn evenly from 0 to the largest: its mean square is a third of that one's.
    for size in (1.0, 3.0):
        assert float(displacement(size).square().mean().sqrt()) == pytest.approx(size / 3**0.5, rel=0.2)
    assert displacement(0.0, [0]).abs().max() < 1e-5
    shifted = displacement(0.0, shift=4.0).mean(dim=(2, 3))
    assert shifted.abs().max() <= 4.001 and float(shifted.std()) == pytest.approx(4 / 3**0.5, rel=0.25)


def test_parts_are_the_parts_that_were_asked_for():
    pairs = synthetic_pairs(FLAT, range(120), CPU, SyntheticSettings(same_contrast=0.3, outside_zero=0.5))
    spread = 3 * (0.5 * 0.5 / 120) ** 0.5
    assert float(pairs.same_contrast.float().mean()) == pytest.approx(0.3, abs=spread)
    assert float(pairs.brain.float().mean()) == pytest.approx(0.5, abs=spread)
    none = synthetic_pairs(FLAT, range(20), CPU, SyntheticSettings(same_contrast=0, kind="shapes"))
    assert not none.same_contrast.any() and not none.brain.any()
    for name in ("moving", "fixed"):
        image = getattr(pairs, name)
        assert float(image.min()) >= 0 and float(image.max()) <= 1
        assert (image.flatten(1).amax(1) > 0.5).all()


def test_contrast_is_one_or_two_as_the_pair_says():
    """By the mean of each label in both images."""

    def agreement(pair):
        labels = [n for n in torch.unique(pair.fixed_labels).tolist() if n and (pair.moving_labels == n).any()]
        means = [[float(image[where == n].mean()) for n in labels] for image, where in _images(pair)]
        return np.corrcoef(*means)[0, 1]

    same = [agreement(made(FLAT, [s], kind="shapes", background=0)) for s in range(8)]
    other = [agreement(made(FLAT, [s], kind="shapes", background=0, same_contrast=0)) for s in range(8)]
    assert min(same) > 0.98 and np.mean(np.abs(other)) < 0.5


def _images(pair):
    return (pair.moving, pair.moving_labels), (pair.fixed, pair.fixed_labels)


def test_each_effect_does_what_it_says():
    """Against the same pair without it; what is random but not the effect stays as it was."""
    seeds = range(12)
    plain = made(FLAT, seeds, kind="shapes", background=0)

    noisy = made(FLAT, seeds, kind="shapes", background=0, noise=0.1)
    inner = _inner(plain.moving_labels)
    spread = (noisy.moving - plain.moving)[inner].std()
    assert 0.02 < float(spread) < 0.1  # evenly from 0 to 0.1

    biased = made(FLAT, seeds, kind="shapes", background=0, bias=0.5)
    ratio = (biased.moving[inner] / plain.moving[inner].clamp(min=0.05)).clamp(min=1e-3).log()
    assert 0.1 < float(ratio.std()) < 0.6
    blurred = made(FLAT, seeds, kind="shapes", background=0, blur=3)
    assert _roughness(blurred.moving) < 0.8 * _roughness(plain.moving)
    textured = made(FLAT, seeds, kind="shapes", background=0, texture=0.3)
    inside = [float((torch.diff(one.moving, dim=3).square() * inner[..., 1:]).mean()) for one in (plain, textured)]
    assert inside[0] < 1e-8 and inside[1] > 1e-5
    bent = made(FLAT, seeds, kind="shapes", background=0, gamma=0.5)
    for one, other in zip(plain.moving, bent.moving):
        first, second = one[(one > 0.02) & (one < 0.98)], other[(one > 0.02) & (one < 0.98)]
        exponents = second.log() / first.log()  # one exponent for an image
        assert float(exponents.std()) < 0.02 * float(exponents.mean())


def _inner(labels):
    """Away from borders between labels."""
    same = torch.ones_like(labels, dtype=torch.bool)
    for axis in (2, 3):
        for step in (-2, -1, 1, 2):
            same &= labels == labels.roll(step, axis)
    same[..., :3, :] = same[..., -3:, :] = same[..., :3] = same[..., -3:] = False
    return same


def _roughness(image):
    """Squared differences of neighbors, which a blur lowers more than their sum."""
    return float(torch.diff(image, dim=2).square().mean() + torch.diff(image, dim=3).square().mean())


def test_thick_slices_are_thick_along_one_axis():
    plain, thick = (made(SOLID, [4], kind="shapes", texture=0.4, thick=part).moving for part in (0, 1))
    detail = [[float(torch.diff(image, 2, axis).abs().mean()) for axis in (2, 3, 4)] for image in (plain, thick)]
    kept = sorted(b / a for a, b in zip(*detail))
    assert kept[0] < 0.6 < 0.75 < kept[2]


def test_a_lower_resolution_takes_detail_along_every_axis():
    plain, coarse = (made(SOLID, range(6), kind="shapes", texture=0.4, coarse=part).moving for part in (0, 1))
    for axis in (2, 3, 4):
        detail = [float(torch.diff(image, 2, axis).abs().mean()) for image in (plain, coarse)]
        assert 0.2 < detail[1] / detail[0] < 0.8


def test_a_brain_has_its_parts_in_their_places():
    pair = made((64, 72, 60), [11], kind="brains", stripped=1.0)
    labels = pair.moving_labels[0, 0].numpy()
    volume = np.bincount(labels.ravel(), minlength=19)
    for left, right in (GRAY, WHITE):
        assert 0.6 < volume[left] / volume[right] < 1.7
    assert volume[GRAY[0]] > 5 * volume[VENTRICLE[0]] > 0 and volume[17] == volume[18] == 0
    # Fluid lies at the outside: nearer to the background than white matter is.
    distance = scipy.ndimage.distance_transform_edt(labels > 0)
    depth = {name: distance[np.isin(labels, which)].mean() for name, which in _TISSUES.items()}
    assert depth["fluid"] < depth["gray"] < depth["white"] and depth["gray"] < depth["ventricle"]
    image = pair.moving[0, 0].numpy()
    assert np.ptp([image[labels == n].mean() for n in GRAY]) < 0.02  # left and right alike
    assert (image[labels == 0] == 0).all()
    skull = made((64, 72, 60), [11], kind="brains", stripped=0.0).moving_labels
    assert (skull == 17).any() and (skull == 18).any()


_TISSUES = {"fluid": [CSF], "gray": GRAY, "white": WHITE, "ventricle": VENTRICLE}


def test_what_cannot_be_made_is_refused():
    with pytest.raises(InputError, match="16 voxels"):
        synthetic_pairs((64, 8, 64), [0], CPU)
    for wrong in ({"kind": "hearts"}, {"thick": 2}, {"labels": 1}, {"motion": ((1, 2.0),)}):
        with pytest.raises(InputError):
            SyntheticSettings(**wrong)
