"""Installs or updates PyTorch and what else the worker needs. The caller asks the user first."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection

from ..worker.requirements import TORCH, listed, unmet


def install(packages: Collection[str], say: Callable[[str], None]) -> None:
    """Install packages into Slicer's Python; those that are installed in a fitting version are kept.

    Args:
        packages: requirements as ``worker.requirements.unmet`` names them.
        say: called with a text about what is being done.

    Raises:
        RuntimeError: an installation failed; the text says what to do.
    """
    others = [package for package in packages if package != TORCH]
    steps: list[tuple[str, Callable[[], None]]] = [(TORCH, _torch)] if TORCH in packages else []
    if others:  # at once, so that none brings another out of its bounds
        steps.append((", ".join(others), lambda: _packages(others)))
    for names, step in steps:
        say(f"Installing {names}. This can take minutes.")
        try:
            step()
        except Exception as error:
            raise RuntimeError(
                f"{names} could not be installed: {error}. Check the network connection and the free disk space, "
                "and press Apply again: what is installed already is kept."
            ) from error
    left = listed(unmet())
    if left:
        raise RuntimeError(
            f"After the installation these are still needed: {', '.join(left)}. Restart Slicer and press Apply again."
        )
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
    bounds = TORCH[len("torch") :]
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=bounds) is None:
        raise RuntimeError("the PyTorch extension did not install it")


def _packages(requirements: list[str]) -> None:
    import slicer

    try:
        packaging = importlib.import_module("slicer.packaging")  # from Slicer 5.11 on
    except ImportError:
        slicer.util.pip_install(requirements)
    else:  # it says itself when Slicer has to be restarted; with --testing it would install nothing, without a word
        packaging.pip_ensure(requirements, prompt_install=False, requester="DeepReg", skip_in_testing=False)
