"""An atlas of a brain: fitted to images of any contrast, and kept in a file."""

import json

import numpy as np
import pytest
import torch
from helpers.geometry import make_grid, rotation
from helpers.structures import CLASSES, painted_brain, write_model
from SlicerDeepRegLib.metrics.labels import dice_by_label
from SlicerDeepRegLib.models import brain_atlas
from SlicerDeepRegLib.models.brain_atlas import ATLAS_FILE, BrainAtlas, frame_grid, read_atlas, write_atlas
from SlicerDeepRegLib.models.structures import StructureModel
from SlicerDeepRegLib.training.label_maps.frame import MIRRORED
from SlicerDeepRegLib.types import Image, InputError
from SlicerDeepRegLib.warping.filters import gaussian

CPU = torch.device("cpu")


def classes_of(image):
    """The classes of a painted brain; its skull is none."""
    found = np.rint(image.values * len(CLASSES)).astype(np.int64)
    found[found >= len(CLASSES)] = 0
    return found


@pytest.fixture(scope="module")
def priors():
    """Of the painted brain: soft, and alike on both sides."""
    members = torch.nn.functional.one_hot(torch.from_numpy(classes_of(painted_brain(frame_grid()))), len(CLASSES))
    soft = gaussian(members.movedim(-1, 0)[None].float(), [1.0] * 3)[0]
    return (soft + soft[list(MIRRORED)].flip(-1)) / 2


@pytest.fixture(scope="module")
def head():
    """Another person's head off the frame: where it is, its classes, and its grid."""
    there = np.eye(4)
    there[:3, :3], there[:3, 3] = rotation([4, -6, 10]) @ np.diag([0.95, 1.05, 0.98]), [6, -9, 7]
    grid = make_grid((90, 100, 84), (1.9, 1.9, 2.2), rotation([5, -12, 8]))
    return there, classes_of(painted_brain(grid, there)), grid


def painted(classes, grid, bright):
    """An image in which each group of structures has a brightness, with noise and a bias field."""
    group = brain_atlas.GROUP_OF_CLASS.numpy()
    values = np.array([0.0, *bright])[group[classes]]
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in classes.shape), indexing="ij", sparse=True)
    noise = np.random.default_rng(0).standard_normal(classes.shape)
    values = values * np.exp(0.15 * k - 0.1 * j * i) + 0.03 * noise
    return Image((1000 * np.abs(values)).astype(np.float32), grid, "head")


#: CSF, gray, cerebellum gray, white, cerebellum white, thalamus, striatum, pallidum, brain stem.
T1_LIKE = (0.15, 0.5, 0.48, 0.8, 0.76, 0.65, 0.57, 0.72, 0.7)
T2_LIKE = (0.95, 0.6, 0.58, 0.35, 0.38, 0.5, 0.52, 0.25, 0.4)


@pytest.mark.parametrize(
    "bright", [pytest.param(T1_LIKE, id="T1", marks=pytest.mark.slow), pytest.param(T2_LIKE, id="T2")]
)
def test_the_fitted_atlas_finds_structures_in_any_contrast(priors, head, bright):
    there, true, grid = head
    image = painted(true, grid, bright)
    start = there.copy()
    start[:3, :3], start[:3, 3] = rotation([0, 0, 5]) @ start[:3, :3] / 1.05, start[:3, 3] + [5, -4, 4]
    atlas = BrainAtlas(priors, CPU)
    fit = atlas.fit(image, start)
    deformed, bias = fit.priors_on(grid)
    assert torch.allclose(deformed.sum(0), torch.ones(()), atol=1e-4)
    members = brain_atlas.posteriors(deformed, fit.likely, fit.intensities(image.values) / bias)
    assert torch.allclose(members.sum(0), torch.ones(()), atol=1e-4)
    after = dice_by_label(true.astype(np.int32), members.argmax(0).numpy().astype(np.int32))
    before = dice_by_label(true.astype(np.int32), deformed_by_start_alone(atlas, image, start, grid))
    large = [CLASSES.index(n) for n in (2, 41, 10, 49, 12, 51, 8, 47, 16)]
    assert np.mean([after[n] for n in large]) > 0.88 > np.mean([before[n] for n in large]) + 0.1
    assert fit.information > 0.12
    noise = np.abs(np.random.default_rng(0).normal(0, 300, image.values.shape)).astype(np.float32)
    assert atlas.fit(Image(noise, grid, "noise"), start).information < 0.05
    # What the intensities are divided by is smooth, about 1, and brighter where the image is.
    assert 0.7 < float(bias.min()) < float(bias.max()) < 1.4
    assert float(bias[60:, 40:60, 40:50].mean()) > float(bias[:24, 40:60, 40:50].mean())


def deformed_by_start_alone(atlas, image, start, grid):
    matrix = torch.from_numpy(atlas.grid.lps_to_ijk @ np.linalg.inv(start) @ grid.ijk_to_lps).float()
    own = brain_atlas.voxel_indices(grid.shape_kji, CPU).flatten(1)
    points = (matrix[:3, :3] @ own + matrix[:3, 3:]).T
    found = brain_atlas.at_points(atlas.priors[None], points).argmax(0)
    return found.view(grid.shape_kji).numpy().astype(np.int32)


def test_a_model_with_an_atlas_sees_by_it(priors, head, tmp_path, monkeypatch):
    """The network tells where the brain is; borders are the atlas' on the image's own voxels."""
    there, true, grid = head
    image = painted(true, grid, T1_LIKE)
    folder = write_model(tmp_path / "model", 4.0)
    card = json.loads((folder / "segmentation.json").read_text())
    card["atlas"] = write_atlas(folder / ATLAS_FILE, priors)
    (folder / "segmentation.json").write_text(json.dumps(card))
    model = StructureModel(folder, CPU)

    def seen(self, image, window):
        classes = classes_of(painted_brain(window, there))
        members = np.eye(len(CLASSES), dtype=np.float32)[classes].transpose(3, 0, 1, 2)
        return classes.astype(np.uint8), np.ascontiguousarray(members)

    monkeypatch.setattr(StructureModel, "_classes", seen)
    found = model.see(image)
    labels = np.array(CLASSES, np.int32)[true]
    dice = dice_by_label(labels, found.labels.values.astype(np.int32))
    assert np.mean([dice[n] for n in (2, 41, 10, 49, 12, 51, 8, 47, 16)]) > 0.88
    assert found.labels.grid.same_as(grid) and found.grid.spacing_mm == pytest.approx([2, 2, 2])
    assert np.abs(found.memberships.sum(0) - 1).max() < 1e-4
    assert 0.7 < np.mean(list(found.confidences.values())) <= 1 and found.confidence.values.max() <= 1 + 1e-6


def test_an_atlas_is_kept_in_a_small_file(priors, tmp_path):
    path = tmp_path / ATLAS_FILE
    checksum = write_atlas(path, priors)
    kept = read_atlas(path, checksum)
    assert kept.shape == priors.shape and float((kept - priors).abs().max()) < 0.03
    assert torch.allclose(kept.sum(0), torch.ones(()), atol=1e-5)
    assert float(kept[0][priors[0] < 0.005].max()) == 0  # what rounding leaves is not nothing
    assert path.stat().st_size < 5_000_000
    with pytest.raises(InputError, match="not the one that its card names"):
        read_atlas(path, "0" * 64)


def test_a_damaged_or_missing_atlas_is_refused(priors, tmp_path):
    folder = write_model(tmp_path / "model", atlas="0" * 64)
    with pytest.raises(InputError, match="does not exist"):
        StructureModel(folder, CPU)
    checksum = brain_atlas.write_weights(folder / ATLAS_FILE, {"count": np.array([3], np.int64)})
    with pytest.raises(InputError, match="is damaged"):
        read_atlas(folder / ATLAS_FILE, checksum)
