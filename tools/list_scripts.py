"""Write the list of scripts and resources in SlicerDeepReg/CMakeLists.txt from the tree (a test compares them)."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "SlicerDeepReg"


def scripts():
    """Every Python file that Slicer installs, relative to SlicerDeepReg/."""
    return ["SlicerDeepReg.py", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("SlicerDeepRegLib/**/*.py"))]


def resources():
    """Every resource that Slicer installs, relative to SlicerDeepReg/."""
    return [*sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("Resources/**/*") if p.is_file()), "requirements.txt"]


def text():
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
