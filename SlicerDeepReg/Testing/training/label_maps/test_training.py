"""Trainings on label maps, from the request to the model: as any other they stop, go on, and say what is wrong."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers.scans import log_of
from helpers.torch_files import torch_files_are_read
from SlicerDeepRegLib.anatomy import STRUCTURES
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.weights import read_weights
from SlicerDeepRegLib.networks.structures import StructureOutput
from SlicerDeepRegLib.training import structures
from SlicerDeepRegLib.training.start import TrainingRequest, train
from SlicerDeepRegLib.types import InputError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def asked(heads, output, **changed):
    request = TrainingRequest(
        network="fmirnet:1",
        output=output,
        label_maps=heads.folder,
        cache=heads.cache,
        dimensions=3,
        size_ijk=(32, 32, 32),
        voxel_mm=6.0,
        steps=3,
        learning_rate=1e-3,
        log_every=1,
        checkpoint_every=1,
        device="cpu",
        precision="fp32",
    )
    return dataclasses.replace(request, **changed)


def quiet(request):
    return train(request, lambda text: None)


@torch_files_are_read
@pytest.mark.parametrize("network", ["fmirnet:1", "structures"])
def test_going_on_is_the_same_as_not_having_stopped(heads, tmp_path, network):
    assert quiet(asked(heads, tmp_path / "whole", network=network)).finished
    stopped = quiet(asked(heads, tmp_path / "parts", network=network, limit_minutes=1e-9))
    assert not stopped.finished and stopped.step == 1
    assert quiet(asked(heads, tmp_path / "parts", network=network, resume=True)).finished
    weights = [read_weights(tmp_path / name / "weights.safetensors") for name in ("whole", "parts")]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    losses = [[one["loss"] for one in log_of(tmp_path / name) if "loss" in one] for name in ("whole", "parts")]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    with pytest.raises(InputError, match="already contains a training"):
        quiet(asked(heads, tmp_path / "parts", network=network))


def test_a_registration_network_learns_from_all_terms(heads, tmp_path):
    quiet(asked(heads, tmp_path / "model", steps=2))
    plan = json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))
    assert plan["weights"] == {"image": 1.0, "labels": 1.0, "field": 0.3} and plan["schedule"] == "label-maps"
    assert plan["data"]["label_maps"] == ["head-0.nii.gz", "head-1.nii.gz", "head-2.nii.gz"]
    assert plan["recipe"] == {"intensity": "unit", "voxel_mm": 6.0, "orientation": "RAS"}
    assert {"labels", "field"} <= set(log_of(tmp_path / "model")[0])
    card = json.loads((tmp_path / "model" / "card.json").read_text(encoding="utf-8"))
    assert "painted on the label maps of 3 people" in card["trained_on"]


def test_the_network_that_sees_structures_learns(heads, tmp_path):
    request = asked(heads, tmp_path / "model", network="structures", steps=16, learning_rate=5e-3, clip=1.0)
    assert quiet(request).finished
    losses = [one["loss"] for one in log_of(tmp_path / "model")]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    card = json.loads((tmp_path / "model" / "segmentation.json").read_text(encoding="utf-8"))
    assert card["segmentation"] == "structures" and card["classes"] == [0, *(s.number for s in STRUCTURES)]
    assert card["recipe"]["orientation"] == "RAS" and "label maps of 3 people" in card["trained_on"]
    network = structures.StructureTraining(
        **json.loads((tmp_path / "model" / "training.json").read_text(encoding="utf-8"))["configuration"]
    )
    weights = read_weights(tmp_path / "model" / "weights.safetensors")
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == {
        n: w.shape for n, w in weights.items()
    }


def test_overlap_counts_the_structures_that_are_there():
    """Against one computed structure by structure; a missed one counts as 0."""
    random = torch.Generator().manual_seed(0)
    true = torch.randint(0, 5, (1, 6, 7, 8), generator=random)
    members = torch.randn((1, structures.CLASSES, 6, 7, 8), generator=random).softmax(1)
    count = torch.bincount(true.flatten(), minlength=structures.CLASSES).float()
    each = [
        2 * (members[:, n] * (true == n)).sum() / (members[:, n].square().sum() + (true == n).sum())
        for n in range(1, 5)
    ]
    assert structures.present_dice(members, true, count) == pytest.approx(float(sum(each) / 4), rel=1e-5)
    task = structures.StructureTask(None)
    logits = torch.nn.functional.one_hot(torch.where(true == 4, 0, true), structures.CLASSES).movedim(-1, 1).float()
    metrics = task.measure(None, {"moving_labels": true[None]}, StructureOutput(logits, None), (1, 1, 1), False)
    assert metrics == {"dice": pytest.approx(0.75)}


def test_a_picture_shows_image_truth_and_what_is_seen_in_that_order():
    """From left to right; up is up, and the patient's left is on the right."""
    labels = torch.zeros((1, 1, 8, 4, 6), dtype=torch.int64)
    labels[..., 6:, :, 0] = 1  # superior, left
    pair = {"moving": (labels > 0).float(), "moving_labels": labels}
    logits = torch.zeros((1, structures.CLASSES, 8, 4, 6))
    row = structures.StructureTask(None).draw(None, pair, StructureOutput(logits, None))
    assert row.shape == (8, 18, 3) and row.dtype == np.uint8
    assert row[0, 5].tolist() == [255] * 3 and row[0, 11].tolist() == list(STRUCTURES[0].color)
    assert row.reshape(-1, 3).any(1).sum() == 4  # two voxels of the image and of the truth; the network saw nothing


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"synthetic": "brains"}, "both of these, or --synthetic"),
        ({"real_part": 0.3}, "--real-part says how --data and --label-maps are mixed"),
        ({"data": "scans", "real_part": 1.0}, "--real-part must be a part, above 0 and below 1"),
        ({"data": "scans"}, "scans do not exist"),
        ({"data": "scans", "orientation": "LPS"}, "--orientation belong to images alone"),
        ({"data": "scans", "joint": "unet"}, "Joint training needs images with labels: --data, not --label-maps"),
        ({"network": "structures", "data": "scans"}, "trained on label maps alone"),
        ({"network": "structures", "label_maps": None, "synthetic": "brains"}, "trained on label maps alone"),
        ({"network": "structures", "joint": "unet"}, "--joint and --slices do not belong"),
        ({"network": "structures", "label_weight": 2.0}, "--label-weight belong.* registration networks' loss"),
        ({"network": "structures", "schedule": "oasis"}, "has no schedule 'oasis'"),
        ({"network": "structures", "epochs": 3}, "no epochs"),
        ({"network": "structures", "dimensions": 2}, "takes volumes"),
        ({"network": "structures", "dimensions": None, "size_ijk": (32, 32)}, "--size has 2 numbers"),
        ({"epochs": 3}, r"\(--label-maps\) have no epochs"),
        ({"joint": "unet"}, "Joint training needs images with labels"),
        ({"augment": "light", "mirror": "i"}, "--augment and --mirror belong to images on disk"),
        ({"pairing": "all", "skip_bad": True}, "--pairs and --on-bad-image belong to images on disk"),
        ({"size_ijk": (32, 32)}, "--size has 2 numbers and the images have 3 axes"),
        ({"network": "wavemorph", "dimensions": 2, "size_ijk": (32, 32)}, "takes 3D images; these have 2 axes"),
        ({"start": "nowhere"}, "are not there"),
        ({"voxel_mm": 0.0}, "--voxel-mm must be 0.01"),
    ],
)
def test_bad_requests_are_refused_before_the_maps_are_read(heads, tmp_path, changed, message):
    changed = {key: tmp_path / value if key in ("data", "start") else value for key, value in changed.items()}
    request = asked(heads, tmp_path / "model", label_maps=tmp_path / "nowhere", cache=tmp_path / "cache")
    with pytest.raises(InputError, match=message):
        quiet(dataclasses.replace(request, **changed))
    assert not (tmp_path / "cache").exists()


def test_preparing_alone_says_how_well_each_map_fits(heads, capsys):
    command_line = ["train", "--network", "msrd-net", "--label-maps", str(heads.folder), "--prepare-only"]
    assert main([*command_line, "--cache", str(heads.cache), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for one, line in zip(heads.maps, lines):
        assert line == f"{one.name}: whole head, centers of structures {one.residual_mm:.1f} mm from the mean ones"
    assert main(command_line) == 2 and "--cache DIR" in capsys.readouterr().err
