"""What is written into a folder that holds something already, and what is refused before any work."""

import json
import os
from pathlib import Path

import pytest
from SlicerDeepRegLib.files.images import check_image_name
from SlicerDeepRegLib.files.results import check_output, output_folder
from SlicerDeepRegLib.types import InputError


def write(folder, **texts):
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)


def run(folder, **texts):
    with output_folder(folder) as private:
        write(private, **texts)
        (private / "result.json").write_text(json.dumps({"made": sorted(texts)}))


def state(folder):
    return {path.name: path.read_text() if path.is_file() else "folder" for path in folder.iterdir()}


def test_what_an_earlier_run_wrote_and_this_one_does_not_goes(tmp_path):
    run(tmp_path, warped_nii="1", report_html="1", fixed_png="1")
    assert json.loads((tmp_path / "result.json").read_text())["files"] == {
        "fixed.png": 1,
        "report.html": 1,
        "warped.nii": 1,
    }
    (tmp_path / "labels.nii").write_text("mine")
    (tmp_path / "fixed.png").write_text("mine, under that name")
    run(tmp_path, warped_nii="2")
    left = state(tmp_path)
    assert left.pop("result.json") and left == {
        "warped.nii": "2",
        "labels.nii": "mine",
        "fixed.png": "mine, under that name",
    }


def test_files_beside_a_result_that_does_not_name_them_stay(tmp_path):
    write(tmp_path, scene_mrb="mine")
    for text in ("{}", "no JSON", '{"files": ["scene.mrb"]}', '{"files": {"../x": 1, "scene.mrb": "many"}}'):
        (tmp_path / "result.json").write_text(text)
        run(tmp_path, warped_nii="2")
        assert (tmp_path / "scene.mrb").read_text() == "mine"


def test_where_one_file_cannot_be_replaced_all_stay(tmp_path):
    run(tmp_path, warped_nii="1", jacobian_nii="1")
    (tmp_path / "transform.h5").mkdir()
    before = state(tmp_path)
    with pytest.raises(InputError, match="could not be written"):
        run(tmp_path, warped_nii="2", jacobian_nii="2", transform_h5="2")
    assert state(tmp_path) == before


@pytest.mark.parametrize("links", [True, False])
def test_a_fault_in_the_middle_of_replacing_gives_everything_back(tmp_path, monkeypatch, links):
    run(tmp_path, warped_nii="1", jacobian_nii="1")
    before = state(tmp_path)
    replace = os.replace
    done = []

    def fails_once(source, target):
        if Path(target).parent == tmp_path:
            done.append(target)
            if len(done) == 3:
                raise PermissionError(13, "Permission denied")
        return replace(source, target)

    def no_links(*arguments, **more):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "replace", fails_once)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(InputError, match="Permission denied"):
        run(tmp_path, another_nii="2", jacobian_nii="2", warped_nii="2")
    assert state(tmp_path) == before


def test_outputs_that_cannot_be_are_refused(tmp_path):
    write(tmp_path, image_nii="x", warped_nii="y")
    for path, message in (
        (tmp_path / "image.nii", "is a file. Give a folder"),
        (tmp_path / "image.nii" / "below", "image.nii is a file. Choose another folder"),
    ):
        with pytest.raises(InputError, match=message):
            check_output(path, [], ["warped.nii"])
    with pytest.raises(InputError, match="is a folder. Give a file"):
        check_output(tmp_path, [])
    with pytest.raises(InputError, match="image.nii would be replaced"):
        check_output(tmp_path / "image.nii", [tmp_path / "image.nii"])
    os.symlink(tmp_path, tmp_path / "link")
    for names in (["warped.nii"], ["*.nii"]):
        with pytest.raises(InputError, match="nii would be replaced"):
            check_output(tmp_path / "link", [tmp_path / "image.nii", tmp_path / "warped.nii"], names)
    check_output(tmp_path, [tmp_path / "image.nii", tmp_path / "nothere.nii"], ["warped.nii", "nothere.nii"])
    check_output(tmp_path / "new" / "folder", [tmp_path / "warped.nii"], ["warped.nii"])
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"must end with .nii.gz, .nii, .nrrd, .mha, .mhd or .nhdr"):
        check_image_name(tmp_path / "labels.png")
    check_image_name(tmp_path / "labels.seg.nrrd")


def test_commands_refuse_to_replace_what_they_read(tmp_path, capsys):
    from SlicerDeepRegLib.commands import main

    write(tmp_path, scan_nii="x", warped_nii="y", labels_nii="z", template_nii="t")
    scan, warped, labels, template = (str(tmp_path / f"{n}.nii") for n in ("scan", "warped", "labels", "template"))
    for arguments in (
        ["segment", "--model", "brain", "--image", scan, "--output", scan],
        ["series", "--frames", scan, "--labels", labels, "--output", str(tmp_path)],
        ["template", "--images", template, scan, "--output", str(tmp_path)],
    ):
        assert main(arguments) == 2
        assert "would be replaced by an output" in capsys.readouterr().err
    assert main(["segment", "--model", "brain", "--image", scan, "--output", "a.nii", "--mask", "a.nii"]) == 2
    assert "--output and --mask are the same file" in capsys.readouterr().err
    os.rename(warped, tmp_path / "warped.nii.gz")
    moving = str(tmp_path / "warped.nii.gz")
    assert main(["register", "--fixed", scan, "--moving", moving, "--output", str(tmp_path)]) == 2
    assert "warped.nii.gz would be replaced" in capsys.readouterr().err
    assert (tmp_path / "warped.nii.gz").read_text() == "y"


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    folder = tmp_path / "results"
    with output_folder(folder) as private:
        with pytest.raises(InputError, match="Another run is writing into"), output_folder(folder):
            pass
        with pytest.raises(InputError, match="Another run is writing into"):
            check_output(folder, [], ["*.nii"])  # before any work
        write(private, warped_nii="first")
        (private / "result.json").write_text("{}")
    assert state(folder).keys() == {"warped.nii", "result.json"}
    run(folder, warped_nii="second")  # the first one has ended
    assert state(folder)["warped.nii"] == "second"
