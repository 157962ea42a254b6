"""Every model with weights that comes with the product: its bytes, what it says, and that it makes real brains better.

Which models there are is compared with the list in Resources/Models/README.md. While there is none, the tests over each
model are skipped, and the list says so.
"""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from helpers.networks import network_of as small_network
from helpers.networks import stirred
from helpers.paths import PROJECT
from helpers.phantom import carried, phantom
from helpers.shipped import (
    HEADING,
    LIST_FILE,
    MODELS,
    NONE,
    RECORD_FILE,
    VOXELS,
    card_of,
    check_bytes,
    check_recorded,
    described,
    listed_names,
    network_of,
    shipped_names,
)
from SlicerDeepRegLib.catalog import CARD_FILE, SEGMENTATION_CARD, WEIGHTS_FILE
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.files.weights import SCALE, read_weights, smaller
from SlicerDeepRegLib.metrics.labels import dice_by_label
from SlicerDeepRegLib.models.brain_atlas import ATLAS_FILE, frame_grid
from SlicerDeepRegLib.networks import NetworkOutput, network_class
from SlicerDeepRegLib.networks.structures import StructureNetwork
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.training.model import write_model, write_structures
from SlicerDeepRegLib.training.plan import Plan
from SlicerDeepRegLib.types import Grid, Image, InputError, Request

#: Those that are listed and those that lie there: one that is missing fails.
NAMES = sorted({*listed_names(), *shipped_names()})
NO_MODEL = pytest.param("none", marks=pytest.mark.skip(reason=f"{LIST_FILE} of Resources/Models lists no model"))
each_model = pytest.mark.parametrize("name", NAMES or [NO_MODEL])


def test_the_list_names_the_models_that_are_there():
    assert listed_names() == shipped_names()


@each_model
def test_the_weights_are_those_of_the_card(name):
    check_bytes(MODELS / name)


@each_model
def test_it_says_what_it_said_when_it_was_shipped(name):
    check_recorded(MODELS / name)


@each_model
def test_its_card_says_what_is_needed(name):
    values = described(MODELS / name)
    assert values["name"] == name
    assert all(values[entry] for entry in ("title", "good_for", "limits", "credits", "trained_on", "license"))


@pytest.mark.slow
@each_model
def test_it_does_its_work_on_real_brains(name, shared_data, tmp_path):
    """On people who are in no training. Needs the images of ../shared/data (see helpers/paths.py)."""
    people = {person: shared_data / "brain_patients" / f"{person}_t1.nii.gz" for person in "ab"}
    labels = {person: shared_data / "brain_patients" / f"{person}_aseg.nii.gz" for person in "ab"}
    if (MODELS / name / SEGMENTATION_CARD).is_file():
        where = ["--model", str(MODELS / name), "--image", str(people["a"]), "--output", str(tmp_path / "seen.nii.gz")]
        assert main(["segment", *where, "--device", "cpu"]) == 0
        true, seen = (read_image(path).values.astype(np.int32) for path in (labels["a"], tmp_path / "seen.nii.gz"))
        by_label = dice_by_label(true, seen)
        there = set(np.unique(true).tolist()) & set(described(MODELS / name)["classes"]) - {0}
        assert np.mean([by_label.get(label, 0.0) for label in there]) > 0.6
        return
    request = Request(
        str(people["a"]),
        str(people["b"]),
        fixed_labels=str(labels["a"]),
        moving_labels=str(labels["b"]),
        method=name,
        settings={"instance_steps": 0, "refine": 0},  # the network alone: svf would make any start better
        device="cpu",
    )
    metrics = register(request).metrics
    assert metrics["after"]["dice"] > metrics["linear"]["dice"]


def test_all_models_together_are_small():
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= 50_000_000


# ------------------------------------------------------------------ how a model gets there


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("ship_model", PROJECT / "tools" / "ship_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / LIST_FILE).write_text(f"# Text that stays\n\n{HEADING}\n\n{NONE}\n", encoding="utf-8")
    return folder


def plan(network, **configuration):
    return Plan(
        name="trained",
        network=network,
        configuration=configuration,
        dimensions=3,
        recipe={"intensity": "unit", "voxel_mm": 3.0, "orientation": "RAS"},
        data={},
        about_data="images painted on the label maps of 19 people",
        shape=(64, 80, 64),
        loss={},
        weights={},
        steps=10,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder as ``slicerdeepreg train`` writes it; its network moves things, as nobody trained it to."""
    network, folder = stirred(small_network("msrd-net", 3)), tmp_path_factory.mktemp("trained")
    made = plan("msrd-net", **network_class("msrd-net").small)
    write_model(made, network.state_dict(), 9, 7200, "CPU", {}, folder)
    return folder


@pytest.fixture(scope="module")
def trained_structures(tmp_path_factory):
    torch.manual_seed(0)
    network, folder = StructureNetwork(), tmp_path_factory.mktemp("structures")
    atlas = torch.zeros(33, *frame_grid().shape_kji)
    atlas[0] = 1
    write_structures(plan("structures", features=0), network.state_dict(), (9, 7200, "CPU"), {}, folder, atlas)
    return folder


def shipping(tool, folder, models, *more, storage="int8"):
    told = ["--good-for", "Tests.", "--limits", "Anything else.", "--credits", "Nobody (CC0)"]
    return tool.main([str(folder), "model", "--as", storage, "--models", str(models), *told, *more])


def test_a_training_becomes_a_model_and_what_is_changed_later_is_found(tool, trained, models, tmp_path):
    more = ["--title", "A model", "--machine", "two cores", "--figures", str(figures(tmp_path))]
    assert shipping(tool, trained, models, *more) == 0
    folder = models / "model"
    assert {p.name for p in folder.iterdir()} == {CARD_FILE, WEIGHTS_FILE, RECORD_FILE}
    assert (folder / WEIGHTS_FILE).stat().st_size < 0.35 * (trained / WEIGHTS_FILE).stat().st_size
    assert shipped_names(models) == listed_names(models) == ["model"]
    assert (models / LIST_FILE).read_text(encoding="utf-8").startswith("# Text that stays")
    values = described(folder)
    assert values["credits"] == ["Nobody (CC0)"] and values["good_for"] == "Tests." and values["limits"]
    assert "9 steps" in values["trained_on"] and "2.0 hours on CPU (two cores)" in values["trained_on"]
    assert "one: Dice linear 0.500, alone 0.600, refined 0.720, svf 0.700." in values["shown"]
    assert "today, here" in values["shown"] and "unlabeled" not in values["shown"]
    card = card_of(values, folder)
    assert card.bytes_per_voxel and card.weights_path.is_file() and card.parameters > 1000
    recorded = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    assert np.abs(recorded["said"]).max() > 0.01 and np.shape(recorded["said"]) == (VOXELS, 3)
    check_bytes(folder)
    check_recorded(folder)

    recorded["said"][VOXELS - 1][1] += 0.002
    (folder / RECORD_FILE).write_text(json.dumps(recorded), encoding="utf-8")
    with pytest.raises(AssertionError, match="model"):
        check_recorded(folder)
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(AssertionError, match="other weights"):
        check_bytes(folder)
    (folder / WEIGHTS_FILE).unlink()
    assert shipped_names(models) == ["model"]  # so that the tests over each model fail
    (models / LIST_FILE).write_text(f"{HEADING}\n\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="does not say"):
        listed_names(models)


@pytest.mark.slow
def test_a_network_that_sees_structures_becomes_a_model_if_its_labels_stay(tool, trained_structures, models, capsys):
    """What an untrained network labels is decided by nearly nothing, so that rounding to integers changes it."""
    assert shipping(tool, trained_structures, models) == 2
    assert "may be lost. Ship it as float16" in capsys.readouterr().err and shipped_names(models) == []
    assert shipping(tool, trained_structures, models, storage="float16") == 0
    assert described(models / "model")["credits"] and shipped_names(models) == ["model"]
    check_bytes(models / "model")
    check_recorded(models / "model")
    (models / "model" / ATLAS_FILE).write_bytes(b"another")
    with pytest.raises(InputError, match="not the one that its card names"):
        check_bytes(models / "model")


def figures(folder, **changed):
    good = {"linear": {"dice": 0.5}, "svf": {"dice": 0.7}, "alone": {"dice": 0.6}, "refined": {"dice": 0.72}}
    pairs = {"one": good, "two": {**good, **changed}, "unlabeled": {"linear": {"ncc": 0.4}, "alone": {"ncc": 0.5}}}
    path = folder / "figures.json"
    path.write_text(json.dumps({"pairs": pairs, "date": "today", "machine": "here"}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"alone": {"dice": 0.49}}, "on two its Dice, alone, is 0.490, less than the 0.500 of its linear start"),
        ({"refined": {"dice": 0.4}}, "on two its Dice, refined, is 0.400"),
        ({"alone": {"dice": float("nan")}}, "on two its Dice, alone, is nan"),
        ({"alone": {"error": "no memory"}}, "alone failed on two .no memory"),
    ],
)
def test_a_model_that_is_worse_than_its_start_is_refused(tool, trained, models, tmp_path, changed, message, capsys):
    assert shipping(tool, trained, models, "--figures", str(figures(tmp_path, **changed))) == 2
    told = capsys.readouterr().err
    assert message.replace(" .", " (") in told and told.count("\n") == 1
    assert shipped_names(models) == listed_names(models) == []


def test_what_is_too_large_or_taken_is_refused(tool, trained, models, monkeypatch, capsys):
    monkeypatch.setattr(tool, "MOST_BYTES", 10_000)
    assert shipping(tool, trained, models) == 2
    assert "All models would have" in capsys.readouterr().err and shipped_names(models) == []
    for name, message in (
        ("svf", "name of a method"),
        ("msrd-net", "name of a method or a network"),
        ("../x", "letters"),
    ):
        with pytest.raises(InputError, match=message):
            tool.check_name(name)


def test_weights_that_are_not_those_of_the_card_are_refused(tool, trained, models, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "copy")
    values = described(copy)
    (copy / CARD_FILE).write_text(json.dumps({**values, "sha256": "0" * 64}), encoding="utf-8")
    assert shipping(tool, copy, models) == 2
    assert "are not those of its card.json" in capsys.readouterr().err


class Shift(torch.nn.Module):
    """A part of the true displacement of the phantom."""

    estimate = None

    def __init__(self):
        super().__init__()
        self.part = torch.nn.Parameter(torch.zeros(1))

    def forward(self, moving, fixed):
        return NetworkOutput(self.part * torch.from_numpy(phantom().displacement)[None])


def test_what_storing_costs_is_the_largest_change_and_the_dice_that_is_lost(tool):
    pair, parts = phantom(), [{"part": np.array([part], np.float32)} for part in (0, 0.5, 1)]
    none, half, whole = ((tool.storage_cost(Shift(), parts[2], part, pair)) for part in parts)
    assert whole == (0, 0) and none[1] > half[1] > 0.05
    assert none[0] == pytest.approx(np.abs(pair.displacement).max()) == pytest.approx(2 * half[0])
    labels = pair.fixed_labels.astype(int), pair.moving_labels.astype(int)
    moved = carried(labels[1], pair.displacement)
    best, given = (np.mean(list(dice_by_label(labels[0], each).values())) for each in (moved, labels[1]))
    assert none[1] == pytest.approx(best - given)


def test_what_a_network_that_segments_loses_is_measured_on_a_brain(tool, tmp_path):
    """A network that is right where its threshold is 0.5, on an image whose voxels are halved to the recipe's."""

    class Threshold(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.least = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image):
            return torch.cat([self.least.expand_as(image), image], 1)

    values = np.zeros((32, 32, 32), np.float32)
    values[8:24, 8:24, 8:24] = 0.4
    values[12:20, 12:20, 12:20] = 1
    for name, array in (("image", values), ("labels", 17 * (values > 0.5).astype(np.uint8))):
        write_image(Image(array, Grid((32, 32, 32), np.eye(4)), name), tmp_path / f"{name}.nii.gz")
    recipe = {"intensity": "unit", "voxel_mm": 2.0, "orientation": "RAS"}
    paths = tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz"
    image, true = tool.brain(*paths, {"recipe": recipe, "classes": [0, 17]})
    assert image.shape == true.shape == (16, 16, 16) and set(np.unique(true)) == {0, 1}
    right, wrong = ({"least": np.array([least], np.float32)} for least in (0.6, 0.2))
    assert tool.dice_lost(Threshold(), right, right, image, true) == 0
    assert tool.dice_lost(Threshold(), right, wrong, image, true) > 0.3


def test_output_channels_of_transposed_convolutions_are_the_second_axis(tool, trained):
    network = network_of(described(trained), trained)
    names = tool.transposed_weights(network)
    arrays = read_weights(trained / WEIGHTS_FILE)
    stored = smaller({n: np.resize(a, (64, 48, 2, 2, 2)) for n, a in arrays.items() if n in names}, "int8", names)
    assert names and {stored[n + SCALE].shape for n in names} == {(1, 48, 1, 1, 1)}


def test_the_phantom_is_what_it_says():
    pair = phantom()
    given = dice_by_label(pair.fixed_labels.astype(int), pair.moving_labels.astype(int))
    true = dice_by_label(pair.fixed_labels.astype(int), carried(pair.moving_labels, pair.displacement).astype(int))
    assert np.mean(list(given.values())) < 0.7 and min(true.values()) > 0.9
