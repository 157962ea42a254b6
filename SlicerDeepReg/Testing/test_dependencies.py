"""Every dependency is listed with a reason, its bounds and its license; an audit that looked nothing up is no pass."""

import importlib.util
import re
from importlib import metadata

import pytest
from helpers.paths import LIBRARY, PROJECT
from helpers.third_parties import third_parties
from packaging.specifiers import SpecifierSet
from SlicerDeepRegLib import __version__
from SlicerDeepRegLib.worker.requirements import REQUIREMENTS, requirements

#: Packages whose import has another name.
IMPORTS = {
    "PIL": "pillow",
    "ants": "antspyx",
    "fpdf": "fpdf2",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "itk": "itk-elastix",
    "skimage": "scikit-image",
    "slicer": "slicer-core",
    "surface_distance": "surface-distance",
    "vtk": "slicer-core",
}
#: Parts of Slicer's desktop and of its PyTorch extension, which no package holds.
FROM_SLICER = {"PyTorchUtils", "SampleData", "ctk", "qt"}
#: Not installed where the tests run, so no version of them was tested. docs/dependencies.md says so.
UNTESTED = {"itk-elastix", "convexAdam"}
#: What the licenses are called in the metadata of packages: a pattern of the text, and the license.
LICENSES = {
    "Apache": "Apache",
    "BSD": "BSD",
    "BSL|Boost": "BSL",
    r"\bGPL": "GPL",
    "LGPL": "LGPL",
    "MPL": "MPL",
    "MIT|HPND|Historical Permission": "MIT",  # HPND: what Pillow called its license, MIT-CMU, before
    "PSF|Python Software Foundation": "PSF",
}
COPYLEFT = {"GPL", "LGPL", "MPL"}


def text_of(*parts):
    return PROJECT.joinpath(*parts).read_text(encoding="utf-8")


def bounds(text):
    """The bounds of each quoted requirement, by package: {"numpy": ">=1.22,<3"}."""
    return dict(re.findall(r'"([\w-]+)([>=]=[^"]*)"', text))


def always_and_extras(text):
    always = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M).group(1)
    extras = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.S | re.M)
    return always, extras.group(1) if extras else ""


def packages(text):
    """Return (extra, package) of every quoted requirement of pyproject.toml's two tables; "" is always installed."""
    always, extras = always_and_extras(text)
    found = {("", name) for name in bounds(always)}
    for extra, rest in re.findall(r"^(\w+) = \[(.*?)\]\s*(?:#[^\n]*)?$", extras, re.S | re.M):
        found |= {(extra, name) for name in bounds(rest)}
    return found


def rows(text):
    """The rows of the tables of docs/dependencies.md: (extra, package, license); "" is always installed."""
    always, asked = text.split("## Optional")
    cells = [[cell.strip() for cell in f"||{row}".split("|")[2:-1]] for row in always.splitlines() if row[:2] == "| "]
    cells += [[cell.strip() for cell in row.split("|")[1:-1]] for row in asked.splitlines() if row[:2] == "| "]
    return [(extra, package, license) for extra, package, _, license in cells if package != "package"]


def licenses_in(text):
    return {license for pattern, license in LICENSES.items() if re.search(pattern, text)}


def declared_license(package):
    """What an installed package says of its license: the expression, else the classifiers, else its short name."""
    about = metadata.metadata(package)
    classifiers = " ".join(line for line in about.get_all("Classifier") or [] if line.startswith("License"))
    return about["License-Expression"] or classifiers or (about["License"] or "")[:100]


def installed(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


PYPROJECT = text_of("pyproject.toml")
SLICERS_STAND_IN = text_of("stand_in", "pyproject.toml")
ROWS = rows(text_of("docs", "dependencies.md"))
BOUNDS = bounds("".join((*always_and_extras(SLICERS_STAND_IN), *always_and_extras(PYPROJECT))))


def test_each_dependency_is_listed_with_a_reason():
    wanted = packages(PYPROJECT)
    known = {name for _, name in wanted}
    wanted |= {("stand_in", name) for _, name in packages(SLICERS_STAND_IN) if name not in known}
    assert {("", "torch"), ("", "surface-distance"), ("dev", "ruff")} <= wanted and len(wanted) > 20
    assert {row[:2] for row in ROWS} == wanted


def test_the_same_bounds_stand_everywhere():
    always, extras = always_and_extras(PYPROJECT)
    for text in (always_and_extras(SLICERS_STAND_IN)[0], *extras.splitlines()):
        for package, wanted in bounds(text).items():
            assert BOUNDS[package] == wanted, package
    assert REQUIREMENTS.is_file()
    slicers = bounds(" ".join(f'"{line}"' for line in requirements()))
    assert {"torch", "scipy", "pillow"} <= set(slicers) and len(slicers) == len(requirements())
    assert slicers == {package: bounds(always)[package] for package in slicers}


@pytest.mark.parametrize("package", sorted(BOUNDS))
def test_each_dependency_has_an_upper_bound_that_was_tested(package):
    assert ("<" in BOUNDS[package] or "==" in BOUNDS[package]) != (package in UNTESTED)
    version = installed(package)
    assert version is None or SpecifierSet(BOUNDS[package]).contains(version, prereleases=True)


def test_each_package_that_the_library_imports_is_declared():
    imported = set().union(*(third_parties(path) for path in LIBRARY.rglob("*.py") if "Testing" not in path.parts))
    imported -= FROM_SLICER | {"SlicerDeepRegLib"}
    assert {"PIL", "numpy", "skimage"} <= imported
    names = {IMPORTS.get(name, name) for name in imported}
    assert names <= set(BOUNDS)
    needed = names - {name for extra, name in packages(PYPROJECT) if extra}
    assert needed <= set(bounds(always_and_extras(PYPROJECT)[0]))


PRESENT = sorted({(package, license) for _, package, license in ROWS if installed(package)})


@pytest.mark.parametrize("package, license", PRESENT)
def test_the_license_is_that_of_the_installed_package(package, license):
    listed, declared = licenses_in(re.sub(r"\(.*?\)", "", license)), declared_license(package)
    # Wheels declare what is bundled, too ("BSD-3-Clause AND MIT"); of alternatives ("OR") one is enough.
    assert listed and listed <= licenses_in(declared), declared
    if " OR " not in declared:
        assert licenses_in(declared) & COPYLEFT <= listed, declared


def test_licenses_are_told_apart():
    assert len(PRESENT) > 8
    assert licenses_in("LGPL-3.0-only") == {"LGPL"} and licenses_in("GPL-2.0-only OR MIT") == {"GPL", "MIT"}
    assert licenses_in("License :: OSI Approved :: Apache Software License") == {"Apache"}


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
