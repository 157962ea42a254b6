"""The one launcher: what a process is given, how it is watched and ended, and what is said of its end."""

import os
import sys
import time
from pathlib import Path

import pytest
from SlicerDeepRegLib.processes import launch
from SlicerDeepRegLib.types import InputError

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def python(*lines):
    return [sys.executable, "-c", "\n".join(lines)]


def test_the_environment_keeps_what_people_chose_and_nothing_that_means_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    apart = os.pathsep
    given = launch.environment_for(
        {"PYTHONPATH": f"{apart}mine{apart}", "PYTHONHOME": "home", "TMPDIR": "t"}, threads=3
    )
    assert given["PYTHONPATH"] == str(tmp_path / "mine")  # an empty part would be the working folder
    assert given["PYTHONHOME"] == "home" and given["TMPDIR"] == str(tmp_path / "t") and given["PYTHONSAFEPATH"] == "1"
    assert given["OMP_NUM_THREADS"] == given["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in launch.environment_for({}, threads=0)
    assert "PYTHONPATH" not in launch.environment_for({"PYTHONPATH": apart})
    for name in ("ITK_AUTOLOAD_PATH", "PYTHONSTARTUP", "PYTHONINSPECT"):
        assert name not in launch.environment_for({name: "x"})


def test_a_module_is_run_by_a_file_of_the_library():
    start = str(Path(launch.__file__).with_name("start.py"))
    assert launch.module_command("worker", "folder") == [sys.executable, start, "worker", "folder"]
    assert launch.module_command("worker", python=["PythonSlicer", "-I"])[:2] == ["PythonSlicer", "-I"]


@posix_only
def test_a_program_is_found_on_the_path_and_never_in_the_working_folder(tmp_path, monkeypatch):
    for place in (tmp_path / "here", tmp_path / "bin"):
        place.mkdir()
        (place / "reg_f3d").write_text("#!/bin/sh")
        (place / "reg_f3d").chmod(0o755)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", str(tmp_path / "bin")]))
    assert launch.find_program("reg_f3d") == str(tmp_path / "bin" / "reg_f3d")
    monkeypatch.setenv("PATH", os.pathsep.join(["", "."]))
    assert launch.find_program("reg_f3d") is None


def test_run_returns_the_exit_code_and_logs_what_was_printed(tmp_path):
    seconds = []
    command = python(
        "import time", "print('first'); print()", "time.sleep(0.3)", "print('last')", "raise SystemExit(3)"
    )
    code = launch.run(command, "The engine", tmp_path / "log.txt", tmp_path, progress=seconds.append)
    assert code == 3 and len(seconds) > 1 and seconds == sorted(seconds)
    assert launch.last_words(tmp_path / "log.txt") == "first / last"
    assert launch.last_words(tmp_path / "log.txt", lines=1, characters=2) == "st"


def test_a_process_that_prints_nothing_has_no_last_words(tmp_path):
    assert launch.run(python("pass"), "The engine", tmp_path / "log.txt") == 0
    assert launch.last_words(tmp_path / "log.txt") == "none"


def test_what_cannot_be_started_is_said(tmp_path):
    with pytest.raises(InputError, match="The engine could not be started with .*nothing"):
        launch.run([str(tmp_path / "nothing")], "The engine", tmp_path / "log.txt")


def test_an_error_in_progress_stops_the_process(tmp_path):
    def progress(seconds):
        if seconds > 0.2:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch.run(python("import time", "time.sleep(60)"), "The engine", tmp_path / "log.txt", progress=progress)
    assert time.monotonic() - began < 30


def test_stop_lets_a_process_end_by_itself_first(tmp_path):
    done = tmp_path / "done"
    lines = ["import sys", "print('ready', flush=True)", "sys.stdin.read()", f"open({str(done)!r}, 'w').close()"]
    child = launch.Child(python(*lines), "The engine", launch.environment_for())
    child.stdout.readline()
    child.stop(patience_s=30)
    assert not child.alive and child.exit_code == 0 and done.exists()
    child.close_pipes()


@posix_only
def test_kill_group_ends_the_children_too():
    lines = [
        "import subprocess, sys, time",
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
        "print(child.pid, flush=True)",
        "time.sleep(60)",
    ]
    child = launch.Child(python(*lines), "The worker", launch.environment_for(), own_group=True)
    grandchild = int(child.stdout.readline())
    child.kill_group()
    assert child.wait(30)
    assert child.stdout.read() == b""  # the grandchild held the pipe open: its end is the grandchild's
    child.close_pipes()
    assert grandchild != child.pid and launch.was_killed(child.exit_code)


@pytest.mark.parametrize(
    "code, text",
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "memory ran out"), (137, "memory ran out"), (-999, "signal 999")],
)
def test_an_exit_code_in_words(code, text):
    assert text in launch.describe_exit(code)


@posix_only
def test_a_signal_is_named():
    assert launch.describe_exit(-11) == "crashed (SIGSEGV)"


def test_the_output_of_a_short_process():
    assert launch.output_of(python("print('drawn')"), launch.environment_for(), 60).strip() == b"drawn"
    assert launch.output_of(python("raise SystemExit(1)"), launch.environment_for(), 60) is None
    assert launch.output_of(python("import time", "time.sleep(60)"), launch.environment_for(), 0.2) is None
    assert launch.output_of(["/nowhere/python"], launch.environment_for(), 60) is None
