"""A look at a pair says what ``register`` takes it for, and what is wrong with it."""

import json

import numpy as np
import pytest
from helpers.cases import Case
from helpers.geometry import make_grid
from helpers.images import noise_image
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.pipeline import look, register
from SlicerDeepRegLib.pipeline.look import CONSEQUENCES
from SlicerDeepRegLib.types import InputError, Request


@pytest.fixture(scope="module")
def case():
    return Case("oblique-LPS")


def test_it_says_what_register_takes_the_pair_for(case):
    seen = look(Request(case.fixed, case.moving, device="cpu", pair="visit", similarity="mind"))
    result = register(Request(case.fixed, case.moving, preset="fast", device="cpu", measure=False))
    assert seen.kind == result.provenance["pair"]["kind"] and seen.similarity == result.provenance["similarity"]
    assert CONSEQUENCES[seen.kind] in seen.text
    assert any(seen.text.startswith(note.split(" So ")[0]) for note in result.notes if " So " in note)


def test_it_can_be_stopped_and_refuses_what_register_refuses(case):
    stop = RuntimeError("stop")

    def report(progress):
        raise stop

    with pytest.raises(RuntimeError, match="stop"):
        look(Request(case.fixed, case.moving, device="cpu"), report)
    flat = noise_image(make_grid((20, 20, 1), (2, 2, 2), np.eye(3)), "flat")
    with pytest.raises(InputError):
        look(Request(case.fixed, flat, device="cpu"))


def test_the_command_prints_it(case, tmp_path, capsys):
    files = {name: tmp_path / f"{name}.nii.gz" for name in ("fixed", "moving")}
    for name, file in files.items():
        write_image(getattr(case, name), file)
    pair = ["look", "--fixed", str(files["fixed"]), "--moving", str(files["moving"]), "--device", "cpu"]
    assert main(pair) == 0
    text = capsys.readouterr().out.strip()
    assert main([*pair, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == text
    assert main(["look", "--fixed", str(tmp_path / "none.nii"), "--moving", str(files["moving"])]) == 2
    assert "none.nii" in capsys.readouterr().err
