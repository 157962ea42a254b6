"""Which voxels show something."""

import numpy as np
from SlicerDeepRegLib.metrics import content
from SlicerDeepRegLib.metrics.content import above_background, background_level, background_of, content_of

KJI = np.indices((40, 44, 48))


def ball(radius, center=(20, 22, 24)):
    return sum((axis - at) ** 2 for axis, at in zip(KJI, center)) < radius**2


def agreement(first, second):
    """Dice."""
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_ringing_around_a_background_of_zero_is_not_content():
    rings = np.where(KJI.sum(0) % 2, 0, 1e-3).astype(np.float32)
    values = np.where(ball(12), 100, rings)
    assert (values > values.min()).mean() > 0.5
    assert (content_of(values) == ball(12)).mean() > 0.999


def test_what_is_enclosed_is_content_and_specks_are_not():
    values = np.where(ball(12) & ~ball(6), 100.0, 0.0)
    values[2:5, 2:5, 2:5] = 100.0
    assert agreement(content_of(values), ball(12)) > 0.98
    assert not content_of(values)[:6, :6, :6].any()


def test_a_second_part_as_large_is_content_too():
    both = ball(8, (20, 22, 12)) | ball(8, (20, 22, 36))
    assert agreement(content_of(both * 50.0), both) > 0.97


def test_a_noisy_background_and_air_in_a_lung_are_content():
    noise = np.random.default_rng(0).normal(0, 10, KJI[0].shape)
    assert content_of(np.abs(noise) + 100 * ball(12)).mean() > 0.99
    ct = np.where(ball(16), 40.0, -1024.0)
    ct[ball(6, (0, 22, 24))] = -900.0  # a lung that the border of the image cuts
    assert content_of(ct)[0, 20:25, 20:28].all()


def test_nan_is_not_above_the_background_and_does_not_hide_it():
    values = np.where(ball(12), 100.0, np.nan)
    values[ball(13) & ~ball(12)] = 0.0
    values[20, 22, 24] = np.inf
    with np.errstate(all="raise"):
        shown = above_background(values)
    assert (shown == (ball(12) & np.isfinite(values))).all()
    assert content_of(values)[20, 22, 24] and not content_of(values)[0].any()


def test_a_single_slice_and_nothing_to_tell_apart():
    ring = (ball(12) & ~ball(8))[20:21] * 1.0
    shown = content_of(ring)
    assert shown.shape == ring.shape and shown[0, 22, 24] and not shown[0, 0, 0]
    assert content_of(np.full((9, 9, 9), 3.0)).all()


def test_a_large_image_is_looked_at_coarsely(monkeypatch):
    fine = content_of(ball(14) * 1.0)
    monkeypatch.setattr(content, "MOST_VOXELS", 20_000)
    coarse = content_of(ball(14) * 1.0)
    assert coarse.shape == fine.shape and 0.9 < agreement(fine, coarse) < 1


def test_a_background_is_a_value_of_many_voxels_even_if_a_few_lie_below_it():
    random = np.random.default_rng(0)
    stripped = np.where(np.arange(10_000) < 6000, 0.0, random.uniform(5, 100, 10_000))
    assert background_level(stripped) == background_of(stripped) == 0
    stripped[-3:] = -1.0  # where an interpolation rings, or a defect
    assert background_level(stripped) == background_of(stripped) == 0
    noise = random.normal(size=10_000)
    assert background_level(noise) == -np.inf and background_of(noise) == noise.min()
    noise[:4000] = noise.max()  # what is bright in many voxels is no background
    assert background_level(noise) == -np.inf
