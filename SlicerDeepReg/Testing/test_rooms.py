"""The house rules: who may import whom, what runs without torch or slicer, and what CMake installs."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "SlicerDeepRegLib"
PROJECT = LIBRARY.parents[1]

#: Room: (rooms it may import, third parties it may import).
RULES = {
    "types": ((), {"numpy"}),
    "catalog": (("types", "private"), set()),
    "settings": (("types",), set()),
    "process": ((), set()),
    "private": ((), set()),
    "geometry": (("types",), {"numpy"}),
    "files": (("types", "geometry", "private"), {"numpy", "SimpleITK", "safetensors", "pydicom"}),
    "preparation": (("types", "geometry", "files"), {"numpy", "SimpleITK"}),
    "metrics": (("types", "geometry"), {"numpy", "scipy", "skimage", "surface_distance"}),
    "report": (("types", "catalog", "metrics"), {"numpy", "PIL", "fpdf", "imageio_ffmpeg"}),
    "mrml": (("types", "geometry"), {"numpy", "vtk", "slicer"}),
    "warping": (("types", "geometry"), {"numpy", "torch"}),
    "losses": (("types", "geometry", "warping"), {"torch"}),
    "networks": (("types", "geometry", "warping", "losses"), {"torch"}),
    "pretrained": (("types", "catalog", "private", "files", "methods"), {"numpy"}),
    "device": (("types",), {"torch"}),
    "training": (
        (
            *("__init__", "types", "catalog", "device", "process", "geometry", "files", "preparation", "metrics"),
            *("warping", "losses", "networks"),
        ),
        {"numpy", "torch", "SimpleITK"},
    ),
    "methods": (
        (
            *(
                "types",
                "catalog",
                "settings",
                "process",
                "private",
                "geometry",
                "files",
                "preparation",
                "metrics",
            ),
            *("warping", "losses", "networks"),
        ),
        {"numpy", "torch", "SimpleITK"},
    ),
    "pipeline": (
        (
            *("__init__", "types", "catalog", "device", "process", "settings", "geometry", "files"),
            *("preparation", "metrics", "warping", "methods"),
        ),
        {"numpy", "torch", "SimpleITK"},
    ),
    "comparison": (
        (
            "__init__",
            "types",
            "catalog",
            "settings",
            "process",
            "private",
            "files",
            "geometry",
            "methods",
            "metrics",
            "pipeline",
        ),
        {"numpy", "scipy", "torch", "SimpleITK", "matplotlib", "distributed"},
    ),
    "commands": (
        (
            *("__init__", "types", "catalog", "device", "process", "geometry", "methods", "pipeline", "metrics"),
            *("files", "mrml", "pretrained", "report"),
        ),
        {"numpy", "scipy", "nilearn", "slicer", "SimpleITK"},
    ),
    "worker": (
        (
            *("__init__", "types", "catalog", "device", "process", "private", "files", "preparation"),
            *("methods", "pipeline"),
        ),
        {"numpy", "torch"},
    ),
    "teaching": (("types", "geometry", "metrics"), {"numpy", "matplotlib"}),
    "panel": (
        (
            *("__init__", "types", "catalog", "settings", "geometry", "files", "checks", "metrics"),
            *("methods", "similarity", "mrml", "report", "teaching", "worker"),
        ),
        {"numpy", "vtk", "qt", "ctk", "slicer", "PyTorchUtils", "SampleData"},
    ),
    "__init__": ((), set()),
    "__main__": (("commands",), set()),
}


#: What one file alone may import beside: it runs in a process of its own.
ALONE = {"engines_apart.py": {"ants", "itk"}}


def room_of(path: Path) -> str:
    relative = path.relative_to(LIBRARY)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path):
    """(room or None, third party or None) for every import of a file, wherever it stands."""
    depth = len(path.relative_to(LIBRARY).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield None, name.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield None, node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == depth:  # from the library's top
            if node.module:
                yield node.module.split(".")[0], None
            else:
                for name in node.names:
                    known = (LIBRARY / name.name).is_dir() or (LIBRARY / f"{name.name}.py").exists()
                    yield (name.name if known else "__init__"), None


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda p: str(p.relative_to(LIBRARY)))
def test_rooms_import_only_what_they_may(path):
    room = room_of(path)
    assert room in RULES, f"{room} is a new room: give it its rule here and in docs/architecture.md"
    rooms, third_parties = RULES[room]
    third_parties = third_parties | ALONE.get(path.name, set())
    for other, third in imports(path):
        if other is not None and other != room:
            assert other in rooms, f"{path.name} in {room} imports {other}"
        if third is not None and third not in sys.stdlib_module_names:
            assert third in third_parties, f"{path.name} in {room} imports {third}"


def run_without(blocked: str, modules: str) -> subprocess.CompletedProcess:
    code = (
        "import sys\n"
        f"sys.modules[{blocked!r}] = None\n"
        f"import {modules}\n"
        f"assert sys.modules[{blocked!r}] is None\n"
        "print('imported')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_slicer_side_needs_no_torch():
    names = "types, catalog, mrml.nodes, mrml.display, mrml.host, mrml.scene, mrml.pictures, "
    names += "mrml.world, mrml.runs, mrml.review, settings, worker.client"
    done = run_without("torch", ", ".join(f"SlicerDeepRegLib.{name}" for name in names.split(", ")))
    assert done.stdout.strip() == "imported", done.stderr


def test_torch_side_needs_no_slicer():
    names = "pipeline, methods.svf, warping.velocity, losses.similarity, commands.register"
    done = run_without("slicer", ", ".join(f"SlicerDeepRegLib.{name}" for name in names.split(", ")))
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
NOT_INSTALLED = {"comparison", "pretrained", "training"}


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
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    shown = run("--help")
    assert shown.returncode == 0 and "register" in shown.stdout, shown.stderr
    for command in ("train", "compare"):
        assert "invalid choice" in run(command, "--help").stderr
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


def test_every_card_names_a_method_that_runs():
    from SlicerDeepRegLib.catalog import cards
    from SlicerDeepRegLib.methods import load_method

    assert "svf" in cards()
    for name, card in cards().items():
        assert card.name == name
        assert callable(load_method(card).run)
