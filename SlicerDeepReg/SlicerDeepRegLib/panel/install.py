"""Installs PyTorch and the other packages that the worker needs. The caller asks the user first."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from ..worker.protocol import OLDEST_TORCH

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
#: Packages whose import has another name.
_IMPORTS = {"scikit-image": "skimage", "surface-distance": "surface_distance"}
TORCH = ">=" + ".".join(map(str, OLDEST_TORCH))


def requirements() -> list[str]:
    """Return the lines of requirements.txt without comments."""
    lines = [line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line]


def missing() -> list[str]:
    """Return what is not installed in this Python, PyTorch first, then lines of requirements.txt; imports nothing."""
    importlib.invalidate_caches()
    packages = [] if importlib.util.find_spec("torch") is not None else [f"torch{TORCH}"]
    for line in requirements():
        name = re.split(r"[<>=!~\[ ]", line, maxsplit=1)[0]
        if importlib.util.find_spec(_IMPORTS.get(name, name)) is None:
            packages.append(line)
    return packages


def install(packages: list[str], say: Callable[[str], None]) -> None:
    """Install packages into Slicer's Python; installed ones are kept.

    Args:
        packages: as ``missing`` names them.
        say: called with a text about what is being done.

    Raises:
        RuntimeError: an installation failed; the text says what to do.
    """
    for number, package in enumerate(packages, start=1):
        say(f"Installing {package} ({number} of {len(packages)}). This can take minutes.")
        try:
            _torch() if package.startswith("torch>") else _package(package)
        except Exception as error:
            raise RuntimeError(
                f"{package} could not be installed: {error}. Check the network connection and the free disk space, "
                "and press Apply again: what is installed already is kept."
            ) from error
    say("Everything is installed.")


def _torch() -> None:
    """Through the PyTorch extension, which picks the build for this computer's graphics card."""
    try:
        import PyTorchUtils
    except ImportError:
        raise RuntimeError(
            "the PyTorch extension is not installed. Install it in the Extensions Manager, restart Slicer, and try "
            "again"
        ) from None
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=TORCH) is None:
        raise RuntimeError("the PyTorch extension did not install it")


def _package(requirement: str) -> None:
    import slicer

    try:
        packaging = importlib.import_module("slicer.packaging")  # from Slicer 5.11 on
    except ImportError:
        slicer.util.pip_install(requirement)
    else:
        packaging.pip_ensure([requirement], prompt_install=False, requester="DeepReg")
