"""Painted images have the contrasts, the extent and the values that they should have."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.anatomy import STRUCTURES, TISSUES
from SlicerDeepRegLib.training.label_maps import contrast as contrasts
from SlicerDeepRegLib.training.label_maps.contrast import TABLES, contrast
from SlicerDeepRegLib.training.label_maps.frame import MIRRORED, SURROUNDINGS
from SlicerDeepRegLib.training.label_maps.paint import (
    OUTER_FLUID,
    Head,
    Look,
    PaintSettings,
    frame_positions,
    paint,
)
from SlicerDeepRegLib.training.rng import Rng
from SlicerDeepRegLib.types import InputError

CPU = torch.device("cpu")
SHAPE, VOXEL_MM = (40, 48, 40), 5.0
#: Nothing but means of classes.
PURE = PaintSettings(blur=0, bias=0, gamma=0, noise=0, coarse=0, thick=0, lesions=0, cut=0)
COUNT = len(STRUCTURES)


def painted(head, seed, look=None, **changed):
    rng = Rng(seed, CPU)
    settings = dataclasses.replace(PURE, **changed)
    look = look or Look.draw(rng, settings)
    return paint(head, frame_positions(SHAPE, VOXEL_MM, CPU), VOXEL_MM, look, rng, settings)


def even(stripped, outer_fluid=True, zero_outside=True):
    """A look whose classes are told apart by their means and have no texture."""
    means = torch.zeros(256)
    means[1:] = 0.2 + 0.8 * (torch.arange(255) % (COUNT + 2)) / (COUNT + 1)
    return Look(means, torch.zeros(256), stripped, outer_fluid, zero_outside)


@pytest.fixture
def head(heads):
    return Head.of(heads.maps[0], CPU)


def classes(head):
    return head.at(frame_positions(SHAPE, VOXEL_MM, CPU))


def test_contrasts_of_scanners_have_the_order_of_their_tissues():
    def order(name):
        values = dict(zip(TISSUES, TABLES[name]))
        return sorted(("csf", "gray", "white"), key=values.__getitem__)

    assert order("T1") == ["csf", "gray", "white"] and order("T2") == ["white", "gray", "csf"]
    assert order("FLAIR") == ["csf", "white", "gray"] and order("PD") == ["white", "gray", "csf"]
    assert order("CT") == ["csf", "white", "gray"]
    assert all(len(values) == len(TISSUES) and 0 < min(values) < max(values) < 1 for values in TABLES.values())


def test_named_contrasts_are_drawn_as_their_tables_say(monkeypatch):
    """Each name about as often; the mean over many draws is the table's."""
    which = [n for n, one in enumerate(STRUCTURES, start=1) if one.tissue in ("csf", "gray", "white")]
    for name, values in TABLES.items():
        monkeypatch.setattr(contrasts, "TABLES", {name: values})
        means = torch.stack([contrast(Rng(seed, CPU), 1.0, 0.0)[0] for seed in range(60)]).mean(0)
        wanted = torch.tensor([values[TISSUES.index(STRUCTURES[n - 1].tissue)] for n in which])
        assert (means[which] - wanted).abs().max() < 0.05, name
    monkeypatch.undo()
    fluid = [n for n, one in enumerate(STRUCTURES, start=1) if one.tissue == "csf"]
    bright = [float(contrast(Rng(seed, CPU), 1.0, 0.0)[0][fluid].mean()) > 0.6 for seed in range(200)]
    assert 0.28 < np.mean(bright) < 0.52  # T2 and PD of five


@pytest.mark.parametrize("named, by_tissue", [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_left_looks_like_right(named, by_tissue):
    each = [contrast(Rng(seed, CPU), named, by_tissue) for seed in range(40)]
    for means, deviations in each:
        assert (means[list(MIRRORED)] - means[: COUNT + 1]).abs().max() < 0.05
        assert float(means[0]) == pytest.approx(0.01) == float(means.min()) and deviations[0] == 0 == deviations.min()
    spread = torch.stack([means for means, _ in each]).std(0)
    assert (spread[1:] > 0.02).all()  # no class always looks the same
    within = [float(means[[7, 8, 9]].std()) for means, _ in each]  # three nuclei of one tissue
    assert (np.mean(within) < 0.06) == bool(named or by_tissue)


def test_images_are_between_0_and_1_and_differ(head):
    images = [painted(head, seed, **dataclasses.asdict(PaintSettings()))[0] for seed in range(12)]
    for image in images:
        assert image.shape == (1, 1, *SHAPE) and torch.isfinite(image).all()
        assert float(image.min()) >= 0 and float(image.max()) == pytest.approx(1, abs=1e-4)
        assert float(image.std()) > 0.03
    agreement = np.corrcoef([image.flatten().numpy() for image in images])
    assert agreement[np.triu_indices(12, 1)].min() < 0.5


def test_stripped_images_show_the_brain_alone(head):
    around, fluid = classes(head) >= SURROUNDINGS, classes(head) == OUTER_FLUID
    inner = around & ~_near(classes(head) < SURROUNDINGS, around)
    whole, seen = painted(head, 1, even(stripped=False))
    assert (whole[0, 0][inner] > 0).all() and seen[inner].all()
    image, seen = painted(head, 1, even(stripped=True))
    assert inner.any() and (image[0, 0][inner] == 0).all() and not seen[inner].any()
    deep = fluid & ~_near(~fluid & (classes(head) > 0), fluid) & ~_near(around, fluid)
    assert deep.any() and (image[0, 0][deep] > 0).all()
    bare, seen = painted(head, 1, even(stripped=True, outer_fluid=False))
    assert (bare[0, 0][deep] == 0).all() and not seen[deep].any()
    gray, _ = painted(head, 1, even(stripped=True, zero_outside=False))
    assert float(gray[0, 0][inner].median()) >= 0 and not torch.equal(gray, image)


def _near(what, of):
    """Voxels of ``of`` beside ``what``."""
    spread = torch.nn.functional.max_pool3d((what & ~of).float()[None, None], 3, 1, 1)[0, 0]
    return spread > 0


def test_a_border_of_two_tissues_has_a_mean_of_both(head):
    """Voxels are means of eight, so some lie between the two."""
    look = even(stripped=True)
    image = painted(head, 3, look)[0][0, 0]
    levels = {round(float(v), 3) for v in image.unique()}
    assert len(levels) > 3 * COUNT
    middles = frame_positions(SHAPE, VOXEL_MM, CPU)
    corners = VOXEL_MM / 4 * torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).view(8, 3, 1, 1, 1)
    blocks = torch.stack([head.at(middles + corner) for corner in corners], -1)
    pure = (blocks == blocks[..., :1]).all(-1) & (blocks[..., 0] > 0) & (blocks[..., 0] < SURROUNDINGS)
    wanted = look.means[blocks[..., 0].long()][pure]
    assert np.corrcoef(image[pure], wanted)[0, 1] > 0.999


def test_each_effect_does_what_it_says(head):
    look = even(stripped=True)
    plain, _ = painted(head, 6, look)
    brain = plain > 0.05

    def detail(image, axis):
        return float(torch.diff(image, 2, axis).abs().mean())

    blurred, _ = painted(head, 6, look, blur=3.0)
    assert all(detail(blurred, axis) < 0.9 * detail(plain, axis) for axis in (2, 3, 4))
    thick, _ = painted(head, 6, look, thick=1.0, thickest_mm=40.0)
    kept = sorted(detail(thick, axis) / detail(plain, axis) for axis in (2, 3, 4))
    assert kept[0] < 0.75 and kept[0] < 0.9 * kept[1]
    noisy, _ = painted(head, 6, look, noise=0.2)
    assert float((noisy - plain)[brain].std()) > 0.01
    biased, _ = painted(head, 6, look, bias=1.0)
    ratio = (biased / plain.clamp(min=0.05))[brain].log()
    assert float(ratio.std()) > 0.03
    spots, _ = painted(head, 6, look, lesions=1.0)
    changed = ((spots - plain).abs() > 0.1) & brain
    assert 0 < float(changed.sum()) < 0.5 * float(brain.sum())
    cut, seen = painted(head, 6, look, cut=1.0)
    lost = brain[0, 0] & ~seen
    assert lost.any() and (cut[0, 0][lost] == 0).all() and float(seen.sum()) > 0.4 * float(brain.sum())
    assert torch.equal(painted(head, 6, look)[0], plain)


def test_parts_are_from_0_to_1():
    for name in ("named_contrast", "stripped", "cut"):
        with pytest.raises(InputError, match=f"{name} is a part"):
            PaintSettings(**{name: 1.5})
