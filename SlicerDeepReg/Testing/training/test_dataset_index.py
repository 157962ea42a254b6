"""Which images and pairs a folder, a CSV and a dataset.json give, and what is said of those that do not fit."""

import dataclasses
import json
from pathlib import Path

import pytest
from helpers.scans import folder_of_scans, scan, write_csv
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.training.dataset.index import DatasetIndex, Pair, Subject
from SlicerDeepRegLib.training.dataset.pairs import make_pairs
from SlicerDeepRegLib.training.dataset.read import read_dataset_index
from SlicerDeepRegLib.training.dataset.splits import (
    contents_of,
    described,
    read_split,
    trained_on,
    with_splits,
    write_split,
)
from SlicerDeepRegLib.types import InputError


def pairs_of(index, pairing, split="train", atlas=None, validation=0.0):
    return [(p.moving, p.fixed) for p in make_pairs(with_splits(index, validation, 0)[0], pairing, split, atlas)]


def test_a_folder_gives_images_with_their_labels(tmp_path):
    index = read_dataset_index(folder_of_scans(tmp_path, 3))
    assert list(index.subjects) == ["sub-00", "sub-01", "sub-02"]
    one = index.subjects["sub-01"]
    assert one.image.name == "sub-01.nii.gz" and one.labels.name == "sub-01_seg.nii.gz" and one.mask is None
    assert len(pairs_of(index, "all")) == 6 and len(set(pairs_of(index, "all"))) == 6
    assert pairs_of(index, "from-atlas", atlas="sub-01") == [("sub-01", "sub-00"), ("sub-01", "sub-02")]
    assert pairs_of(index, "to-atlas", atlas="sub-01") == [("sub-00", "sub-01"), ("sub-02", "sub-01")]
    assert sorted(fixed for _, fixed in pairs_of(index, "random")) == ["sub-00", "sub-01", "sub-02"]


def test_subfolders_name_splits_and_labels(tmp_path):
    image, labels = scan(0)
    for part, number in (("Tr", 0), ("Tr", 1), ("Val", 2)):
        for kind, what in (("images", image), ("labels", labels)):
            (tmp_path / f"{kind}{part}").mkdir(exist_ok=True)
            write_image(what, tmp_path / f"{kind}{part}" / f"case_{number}.nii.gz")
    index = read_dataset_index(tmp_path)
    assert {name: subject.split for name, subject in index.subjects.items()} == {
        "case_0": "train",
        "case_1": "train",
        "case_2": "val",
    }
    assert all(one.labels is not None for one in index.subjects.values())


def test_patterns_name_images_and_labels(tmp_path):
    """As the OASIS distribution for registration has them, among other files."""
    image, labels = scan(0)
    for subject in ("OAS1_0001", "OAS1_0002"):
        (tmp_path / subject).mkdir()
        for name, what in (("aligned_norm", image), ("aligned_seg35", labels), ("norm", image)):
            write_image(what, tmp_path / subject / f"{name}.nii.gz")
    index = read_dataset_index(tmp_path, "*/aligned_norm.nii.gz", "*/aligned_seg35.nii.gz")
    assert list(index.subjects) == ["OAS1_0001", "OAS1_0002"]
    assert index.subjects["OAS1_0002"].labels.name == "aligned_seg35.nii.gz"
    with pytest.raises(InputError, match="No file .* pattern"):
        read_dataset_index(tmp_path, "*/elsewhere.nii.gz")
    with pytest.raises(InputError, match="seem to belong to one subject.*--images"):
        folder_of_scans(tmp_path / "same" / "a", 1)
        write_image(image, tmp_path / "same" / "a" / "sub-00_t1.nii.gz")
        read_dataset_index(tmp_path / "same")


def test_a_csv_of_images_with_groups_and_splits(tmp_path):
    folder_of_scans(tmp_path / "scans", 4)
    rows = [
        {"image": f"scans/sub-0{n}.nii.gz", "labels": f"scans/sub-0{n}_seg.nii.gz", "split": split, "group": group}
        for n, (split, group) in enumerate([("train", "a"), ("train", "a"), ("train", "b"), ("val", "b")])
    ]
    index = read_dataset_index(write_csv(tmp_path / "list.csv", rows))
    found = pairs_of(index, "all")
    assert found == [("scans/sub-01.nii.gz", "scans/sub-00.nii.gz"), ("scans/sub-00.nii.gz", "scans/sub-01.nii.gz")]


def test_a_csv_of_pairs(tmp_path):
    folder_of_scans(tmp_path / "scans", 3)
    name = "scans/sub-0{}.nii.gz".format
    rows = [
        {"fixed": name(0), "moving": name(1), "fixed_labels": "scans/sub-00_seg.nii.gz", "split": ""},
        {"fixed": name(0), "moving": name(2), "fixed_labels": "", "split": "val"},
    ]
    index = read_dataset_index(write_csv(tmp_path / "pairs.csv", rows))
    assert pairs_of(index, "given") == [(name(1), name(0))]
    assert pairs_of(index, "given", "val") == [(name(2), name(0))]
    assert index.subjects[name(0)].labels is not None and index.subjects[name(2)].labels is None
    rows[1]["fixed_labels"] = "scans/sub-01_seg.nii.gz"
    with pytest.raises(InputError, match="named twice with another labels"):
        read_dataset_index(write_csv(tmp_path / "pairs.csv", rows))


def test_two_frames_of_a_film_need_names_of_their_own(tmp_path):
    (tmp_path / "film.avi").write_bytes(b"0")
    rows = [{"image": "film.avi", "frame": number} for number in (0, 3)]
    with pytest.raises(InputError, match="named twice with another frame: 0 and 3"):
        read_dataset_index(write_csv(tmp_path / "list.csv", rows))
    named = [{**row, "name": f"frame {row['frame']}"} for row in rows]
    assert len(read_dataset_index(write_csv(tmp_path / "named.csv", named)).subjects) == 2


def test_a_learn2reg_description(tmp_path):
    image, labels = scan(0)
    for kind, what in (("images", image), ("labels", labels)):
        (tmp_path / f"{kind}Tr").mkdir()
        for number in range(4):
            write_image(what, tmp_path / f"{kind}Tr" / f"OASIS_{number:04d}_0000.nii.gz")
    path = "./imagesTr/OASIS_{:04d}_0000.nii.gz".format
    description = {
        "training": [{"image": path(n)} for n in range(4)],
        "registration_val": [{"fixed": path(2), "moving": path(3)}],
    }
    (tmp_path / "OASIS_dataset.json").write_text(json.dumps(description))
    index = read_dataset_index(tmp_path / "OASIS_dataset.json")
    assert all(one.labels is not None for one in index.subjects.values())
    assert len(pairs_of(index, "all")) == 2  # the two that validation does not use
    assert pairs_of(index, "all", "val") == [("OASIS_0003_0000", "OASIS_0002_0000")]


def test_some_are_held_out_where_nothing_is_said(tmp_path):
    index = read_dataset_index(folder_of_scans(tmp_path, 10, labels=False))
    first, note = with_splits(index, 0.2, seed=1)
    held_out = [name for name, one in first.subjects.items() if one.split == "val"]
    assert len(held_out) == 2 and "Of 10, 2 were held out" in note and "seed 1" in note
    assert with_splits(index, 0.2, seed=1)[0] == first != with_splits(index, 0.2, seed=2)[0]
    few, note = with_splits(index.without(list(index.subjects)[4:]), 0.2, 0)
    assert all(one.split == "train" for one in few.subjects.values()) and "Nothing" in note
    # One alone makes no pair to validate; with an atlas it does, and the atlas is never held out.
    assert sum(one.split == "val" for one in with_splits(index, 0.1, 0)[0].subjects.values()) == 2
    for seed in range(12):
        split, _ = with_splits(index, 0.1, seed, atlas="sub-03")
        assert split.subjects["sub-03"].split == "train"
        assert len(make_pairs(split, "from-atlas", "val", "sub-03")) == 1


def test_a_papers_split_is_drawn_by_the_seed(tmp_path):
    index = read_dataset_index(folder_of_scans(tmp_path, 10, labels=False))
    split, note = with_splits(index, 0.1, 3, counts=(254, 20, 140))
    parts = [one.split for one in split.subjects.values()]
    assert [parts.count(name) for name in ("train", "val", "test")] == [5, 2, 3] and "3 kept for a test" in note
    used = {name for pair in make_pairs(split, "all", "train") for name in (pair.moving, pair.fixed)}
    assert used == {name for name, one in split.subjects.items() if one.split == "train"}


def test_held_out_images_are_in_no_training_pair(tmp_path):
    """Whatever names the pairs and the splits."""
    folder_of_scans(tmp_path / "scans", 8, labels=False)
    name = "scans/sub-0{}.nii.gz".format
    bare = [{"fixed": name(n), "moving": name((n + k) % 8)} for n in range(8) for k in (1, 2, 3)]
    index, _ = with_splits(read_dataset_index(write_csv(tmp_path / "bare.csv", bare)), 0.25, 0)
    split = {key: one.split for key, one in index.subjects.items()}
    training, validation = (make_pairs(index, "given", one) for one in ("train", "val"))
    assert training and all(split[p.moving] == split[p.fixed] == "train" for p in training)
    assert all(split[p.moving] == split[p.fixed] == "val" for p in validation)
    marked = [{**bare[n], "split": part} for n, part in ((0, "train"), (9, "val"), (18, "test"))]
    index, _ = with_splits(read_dataset_index(write_csv(tmp_path / "marked.csv", marked)), 0.25, 0)
    named = {bare[0]["fixed"], bare[0]["moving"]}
    for pairing in ("all", "random", "given"):
        used = {key for pair in make_pairs(index, pairing, "train") for key in (pair.moving, pair.fixed)}
        assert used == named, pairing


def test_roles_are_told_by_many_words_and_links_are_followed(tmp_path):
    image, labels = scan(0)
    (tmp_path / "store" / "s1").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for file in ("norm.nii.gz", "norm_seg35.nii.gz", "norm_mask.nii.gz"):
        write_image(image if file == "norm.nii.gz" else labels, tmp_path / "store" / "s1" / file)
    (tmp_path / "data" / "s1").symlink_to(tmp_path / "store" / "s1")
    write_image(labels, tmp_path / "data" / "s2_aparc+aseg.nii.gz")
    (tmp_path / "store" / "s1" / "norm.nii.gz").rename(tmp_path / "store" / "s1" / "norm.NII.GZ")
    with pytest.raises(InputError, match="1 label maps belong to no image"):
        read_dataset_index(tmp_path / "data")
    (tmp_path / "data" / "s2_aparc+aseg.nii.gz").unlink()
    (only,) = read_dataset_index(tmp_path / "data").subjects.values()
    assert only.labels.name == "norm_seg35.nii.gz" and only.mask.name == "norm_mask.nii.gz"
    for number in (2, 10):
        write_image(image, tmp_path / "data" / f"frame_{number}.nii.gz")
    assert [n for n in read_dataset_index(tmp_path / "data").subjects if n.startswith("frame")] == [
        "frame_2",
        "frame_10",
    ]


def test_what_is_no_data_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no data")
    cases = {
        "does not exist|do not exist": tmp_path / "nowhere",
        "contains no images": tmp_path / "empty",
        "must be a folder": tmp_path / "notes.txt",
        "needs the column image": write_csv(tmp_path / "odd.csv", [{"a": 1}]),
        "mean nothing here: label": write_csv(tmp_path / "label.csv", [{"image": "x.nii.gz", "label": "y.nii.gz"}]),
        "line 2: the file 'gone.nii.gz' does not exist": write_csv(tmp_path / "gone.csv", [{"image": "gone.nii.gz"}]),
    }
    for message, path in cases.items():
        with pytest.raises(InputError, match=message):
            read_dataset_index(path)
    one = read_dataset_index(folder_of_scans(tmp_path / "one", 1))
    with pytest.raises(InputError, match="1 image for training: a pair needs two"):
        pairs_of(one, "all")
    with pytest.raises(InputError, match="no image 'x' for the atlas"):
        pairs_of(one, "to-atlas", atlas="x")
    with pytest.raises(InputError, match="name no pairs"):
        pairs_of(one, "given")


def paired(count, partner):
    """An index of so many given pairs without a split; ``partner`` gives the moving image of the n-th fixed one."""
    pairs = tuple(Pair(partner(n), f"f{n:02d}") for n in range(count))
    names = sorted({name for pair in pairs for name in (pair.moving, pair.fixed)})
    return DatasetIndex({name: Subject(name, Path(f"{name}.nii.gz")) for name in names}, pairs)


def test_pairs_without_a_split_are_divided_whole():
    """Two images of each of twenty people: no pair is lost, and a held-out image is in no training pair."""
    index, note = with_splits(paired(20, lambda n: f"m{n:02d}"), 0.2, 0, (14, 4, 2))
    found = {split: make_pairs(index, "given", split) for split in ("train", "val", "test")}
    assert {split: len(pairs) for split, pairs in found.items()} == {"train": 14, "val": 4, "test": 2}
    assert "4 were held out for validation and 2 kept for a test" in note and "not used" not in note


def test_pairs_that_cannot_be_divided_whole_are_counted():
    index, note = with_splits(paired(20, lambda n: f"f{(n + 1) % 20:02d}"), 0.2, 0)  # a chain of everybody
    kept = sum(len(make_pairs(index, "given", split)) for split in ("train", "val", "test"))
    assert kept < 20 and f"{20 - kept} of 20 pairs connect images of different parts and are not used" in note


def test_the_files_of_a_subject_are_told_before_a_training(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / f"{name}.nii.gz").write_bytes(b"")
        (tmp_path / f"{name}_seg.nii.gz").write_bytes(b"")
    index, _ = with_splits(read_dataset_index(tmp_path), 0.1, 0)
    lines = described(index)
    assert lines[0] == "train: 4 images, 4 with labels, 0 with a mask"
    assert lines[1] == "  a: image a.nii.gz, labels a_seg.nii.gz" and lines[-1].startswith("  and 1 more; all are in")
    write_split(index, tmp_path)
    assert set(read_split(tmp_path).values()) == {"train"} and set(read_split(tmp_path)) == {"a", "b", "c", "d"}


# ------------------------------------------------------------------ what is trained on and tested with


def one_file(folder, name, value=0):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([value]) * 10)
    return path


def test_one_file_under_two_spellings_is_refused(tmp_path):
    for name in ("a.nii", "b.nii"):
        one_file(tmp_path, name)
    (tmp_path / "list.csv").write_text("image,split\na.nii,train\n./a.nii,val\nb.nii,train\n")
    with pytest.raises(InputError, match="a.nii are the same image"):
        read_dataset_index(tmp_path / "list.csv")


def test_a_training_pair_with_an_image_that_is_held_out_is_not_used_and_counted():
    subjects = {name: Subject(name, Path(name), split="val" if name == "c" else "train") for name in "abc"}
    pairs = (Pair("a", "b", "train"), Pair("c", "a", "train"), Pair("a", "c", "val"))
    index, note = with_splits(DatasetIndex(subjects, pairs), 0.1, 0)
    assert [(p.moving, p.fixed) for p in make_pairs(index, "given", "train")] == [("a", "b")]
    assert [(p.moving, p.fixed) for p in make_pairs(index, "given", "val")] == [("a", "c")]
    assert "because an image of them is held out: 1." in note
    assert "with an image that is trained on: 1 of 1." in note
    assert with_splits(DatasetIndex(subjects, pairs[:1]), 0.1, 0)[1] is None


def test_what_a_model_learned_from_is_known_wherever_it_lies(tmp_path):
    """The same image in another folder has another name; the same name may be another image."""
    names = {"a": 1, "b": 2, "c": 3}
    here = {n: Subject(n, one_file(tmp_path, f"here/{n}.nii", v), split="train") for n, v in names.items()}
    here["c"] = dataclasses.replace(here["c"], split="test")
    model = tmp_path / "model"
    model.mkdir()
    write_split(DatasetIndex(here), model)
    there = [Subject(f"x/{n}", one_file(tmp_path, f"there/{n}.nii", v)) for n, v in names.items()]
    assert trained_on(model, there) == ["x/a", "x/b"]
    assert trained_on(model, [Subject("a", one_file(tmp_path, "other/a.nii", 9))]) == []
    rows = (model / "split.csv").read_text().splitlines()
    (model / "split.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows))  # of an earlier version
    assert trained_on(model, here.values()) == ["a", "b"] and trained_on(tmp_path, there) == []


def test_a_change_of_any_file_of_a_data_set_is_noticed(tmp_path):
    labels = one_file(tmp_path, "labels.nii", 1)
    index = DatasetIndex({"a": Subject("a", one_file(tmp_path, "a.nii"), labels)})
    before = contents_of(index)
    assert contents_of(index) == before
    one_file(tmp_path, "labels.nii", 2)
    assert contents_of(index) != before
