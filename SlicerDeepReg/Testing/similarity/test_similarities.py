"""Every metric of the registry: what it declares, and that it is a loss which falls as the images come together."""

import numpy as np
import pytest
import torch
from helpers.geometry import make_grid
from helpers.images import texture
from SlicerDeepRegLib import similarity
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.settings import numbers_of
from SlicerDeepRegLib.similarity import Comparison, similarities
from SlicerDeepRegLib.types import PRESETS, InputError
from SlicerDeepRegLib.warping.sample import warp

NAMES = sorted(similarities())


def shifted(axes, voxels):
    """The texture moved along i, (1, 1, ...), 0..1."""
    grid = make_grid((32, 30, 28 if axes == 3 else 1), (1.8, 1.8, 1.8), np.eye(3))
    values = texture(voxel_centers_lps(grid) + np.array([1.8 * voxels, 0, 0])) / 110
    shape = grid.shape_kji if axes == 3 else grid.shape_kji[1:]
    return torch.from_numpy(values.astype(np.float32).reshape(1, 1, *shape))


def prepared(name, axes, moving, contrast=False):
    """A metric prepared for the texture and the texture moved by so many voxels, or its negative."""
    fixed, moved = shifted(axes, 0.0), shifted(axes, moving)
    still = torch.zeros(1, axes, *fixed.shape[2:])
    metric = similarities()[name]
    how = Comparison(metric.presets["standard"], [1.0] * axes, lambda image: warp(image, still), [4.0] * axes)
    return metric.prepare(fixed, 1 - moved if contrast else moved, torch.ones_like(fixed), how)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_declares_what_menus_and_estimates_need(name):
    metric = similarities()[name]
    assert metric.name == name and metric.title and metric.modality in ("same", "different", "any")
    assert set(metric.presets) == set(PRESETS)
    assert "regularity" in {number.name for number in numbers_of(metric.presets["standard"])}
    small, large = metric.memory(1000, False), metric.memory(10_000, False)
    assert 0 < small.host < large.host and 0 < small.device < large.device
    assert metric.memory(1000, True).host <= small.host


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_as_the_images_come_together_and_has_a_gradient(name, axes):
    contrast = similarities()[name].modality != "same"
    losses = []
    for moving in (3.0, 1.0, 0.0):
        state = prepared(name, axes, moving, contrast)
        leaf = state.moving.clone().requires_grad_()
        loss = state.term(leaf)
        assert loss.ndim == 0 and bool(torch.isfinite(loss))
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert gradient.shape == leaf.shape and bool(torch.isfinite(gradient).all())
        losses.append(float(loss))
    assert losses[0] > losses[1] > losses[2]


def test_there_is_one_metric_for_each_modality_that_auto_may_choose():
    assert similarity.for_modality("same").name == "lncc" and similarity.for_modality("different").name == "ngf-mind"
    assert similarity.names() == ("auto", *similarities())


def test_an_unknown_metric_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="similarity must be one of auto, lncc, mind, .*; it was 'ssd'"):
        similarity.similarity("ssd")
