"""What the worker needs is compared with the versions that are installed, not with what can be imported."""

import importlib.metadata
import sys

import pytest
from SlicerDeepRegLib.worker import requirements
from SlicerDeepRegLib.worker.requirements import TORCH, listed, unmet


@pytest.fixture(params=["packaging", "the copy in pip"])
def versions(request, monkeypatch, tmp_path):
    """Versions that are installed, by package; what is not in it is not installed."""
    if request.param != "packaging":
        monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    path = tmp_path / "requirements.txt"
    path.write_text("# why\nscipy>=1.9,<2  # why\n\nsurface-distance==0.1\n")
    monkeypatch.setattr(requirements, "REQUIREMENTS", path)
    installed = {"torch": "2.13.0+cpu", "scipy": "1.15.3", "surface-distance": "0.1"}

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return installed


def test_what_fits_is_not_asked_for(versions):
    assert unmet() == {}
    versions.update(torch="2.15.0.dev20261101+cu130", scipy="1.9")
    assert unmet() == {}


@pytest.mark.parametrize(
    "package, version, said",
    [
        ("torch", "2.1.2", f"{TORCH} (2.1.2 is installed)"),
        ("torch", "3.0.0", f"{TORCH} (3.0.0 is installed)"),
        ("scipy", "1.8.1", "scipy>=1.9,<2 (1.8.1 is installed)"),
        ("scipy", "1.10.rubbish", "scipy>=1.9,<2 (1.10.rubbish is installed)"),
        ("scipy", None, "scipy>=1.9,<2"),
        ("surface-distance", "1.0", "surface-distance==0.1 (1.0 is installed)"),
    ],
)
def test_another_version_is_named(versions, package, version, said):
    versions[package] = version
    assert listed(unmet()) == [said]


def test_what_is_not_installed_comes_in_order(versions):
    versions.clear()
    assert unmet() == {TORCH: "", "scipy>=1.9,<2": "", "surface-distance==0.1": ""}


def test_a_package_without_the_file_needs_torch_only(versions, monkeypatch, tmp_path):
    monkeypatch.setattr(requirements, "REQUIREMENTS", tmp_path / "none.txt")
    versions.clear()
    assert unmet() == {TORCH: ""}
