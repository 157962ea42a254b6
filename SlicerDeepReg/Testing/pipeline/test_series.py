"""The frames of a series are registered to one of them, and what is known of that one comes to all."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
from helpers.geometry import make_grid
from helpers.images import texture
from SlicerDeepRegLib.commands import main
from SlicerDeepRegLib.files.frames import read_frames, times_of, write_frames, write_sequence
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.geometry.points import voxel_centers_lps
from SlicerDeepRegLib.mrml.nodes import grid_of
from SlicerDeepRegLib.pipeline import register
from SlicerDeepRegLib.pipeline.series import register_series
from SlicerDeepRegLib.types import FrameResult, Image, InputError, Request, Series

GRID = make_grid((36, 40, 32), (2.0, 2.0, 2.0), np.eye(3))
POINTS = voxel_centers_lps(GRID)
BEAT = [0.0, 0.5, 1.0]
TIP = np.array([[3.0, 2.0, 0.0]])


def moved(points, beat):
    away = (points**2).sum(-1)
    return points + beat * np.exp(-away / (2 * 16.0**2))[..., None] * np.array([5.0, -4.0, 3.0])


def ball(points):
    return (np.linalg.norm(points, axis=-1) < 11).astype(np.int32)


FRAMES = [Image(texture(moved(POINTS, beat)).astype(np.float32), GRID, f"frame {n}") for n, beat in enumerate(BEAT)]
TRUTH = [Image(ball(moved(POINTS, beat)), GRID, f"labels {n}") for n, beat in enumerate(BEAT)]


def template(**options):
    given = {"preset": "fast", "linear": "none", "pair": "people", "similarity": "lncc", "device": "cpu"}
    return Request(FRAMES[0], FRAMES[0], **{**given, **options})


@pytest.mark.parametrize("chain", ["neighbor", "reference"])
def test_a_segmentation_comes_to_every_frame(chain):
    series = Series(FRAMES, 0, template(measure=False), TRUTH[0], TIP, chain)
    found = list(register_series(series, TRUTH))
    assert [one.number for one in found] == [0, 1, 2] and found[0].transform is None
    dice = [one.measured["dice"] for one in found]
    as_given = 2 * (TRUTH[0].values & TRUTH[2].values).sum() / (TRUTH[0].values.sum() + TRUTH[2].values.sum())
    assert dice[0] == 1 and min(dice) > 0.87 > as_given + 0.1
    way = [one.measured["point_1_mm"] for one in found]
    assert way[0] == 0 and way[1] == pytest.approx(0.5 * way[2], abs=0.8) and 4 < way[2] < 8
    assert found[2].measured["volume_1_ml"] == pytest.approx(TRUTH[2].values.sum() * 0.008, rel=0.1)
    assert found[2].measured["motion_mm"] > found[1].measured["motion_mm"] > 1


def test_what_was_said_of_a_frame_is_kept_and_a_failure_says_of_which():
    def each(request, told):
        if request.fixed.name == "frame 2":
            raise InputError("Nothing in common.")
        return dataclasses.replace(register(request, told), notes=("28% was taken back.",))

    series = Series(FRAMES, 0, template(method="rigid"), TRUTH[0])
    found = []
    with pytest.raises(InputError, match="frame 2, registered to frame 0: Nothing in common"):
        for one in register_series(series, each=each):
            found.append(one)
    assert [one.notes for one in found] == [(), ("28% was taken back.",)]
    assert found[1].measured["motion_mm"] >= 0  # of a matrix, too


def test_the_command_writes_what_was_found(tmp_path, capsys):
    write_frames(FRAMES, tmp_path / "heart.nii.gz", [0.2, 0.24, 0.28])
    write_image(TRUTH[1], tmp_path / "labels.nii.gz")
    write_frames(TRUTH, tmp_path / "truth.nii.gz")
    (tmp_path / "tip.csv").write_text("3,2,0\n")
    command = ["series", "--frames", str(tmp_path / "heart.nii.gz"), "--reference", "1", "--preset", "fast"]
    command += ["--labels", str(tmp_path / "labels.nii.gz"), "--truth", str(tmp_path / "truth.nii.gz")]
    command += ["--points", str(tmp_path / "tip.csv"), "--pair", "people", "--similarity", "lncc"]
    output = tmp_path / "out"
    assert main([*command, "--output", str(output)]) == 0
    assert "Dice of the labels brought to 2 frames: 0.9" in capsys.readouterr().out
    with open(output / "motion.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["frame"] for row in rows] == ["0", "1", "2"] and float(rows[0]["dice"]) > 0.9
    assert [float(row["time"]) for row in rows] == pytest.approx([0.2, 0.24, 0.28])
    made = json.loads((output / "series.json").read_text())
    assert made["reference"] == 1 and made["request"]["similarity"] == "lncc" and "torch" in made["versions"]
    assert set(made["sha256"]) == {"frames 0", "labels", "points"}
    for name in ("stabilized.nii.gz", "labels.nii.gz", "stabilized.seq.nrrd"):
        assert times_of([str(output / name)]) == pytest.approx([0.2, 0.24, 0.28])
    brought = sitk.ReadImage(str(output / "labels.nii.gz"))
    assert brought.GetSize() == (*GRID.size_ijk, 3)
    played = sitk.ReadImage(str(output / "labels.seq.nrrd"))  # a list is read as components
    assert played.GetNumberOfComponentsPerPixel() == 3 and played.GetSize() == GRID.size_ijk
    np.testing.assert_allclose(played.GetOrigin(), GRID.origin_lps_mm)
    values = sitk.GetArrayFromImage(played)
    np.testing.assert_array_equal(values[..., 2], sitk.GetArrayFromImage(brought[:, :, :, 2]))
    stabilized = read_frames([str(output / "stabilized.nii.gz")], "frames")
    still, before = (np.abs(one[2].values - FRAMES[1].values).mean() for one in (stabilized, FRAMES))
    assert still < 0.4 * before
    transform = sitk.ReadTransform(str(output / "frame_02.h5"))
    there = np.array(transform.TransformPoint(TIP[0].tolist()))
    assert np.linalg.norm(there - TIP[0]) > 1
    assert (output / "frame_00_inverse.h5").is_file() and not (output / "frame_01.h5").exists()


def test_what_an_earlier_series_left_is_not_taken_for_a_part_of_the_next(tmp_path, monkeypatch):
    from SlicerDeepRegLib.pipeline import series as pipeline

    write_frames(FRAMES, tmp_path / "heart.nii.gz")
    write_image(TRUTH[0], tmp_path / "labels.nii.gz")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.txt").write_text("mine")
    command = ["series", "--frames", "heart.nii.gz", "--output", "out", "--quiet"]

    def found(series, truth, report):
        yield from (FrameResult(n, None, series.labels, FRAMES[n], {"seconds": 20.671999999999997}) for n in range(3))

    monkeypatch.setattr(pipeline, "register_series", found)
    assert main([*command, "--labels", "labels.nii.gz"]) == 0
    assert (tmp_path / "out" / "labels.seq.nrrd").is_file()
    assert (tmp_path / "out" / "motion.csv").read_text().splitlines()[1].endswith("20.672")
    assert main(command) == 0
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"stabilized.nii.gz", "stabilized.seq.nrrd", "motion.csv", "series.json", "labels.txt"}


def test_frames_of_whole_numbers_are_written_too(tmp_path):
    whole = [dataclasses.replace(one, values=np.round(100 * one.values).astype(np.int16)) for one in FRAMES[:2]]
    write_frames(whole, tmp_path / "heart.nii.gz")
    command = ["series", "--frames", str(tmp_path / "heart.nii.gz"), "--preset", "fast", "--pair", "people", "--quiet"]
    assert main([*command, "--similarity", "lncc", "--output", str(tmp_path / "out")]) == 0
    stabilized = read_frames([str(tmp_path / "out" / "stabilized.nii.gz")], "frames")
    np.testing.assert_allclose(stabilized[0].values, whole[0].values)


def test_slicer_reads_a_sequence(tmp_path):
    slicer = pytest.importorskip("slicer")
    if not hasattr(slicer, "vtkMRMLVolumeSequenceStorageNode"):
        pytest.skip("slicer-core here has no sequences of volumes")
    write_sequence(FRAMES, tmp_path / "heart.seq.nrrd")
    storage, sequence = slicer.vtkMRMLVolumeSequenceStorageNode(), slicer.vtkMRMLSequenceNode()
    scene = slicer.vtkMRMLScene()
    scene.AddNode(sequence)
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "heart.seq.nrrd"))
    assert storage.ReadData(sequence) and sequence.GetNumberOfDataNodes() == 3
    node = sequence.GetNthDataNode(2)
    np.testing.assert_allclose(grid_of(node).ijk_to_lps, GRID.ijk_to_lps, atol=1e-6)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), FRAMES[2].values, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--reference", "7"], "no frame 7: the series has 3"),
        (["--labels", "small.nii.gz"], "another voxel grid than heart.nii.gz, frame 0"),
        (["--frames", "labels.nii.gz"], "is one volume, not a series"),
        (
            ["--frames", "labels.nii.gz", "small.nii.gz"],
            "small.nii.gz has 20 x 20 x 20 voxels and the reference, labels.nii.gz",
        ),
        (["--frames", "nothing.nii.gz"], "does not exist"),
        (["--truth", "two.nii.gz", "--labels", "labels.nii.gz"], "3 frames and 2 label maps"),
        (["--truth", "two.nii.gz"], "no labels to be measured"),
        (
            ["--truth", "smalls.nii.gz", "--labels", "labels.nii.gz"],
            "another voxel grid than heart.nii.gz, frame 0",
        ),
        (["--truth", "elsewhere.nii.gz", "--labels", "labels.nii.gz"], "another voxel grid than heart.nii.gz, frame 0"),
        (["--frames", "labels.nii.gz", "moved.nii.gz"], "moved.nii.gz lies elsewhere than the reference"),
        (["--frames", "labels.nii.gz", "zero.nii.gz"], "zero.nii.gz) is constant"),
        (["--points", "far.csv"], "outside the reference, heart.nii.gz, frame 0 (number 2)"),
    ],
)
def test_a_series_that_cannot_be_registered_is_refused_before_any_work(tmp_path, capsys, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    write_frames(FRAMES, tmp_path / "heart.nii.gz")
    write_frames(TRUTH[:2], tmp_path / "two.nii.gz")
    write_image(TRUTH[0], tmp_path / "labels.nii.gz")
    small = make_grid((20, 20, 20), (2.0, 2.0, 2.0), np.eye(3))
    write_image(Image(ball(voxel_centers_lps(small)), small, "small"), tmp_path / "small.nii.gz")
    write_frames([Image(np.ones((20, 20, 20), np.int32), small, "s")] * 3, tmp_path / "smalls.nii.gz")
    away = make_grid(GRID.size_ijk, (2.0, 2.0, 2.0), np.eye(3), (9.0, 0, 0))
    write_image(Image(TRUTH[0].values, away, "moved"), tmp_path / "moved.nii.gz")
    write_frames([Image(one.values, away, "moved") for one in TRUTH], tmp_path / "elsewhere.nii.gz")
    write_image(Image(0 * TRUTH[0].values, GRID, "zero"), tmp_path / "zero.nii.gz")
    (tmp_path / "far.csv").write_text("3,2,0\n500,500,500\n")
    command = ["series", "--output", "out", "--quiet"]
    if "--frames" not in options:
        command += ["--frames", "heart.nii.gz"]
    assert main([*command, *options]) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_chain_has_a_name():
    with pytest.raises(InputError, match="reference, neighbor"):
        list(register_series(Series(FRAMES, 0, template(), chain="next")))
