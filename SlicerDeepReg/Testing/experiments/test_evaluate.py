"""``slicerdeepreg evaluate``: trained models on the split that their training kept, measured as compare measures."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from helpers.scans import folder_of_scans, small
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.experiments.evaluate import EvaluationRequest, evaluate
from SlicerDeepRegLib.preparation.resample import warp_labels, warp_labels_linearly
from SlicerDeepRegLib.training.dataset.splits import read_split
from SlicerDeepRegLib.training.start import train
from SlicerDeepRegLib.types import Field, Grid, Image, InputError, Transform


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder of scans, folder of a model trained on them, which kept three of them for a test)."""
    place = tmp_path_factory.mktemp("trained")
    data = folder_of_scans(place / "scans", 14)
    request = small(place / "model", data, steps=40, validate_every=40, learning_rate=3e-3, ema=0.0)
    rows = [f"sub-{n:02d}" for n in range(14)]
    listed = place / "scans.csv"
    with open(listed, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("image", "labels", "split", "name"))
        for number, name in enumerate(rows):
            split = "train" if number < 9 else "val" if number < 11 else "test"
            writer.writerow((f"scans/{name}.nii.gz", f"scans/{name}_seg.nii.gz", split, name))
    assert train(dataclasses.replace(request, data=listed), lambda text: None).finished
    return data, place / "model"


def test_a_model_is_measured_on_the_split_of_its_training(trained, tmp_path, capsys):
    data, model = trained
    out = tmp_path / "out"
    assert main(["evaluate", str(model), "demons", "--data", str(data), "--output", str(out), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "The test split is the one of the training of model." in told
    values = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert {cell["pair"] for cell in values["cells"]} == {
        "sub-13 to sub-11",
        "sub-11 to sub-12",
        "sub-12 to sub-13",
    }
    rows = {row["label"]: row for row in values["methods"]}
    assert list(rows) == ["as given", "model", "demons"]
    mean = {label: np.mean(row["values"]["dice"]) for label, row in rows.items()}
    assert mean["model"] > mean["as given"] and mean["demons"] > mean["as given"]
    assert rows["model"]["parameters"] > 1e5 and rows["demons"]["parameters"] is None
    for name in ("hd95_mm", "hd_mm", "assd_mm", "topology_changes", "nmi_unit", "folds_whole_percent", "sdlogj"):
        assert all(value is not None for value in rows["model"]["values"][name]), name
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Against model" in page and page.count("data:image/png") == 2 + 3  # boxes, and a montage of each pair
    with open(out / "cells.csv", encoding="utf-8") as stream:
        long = list(csv.DictReader(stream))
    assert any(row["metric"] == "hd_by_label_mm" and row["method"] == "model" for row in long)


def test_the_fields_inside_a_network_are_measured(trained, tmp_path):
    data, model = trained
    request = EvaluationRequest(
        models=[str(model)], data=data, cache=tmp_path, stages=True, surfaces=False, device="cpu", pairs=1
    )
    (outcome,) = evaluate(request, lambda text: None).outcomes["model"]
    assert outcome["stages"] and "hd95_mm" not in outcome["metrics"]["after"]
    for stage in outcome["stages"].values():
        assert 0 < stage["dice"] <= 1 and stage["folds_whole_percent"] >= 0


def test_structures_and_linear_warping_can_be_asked_for(trained, tmp_path):
    data, model = trained
    request = EvaluationRequest(
        models=[str(model)], data=data, cache=tmp_path, device="cpu", pairs=1, structures=(1, 2)
    )
    (nearest,) = evaluate(request, lambda text: None).outcomes["model"]
    assert set(nearest["metrics"]["after"]["dice_by_label"]) <= {"1", "2"}
    linear = dataclasses.replace(request, label_warp="linear")
    (other,) = evaluate(linear, lambda text: None).outcomes["model"]
    assert other["metrics"]["after"]["dice"] != nearest["metrics"]["after"]["dice"]


def test_what_cannot_be_evaluated_is_said_before_any_work(trained, tmp_path):
    data, model = trained
    for changed, message in (
        ({"models": ["demons"]}, "--split all evaluates all of them"),
        ({"models": ["voxelmorph"], "split": "all"}, "has no weights, so there is nothing to evaluate"),
        ({"models": [str(tmp_path)], "split": "all"}, "contains no card.json: it is not a trained model"),
        ({"models": [str(model), str(model)]}, "model is named twice"),
        ({"models": ["msrd-net-brain"], "split": "all"}, "takes 3D images"),
        ({"label_warp": "cubic"}, "Labels are warped by nearest or linear"),
        ({"voxel_mm": -1.0}, "--voxel-mm must be 0.01 to 100 mm"),
        ({"voxel_mm": 0.0}, "--voxel-mm must be 0.01 to 100 mm"),
        ({"pairs": 0}, "--most-pairs must be 1 or more"),
        ({"structures": (99,)}, "No image of these pairs has the label 99"),
    ):
        request = EvaluationRequest(models=[str(model)], data=data, cache=tmp_path / "cache", device="cpu")
        with pytest.raises(InputError, match=message):
            evaluate(dataclasses.replace(request, **changed), lambda text: None)


def test_linear_methods_are_measured_by_what_they_found_and_images_alike_are_deformed(trained, tmp_path):
    """Their transform is a matrix; and nobody asked whether a pair is of one visit."""
    data, _ = trained
    request = EvaluationRequest(
        models=["affine", "svf"], data=data, cache=tmp_path, split="all", pairs=2, surfaces=False, device="cpu"
    )
    outcomes = evaluate(request, lambda text: None).outcomes
    for outcome in outcomes["affine"]:
        states = outcome["metrics"]
        assert states["after"]["ncc"] != states["before"]["ncc"]
    assert all(outcome["metrics"]["after"]["sdlogj"] > 0 for outcome in outcomes["svf"])


def test_networks_are_given_what_they_were_trained_on(trained, tmp_path, own_models, capsys):
    """By the name of a model, too; and two that need different images are not evaluated on those of the first."""
    data, model = trained
    request = small(tmp_path / "coarse", data, steps=1, validation=0.4, size_ijk=(16, 16), voxel_mm=2.0)
    train(request, lambda text: None)
    assert main(["models", "add", str(request.output)]) == 0
    asked = EvaluationRequest(models=["coarse"], data=data, cache=tmp_path / "cache", split="all", pairs=1)
    planes = next(iter(evaluate(asked, lambda text: None).planes.values()))
    assert planes["slice.spacing_mm"] == pytest.approx((2.0, 2.0))
    both = dataclasses.replace(asked, models=["coarse", str(model)])
    with pytest.raises(InputError, match="coarse and model were trained on images that were prepared differently"):
        evaluate(both, lambda text: None)
    alike = evaluate(dataclasses.replace(both, voxel_mm=1.0), lambda text: None)
    assert len(alike.outcomes) == 2


def test_images_are_resampled_where_the_training_resampled_them(trained, tmp_path):
    data, _ = trained
    request = small(tmp_path / "model", data, steps=1, validation=0.4, size_ijk=(48, 48), resample=True)
    train(request, lambda text: None)
    asked = EvaluationRequest(models=[str(request.output)], data=data, cache=tmp_path / "cache", split="val", pairs=1)
    evaluation = evaluate(asked, lambda text: None)
    planes = next(iter(evaluation.planes.values()))
    assert planes["slice.fixed"].shape == (48, 48)  # of 32 x 40 voxels: neither cut nor padded
    assert planes["slice.spacing_mm"] == pytest.approx((40 / 48, 32 / 48))
    assert planes["slice.fixed"][:, -1].any() and planes["slice.fixed"][-1].any()


def test_the_split_stands_beside_the_model(trained):
    _, model = trained
    split = read_split(model)
    assert [name for name, part in split.items() if part == "test"] == ["sub-11", "sub-12", "sub-13"]
    assert (model / "split.csv").read_text(encoding="utf-8").splitlines()[1].startswith("sub-00,train,,sub-00.nii.gz")


def test_labels_are_warped_by_their_membership():
    """Half a voxel away the nearest neighbor keeps a voxel that a linear share of one half gives to background."""
    values = np.zeros((8, 8, 8), np.int32)
    values[2:6, 2:6, 2:6] = 3
    values[3:5, 3:5, 6] = 5
    grid = Grid((8, 8, 8), np.eye(4))
    labels = Image(values, grid)
    still = Transform(np.eye(4), Field(np.zeros((8, 8, 8, 3), np.float32), grid))
    assert np.array_equal(warp_labels_linearly(labels, labels, still).values, values)
    moved = Transform(np.eye(4), Field(np.full((8, 8, 8, 3), (0.6, 0, 0), np.float32), grid))
    linear = warp_labels_linearly(labels, labels, moved).values
    assert np.array_equal(linear[:, :, 1:6], values[:, :, 2:7])  # more than half of each voxel is the next one
    nearest = warp_labels(labels, labels, moved).values
    assert np.array_equal(nearest[:, :, 1:6], linear[:, :, 1:6])
    slanted = Transform(np.eye(4), Field(np.full((8, 8, 8, 3), (0.4, 0.4, 0.4), np.float32), grid))
    assert (warp_labels_linearly(labels, labels, slanted).values > 0).sum() < (
        warp_labels(labels, labels, slanted).values > 0
    ).sum()
