"""Checkpoints of others: recognized by names and shapes, renamed, and refused where something is not right.

``layouts.json`` holds the names and shapes of what the public code of each network saves, at its released size
(``benchmarks/peers.py --layouts``). That the fields are the same is shown by ``benchmarks/peers.py`` beside that code.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from SlicerDeepRegLib.catalog import cards
from SlicerDeepRegLib.networks import build
from SlicerDeepRegLib.networks.size import parameters
from SlicerDeepRegLib.pretrained import recognize
from SlicerDeepRegLib.types import InputError

LAYOUTS = json.loads((Path(__file__).parent / "layouts.json").read_text("utf-8"))
#: Trained numbers of each released layout that nothing in the network uses.
UNUSED = {"lku-net": 1296, "lku-net 2D": 288, "transmatch": 112_350_291 - 70_793_235, "xmorpher": 295_296}
#: Trained numbers of each, as published or counted in the released code.
COUNTED = {
    "voxelmorph": 327_331,
    "cyclemorph": 361_299,
    "lku-net": 2_087_638,
    "vit-v-net": 31_560_079,
    "transmorph": 46_771_251,
    "transmatch": 112_350_291,
    "xmorpher": 15_093_891,
    "pivit": 664_873,
    "rdp-net": 8_922_444,
    "utsrmorph": 250_633_919,
    "utsrmorph oasis": 89_943_159,
}


def arrays_of(what):
    """Arrays of the true names and shapes that take no memory."""
    kinds = {name: np.int64 if name.endswith("num_batches_tracked") else np.float32 for name in LAYOUTS[what]}
    return {name: np.broadcast_to(kinds[name](0), shape) for name, shape in LAYOUTS[what].items()}


def small(what, **changes):
    """Random arrays of a released layout."""
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in {**LAYOUTS[what], **changes}.items()}


@pytest.mark.parametrize("what", sorted(LAYOUTS))
def test_every_array_finds_its_place(what):
    arrays = arrays_of(what)
    found = recognize(arrays)
    assert found.network == what.split()[0]
    with torch.device("meta"):
        network = build(found.network, **found.configuration)
    wanted = {name: tuple(one.shape) for name, one in network.state_dict().items()}
    assert {name: tuple(one.shape) for name, one in found.arrays.items()} == wanted
    buffers = sum(math.prod(shape) for name, shape in LAYOUTS[what].items() if "running" in name or "grid" in name)
    batches = sum(name.endswith("num_batches_tracked") for name in LAYOUTS[what])
    trained = sum(math.prod(shape) for shape in LAYOUTS[what].values()) - buffers - batches
    assert trained == COUNTED.get(what, trained)
    assert trained == parameters(network) + UNUSED.get(what, 0)


@pytest.mark.parametrize("name", [one.name for one in cards().values() if one.verified])
def test_the_cards_network_is_the_pretrained_one(name):
    if name == "udrsnet":
        assert name not in LAYOUTS  # there is no checkpoint of torch
        return
    if name == "h-sganet":
        assert cards()[name].parameters == 360_164  # its released code cannot run as it is; see the network
        return
    assert cards()[name].parameters == COUNTED[name] - UNUSED.get(name, 0)


def test_prefixes_of_training_code_are_taken_off():
    arrays = {f"module.{name}": one for name, one in arrays_of("cyclemorph").items()}
    assert recognize(arrays).network == "cyclemorph"


def test_components_come_out_in_our_order():
    arrays = small("voxelmorph")
    found = recognize(arrays, {"int_steps": 5, "int_downsize": 2})
    assert (found.arrays["head.weight"] == arrays["flow.weight"][::-1]).all()
    assert (found.arrays["encoder.0.0.0.weight"] == arrays["unet_model.encoder.0.0.main.weight"]).all()
    assert found.configuration["squarings"] == 5 and found.orientation == "AIL"
    assert recognize(arrays, {"int_steps": 0, "int_downsize": 2}).configuration["integration"] == "displacement"
    assert any("does not say" in note for note in recognize(arrays).notes)


@pytest.mark.parametrize(
    "what, orientation, intensity",
    [
        ("voxelmorph", "AIL", "divide:255"),
        ("cyclemorph", "LIA", "divide:255"),
        ("lku-net", "AIL", "divide:255"),
        ("lku-net 2D", None, "divide:255"),
        ("transmorph", "AIL", "unit"),
        ("rdp-net", None, "unit"),
    ],
)
def test_images_go_in_as_in_the_training(what, orientation, intensity):
    found = recognize(arrays_of(what))
    assert (found.orientation, found.intensity) == (orientation, intensity)


def test_a_voxelmorph_of_slices_has_no_orientation():
    arrays = {name: array[..., 0] if array.ndim == 5 else array for name, array in arrays_of("voxelmorph").items()}
    found = recognize(arrays)
    assert found.configuration["dimensions"] == 2 and found.orientation is None


@pytest.mark.parametrize("what, size", [("lku-net", [160, 192, 224]), ("lku-net 2D", [160, 192])])
def test_a_normalized_field_keeps_the_size_that_it_was_learned_at(what, size):
    found = recognize(arrays_of(what))
    assert found.configuration["image_size"] == size
    assert any(" x ".join(map(str, size)) in note and "--set image_size" in note for note in found.notes)


def test_the_window_is_told_by_the_image_or_the_table():
    arrays = arrays_of("transmorph")
    arrays["spatial_trans.grid"] = np.broadcast_to(np.float32(0), (1, 3, 224, 192, 160))
    assert recognize(arrays).configuration["window"] == [7, 6, 5]
    del arrays["spatial_trans.grid"]
    assert recognize(arrays).configuration["window"] == [5, 6, 7]
    odd = {n: np.broadcast_to(np.float32(0), (1000, a.shape[1])) if "table" in n else a for n, a in arrays.items()}
    with pytest.raises(InputError, match="--set window"):
        recognize(odd)


def test_what_is_not_known_is_refused():
    with pytest.raises(InputError, match="not the checkpoint of a network that is known"):
        recognize({"conv.weight": np.zeros((1, 1))})
    with pytest.raises(InputError, match="not the checkpoint"):
        recognize({})
    with pytest.raises(InputError, match="older layout"):
        recognize({"unet_model.downarm.0.main.weight": np.zeros((1, 1))})
    with pytest.raises(InputError, match="together"):
        recognize({**arrays_of("cyclemorph"), **arrays_of("rdp-net")})
    with pytest.raises(InputError, match="1 of its arrays are not of it .extra.weight"):
        recognize({**arrays_of("pivit"), "extra.weight": np.zeros(1)})
    lacking = arrays_of("transmorph")
    del lacking["transformer.patch_embed.proj.weight"]
    with pytest.raises(InputError, match="patch_embed.proj.weight is missing"):
        recognize(lacking)


def test_a_graph_that_cannot_run_is_said():
    width = np.zeros((32, 32, 1, 1, 1), np.float32)
    arrays = {
        "c1.0.weight": np.zeros((16, 2, 3, 3, 3)),
        "c2.1.weight": np.zeros((32, 16, 3, 3, 3)),
        "c3.1.weight": np.zeros((32, 16, 3, 3, 3)),
        "c4.1.weight": np.zeros((32, 16, 3, 3, 3)),
        "vig1.backbone.0.0.fc1.0.weight": width,
        "ssa.fc_i.weight": width,
    }
    with pytest.raises(InputError, match="cannot run"):
        recognize(arrays)
