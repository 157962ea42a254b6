"""Registration and segmentation trained together; the segmentation network used alone afterwards."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.scans import beating_heart, films, log_of, scan, small
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.files.weights import read_weights
from SlicerDeepRegLib.networks.segmentation import SEGMENTATIONS, build_segmentation
from SlicerDeepRegLib.training.annotated import annotated_pairs, sliced
from SlicerDeepRegLib.training.dataset.read import read_dataset_index
from SlicerDeepRegLib.training.joint import JointObjective, JointOutput, memberships, segmentation_loss
from SlicerDeepRegLib.training.recipe import prepare_subjects
from SlicerDeepRegLib.training.start import train
from SlicerDeepRegLib.types import Grid, Image, InputError

UNIT = {"intensity": "unit", "voxel_mm": None, "orientation": None}


def joint(output, data, **changed):
    request = small(output, data=data, joint="unet", ratio=0.25, steps=4, network="fmirnet:1", batch=2, ema=0.0)
    return replace(request, **changed)


@pytest.mark.parametrize("name", SEGMENTATIONS)
@pytest.mark.parametrize("shape", [(40, 52), (20, 33, 36)], ids=["2d", "3d"])
def test_segmentation_networks_take_any_size(name, shape):
    torch.manual_seed(0)
    network = build_segmentation(name, len(shape), 4)
    image = torch.rand(2, 1, *shape)
    found = network(image)
    assert found.shape == (2, 4, *shape)
    assert torch.allclose(network(image[1:]), found[1:], atol=1e-4)
    found.square().mean().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not [n for n in idle if n.endswith("weight")]  # a shift before a normalization has no gradient
    with pytest.raises(ValueError, match="axes"):
        network(image[0])


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_segmentation_networks_learn_a_disc(name):
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    locations = torch.rand(8, 2, 1, 1) * 12 + 10
    labels = (((x - locations[:, :1]) ** 2 + (y - locations[:, 1:]) ** 2) < 36).long()
    image = labels * 0.6 + torch.rand(labels.shape) * 0.4
    network = build_segmentation(name, 2, 2, width=8)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(40):
        loss = segmentation_loss(network(image[:6]), memberships(labels[:6], (0, 1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = network(image[6:]).argmax(1, keepdim=True)
    both = ((found == 1) & (labels[6:] == 1)).sum()
    assert 2 * both / (found.sum() + labels[6:].sum()) > 0.8


def test_the_loss_is_of_both_images_and_their_labels():
    """Against a count by hand; perfect logits cost nothing, and labels move with the field."""
    labels = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    labels[..., 2:5, 1:4] = 5
    members = memberships(labels, (0, 5))
    assert members[0, 1].sum() == 9 and torch.equal(members.sum(1), torch.ones(1, 8, 8))
    shift = torch.zeros(1, 2, 8, 8)
    shift[:, 0] = -2  # the warped image shows at i what the moving one has at i - 2
    moved = memberships(labels.roll(2, -1), (0, 5))
    batch = {"moving_labels": labels}
    sure = JointOutput(shift, moving_logits=members * 40, warped_logits=moved * 40)
    objective = JointObjective(None, (0, 5), weight=2.0)
    total, parts = objective(batch, sure, [0])
    assert float(total) == pytest.approx(0, abs=1e-4) and float(parts["segmentation"]) == pytest.approx(0, abs=1e-4)
    unsure = JointOutput(shift, moving_logits=members * 40, warped_logits=members * 40)
    wrong = 6 * 2 / 64 * 40 / 2  # twelve of 64 voxels are wrong by 40, in one of two images
    overlap = 1 - 2 * 3 / 18
    assert float(objective(batch, unsure, [0])[0]) == pytest.approx(2 * (wrong + overlap / 2), rel=1e-3)


def test_the_middle_of_each_group_is_moved_to_the_others(tmp_path):
    index = read_dataset_index(films(tmp_path, ["train", "train", "val"], frames=8, size=32))
    subjects, _ = prepare_subjects(index, UNIT, None, tmp_path / "cache", False)
    pairs, annotated, _ = annotated_pairs(index, subjects, "train", 0.25)
    assert annotated == ["p00_01.nii.gz", "p00_05.nii.gz", "p01_01.nii.gz", "p01_05.nii.gz"]
    assert sorted(p.fixed for p in pairs if p.moving == annotated[0]) == [f"p00_0{n}.nii.gz" for n in (0, 2, 3)]
    assert len(pairs) == 12 and all(p.moving[:3] == p.fixed[:3] for p in pairs)
    few, marked, _ = annotated_pairs(index, subjects, "train", 1 / 8)
    assert marked == ["p00_03.nii.gz", "p01_03.nii.gz"] and len(few) == 14
    with pytest.raises(InputError, match="No annotated image has another image"):
        annotated_pairs(index, subjects, "train", 1.0)
    with pytest.raises(InputError, match="No image for training has labels"):
        bare = {name: replace(one, arrays=("image",)) for name, one in subjects.items()}
        annotated_pairs(index, bare, "train", None)


def test_labels_of_fixed_images_are_not_seen_in_training(tmp_path):
    """Other labels on the images that are not annotated give the same weights; on the annotated ones, others."""
    for name in ("as-they-are", "others", "annotated"):
        data = films(tmp_path / name, ["train", "train", "val"], frames=8, size=32)
        for path in sorted((tmp_path / name).glob("p0[01]_*_labels.nii.gz")):
            changed = {"as-they-are": (), "others": ("00", "02", "03", "04", "06", "07"), "annotated": ("01", "05")}
            if path.name[4:6] in changed[name]:
                labels = read_image(path)
                write_image(Image(np.roll(labels.values, 5, -1), labels.grid, "labels", 2), path)
        train(joint(tmp_path / f"{name}-model", data), lambda text: None)
    found = [read_weights(tmp_path / f"{n}-model/segmentation/weights.safetensors") for n in ("as-they-are", "others")]
    assert all(np.array_equal(found[0][key], found[1][key]) for key in found[0])
    third = read_weights(tmp_path / "annotated-model/segmentation/weights.safetensors")
    assert any(not np.array_equal(found[0][key], third[key]) for key in third)


def test_trained_jointly_and_used_alone(tmp_path, own_models, capsys):
    """End to end: both networks learn, the model registers, and the segmentation becomes a segmentation node."""
    data = films(tmp_path / "films", ["train"] * 4 + ["val"] * 2, frames=6, size=32)
    request = joint(tmp_path / "model", data, steps=90, batch=4, learning_rate=3e-3, validate_every=30, ratio=1 / 6)
    train(replace(request, regularity=0.1, validation_pairs=6), lambda text: None)
    measured = [one["held_out_segmentation_dice"] for one in log_of(tmp_path / "model") if "held_out_loss" in one]
    assert measured[-1] > 0.5 and len(measured) == 3
    card = json.loads((tmp_path / "model" / "segmentation" / "segmentation.json").read_text(encoding="utf-8"))
    assert card["classes"] == [0, 1, 2, 3] and "4 annotated of 24 images" in card["trained_on"]
    assert main(["models", "add", str(tmp_path / "model")]) == 0
    image, labels = beating_heart(5, 2, 6, 32)
    write_image(image, tmp_path / "new.nii.gz")
    command = ["segment", "--model", str(tmp_path / "model/segmentation"), "--image", str(tmp_path / "new.nii.gz")]
    command += ["--output", str(tmp_path / "found.nii.gz"), "--scene", str(tmp_path / "found.mrb"), "--device", "cpu"]
    capsys.readouterr()
    assert main(command) == 0
    assert "Label 1: " in capsys.readouterr().out
    found = read_image(tmp_path / "found.nii.gz")
    assert found.grid.same_as(image.grid) and set(np.unique(found.values)) <= {0, 1, 2, 3}
    both = ((found.values > 0) & (labels.values > 0)).sum()
    assert 2 * both / ((found.values > 0).sum() + (labels.values > 0).sum()) > 0.6
    with zipfile.ZipFile(tmp_path / "found.mrb") as bundle:
        scene = next(bundle.read(n).decode() for n in bundle.namelist() if n.endswith(".mrml"))
    assert "<Segmentation\n" in scene or "<Segmentation " in scene


def test_the_segmentation_node_holds_the_labels(tmp_path):
    pytest.importorskip("slicer")
    from SlicerDeepRegLib.mrml.host import Host
    from SlicerDeepRegLib.mrml.nodes import add_volume
    from SlicerDeepRegLib.mrml.segments import add_segmentation, segment_array, segments_of

    image, labels = beating_heart(0, 0, size=32)
    with Host() as host:
        volume = add_volume(host.scene, image, "image")
        node = add_segmentation(host.scene, labels, "found")
        assert [name for _, name in segments_of(node)] == ["Label 1", "Label 2", "Label 3"]
        for (identifier, _), label in zip(segments_of(node), (1, 2, 3)):
            assert np.array_equal(segment_array(node, identifier, volume), labels.values == label)


def test_volumes_are_cut_into_slices(tmp_path, own_models):
    """FMIRNet's own experiment: slices of a volume, the middle one of each group annotated; a volume is segmented."""
    for number in range(3):
        image, labels = scan(number, shape=(16, 32, 32))
        write_image(image, tmp_path / f"v{number}.nii.gz")
        write_image(labels, tmp_path / f"v{number}_seg.nii.gz")
    index = read_dataset_index(tmp_path)
    subjects, _ = prepare_subjects(index, UNIT, None, tmp_path / "cache", False)
    cut, as_series = sliced(subjects, index, "k")
    assert len(cut) == 48 and as_series.subjects["v1 k=0003"].group == "v1"
    assert np.array_equal(cut["v1 k=0003"].array("image"), subjects["v1"].array("image")[3])
    volume, labels = scan(4, shape=(20, 32, 32))  # of another depth, which slices along k may be
    write_image(volume, tmp_path / "v3.nii.gz")
    write_image(labels, tmp_path / "v3_seg.nii.gz")
    along_i = sliced(subjects, index, "i")[0]["v2 i=0030"]
    assert np.array_equal(along_i.array("labels"), subjects["v2"].array("labels")[:, :, 30])
    train(joint(tmp_path / "model", tmp_path, slices="k", size_ijk=None), lambda text: None)
    card = json.loads((tmp_path / "model/segmentation/segmentation.json").read_text(encoding="utf-8"))
    assert card["slices"] == "k" and card["recipe"]["orientation"] == "LPS"
    command = ["segment", "--model", str(tmp_path / "model/segmentation"), "--image", str(tmp_path / "v0.nii.gz")]
    assert main([*command, "--output", str(tmp_path / "found.nii.gz"), "--device", "cpu"]) == 0
    assert read_image(tmp_path / "found.nii.gz").grid.same_as(read_image(tmp_path / "v0.nii.gz").grid)
    with pytest.raises(InputError, match="slice already"):
        sliced(cut, as_series, "k")


def test_alone_it_needs_no_registration(tmp_path):
    data = films(tmp_path / "films", ["train", "train", "val"], frames=4, size=32)
    train(joint(tmp_path / "model", data, alone=True, joint="fcn"), lambda text: None)
    assert not (tmp_path / "model" / "card.json").exists()
    assert (tmp_path / "model" / "segmentation" / "segmentation.json").exists()
    assert {"loss", "segmentation"} <= set(log_of(tmp_path / "model")[0]) and "image" not in log_of(tmp_path / "model")[
        0
    ]


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"joint": "vnet"}, "--joint must be one of"),
        ({"ratio": 2.0}, "--ratio must be"),
        ({"joint": None}, "belong to joint training"),
        ({"data": None, "synthetic": "shapes"}, "needs images with labels"),
        ({"label_weight": 1.0}, "hides the labels"),
        ({"slices": "x"}, "--slices must be"),
    ],
)
def test_what_joint_training_cannot_do(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        train(replace(joint(tmp_path / "model", tmp_path), **changed), lambda text: None)


def test_what_cannot_be_segmented_is_said(tmp_path, capsys):
    data = films(tmp_path / "films", ["train", "train", "val"], frames=4, size=32)
    train(joint(tmp_path / "model", data, alone=True), lambda text: None)
    model, image = tmp_path / "model/segmentation", tmp_path / "solid.nii.gz"
    write_image(
        Image(np.random.default_rng(0).random((16, 16, 16)).astype(np.float32), Grid((16,) * 3, np.eye(4))), image
    )

    def said(place):
        assert (
            main(["segment", "--model", str(place), "--image", str(image), "--output", str(tmp_path / "o.nii.gz")]) == 2
        )
        return capsys.readouterr().err

    assert "segments 2D images and this one is 3D" in said(model)
    assert "contains no segmentation model" in said(tmp_path)
    weights = model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert "not those that segmentation.json names" in said(model)
    assert not (tmp_path / "o.nii.gz").exists()
