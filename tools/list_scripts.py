"""Write the list of scripts and resources in SlicerDeepReg/CMakeLists.txt from the tree (a test compares them)."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "SlicerDeepReg"


#: Rooms of the library for the command line and for developers, which Slicer does not install.
NOT_INSTALLED = ("comparison", "experiments", "pretrained", "training")


def scripts() -> list[str]:
    """Return every Python file that Slicer installs, relative to SlicerDeepReg/."""
    library = ROOT / "SlicerDeepRegLib"
    files = [p for p in library.rglob("*.py") if p.relative_to(library).parts[0] not in NOT_INSTALLED]
    return ["SlicerDeepReg.py", *sorted(str(p.relative_to(ROOT)) for p in files)]


def resources() -> list[str]:
    """Return every resource that Slicer installs, relative to SlicerDeepReg/."""
    return [*sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("Resources/**/*") if p.is_file()), "requirements.txt"]


def text() -> str:
    """Return the text of CMakeLists.txt."""
    lines = ["set(MODULE_NAME SlicerDeepReg)", "", "set(MODULE_PYTHON_SCRIPTS"]
    lines += [f"  {name}" for name in scripts()]
    lines += ["  )", "", "set(MODULE_PYTHON_RESOURCES"]
    lines += [f"  {name}" for name in resources()]
    lines += [
        "  )",
        "",
        "slicerMacroBuildScriptedModule(",
        "  NAME ${MODULE_NAME}",
        "  SCRIPTS ${MODULE_PYTHON_SCRIPTS}",
        "  RESOURCES ${MODULE_PYTHON_RESOURCES}",
        "  WITH_GENERIC_TESTS",
        "  )",
        "",
        "if(BUILD_TESTING)",
        "  slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)",
        "endif()",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    (ROOT / "CMakeLists.txt").write_text(text(), encoding="utf-8")
