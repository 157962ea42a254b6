"""Modules that lie in the folder that the user works in, named like those of Python and of libraries, are never run."""

import os
import subprocess
import sys

import pytest
from helpers.cases import Case
from helpers.command_line import run_command
from helpers.paths import LIBRARY
from SlicerDeepRegLib.files.images import write_image
from SlicerDeepRegLib.processes import launch
from SlicerDeepRegLib.types import Request
from SlicerDeepRegLib.worker.client import WorkerClient

#: What the commands and their processes import, of Python itself first. Not those that ``python -m`` imports before
#: anything of ours runs (runpy's), and none that Python has loaded before it looks anywhere.
NAMES = (
    "json",
    "random",
    "shutil",
    "subprocess",
    "tempfile",
    "argparse",
    "queue",
    "pickle",
    "numpy",
    "torch",
    "scipy",
    "skimage",
    "SimpleITK",
    "safetensors",
    "psutil",
    "vtk",
    "slicer",
    "ants",
    "matplotlib",
    "fpdf",
    "PIL",
    "imageio_ffmpeg",
    "multiprocessing",
    "sitecustomize",
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a pair and the planted modules; each writes down that it was run."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    case = Case("LPS-RAS")
    write_image(case.fixed, folder / "fixed.nrrd")
    write_image(case.moving, folder / "moving.nrrd")
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran.txt')!r}, 'a').write({name!r} + ' ')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return folder


def check_none_ran(place):
    ran = place.parent / "ran.txt"
    assert not ran.exists(), ran.read_text(encoding="utf-8")


def test_they_would_be_run_by_minus_m_and_by_minus_c(place):
    for command in (["-c", "import json"], ["-m", "json.tool", "--help"]):
        subprocess.run([sys.executable, *command], capture_output=True, check=False)
        (place.parent / "ran.txt").unlink()


OURS = ("worker", "comparison.cell", "methods.engine_worker", "processes.supervise", "mrml.probe")


@pytest.mark.parametrize("module", ["", *OURS])
def test_no_process_of_ours_runs_them(place, module):
    """The imports of each, which then ends for want of arguments or of input; "" is ``python -m SlicerDeepRegLib``."""
    if module:
        command = launch.module_command(module, "folder") if module == "worker" else launch.module_command(module)
    else:
        command = [sys.executable, "-m", "SlicerDeepRegLib", "models"]
    inherited = {**os.environ, "PYTHONPATH": os.pathsep.join([str(LIBRARY), ""])}
    environment = launch.environment_for(inherited) if module else None
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )
    assert "No module" not in done.stderr
    check_none_ran(place)


@pytest.mark.slow
def test_register_with_its_report_and_repeat_run_none(place):
    pair = ("--fixed", "fixed.nrrd", "--moving", "moving.nrrd", "--method", "demons")
    done = run_command("register", *pair, "--output", "out", "--device", "cpu", "--report", "--quiet")
    assert done.returncode == 0 and (place / "out" / "report.html").is_file(), done.stderr
    again = run_command("repeat", "out/result.json")
    assert again.returncode == 0, again.stderr
    check_none_ran(place)


def test_each_cell_of_a_comparison_runs_none_and_writes_beside_the_caller(place):
    (place / "pairs.csv").write_text("fixed,moving\nfixed.nrrd,moving.nrrd\n")
    call = (
        "compare",
        "--pairs",
        "pairs.csv",
        "--methods",
        "demons",
        "--output",
        "table",
        "--device",
        "cpu",
        "--keep",
        "--quiet",
    )
    done = run_command(*call)
    assert done.returncode == 0, done.stderr + done.stdout
    assert list((place / "table" / "cells").rglob("transform.h5"))
    check_none_ran(place)


@pytest.mark.parametrize("call", [("segment", "--help"), ("train", "--help"), ("demo", "--help"), ("models",)])
def test_the_other_commands_run_none(place, call):
    done = run_command(*call)
    assert done.returncode == 0, done.stderr
    check_none_ran(place)


def test_the_worker_registers_and_runs_none(place):
    case, client = Case("LPS-RAS"), WorkerClient()
    job = client.submit(Request(case.fixed, case.moving, method="demons", device="cpu"))
    try:
        kinds = []
        while not {"done", "failed", "died"} & set(kinds):
            kinds += [event["kind"] for event in client.poll() if event.get("job") == job]
    finally:
        client.close()
    assert "done" in kinds
    check_none_ran(place)


def test_a_folder_on_the_path_of_modules_is_the_choice_of_its_user(place, tmp_path):
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "sitecustomize.py").write_text(f"open({str(tmp_path / 'chosen.txt')!r}, 'w').close()")
    environment = launch.environment_for({**os.environ, "PYTHONPATH": str(chosen)})
    subprocess.run(launch.module_command("processes.supervise"), env=environment, capture_output=True, check=False)
    assert (tmp_path / "chosen.txt").exists()


def test_plugins_of_another_itk_are_not_handed_on(tmp_path):
    """Not even where Slicer's launcher of Python sets the variable after us."""
    code = "import os; print('ITK_AUTOLOAD_PATH' in os.environ)"
    started = launch.module_command("processes.supervise", sys.executable, "-c", code)
    environment = {**launch.environment_for(), "ITK_AUTOLOAD_PATH": str(tmp_path)}
    child = launch.Child(started, "The program", environment)
    assert child.stdout.read().strip() == b"False"
    child.stop()
    child.close_pipes()


def test_what_lies_beside_the_library_stands_in_for_no_module_of_python(tmp_path):
    """All of site-packages lies there, or Slicer's modules: its folder is the last that is looked into."""
    place = tmp_path / "path.txt"
    lines = ["import atexit, os, sys", f"atexit.register(lambda: open({str(place)!r}, 'w').write(sys.path[-1]))"]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    environment = launch.environment_for({**os.environ, "PYTHONPATH": str(tmp_path)})
    launch.output_of(launch.module_command("processes.supervise", "nothing"), environment, 60)
    assert place.read_text(encoding="utf-8") == str(launch.LIBRARY)
