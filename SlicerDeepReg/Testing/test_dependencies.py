"""Every dependency is listed with a reason, and an audit that looked nothing up does not pass for a clean one."""

import importlib.util
import re

import pytest
from helpers.paths import PROJECT
from SlicerDeepRegLib import __version__


def packages(text):
    """Return (extra, package) of every quoted requirement of pyproject.toml's two tables; "" is always installed."""
    always = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M).group(1)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.S | re.M).group(1)
    required = {("", name) for name in re.findall(r'"([\w-]+)>=', always)}
    optional = set()
    for extra, rest in re.findall(r"^(\w+) = \[(.*?)\]\s*(?:#[^\n]*)?$", extras, re.S | re.M):
        optional |= {(extra, name) for name in re.findall(r'"([\w-]+)>=', rest)}
    return required | optional


def listed(text):
    always, asked = text.split("## Optional")
    rows = {("", row.split("|")[1].strip()) for row in always.splitlines() if row.startswith("| ")}
    rows |= {tuple(cell.strip() for cell in row.split("|")[1:3]) for row in asked.splitlines() if row.startswith("| ")}
    return rows - {("", "package"), ("extra", "package")}


def stand_in_packages(text):
    """Return the rows of what the stand-in for Slicer's desktop needs beside the extension and its demo."""
    needed = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M).group(1)
    return {("stand_in", name) for name in re.findall(r'"([\w-]+)>=', needed)}


def test_each_dependency_is_listed_with_a_reason():
    wanted = packages((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    known = {name for _, name in wanted}
    stand_in = stand_in_packages((PROJECT / "stand_in" / "pyproject.toml").read_text(encoding="utf-8"))
    wanted |= {(extra, name) for extra, name in stand_in if name not in known}
    assert ("", "torch") in wanted and ("dev", "ruff") in wanted and len(wanted) > 20
    assert listed((PROJECT / "docs" / "dependencies.md").read_text(encoding="utf-8")) == wanted


GOOD = {"name": "numpy", "version": "2.0", "vulns": []}
BAD = {"name": "torch", "version": "2.2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.6"]}]}
UNKNOWN = {"name": "vtk", "skip_reason": "not found"}
OURS = {"name": "SlicerDeepReg", "skip_reason": "not found"}
STAND_IN = {"name": "slicer-stand-in", "skip_reason": "not found"}


@pytest.mark.parametrize(
    "dependencies, code, words",
    [
        ([GOOD, OURS, STAND_IN], 0, "1 of 1 packages were looked up, 0 with"),
        ([GOOD, BAD, OURS], 1, "torch 2.2: PYSEC-1, fixed in 2.6"),
        ([GOOD, UNKNOWN], 3, "vtk: not looked up"),
        ([UNKNOWN, BAD], 1, "PYSEC-1"),
        ([UNKNOWN, OURS], 3, "could not be reached"),
        ([], 3, "could not be reached"),
    ],
)
def test_an_audit_that_looked_nothing_up_does_not_pass(dependencies, code, words):
    spec = importlib.util.spec_from_file_location("audit", PROJECT / "tools" / "audit.py")
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    ended, lines = audit.summarize(dependencies)
    assert ended == code and words in "\n".join(lines)


def test_the_version_is_the_same_everywhere():
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.M).group(1) == __version__
    assert re.search(r"^version: (.*)$", citation, re.M).group(1) == __version__
