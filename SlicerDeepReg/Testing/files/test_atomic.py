"""All or nothing: what a block wrote appears whole when it ends, and not at all when it fails."""

import errno
import os

import pytest
from SlicerDeepRegLib.files import atomic
from SlicerDeepRegLib.files.atomic import reason, whole_file, whole_files, whole_folder, writing
from SlicerDeepRegLib.types import InputError


def content(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_files_appear_when_the_block_ends(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "other").write_text("stays")
    with whole_files(tmp_path) as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("new")
        assert (tmp_path / "a").read_text() == "old" and not (tmp_path / "b").exists()
    assert content(tmp_path) == {"a": "new", "b": "new", "other": "stays"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError()])
def test_nothing_changes_when_the_block_fails(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(error)), whole_file(tmp_path / "a") as path:
        path.write_text("half")
        raise error
    assert content(tmp_path) == {"a": "old"} and not list(tmp_path.glob(".*"))


def test_the_file_that_says_that_all_are_there_comes_last(tmp_path, monkeypatch):
    replaced, replace = [], os.replace

    def recorded(old, new):
        replaced.append(new.name)
        replace(old, new)

    monkeypatch.setattr(atomic.os, "replace", recorded)
    with whole_files(tmp_path, last="card.json") as folder:
        for name in ("card.json", "b", "a"):
            (folder / name).write_text("new")
    assert replaced == ["a", "b", "card.json"]


def test_a_folder_takes_the_place_of_another(tmp_path):
    place = tmp_path / "model"
    for text in ("first", "second"):
        with whole_folder(place, ".before-") as folder:
            (folder / text).write_text(text)
        assert content(tmp_path) == {f"model/{text}": text}
    assert not list(tmp_path.glob(".*"))


def test_the_old_folder_is_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    place = tmp_path / "model"
    place.mkdir()
    (place / "file").write_text("old")
    replace = os.replace

    def refused(old, new):
        if new == place and old.name != "model":  # not the old one on its way back
            raise OSError(errno.EACCES, "Permission denied")
        replace(old, new)

    monkeypatch.setattr(atomic.os, "replace", refused)
    with pytest.raises(OSError, match="Permission denied"), whole_folder(place, ".before-") as folder:
        (folder / "file").write_text("new")
    assert content(tmp_path) == {"model/file": "old"} and not list(tmp_path.glob(".*"))


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    left = tmp_path / f"{atomic.UNFINISHED}abcdefgh.private"
    left.mkdir()
    (left / "half").write_text("half")
    old = 1.0  # where folders have no locks, age tells
    os.utime(left, (old, old))
    with whole_file(tmp_path / "a") as path:
        path.write_text("new")
    assert content(tmp_path) == {"a": "new"} and not left.exists()


def test_an_error_says_what_where_why_and_what_to_do(tmp_path):
    with pytest.raises(InputError, match="The model could not be written to .*m .No space left.. Free some space"):
        with writing("The model", tmp_path / "m"):
            raise OSError(errno.ENOSPC, "No space left")
    with pytest.raises(InputError, match="inline_container.*Go on"):
        with writing("The checkpoint", tmp_path, "Go on.", also=(RuntimeError,)):
            raise RuntimeError("inline_container failed\nmore that nobody reads")
    with pytest.raises(RuntimeError), writing("The model", tmp_path):
        raise RuntimeError


def test_the_reason_of_an_error():
    assert reason(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert reason(RuntimeError("first line\nsecond")) == "first line"
    assert reason(MemoryError()) == "MemoryError"
