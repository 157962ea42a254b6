"""Third parties have their contract, rooms import without torch or slicer, and CMake installs what there is."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.third_parties import third_parties

LIBRARY = Path(__file__).resolve().parents[1] / "SlicerDeepRegLib"
PROJECT = LIBRARY.parents[1]

#: Which room may import which and which third party: contracts of import-linter, checked by `make imports`.
CONTRACTS = PROJECT / ".importlinter"


def room_of(path: Path) -> str:
    """The room of a file: its folder in the library, or the module itself."""
    relative = path.relative_to(LIBRARY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def test_every_third_party_package_has_a_contract():
    """A package that no contract protects could be imported anywhere."""
    contracts = configparser.ConfigParser()
    contracts.read(CONTRACTS, encoding="utf-8")
    protected = {
        name
        for section in contracts.sections()
        if contracts.get(section, "type", fallback="") == "protected"
        for name in contracts.get(section, "protected_modules").split()
    }
    imported = set().union(*(third_parties(path) for path in LIBRARY.rglob("*.py")))
    assert "numpy" in imported and protected == imported


#: What Slicer's own process imports.
WITHOUT_TORCH = (
    "catalog",
    "checks",
    "files.results",
    "methods",
    "metrics.status",
    "mrml.display",
    "mrml.host",
    "mrml.nodes",
    "mrml.pictures",
    "mrml.review",
    "mrml.runs",
    "mrml.scene",
    "mrml.world",
    "panel.blinded",
    "panel.choice",
    "preparation.working",
    "report.content",
    "report.facts",
    "settings",
    "similarity",
    "teaching.lessons",
    "types",
    "worker.client",
)
#: What the command line and the worker import.
WITHOUT_SLICER = ("commands.register", "losses.similarity", "methods.svf.optimizer", "pipeline", "warping.velocity")


#: What the worker imports. Slicer hands it images in memory, and requirements.txt holds no reader of files.
WORKER = (*WITHOUT_SLICER, "methods", "models.weights", "worker.serve")


def import_without(blocked: tuple[str, ...], modules: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Import modules of the library in an interpreter that cannot import what is ``blocked``."""
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(f'SlicerDeepRegLib.{name}')\n"
        f"assert not any(sys.modules[name] for name in {blocked!r})\n"
        "print('imported')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)


def test_slicer_side_needs_no_torch():
    done = import_without(("torch",), WITHOUT_TORCH)
    assert done.stdout.strip() == "imported", done.stderr


def test_torch_side_needs_no_slicer():
    done = import_without(("slicer",), WITHOUT_SLICER)
    assert done.stdout.strip() == "imported", done.stderr


def test_the_worker_needs_no_reader_of_files():
    done = import_without(("nibabel", "pydicom", "psutil", "PIL", "slicer"), WORKER)
    assert done.stdout.strip() == "imported", done.stderr


@pytest.fixture(scope="module")
def list_scripts():
    """The tool that writes CMakeLists.txt."""
    spec = importlib.util.spec_from_file_location("list_scripts", PROJECT / "tools" / "list_scripts.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_cmake_lists_every_script_and_resource(list_scripts):
    listed = (LIBRARY.parent / "CMakeLists.txt").read_text(encoding="utf-8")
    assert listed == list_scripts.text(), "run: python tools/list_scripts.py"
    assert len(list_scripts.scripts()) > 20 and list_scripts.resources()


#: Rooms for the command line and for developers.
NOT_INSTALLED = {"comparison", "experiments", "pretrained", "training"}


def test_slicer_installs_only_what_its_module_needs(list_scripts):
    """What is installed imports nothing of the other rooms but inside a function."""
    installed = [LIBRARY.parent / name for name in list_scripts.scripts() if name.startswith(LIBRARY.name)]
    assert {room_of(path) for path in LIBRARY.rglob("*.py")} - {room_of(path) for path in installed} == NOT_INSTALLED
    for path in installed:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                named = {(node.module or "").split(".")[0], *(name.name for name in node.names)}
                assert not named & NOT_INSTALLED, f"{path.name} imports {named & NOT_INSTALLED}"


def test_the_commands_run_without_the_rooms_that_slicer_does_not_install(list_scripts, tmp_path):
    for name in (*list_scripts.scripts(), *list_scripts.resources()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((LIBRARY.parent / name).read_bytes())
    (tmp_path / "checkpoint.pth").write_bytes(b"weights")

    code = (
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in f.__module__]\n"  # they know this tree
        "from SlicerDeepRegLib.commands import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SLICERDEEPREG_MODELS": str(tmp_path / "models")}

    def run(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False
        )

    shown = run("--help")
    assert shown.returncode == 0 and "register" in shown.stdout, shown.stderr
    for command in ("train", "compare"):
        assert "command must be one of" in run(command, "--help").stderr
    refused = run("models", "add", "checkpoint.pth")
    assert refused.returncode == 2 and "pip install SlicerDeepReg" in refused.stderr, refused.stderr
    assert run("models").returncode == 0


def test_syntax_is_that_of_python_3_9():
    """Slicer 5.8 runs 3.9. Annotations may be newer: they are not evaluated."""
    for path in LIBRARY.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        ast.parse(text, feature_version=(3, 9))
        if "->" in text:
            assert "from __future__ import annotations" in text, path
