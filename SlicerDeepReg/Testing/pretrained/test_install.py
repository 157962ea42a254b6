"""``slicerdeepreg models add FILE``: a checkpoint in a released layout becomes a model that registers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cases import Case
from SlicerDeepRegLib.catalog import card
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.weights import read_weights, write_weights
from SlicerDeepRegLib.models.torch_files import can_read
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.pretrained.install import install_pretrained
from SlicerDeepRegLib.types import InputError, Request

torch_files_are_read = pytest.mark.skipif(not can_read(), reason="torch files are refused with PyTorch before 2.6")
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
    assert "This is VoxelMorph" in told and "squarings 5" in told and "turned to AIL, at 1 mm" in told
    added = card("voxelmorph-brains")
    assert added.recipe["orientation"] == "AIL" and added.configuration["squarings"] == 5 and added.weights
    saved = read_weights(added.folder / added.weights)
    flow = checkpoint("voxelmorph")["flow.weight"].numpy()
    assert (saved["head.weight"] == flow[::-1]).all()
    case = Case("oblique-LPS")
    result = register(Request(case.fixed, case.moving, method="voxelmorph-brains", linear="center", device="cpu"))
    assert result.stages[-1].name == "network" and result.metrics["after"]["ncc"] > 0
    assert main(["models", "remove", "voxelmorph-brains"]) == 0


def test_what_the_file_cannot_tell_can_be_said(tmp_path, capsys):
    path = tmp_path / "c.safetensors"
    write_weights(path, {name: one.numpy() for name, one in checkpoint("cyclemorph").items()})
    more = ["--name", "mine", "--orientation", "any", "--voxel-mm", "any", "--set", "squarings=3"]
    assert main(["models", "add", str(path), *more]) == 0
    found = card("mine")
    assert found.recipe == {"intensity": "unit", "voxel_mm": None} and found.configuration["squarings"] == 3
    assert main(["models", "add", str(path), "--name", "mine"]) == 2 and "--replace" in capsys.readouterr().err
    assert main(["models", "add", str(path), "--name", "mine", "--replace"]) == 0


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
    with pytest.raises(InputError, match="2.5.1.* cannot read such files safely.*safetensors, or install PyTorch 2.6"):
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
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:5000])
    for arguments, text in (
        ([str(tmp_path / "cut.pth")], "cut short"),
        ([str(tmp_path / "pickled.pth"), "--voxel-mm", "small"], "number of millimeters"),
        ([str(tmp_path / "pickled.pth"), "--set", "window"], "KEY=VALUE"),
        ([str(tmp_path), "--name", "x"], "is for a file"),
    ):
        assert main(["models", "add", *arguments]) == 2
        assert text in capsys.readouterr().err
