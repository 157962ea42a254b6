"""``slicerdeepreg models add FILE``: a checkpoint in a released layout becomes a model that registers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cases import Case
from helpers.torch_files import torch_files_are_read
from SlicerDeepRegLib.catalog import card
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.weights import read_weights, write_weights
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.pretrained.install import install_pretrained
from SlicerDeepRegLib.types import InputError, Request

pytestmark = pytest.mark.usefixtures("own_models")
LAYOUTS = json.loads((Path(__file__).parent / "layouts.json").read_text("utf-8"))


def checkpoint(what, strength=0.02):
    """Random numbers in a released layout; the same each time."""
    random = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=random) * strength for name, shape in LAYOUTS[what].items()}


@torch_files_are_read
def test_a_file_is_recognized_added_and_registers(tmp_path, capsys):
    path = tmp_path / "brains.pth.tar"
    content = {"config": {"int_steps": 5, "int_downsize": 2, "inshape": [160, 192, 224]}, "epoch": 3}
    torch.save({**content, "model_state": checkpoint("voxelmorph")}, path)
    assert main(["models", "add", str(path)]) == 0
    told = capsys.readouterr().out
    assert "This is VoxelMorph" in told and "squarings 5" in told
    assert "Images go in turned to AIL, at 1 mm; values are divided by 255" in told
    added = card("voxelmorph-brains")
    assert added.recipe == {"intensity": "divide:255", "voxel_mm": 1.0, "orientation": "AIL"}
    assert added.configuration["squarings"] == 5 and added.weights
    saved = read_weights(added.folder / added.weights)
    flow = checkpoint("voxelmorph")["flow.weight"].numpy()
    assert (saved["head.weight"] == flow[::-1]).all()
    case = Case("oblique-LPS")
    result = register(Request(case.fixed, case.moving, method="voxelmorph-brains", linear="center", device="cpu"))
    assert "network alone" in [stage.name for stage in result.stages] and result.metrics["after"]["ncc"] > 0
    assert main(["models", "remove", "voxelmorph-brains"]) == 0


def test_what_the_file_cannot_tell_can_be_said(tmp_path, capsys):
    path = tmp_path / "c.safetensors"
    write_weights(path, {name: one.numpy() for name, one in checkpoint("cyclemorph").items()})
    more = ["--name", "mine", "--orientation", "any", "--voxel-mm", "any", "--set", "squarings=3"]
    assert main(["models", "add", str(path), *more, "--intensity", "unit"]) == 0
    told = capsys.readouterr().out
    assert "Images go in with their axes as stored" in told and "values are scaled to 0 to 1 between robust" in told
    found = card("mine")
    assert found.recipe == {"intensity": "unit", "voxel_mm": None} and found.configuration["squarings"] == 3
    assert main(["models", "add", str(path), "--name", "mine"]) == 2 and "--replace" in capsys.readouterr().err
    assert main(["models", "add", str(path), "--name", "mine", "--replace"]) == 0


def test_slices_are_never_said_to_be_turned(tmp_path, capsys):
    """No more than they are, whatever is known of the family's volumes; nor can that be asked for."""
    path = tmp_path / "slices.safetensors"
    write_weights(path, {name: array.numpy() for name, array in checkpoint("lku-net 2D").items()})
    assert main(["models", "add", str(path), "--name", "flat"]) == 0
    told = capsys.readouterr().out
    assert "Slices go in with their axes as stored, at 1 mm; values are divided by 255" in told and "turned" not in told
    assert "orientation" not in card("flat").recipe and card("flat").dimensions == (2,)
    assert card("flat").configuration["image_size"] == [160, 192]
    assert main(["models", "add", str(path), "--name", "other", "--orientation", "AIL"]) == 2
    assert "slices.safetensors registers slices" in capsys.readouterr().err


@torch_files_are_read
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: {**c, "more.weight": torch.zeros(1)}, "not of it"),
        (lambda c: {name: one for name, one in c.items() if "outconv" not in name}, "missing"),
        (lambda c: {**c, "model.outconv.upconv.bias": torch.full((3,), np.nan)}, "not numbers"),
        (lambda c: {"a.weight": torch.zeros(2)}, "not the checkpoint of a network that is known"),
        (lambda c: {**c, "model.upconv2.upconv.weight": torch.zeros(32, 32, 5, 5, 5)}, "has the shape"),
    ],
)
def test_what_is_not_whole_is_refused_and_nothing_is_added(tmp_path, own_models, change, message):
    path = tmp_path / "c.pth"
    torch.save(change(checkpoint("cyclemorph")), path)
    with pytest.raises(InputError, match=message):
        install_pretrained(path)
    assert not list(own_models.glob("*"))


def test_an_older_pytorch_reads_no_torch_file(tmp_path, own_models, monkeypatch):
    torch.save(checkpoint("voxelmorph"), tmp_path / "c.pth")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(InputError, match="2.5.1.* cannot read such files safely.*Upgrade to PyTorch 2.6.*safetensors"):
        install_pretrained(tmp_path / "c.pth")
    assert not list(own_models.glob("*"))


@torch_files_are_read
def test_files_of_other_kinds_are_refused(tmp_path, capsys):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "pickled.pth")  # the module, not its tensors
    with pytest.raises(InputError, match="would run code"):
        install_pretrained(tmp_path / "pickled.pth")
    (tmp_path / "vxm.h5").write_bytes(b"")
    with pytest.raises(InputError, match="TensorFlow"):
        install_pretrained(tmp_path / "vxm.h5")
    with pytest.raises(InputError, match="not there"):
        install_pretrained(tmp_path / "none.pth")
    torch.save(checkpoint("cyclemorph"), tmp_path / "cut.pth")
    torch.save(checkpoint("cyclemorph"), tmp_path / "whole.pth")
    torch.save(checkpoint("lku-net"), tmp_path / "lku.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    for arguments, text in (
        ([str(tmp_path / "cut.pth")], "cut short"),
        ([str(tmp_path / "pickled.pth"), "--voxel-mm", "small"], "number of millimeters"),
        ([str(tmp_path / "pickled.pth"), "--set", "window"], "KEY=VALUE"),
        ([str(tmp_path), "--name", "x"], "is for a file"),
        ([str(tmp_path), "--intensity", "unit"], "--intensity is for a file"),
        ([str(tmp_path / "whole.pth"), "--intensity", "divide:0"], "The intensity is 'divide:0'; this version knows"),
        ([str(tmp_path / "whole.pth"), "--intensity", ""], "The intensity is ''; this version knows"),
        ([str(tmp_path / "lku.pth"), "--set", "image_size=[160,192]"], "image_size must be 3 numbers of voxels"),
    ):
        assert main(["models", "add", *arguments]) == 2
        assert text in capsys.readouterr().err
