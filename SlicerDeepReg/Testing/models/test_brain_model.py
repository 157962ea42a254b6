"""The structures of a brain in a volume: where it is looked for, what is made of it, and the command."""

import json

import numpy as np
import pytest
import torch
from helpers.geometry import RAS, make_grid, rotation
from helpers.images import noise_image
from helpers.structures import CLASSES, Reader, painted_brain, write_model
from SlicerDeepRegLib import catalog
from SlicerDeepRegLib.anatomy import STRUCTURE_BY_NUMBER
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.files.segmentations import read_segmentation
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.models.structures import StructureModel
from SlicerDeepRegLib.types import Image, InputError

CPU = torch.device("cpu")
LIA = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def reading_model(folder):
    """A model whose network reads painted brains, at voxels of 3 mm."""
    model = StructureModel(write_model(folder, 3.0), CPU)
    model.network = Reader()
    return model


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A model of random weights where the product's own lies."""
    monkeypatch.setattr(catalog, "BRAIN_FOLDERS", (tmp_path / "shipped",))
    return write_model(tmp_path / "shipped")


@pytest.mark.parametrize("turned", [LIA, rotation([5, -12, 8])], ids=["LIA", "oblique"])
def test_a_brain_off_the_middle_of_a_large_image_is_found(tmp_path, turned):
    there = np.eye(4)
    there[:3, :3], there[:3, 3] = rotation([4, -6, 10]) * 0.95, [25, -30, 40]
    image = painted_brain(make_grid((98, 96, 100), (2.6, 2.6, 2.5), turned), there)
    image.values[:3] = image.values[-3:] = 1.0  # so that the image shows something over all its 260 mm
    seen = reading_model(tmp_path / "model").see(image)
    assert seen.evidence.residual_mm < 4 and seen.evidence.moved_mm < 2 and seen.evidence.plausible > 0.4
    assert seen.evidence.scale == pytest.approx(0.95, abs=0.05)
    points = voxel_centers_lps(image.grid)
    brain = (image.values > 0) & (image.values < 0.99)
    apart_mm = points[seen.labels.values > 0].mean(0) - points[brain].mean(0)
    assert np.abs(apart_mm[1:]).max() < 0.7 and abs(apart_mm[0]) < 2.5  # the left side is nearly as dark as nothing
    for number in (10, 49, 16, 8, 47):
        inside = seen.labels.values == number
        assert np.median(image.values[inside]) * len(CLASSES) == pytest.approx(CLASSES.index(number), abs=0.01)
        assert seen.confidences[number] > 0.7
        assert seen.volumes_ml[number] == pytest.approx(inside.sum() * 2.6 * 2.6 * 2.5 / 1000)
    assert seen.labels.grid.same_as(image.grid) and seen.confidence.values.max() <= 1
    # The network looked at a window about the brain, not at the middle of the image.
    assert np.linalg.norm(seen.grid.center_lps_mm - there[:3, 3]) < 1
    mask = seen.brain_mask().values
    assert mask.sum() > (seen.labels.values > 0).sum() * 0.999 and set(np.unique(mask)) == {0, 1}


def test_what_is_no_brain_is_not_taken_for_one(tmp_path):
    model = reading_model(tmp_path / "model")
    grid = make_grid((58, 68, 58), (3.2, 3.2, 3.2), np.eye(3))
    # The reader knows sides by brightness. Networks know them by place: to them a mirrored brain is a brain.
    mirrored = painted_brain(grid, np.diag([-1.0, 1, 1, 1]))
    assert not model.see(mirrored).evidence.is_brain
    half = painted_brain(grid)
    half.values[:, :34] = 0
    assert not model.see(half).evidence.is_brain
    assert not model.see(noise_image(grid)).evidence.is_brain


class Parrot(torch.nn.Module):
    """Sees the same brain in the middle of whatever it is shown."""

    def forward(self, image):
        size_ijk = tuple(image.shape[:1:-1])
        return Reader()(torch.from_numpy(painted_brain(make_grid(size_ijk, (3, 3, 3), RAS)).values)[None, None])


def test_a_brain_that_moves_with_the_window_is_none(tmp_path):
    model = StructureModel(write_model(tmp_path / "model", 3.0), CPU)
    model.network = Parrot()
    evidence = model.see(noise_image(make_grid((36, 42, 36), (5.2, 5.2, 5.2), np.eye(3)))).evidence
    assert evidence.residual_mm < 4 and evidence.moved_mm > 15
    assert not evidence.is_brain


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"recipe": {"voxel_mm": "2", "orientation": "RAS"}}, "must be a positive number"),
        ({"recipe": {"voxel_mm": 2.0, "orientation": "LPS"}}, "orientation RAS"),
        ({"classes": [0, 1, 2]}, "is not of a network that sees the structures"),
        ({"features": "many"}, "must be a whole number"),
        ({"sha256": "0"}, "are not those that segmentation.json names"),
    ],
)
def test_a_card_that_is_wrong_is_refused(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        StructureModel(write_model(tmp_path / "model", **changed), CPU)


def test_a_single_slice_is_refused(tmp_path):
    model = StructureModel(write_model(tmp_path / "model"), CPU)
    with pytest.raises(InputError, match="is a single slice"):
        model.see(noise_image(make_grid((32, 32, 1), (1, 1, 1), np.eye(3))))


def test_the_command_writes_a_segmentation_with_names_a_mask_and_confidence(tmp_path, shipped, capsys):
    image = noise_image(make_grid((24, 26, 22), (6, 6, 6), LIA))
    write_image(image, tmp_path / "image.nii.gz")
    files = {"output": "found.seg.nrrd", "confidence": "sure.nii.gz", "mask": "brain.nii.gz"}
    command = ["segment", "--model", "brain", "--image", str(tmp_path / "image.nii.gz"), "--device", "cpu"]
    for option, name in files.items():
        command += [f"--{option}", str(tmp_path / name)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "does not look like a human brain" in said
    found = read_segmentation(tmp_path / "found.seg.nrrd", "labels")
    assert found.segments and all(STRUCTURE_BY_NUMBER[s.label].name == s.name for s in found.segments)
    assert all(f"{s.label:>3} {s.name}" in said for s in found.segments)
    labels = found.layers[0]
    assert labels.grid.same_as(image.grid)
    seen = StructureModel(shipped, CPU).see(read_image(tmp_path / "image.nii.gz"))
    assert np.array_equal(labels.values, seen.labels.values)
    assert np.allclose(read_image(tmp_path / "sure.nii.gz").values, seen.confidence.values)
    assert np.array_equal(read_image(tmp_path / "brain.nii.gz").values, seen.brain_mask().values)
    header = (tmp_path / "found.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    first = STRUCTURE_BY_NUMBER[found.segments[0].label]
    assert f"Segment0_Color:={' '.join(f'{part / 255:.6g}' for part in first.color)}" in header


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(catalog, "BRAIN_FOLDERS", (tmp_path,))
    write_image(noise_image(make_grid((24, 24, 24), (6, 6, 6), np.eye(3))), tmp_path / "image.nii.gz")
    command = ["segment", "--image", str(tmp_path / "image.nii.gz"), "--output", str(tmp_path / "o.nii.gz")]
    assert main([*command, "--model", "brain"]) == 2
    assert "is not part of this installation" in capsys.readouterr().err
    joint = tmp_path / "joint"
    joint.mkdir()
    card = {"segmentation": "unet", "classes": [0, 1], "dimensions": 3, "recipe": {}, "sha256": ""}
    (joint / "segmentation.json").write_text(json.dumps(card), encoding="utf-8")
    assert main([*command, "--model", str(joint), "--mask", str(tmp_path / "mask.nii.gz")]) == 2
    assert "--mask needs the structures of a brain" in capsys.readouterr().err


def test_a_label_map_may_have_a_confidence_of_one_where_nothing_was_looked_at(tmp_path):
    """A window is looked at; far from it there is nothing, for sure."""
    image = painted_brain(make_grid((76, 76, 76), (4, 4, 4), np.eye(3)))
    noisy = Image(image.values + np.float32(1e-3), image.grid, "head")
    noisy.values[0, 0, 0] = 0.5
    noisy.values[-1, -1, -1] = 0.5
    seen = reading_model(tmp_path / "model").see(noisy)
    assert (seen.confidence.values[0] == 1).all() and (seen.labels.values[0] == 0).all()
