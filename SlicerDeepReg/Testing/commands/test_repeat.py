"""The same inputs give the same bytes, and `repeat` shows it from a result.json alone."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from helpers.cases import Case
from helpers.command_line import options, run_command
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.files.results import digests
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.teaching.pairs import synthetic_slice
from SlicerDeepRegLib.types import InputError, Request


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A registration by the command, in a process of its own, with a linear stage."""
    folder, case = tmp_path_factory.mktemp("repeat"), Case("oblique-LPS")
    for name, image in (("fixed", case.fixed), ("moving", case.moving)):
        write_image(image, folder / f"{name}.nii.gz")
    call = options(
        fixed=folder / "fixed.nii.gz",
        moving=folder / "moving.nii.gz",
        output=folder / "out",
        preset="fast",
        device="cpu",
        uncertainty_runs=1,
        set="step=0.2",
        quiet=True,
    )
    done = run_command("register", *call)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def beside(done, request):
    """A folder beside the one of the results: the inputs are found above both."""
    (done / request.node.name).mkdir()
    return done / request.node.name


def repeat(*arguments):
    return main(["repeat", *map(str, arguments)])


def test_a_registration_is_repeated_to_the_last_bit(done, capsys, tmp_path):
    assert repeat(done / "out" / "result.json", "--output", tmp_path / "again") == 0
    said = capsys.readouterr().out
    for name in ("transform", "warped", "jacobian", "uncertainty"):
        assert f"{name}: the same" in said
    then, now = (
        json.loads((one / "result.json").read_text(encoding="utf-8")) for one in (done / "out", tmp_path / "again")
    )
    assert then["outputs_sha256"] == now["outputs_sha256"] and then["metrics"] == now["metrics"]
    assert then["request"] == {**now["request"], "device": then["request"]["device"]}
    assert then["request"]["fixed"] == "fixed.nii.gz" and str(done) not in json.dumps([then, now])


def test_the_result_that_is_repeated_is_not_replaced(done, capsys):
    kept = {path.name: path.read_bytes() for path in (done / "out").iterdir()}
    assert repeat(done / "out" / "result.json", "--output", done / "out") == 2
    assert "would replace the one that it is compared with" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (done / "out").iterdir()} == kept


def test_it_computes_on_as_many_threads_as_then(done, beside, monkeypatch):
    def begun(request, quiet):
        raise InputError(f"{torch.get_num_threads()} threads")

    monkeypatch.setattr("SlicerDeepRegLib.commands.register.registered", begun)
    described, here = json.loads((done / "out" / "result.json").read_text(encoding="utf-8")), torch.get_num_threads()
    described["provenance"]["threads"] = here + 1
    (beside / "result.json").write_text(json.dumps(described))
    try:
        repeat(beside / "result.json", "--quiet")
        assert torch.get_num_threads() == here + 1
    finally:
        torch.set_num_threads(here)


def test_another_result_is_told_with_its_reasons(done, capsys, beside):
    described = json.loads((done / "out" / "result.json").read_text(encoding="utf-8"))
    described["request"]["settings"] = {"step": 0.3}
    described["provenance"]["versions"]["torch"] = "1.0"
    described["request"]["uncertainty_runs"] = 0
    del described["outputs_sha256"]["uncertainty"]
    (beside / "result.json").write_text(json.dumps(described))
    assert repeat(beside / "result.json", "--quiet") == 1
    said = capsys.readouterr().out
    assert "Different: transform, warped, jacobian" in said and "torch 1.0 then" in said


def test_inputs_that_moved_are_named_and_others_refused(done, capsys, beside):
    elsewhere = beside / "moved.nii.gz"
    described = json.loads((done / "out" / "result.json").read_text(encoding="utf-8"))
    described["request"]["fixed"] = "gone.nii.gz"
    (beside / "result.json").write_text(json.dumps(described))
    assert repeat(beside / "result.json") == 2
    assert "--input fixed=FILE" in capsys.readouterr().err
    elsewhere.write_bytes((done / "moving.nii.gz").read_bytes())
    assert repeat(beside / "result.json", "--input", f"fixed={elsewhere}") == 2
    assert "checksum differs" in capsys.readouterr().err
    for wrong in ("fixed", "nothing=x", "fixed="):
        assert repeat(beside / "result.json", "--input", wrong) == 2
        assert "NAME=FILE" in capsys.readouterr().err


def written(request, sha256=()):
    """A result.json with a request."""
    outputs = {"transform": "0"}
    return json.dumps({"request": request, "provenance": {"sha256": dict(sha256)}, "outputs_sha256": outputs})


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("{}", "lacks request"),
        (written({}), "no fixed or moving image"),
        (written({"fixed": "a", "moving": "b", "settings": [1]}), "or its settings"),
        (written({}).replace('{"sha256": {}}', '{"sha256": [1]}'), "lacks the checksums of its inputs"),
        (written({}).replace('{"transform": "0"}', "{}"), "nothing can be compared"),
        (written({"fixed": "a", "moving": "b", "x": 1}), "another version"),
        (written({"fixed": "<a>", "moving": "b"}, {"fixed": "0"}), "does not record the file of the fixed"),
        (written({"fixed": "a", "moving": "b", "preset": "most"}), "preset must be one of"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, capsys, text, words):
    (tmp_path / "result.json").write_text(text)
    assert repeat(tmp_path / "result.json") == 2
    assert words in capsys.readouterr().err
    assert repeat(tmp_path / "none.json") == 2


WAYS = [{"linear": "affine"}, {"method": "fmirnet:1", "settings": {"instance_steps": 5}}, {"method": "demons"}]


@pytest.mark.parametrize("how", WAYS, ids=["svf", "network", "demons"])
def test_methods_give_the_same_bytes_again(how):
    pair = synthetic_slice()
    results = [register(Request(pair.fixed, pair.moving, device="cpu", measure=False, **how)) for _ in range(2)]
    assert digests(results[0]) == digests(results[1])
    assert np.abs(results[0].transform.field.displacement_lps_mm).max() > 0.1


def test_the_digest_sees_a_small_change():
    pair = synthetic_slice()
    result = register(Request(pair.fixed, pair.moving, linear="none", device="cpu", measure=False))
    before = digests(result)
    result.transform.field.displacement_lps_mm[0, 3, 4, 0] += 1e-3
    after = digests(result)
    assert before["transform"] != after["transform"] and before["warped"] == after["warped"]
    with pytest.raises(InputError):
        Request("a", "b", uncertainty_runs=-1)


def test_a_start_is_a_file_like_the_others(tmp_path, capsys):
    """It is named without its folder, its checksum is kept, and ``--anonymous`` leaves its name out."""
    case = Case("oblique-LPS")
    for name, image in (("fixed", case.fixed), ("moving", case.moving)):
        write_image(image, tmp_path / f"{name}.nii.gz")
    sitk.WriteTransform(sitk.Euler3DTransform((0, 0, 0), 0.02, -0.01, 0.03, (1, 2, -1)), str(tmp_path / "begin.tfm"))
    call = ["register", "--fixed", tmp_path / "fixed.nii.gz", "--moving", tmp_path / "moving.nii.gz"]
    call += ["--initial", tmp_path / "begin.tfm", "--method", "rigid", "--device", "cpu", "--quiet"]
    assert main([*map(str, call), "--output", str(tmp_path / "out")]) == 0
    described = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert described["request"]["initial"] == "begin.tfm" and len(described["provenance"]["sha256"]["initial"]) == 64
    assert repeat(tmp_path / "out" / "result.json") == 0
    (tmp_path / "begin.tfm").rename(tmp_path / "elsewhere.tfm")
    assert repeat(tmp_path / "out" / "result.json") == 2
    assert "initial" in capsys.readouterr().err
    assert repeat(tmp_path / "out" / "result.json", "--input", f"initial={tmp_path / 'elsewhere.tfm'}") == 0
    call[call.index(tmp_path / "begin.tfm")] = tmp_path / "elsewhere.tfm"
    assert main([*map(str, call), "--anonymous", "--output", str(tmp_path / "nameless")]) == 0
    assert "elsewhere" not in (tmp_path / "nameless" / "result.json").read_text(encoding="utf-8")


def test_landmarks_are_files_like_the_others(tmp_path, capsys):
    """A point that was moved since is another input, whatever the images are."""
    case = Case("oblique-LPS")
    for name, image in (("fixed", case.fixed), ("moving", case.moving)):
        write_image(image, tmp_path / f"{name}.nii.gz")
        (tmp_path / f"{name}.csv").write_text("\n".join(f"{x},{2 * x - 1},{-x}" for x in (-4, 1, 5)))
    call = ["register", "--method", "rigid", "--device", "cpu", "--quiet", "--output", tmp_path / "out"]
    for name in ("fixed", "moving"):
        call += [f"--{name}", tmp_path / f"{name}.nii.gz", f"--{name}-points", tmp_path / f"{name}.csv"]
    assert main([*map(str, call)]) == 0
    described = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert {"fixed_points", "moving_points"} <= set(described["provenance"]["sha256"])
    assert repeat(tmp_path / "out" / "result.json", "--quiet") == 0
    (tmp_path / "moving.csv").write_text("-4,-9,4\n1,1,-1\n5,9,-6")
    assert repeat(tmp_path / "out" / "result.json", "--quiet") == 2
    assert "moving points" in capsys.readouterr().err
