"""Third parties have their contract, rooms import without torch or slicer, and CMake installs what there is."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import subprocess
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "SlicerDeepRegLib"
PROJECT = LIBRARY.parents[1]

#: Which room may import which and which third party: contracts of import-linter, checked by `make imports`.
CONTRACTS = PROJECT / ".importlinter"


def third_parties(path: Path) -> set[str]:
    """The packages outside the library and the standard library that a file imports, wherever the import stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


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
    "files.results",
    "metrics.status",
    "mrml.display",
    "mrml.host",
    "mrml.nodes",
    "mrml.pictures",
    "mrml.review",
    "mrml.runs",
    "mrml.scene",
    "mrml.world",
    "panel.blind",
    "panel.choice",
    "preparation.checks",
    "report.content",
    "report.facts",
    "settings",
    "teaching.lessons",
    "types",
    "worker.client",
)
#: What the command line and the worker import.
WITHOUT_SLICER = ("commands.register", "losses.similarity", "methods.svf", "pipeline", "warping.velocity")


def import_without(blocked: str, modules: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Import modules of the library in an interpreter that cannot import ``blocked``."""
    code = (
        "import importlib, sys\n"
        f"sys.modules[{blocked!r}] = None\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(f'SlicerDeepRegLib.{name}')\n"
        f"assert sys.modules[{blocked!r}] is None\n"
        "print('imported')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_slicer_side_needs_no_torch():
    done = import_without("torch", WITHOUT_TORCH)
    assert done.stdout.strip() == "imported", done.stderr


def test_torch_side_needs_no_slicer():
    done = import_without("slicer", WITHOUT_SLICER)
    assert done.stdout.strip() == "imported", done.stderr


def test_cmake_lists_every_script_and_resource():
    spec = importlib.util.spec_from_file_location("list_scripts", PROJECT / "tools" / "list_scripts.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    listed = (LIBRARY.parent / "CMakeLists.txt").read_text(encoding="utf-8")
    assert listed == tool.text(), "run: python tools/list_scripts.py"
    assert len(tool.scripts()) > 20 and tool.resources()


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
