"""What the worker needs beside Slicer's own packages, and which of it this Python lacks or has in another version."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path
from typing import Any

#: Lies beside the module in Slicer. A package from pip is without it: pip has checked the same bounds.
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
#: Installed by the PyTorch extension, which picks the build for the graphics card; therefore not in the file.
TORCH = "torch>=2.2,<3"


def requirements() -> list[str]:
    """Return TORCH and the lines of requirements.txt without comments."""
    text = REQUIREMENTS.read_text(encoding="utf-8") if REQUIREMENTS.is_file() else ""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [TORCH, *filter(None, lines)]


def unmet() -> dict[str, str]:
    """Return the requirements that this Python does not meet, PyTorch first; imports none of the packages.

    Returns:
        Requirement and the version that is installed, empty where there is none: ``{"scipy>=1.9,<2": "1.5.4"}``.
    """
    importlib.invalidate_caches()
    found = {}
    for line in requirements():
        wanted = _requirement(line)
        version = _version(wanted.name)
        if not version or not _fits(wanted, version):
            found[line] = version
    return found


def listed(lacking: dict[str, str]) -> list[str]:
    """Return a line for each of the requirements from ``unmet``, with the version that is installed instead."""
    return [f"{line} ({version} is installed)" if version else line for line, version in lacking.items()]


def _requirement(line: str) -> Any:
    try:
        from packaging.requirements import Requirement
    except ImportError:  # a Slicer may lack it; pip, which has to be there to install anything, carries a copy
        return importlib.import_module("pip._vendor.packaging.requirements").Requirement(line)
    return Requirement(line)


def _version(name: str) -> str:
    try:
        return metadata.version(name) or ""  # an interrupted installation leaves a folder without a version
    except (metadata.PackageNotFoundError, KeyError):
        return ""


def _fits(wanted: Any, version: str) -> bool:
    try:
        return bool(wanted.specifier.contains(version, prereleases=True))  # nightly builds are newer, too
    except ValueError:  # not a version
        return False
