"""The command as a user runs it: files out, errors in words with exit code 2, nothing half-written."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.cases import Case
from helpers.command_line import COMMAND, options, run_command
from helpers.geometry import make_grid
from helpers.images import noise_image
from helpers.segmentations import write_segmentation
from SlicerDeepRegLib.files.images import read_image, write_image
from SlicerDeepRegLib.geometry.points import apply_matrix
from SlicerDeepRegLib.types import OUTPUT_FILES, Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pair with masks, labels and landmarks as files, in a folder with a difficult name."""
    path = tmp_path_factory.mktemp("my scans é 图")
    case = Case("oblique-LPS")
    for name, image in (("fixed", case.fixed), ("moving", case.moving)):
        write_image(image, path / f"{name}.nii.gz")
        write_image(Image((image.values > 50).astype(np.int16), image.grid), path / f"{name}_labels.nii.gz")
        write_image(Image((image.values > 5).astype(np.uint8), image.grid), path / f"{name}_mask.nrrd")
    points = apply_matrix(case.fixed.grid.ijk_to_lps, np.array([[12.0, 15, 10], [15, 20, 12]]))
    from SlicerDeepRegLib.geometry.points import fixed_to_moving

    for name, rows in (("fixed", points), ("moving", fixed_to_moving(case.transform, points))):
        np.savetxt(path / f"{name}.csv", rows, delimiter=",")
    return path


def pair(folder):
    return "register", "--fixed", folder / "fixed.nii.gz", "--moving", folder / "moving.nii.gz"


def test_everything_is_written_and_describes_itself(folder, tmp_path):
    output = tmp_path / "the results"
    done = run_command(
        *pair(folder),
        *options(
            output=output,
            preset="fast",
            device="cpu",
            uncertainty_runs=1,
            fixed_labels=folder / "fixed_labels.nii.gz",
            moving_labels=folder / "moving_labels.nii.gz",
            fixed_mask=folder / "fixed_mask.nrrd",
            moving_mask=folder / "moving_mask.nrrd",
            fixed_points=folder / "fixed.csv",
            moving_points=folder / "moving.csv",
        ),
    )
    assert done.returncode == 0, done.stderr
    assert "Dice" in done.stdout and "TRE (mm)" in done.stdout and str(output) in done.stdout
    assert "linear" in done.stderr  # the stages are shown
    assert sorted(p.name for p in output.iterdir()) == sorted(
        set(OUTPUT_FILES.values()) - {"scene.mrb", "registration.dcm"}
    )
    described = json.loads((output / "result.json").read_text(encoding="utf-8"))
    metrics = described["metrics"]
    assert metrics["after"]["dice"] > metrics["before"]["dice"] + 0.05
    assert metrics["after"]["tre_mm"] < 1.0 < metrics["before"]["tre_mm"]
    assert described["request"]["preset"] == "fast"
    assert set(described["provenance"]["sha256"]) >= {"fixed", "moving", "fixed_mask"}
    assert [stage["name"] for stage in described["stages"]][0] == "linear"
    assert all(stage["seconds"] >= 0 for stage in described["stages"])

    fixed, moving = (sitk.ReadImage(str(folder / f"{n}.nii.gz"), sitk.sitkFloat32) for n in ("fixed", "moving"))
    transform = sitk.ReadTransform(str(output / "transform.h5"))
    by_itk = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, float(sitk.GetArrayFromImage(moving).min()))
    warped = read_image(output / "warped.nii.gz")
    # Of 100: the transform in the file is rounded to a hundredth of a voxel, which may decide about a border voxel.
    apart = np.abs(sitk.GetArrayFromImage(by_itk) - warped.values)
    assert np.quantile(apart, 0.9) < 0.1 and np.quantile(apart, 0.999) < 0.5
    labels = read_image(output / "warped_labels.nii.gz")
    assert set(np.unique(labels.values)) == {0, 1}
    assert read_image(output / "jacobian.nii.gz").grid.same_as(warped.grid, 1e-3)


def test_segments_have_their_names_in_the_results_and_landmarks_say_how_they_were_paired(folder, tmp_path):
    given = {}
    for side, number in (("fixed", 1), ("moving", 3)):
        labels = read_image(folder / f"{side}_labels.nii.gz")
        path = tmp_path / f"{side}.seg.nrrd"
        given[f"{side}_labels"] = write_segmentation(path, labels.grid, [labels.values * number], [("core", number, 0)])
        given[f"{side}_points"] = folder / f"{side}.csv"
    output = tmp_path / "out"
    done = run_command(*pair(folder), *options(output=output, preset="fast", device="cpu", **given), "--report")
    assert done.returncode == 0, done.stderr
    described = json.loads((output / "result.json").read_text(encoding="utf-8"))
    assert described["label_names"] == {"3": "core"} and described["metrics"]["after"]["dice"] > 0.8
    assert any("by their order" in note for note in described["notes"]) and "by their names" in done.stdout
    assert "core" in (output / "report.html").read_text(encoding="utf-8")


def test_quiet_prints_nothing_and_json_only_json(folder, tmp_path):
    quick = options(preset="fast", linear="none", device="cpu")
    quiet = run_command(*pair(folder), "--output", tmp_path / "a", *quick, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    as_json = run_command(*pair(folder), "--output", tmp_path / "b", *quick, "--json")
    assert json.loads(as_json.stdout) == json.loads((tmp_path / "b" / "result.json").read_text(encoding="utf-8"))
    assert as_json.stderr == ""


def test_only_the_outputs_that_are_wanted_are_written(folder, tmp_path):
    output = tmp_path / "out"
    done = run_command(*pair(folder), f"--output={output}", "--preset=fast", "--quiet", "--keep", "inverse")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in output.iterdir()) == ["inverse.h5", "result.json"]
    described = json.loads((output / "result.json").read_text(encoding="utf-8"))
    assert {"transform", "warped", "jacobian"} <= set(described["outputs_sha256"])  # so that it can be repeated
    done = run_command(*pair(folder), f"--output={output}", "--keep", "everything")
    assert done.returncode == 2 and "--keep" in done.stderr and "warped_labels" in done.stderr


def test_2d_images_give_a_2d_transform(tmp_path):
    y, x = np.mgrid[:64, :72]
    still = 100 * np.exp(-(((x - 36) / 20) ** 2 + ((y - 30) / 14) ** 2)) * (1 + 0.3 * np.sin(x / 4) * np.cos(y / 5))
    shifted = np.roll(still, (3, -4), (0, 1))
    for name, values in (("fixed", still), ("moving", shifted)):
        sitk.WriteImage(sitk.GetImageFromArray(values.astype(np.float32)), str(tmp_path / f"{name}.mha"))
    done = run_command(
        "register",
        *options(
            fixed=tmp_path / "fixed.mha",
            moving=tmp_path / "moving.mha",
            output=tmp_path / "out",
            linear="rigid",
            device="cpu",
        ),
    )
    assert done.returncode == 0, done.stderr
    transform = sitk.ReadTransform(str(tmp_path / "out" / "transform.h5"))
    assert transform.GetDimension() == 2
    assert np.allclose(transform.TransformPoint((36.0, 30.0)), (32.0, 33.0), atol=0.7)
    assert sitk.ReadImage(str(tmp_path / "out" / "warped.nii.gz")).GetDimension() == 2


@pytest.mark.parametrize(
    "changes, words",
    [
        (("--fixed", "nowhere.nii.gz"), "does not exist"),
        (("--device", "cuda"), "no CUDA device"),
        (("--fixed-points", "nowhere.csv", "--moving-points", "nowhere.csv"), "does not exist"),
        (("--output", "/proc/results"), "cannot be written to|No such file|disk of"),
    ],
)
def test_errors_are_one_sentence_and_exit_code_2(folder, tmp_path, changes, words):
    import torch

    if "cuda" in changes and torch.cuda.is_available():
        pytest.skip("this computer has a CUDA device")
    output = tmp_path / "out"
    done = run_command(*pair(folder), "--output", output, *changes)
    assert done.returncode == 2
    assert done.stderr.startswith("slicerdeepreg: ")
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) <= 2
    import re

    assert re.search(words, done.stderr)
    assert not output.exists()


def test_existing_results_survive_a_failed_run(folder, tmp_path):
    (tmp_path / "result.json").write_text("mine")
    done = run_command(*pair(folder), "--output", tmp_path, "--fixed", tmp_path / "none.nii.gz")
    assert done.returncode == 2
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(folder, tmp_path, number):
    output = tmp_path / "out"
    process = subprocess.Popen(
        [*COMMAND, *map(str, pair(folder)), "--output", str(output), "--preset", "thorough", "--device", "cpu"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    for line in process.stderr:  # wait until it is at work
        if "scale" in line:
            break
    time.sleep(0.2)
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(30) == 2
    assert "interrupted" in rest and "Traceback" not in rest
    assert not output.exists()


def test_too_little_memory_is_said_before_any_work(folder, tmp_path):
    """With half a gigabyte left to the process the estimate cannot be met."""
    code = (
        "import resource, sys; import SlicerDeepRegLib.pipeline, SlicerDeepRegLib.commands.demo; "
        "from SlicerDeepRegLib.commands import main; taken = int(open('/proc/self/statm').read().split()[0]) * 4096; "
        "resource.setrlimit(resource.RLIMIT_AS, (taken + 500_000_000, resource.RLIM_INFINITY)); "
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(a) for a in (*pair(folder), "--output", tmp_path / "out", "--device", "cpu")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2, done.stderr
    assert "memory" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_behind(plain_case, tmp_path, monkeypatch):
    """The write of the transform fails half way, as on a full disk."""
    from SlicerDeepRegLib.commands import main
    from SlicerDeepRegLib.files import results

    write_image(plain_case.fixed, tmp_path / "f.nrrd")
    write_image(plain_case.moving, tmp_path / "m.nrrd")

    def full(transform, path, dimensions):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_transform", full)
    output = tmp_path / "out"
    paths = ["--fixed", tmp_path / "f.nrrd", "--moving", tmp_path / "m.nrrd", "--output", output]
    assert main(["register", *map(str, paths), "--preset", "fast", "--device", "cpu", "--quiet"]) == 2
    assert not output.exists()


def test_a_small_disk_is_noticed_before_any_work(folder, tmp_path, monkeypatch, capsys):
    import shutil

    from SlicerDeepRegLib.commands import main

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert main([*map(str, pair(folder)), "--output", str(tmp_path / "out")]) == 2
    assert "Free some space" in capsys.readouterr().err


def test_scene_without_slicer_core_is_refused_before_any_work(folder, tmp_path):
    code = (
        "import sys; sys.modules['slicer'] = None; "
        "from SlicerDeepRegLib.commands import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(a) for a in (*pair(folder), "--output", tmp_path / "out", "--scene")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2 and "pip install slicer-core" in done.stderr
    assert os.listdir(tmp_path) == []


def test_no_folder_of_this_computer_is_written(folder, tmp_path):
    done = run_command(*pair(folder), *options(output=tmp_path / "out", preset="fast", device="cpu", json=True))
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, (tmp_path / "out" / "result.json").read_text(encoding="utf-8")):
        described = json.loads(text)
        assert described["request"]["moving"] == "moving.nii.gz"
        assert str(tmp_path) not in text and folder.name not in text and str(folder.parent) not in text


def test_anonymous_leaves_names_out_of_all_that_is_written(folder, tmp_path):
    values = read_image(folder / "moving.nii.gz").values.copy()
    values[tuple(n // 2 for n in values.shape)] = np.nan  # makes a note that names the image
    patient = tmp_path / "Doe_Jane.nii.gz"
    write_image(dataclasses.replace(read_image(folder / "moving.nii.gz"), values=values), patient)
    more = {"fixed_points": folder / "fixed.csv", "moving_points": folder / "moving.csv"}
    call = ("register", "--fixed", folder / "fixed.nii.gz", "--moving", patient)
    call += tuple(options(output=tmp_path / "out", preset="fast", device="cpu", anonymous=True, report=True, **more))
    done = run_command(*call)
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert described["request"]["moving"] == described["request"]["moving_points"].replace(" points", "") == "<moving>"
    assert any("moving image (moving) has 1 voxels that are NaN" in note for note in described["notes"])
    for file in (tmp_path / "out").iterdir():
        assert b"Doe_Jane" not in file.read_bytes(), file.name
    assert "Doe" not in done.stdout
    for other in ("--identifiers", "--dicom"):
        refused = run_command(*call, other)
        assert refused.returncode == 2 and f"{other} writes names" in refused.stderr


def test_voxels_outside_the_folder_of_a_header_need_the_option(tmp_path):
    (tmp_path / "scan").mkdir()
    image = noise_image(make_grid((20, 20, 20), (1, 1, 1), np.eye(3)), dtype=np.int16)
    write_image(image, tmp_path / "fixed.mhd")
    head = (tmp_path / "fixed.mhd").read_text(encoding="utf-8").replace("ElementDataFile = ", "ElementDataFile = ../")
    (tmp_path / "scan" / "fixed.mhd").write_text(head, encoding="utf-8")
    given = (
        "register",
        *options(fixed=tmp_path / "scan" / "fixed.mhd", moving=tmp_path / "none.nii", output=tmp_path / "out"),
    )
    refused, allowed = run_command(*given), run_command(*given, "--allow-outside")
    assert refused.returncode == allowed.returncode == 2
    assert "outside the header's folder" in refused.stderr and "none.nii does not exist" in allowed.stderr
