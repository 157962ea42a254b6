"""Private folders: removed at the end, and by the next where their owner was killed; never one that is in use."""

import os
import subprocess
import sys
import time

import pytest
from helpers.paths import PROJECT
from SlicerDeepRegLib.processes import folders
from SlicerDeepRegLib.processes.folders import PrivateFolder, private_folder, restore, sweep

needs_locks = pytest.mark.skipif(os.name != "posix", reason="Windows has no lock on folders")


def test_it_is_private_and_removed_however_the_block_ends(tmp_path):
    with pytest.raises(KeyError), private_folder("own-", tmp_path) as folder:
        (folder / "file").write_text("x")
        assert os.name != "posix" or folder.stat().st_mode & 0o77 == 0
        raise KeyError
    assert not list(tmp_path.iterdir())


@needs_locks
def test_the_folder_of_a_killed_process_is_swept_and_that_of_a_living_one_is_not(tmp_path):
    code = (
        "import sys, time; from SlicerDeepRegLib.processes.folders import PrivateFolder; "
        f"print(PrivateFolder('own-', {str(tmp_path)!r}).path, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "SlicerDeepReg")}
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, encoding="utf-8", env=environment)
    theirs = other.stdout.readline().strip()
    mine, kept = PrivateFolder("own-", tmp_path), tmp_path / "of-others"
    kept.mkdir()
    sweep("own-", tmp_path)
    assert os.path.isdir(theirs) and mine.path.is_dir()
    other.kill()
    other.wait()
    other.stdout.close()
    PrivateFolder("own-", tmp_path).remove()
    assert not os.path.isdir(theirs) and mine.path.is_dir() and kept.is_dir()
    mine.remove()
    mine.remove()
    assert list(tmp_path.iterdir()) == [kept]


@needs_locks
def test_another_is_made_where_a_newborn_is_just_being_removed(tmp_path, monkeypatch):
    own, taken = folders.own, []

    def slow(path):
        if not taken:  # another process holds its lock
            taken.append(path)
            raise BlockingIOError
        return own(path)

    monkeypatch.setattr(folders, "own", slow)
    folder = PrivateFolder("own-", tmp_path)
    assert taken and folder.path != taken[0]
    folder.remove()


@needs_locks
def test_a_link_is_not_followed(tmp_path):
    place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
    place.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine")
    (place / "own-abcdefgh.private").symlink_to(elsewhere)
    sweep("own-", place)
    assert (elsewhere / "file").read_text(encoding="utf-8") == "mine" and list(place.iterdir())


def test_a_folder_of_the_users_that_begins_alike_is_left_alone(tmp_path):
    for name in ("own-", "own-results", "own-abcdefgh", "own-abcdefgh.private.old", "own-my scans.private"):
        (tmp_path / name).mkdir()
    (tmp_path / "own-abcdefgi.private").mkdir()  # of a killed process
    PrivateFolder("own-", tmp_path).remove()
    assert len(list(tmp_path.iterdir())) == (5 if os.name == "posix" else 6)


@needs_locks
def test_another_is_made_where_a_newborn_was_taken_for_an_ownerless_one(tmp_path, monkeypatch):
    own, taken = folders.own, []

    def slow(path):
        if not taken:  # before it is locked, another process sweeps it
            taken.append(path)
            path.rmdir()
        return own(path)

    monkeypatch.setattr(folders, "own", slow)
    folder = PrivateFolder("own-", tmp_path)
    assert taken and folder.path != taken[0] and folder.path.is_dir()
    folder.remove()


def test_without_locks_only_what_was_long_forgotten_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "LOCKS", False)
    new, old = PrivateFolder("own-", tmp_path), PrivateFolder("own-", tmp_path)
    long_ago = time.time() - folders.FORGOTTEN_S - 60
    os.utime(old.path, (long_ago, long_ago))
    sweep("own-", tmp_path)
    assert new.path.is_dir() and not old.path.exists()
    new.remove()


@needs_locks
def test_what_was_set_aside_by_a_killed_process_is_put_back(tmp_path):
    for name, part in (("lost", "abcdefgh"), ("replaced", "ijklmnop")):
        folder = tmp_path / f".before-{part}.private" / name
        folder.mkdir(parents=True)
        (folder / "card.json").write_text("old")
    (tmp_path / "replaced").mkdir()
    (tmp_path / "replaced" / "card.json").write_text("new")
    restore(".before-", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lost", "replaced"]
    assert (tmp_path / "lost" / "card.json").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "replaced" / "card.json").read_text(encoding="utf-8") == "new"


@needs_locks
def test_what_another_process_is_replacing_just_now_is_left_to_it(tmp_path):
    with private_folder(".before-", tmp_path) as folder:
        (folder / "model").mkdir()
        restore(".before-", tmp_path)
        assert (folder / "model").is_dir() and not (tmp_path / "model").exists()
